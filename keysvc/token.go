// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto"
	"errors"

	"github.com/sidekey/sidekey/keysvc/store"
)

// Token is an HSM. It is declared here so that the service does not depend on
// PKCS#11. Wrapped keys are wrapped under the token's root KEK; public keys are
// SubjectPublicKeyInfo in DER, nil for secret keys.
type Token interface {
	// Random returns n random bytes of the HSM.
	Random(ctx context.Context, n int) ([]byte, error)
	// Supports reports whether the HSM itself makes and uses keys of a spec.
	Supports(spec string) bool
	// GenerateKey makes an AES-256 key inside the HSM and returns it wrapped.
	GenerateKey(ctx context.Context) (wrapped []byte, err error)
	// GenerateKeyFor makes a key of a spec that the HSM supports.
	GenerateKeyFor(ctx context.Context, spec string) (wrapped, public []byte, err error)
	// ImportKey brings material of a spec into the HSM: 32 bytes of
	// SYMMETRIC_DEFAULT, the bytes of a secret key, or PKCS #8.
	ImportKey(ctx context.Context, spec string, material []byte) (wrapped, public []byte, err error)
	// Encrypt seals plaintext with AES-256-GCM inside the HSM, under the
	// subkey of the wrapped key and the epoch. BLOB.md has the derivation. The
	// nonce that counts is the returned one.
	Encrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) (usedNonce [12]byte, ciphertext []byte, err error)
	// Decrypt reverses Encrypt. ok is false if the ciphertext, the nonce or
	// the AAD is not what Encrypt made.
	Decrypt(ctx context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, ciphertext, aad []byte) (plaintext []byte, ok bool, err error)
	// Sign signs a digest, or a message of Ed25519; opts is as of crypto.Signer.
	Sign(ctx context.Context, spec string, wrapped, digest []byte, opts crypto.SignerOpts) (signature []byte, err error)
	// DecryptOAEP decrypts RSAES-OAEP with SHA-1 or SHA-256 for both hashes.
	DecryptOAEP(ctx context.Context, spec string, wrapped []byte, hash crypto.Hash, ciphertext []byte) (plaintext []byte, ok bool, err error)
	// MAC is the HMAC of message with the hash of the spec, in full length.
	MAC(ctx context.Context, spec string, wrapped, message []byte) ([]byte, error)
	// Agree is ECDH with a public key: the X coordinate in full length.
	Agree(ctx context.Context, spec string, wrapped, peer []byte) (secret []byte, err error)
	// Forget drops what the HSM session holds of the key.
	Forget(wrapped []byte)
	// Check reports whether the HSM answers.
	Check(ctx context.Context) error
}

// CustomToken is the token of a custom key store.
type CustomToken interface {
	Token
	Close() error
}

// OpenToken logs in to the token of a custom key store, by the ID of its
// cluster. An error wraps ErrPIN if the token does not accept the PIN, and
// ErrNoCluster if the configuration knows no token of that ID, or none is
// there. With a nil PIN it does not log in and returns no token: it only says
// whether the configuration knows the cluster.
type OpenToken func(ctx context.Context, clusterID string, pin []byte) (CustomToken, error)

// Errors of an OpenToken.
var (
	ErrPIN       = errors.New("keysvc: the PIN is not accepted")
	ErrNoCluster = errors.New("keysvc: no token is configured for the cluster")
)

// tokenOf is the token that holds a key.
func (s *Service) tokenOf(ctx context.Context, k *store.Key) (Token, error) {
	if k.KeyStore == "" {
		return s.token, nil
	}
	return s.customToken(ctx, k)
}
