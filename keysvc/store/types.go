// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// Errors that callers branch on.
var (
	// ErrNotFound is returned for a key, material, alias, grant or key store
	// that is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists is returned for a key or a key store that is there already.
	ErrExists      = errors.New("exists")
	ErrAliasExists = errors.New("alias exists")
	ErrAliasLimit  = errors.New("too many aliases")
	ErrGrantLimit  = errors.New("too many grants")
	// ErrTampered is returned for a row that is not as this service has
	// written it.
	ErrTampered = errors.New("a row of the key store does not match its MAC")
)

// AWS's quotas.
const (
	aliasesPerKey = 50
	grantsPerKey  = 50_000
)

// Ref names a key: the related keys of a multi-Region key have one ID in
// several regions.
type Ref struct {
	Region string
	ID     uuid.UUID
}

func (r Ref) String() string { return r.Region + "/" + r.ID.String() }

// State is a key's state, in the words of the AWS KMS API.
type State string

// The states a key is stored in.
const (
	Enabled                State = "Enabled"
	Disabled               State = "Disabled"
	PendingImport          State = "PendingImport"
	PendingDeletion        State = "PendingDeletion"
	PendingReplicaDeletion State = "PendingReplicaDeletion"
)

// Key is one KMS key, or one replica of a multi-Region key. Keys returned by
// a Store are shared: they must not be changed.
type Key struct {
	Ref

	State       State
	Spec        string
	Usage       string
	Origin      string // AWS_KMS, EXTERNAL or AWS_CLOUDHSM
	Protection  string // hsm or memory
	KeyStore    string // ID of the custom key store, or ""
	Description string
	Policy      string
	Created     time.Time

	// DeletionDate is zero unless State is PendingDeletion. PendingWindow is
	// the number of days that a primary key in PendingReplicaDeletion will wait.
	DeletionDate  time.Time
	PendingWindow int32

	// PrimaryRegion is "" for a single-Region key.
	PrimaryRegion string

	Tags    map[string]string
	Aliases []string // sorted; names that point to the key

	// Public is the SubjectPublicKeyInfo of an asymmetric key.
	Public []byte

	// Version is the version of the material in use: it encrypts. 0 stands for
	// a key that has had no material yet. Versions is the highest there ever was.
	Version  uint32
	Versions uint32

	Rotation Rotation
	Imports  []Import // of a key of Origin EXTERNAL, by Version

	Grants GrantSum // covers the grants of the key
}

// Rotation is how the material of a key is rotated.
type Rotation struct {
	Enabled  bool
	Period   int32     // days
	Next     time.Time // zero unless Enabled
	OnDemand int       // rotations made on demand
}

// Import is one version of imported material. The version's row in the store
// is there only while Present.
type Import struct {
	Version     uint32
	MaterialID  string // 64 hexadecimal digits, a keyed digest of the material
	Description string
	Present     bool
	Pending     bool // imported, waits for a rotation on demand to be used
	ValidTo     time.Time
	Imported    time.Time
	Rotated     time.Time // when a rotation on demand brought it into use, or zero
}

// MultiRegion reports whether the key can have replicas.
func (k *Key) MultiRegion() bool { return k.PrimaryRegion != "" }

// Primary reports whether the key is not a replica.
func (k *Key) Primary() bool { return k.PrimaryRegion == "" || k.PrimaryRegion == k.Region }

// Due is when something is to be done with the key by itself, or zero: its
// deletion, its rotation, or the expiry of imported material.
func (k *Key) Due() time.Time {
	var due time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	earliest(k.DeletionDate)
	if k.State == PendingReplicaDeletion {
		earliest(k.Created) // at every look: its replicas may be gone
	}
	if k.Rotation.Enabled && k.Primary() && k.State == Enabled {
		earliest(k.Rotation.Next)
	}
	for _, i := range k.Imports {
		if i.Present {
			earliest(i.ValidTo)
		}
	}
	return due
}

// Material is one version of a key's material, wrapped by an HSM. A row of it
// is never changed.
type Material struct {
	Version  uint32
	Wrapped  []byte
	Created  time.Time
	Rotation string // how it came: "" (with the key), AUTOMATIC, ON_DEMAND or IMPORT
}

// Alias is a name that points to a key.
type Alias struct {
	Ref
	Name    string // with its "alias/" prefix
	Created time.Time
	Updated time.Time
}

// Grant is one grant on a key.
type Grant struct {
	ID         string // 64 hexadecimal digits
	Key        Ref
	Name       string
	Grantee    string
	Retiring   string
	Issuer     string
	Operations []string
	Constraint map[string]string // nil for none
	Subset     bool              // the constraint is EncryptionContextSubset, not Equals
	Created    time.Time
}

// KeyStore is a custom key store: another token.
type KeyStore struct {
	ID          string // cks- and 17 hexadecimal digits
	Name        string
	ClusterID   string
	TrustAnchor string
	Password    []byte // sealed by the HSM
	State       string // CONNECTED, CONNECTING, DISCONNECTED, FAILED
	Failure     string // error code of State FAILED
	Created     time.Time
}

// Use is the last use of a key.
type Use struct {
	Key       Ref
	Operation string
	RequestID string
	Time      time.Time
}
