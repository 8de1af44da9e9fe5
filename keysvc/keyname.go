// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	aliasPrefix = "alias/"
	multiPrefix = "mrk-"

	// multiVersion is the UUID version of the IDs of multi-Region keys, which
	// AWS writes as mrk- and 32 digits. Other keys have version 4.
	multiVersion = 8
)

// keyName is how a caller named a key: by its ID or by an alias.
type keyName struct {
	store.Ref
	alias string // with its prefix; "" if by ID
}

// regionOf is the region in an ARN, which AWS repeats when it refuses the ARN,
// or ours if there is none.
func regionOf(arn, ours string) string {
	parts := strings.SplitN(arn, ":", 5)
	if len(parts) < 5 || !regionForm.MatchString(parts[3]) {
		return ours
	}
	return parts[3]
}

// parseKeyName understands a key ID, a key ARN, an alias name and an alias ARN
// of the region that the request is for.
func (s *Service) parseKeyName(region, name string) (keyName, error) {
	resource, isAlias := name, strings.HasPrefix(name, aliasPrefix)
	if strings.HasPrefix(name, "arn:") {
		rest, ours := strings.CutPrefix(name, s.arnPrefix(region))
		id, isKey := strings.CutPrefix(rest, "key/")
		switch {
		case !ours || !isKey && !strings.HasPrefix(rest, aliasPrefix):
			return keyName{}, notFoundError("Invalid arn %s", regionOf(name, region))
		case isKey:
			resource = id
		default:
			resource, isAlias = rest, true
		}
	}
	if isAlias {
		return keyName{Ref: store.Ref{Region: region}, alias: resource}, nil
	}
	id, err := parseID(resource)
	if errors.Is(err, errNoKey) {
		return keyName{}, notFoundError("Key '%skey/%s' does not exist", s.arnPrefix(region), resource)
	}
	switch {
	case err != nil && resource != name: // AWS quotes a bare ID only
		return keyName{}, notFoundError("Invalid keyId %s", resource)
	case err != nil:
		return keyName{}, notFoundError("Invalid keyId '%s'", name)
	}
	return keyName{Ref: store.Ref{Region: region, ID: id}}, nil
}

// parseKeyID understands a key ID and a key ARN: what control operations take.
func (s *Service) parseKeyID(region, name string) (keyName, error) {
	n, err := s.parseKeyName(region, name)
	if err == nil && n.alias != "" {
		err = &types.InvalidArnException{Message: text("Key Aliases are not supported for this operation.")}
	}
	return n, err
}

var (
	// errNoKey is of names that have the form of an ID, but not that of any
	// that this service gives.
	errNoKey  = errors.New("no key has this ID")
	errKeyID  = errors.New("not a key ID")
	allZeroes uuid.UUID
)

// formatID is the ID of a key as callers see it.
func formatID(id uuid.UUID) string {
	return string(appendID(make([]byte, 0, 36), id))
}

func appendID(b []byte, id uuid.UUID) []byte {
	if id.Version() == multiVersion {
		return hex.AppendEncode(append(b, multiPrefix...), id[:])
	}
	b = append(hex.AppendEncode(b, id[0:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

// parseID is the inverse of formatID.
func parseID(s string) (uuid.UUID, error) {
	digits, multi := strings.CutPrefix(s, multiPrefix)
	if len(s) != 36 { // of both forms
		return uuid.Nil, errKeyID
	}
	id, err := uuid.Parse(digits)
	if err != nil || multi != (len(digits) == 32) {
		return uuid.Nil, errKeyID
	}
	if id == allZeroes || formatID(id) != s {
		return uuid.Nil, errNoKey
	}
	return id, nil
}

// newID draws the ID of a new key.
func newID(multiRegion bool) (uuid.UUID, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return id, fmt.Errorf("making a key ID: %w", err)
	}
	if multiRegion {
		id[6] = id[6]&0x0f | multiVersion<<4
	}
	return id, nil
}

// subject is what a request is about, as far as its input tells before
// anything was looked up. It goes into the intent record.
type subject struct {
	keys        []string // ARNs, or names as they were sent
	context     map[string]string
	destination map[string]string // context of what ReEncrypt makes
}

func (s subject) appendAttrs(attrs []attribute.KeyValue) []attribute.KeyValue {
	if len(s.keys) > 0 {
		attrs = append(attrs, keyAttr(s.keys))
	}
	attrs = appendContext(attrs, s.context, audit.EncryptionContextKeys, audit.EncryptionContext)
	return appendContext(attrs, s.destination, audit.DestinationContextKeys, audit.DestinationContext)
}

func appendContext(attrs []attribute.KeyValue, context map[string]string, keys, all attribute.Key) []attribute.KeyValue {
	if len(context) == 0 || contextSize(context) > maxContext { // a larger one is refused
		return attrs
	}
	names := slices.Sorted(maps.Keys(context))
	pairs := make([]string, len(names))
	for i, name := range names {
		pairs[i] = name + "=" + context[name]
	}
	return append(attrs, keys.StringSlice(names), all.StringSlice(pairs))
}

// keyAttr names the keys and aliases that a record is about: one as a string,
// several as a list.
func keyAttr(arns []string) attribute.KeyValue {
	if len(arns) == 1 {
		return audit.KeyARN.String(arns[0])
	}
	return audit.KeyARN.StringSlice(arns)
}

// subjectOf returns a function that reads the subject of an input of type t.
func subjectOf(t reflect.Type) func(s *Service, region string, in reflect.Value) subject {
	indexes := func(names ...string) (all []int) {
		for _, name := range names {
			if f, ok := t.FieldByName(name); ok {
				all = append(all, f.Index[0])
			}
		}
		return all
	}
	source := indexes("SourceKeyId", "KeyId")
	others := indexes("AliasName", "TargetKeyId", "DestinationKeyId")
	blob := indexes("CiphertextBlob")
	context := indexes("EncryptionContext", "SourceEncryptionContext")
	destination := indexes("DestinationEncryptionContext")
	return func(s *Service, region string, in reflect.Value) subject {
		var sub subject
		for _, i := range context {
			sub.context, _ = in.Field(i).Interface().(map[string]string)
		}
		for _, i := range destination {
			sub.destination, _ = in.Field(i).Interface().(map[string]string)
		}
		name := func(i int) {
			if name, _ := in.Field(i).Interface().(*string); name != nil {
				sub.keys = append(sub.keys, s.fullName(region, *name))
			}
		}
		for _, i := range source {
			name(i)
		}
		if len(blob) > 0 && len(sub.keys) == 0 {
			if b, err := parseBlob(in.Field(blob[0]).Bytes()); err == nil {
				sub.keys = append(sub.keys, s.keyARN(store.Ref{Region: region, ID: b.keyID}))
			}
		}
		for _, i := range others {
			name(i)
		}
		return sub
	}
}

// grantTokensOf returns a function that reads the grant tokens of an input of
// type t.
func grantTokensOf(t reflect.Type) func(in reflect.Value) []string {
	f, ok := t.FieldByName("GrantTokens")
	if !ok {
		return func(reflect.Value) []string { return nil }
	}
	return func(in reflect.Value) []string {
		tokens, _ := in.Field(f.Index[0]).Interface().([]string)
		return tokens
	}
}

// fullName is the ARN that a name stands for, or the name as it was sent.
func (s *Service) fullName(region, name string) string {
	n, err := s.parseKeyName(region, name)
	if err != nil {
		return name
	}
	return s.arnOf(n)
}

func (s *Service) arnOf(name keyName) string {
	if name.alias != "" {
		return s.aliasARN(name.Region, name.alias)
	}
	return s.keyARN(name.Ref)
}

// arnPrefix begins the ARNs of keys and aliases of a region.
func (s *Service) arnPrefix(region string) string {
	if prefix, ok := s.prefixes[region]; ok {
		return prefix
	}
	return "arn:aws:kms:" + region + ":" + s.cfg.Account + ":"
}

func (s *Service) keyARN(ref store.Ref) string {
	b := append(make([]byte, 0, 128), s.arnPrefix(ref.Region)...) // on the stack
	return string(appendID(append(b, "key/"...), ref.ID))
}

func (s *Service) aliasARN(region, alias string) string { return s.arnPrefix(region) + alias }

// materialID names one version of a key's material, in AWS's form of 64
// hexadecimal digits. It is an identifier, not derived from the material.
func materialID(id uuid.UUID, version uint32) *string {
	b := append(make([]byte, 0, 64), "sidekey key material ID"...)
	b = append(b, id[:]...)
	return hexSum(binary.BigEndian.AppendUint32(b, version))
}

// materialIDOf is materialID, or what imported material is called.
func materialIDOf(k *store.Key, version uint32) *string {
	for i := range k.Imports {
		if k.Imports[i].Version == version {
			return &k.Imports[i].MaterialID
		}
	}
	return materialID(k.ID, version)
}
