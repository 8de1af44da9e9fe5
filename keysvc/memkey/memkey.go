// SPDX-License-Identifier: Apache-2.0

// Package memkey does in process memory what a token does for keys: it makes
// them, parses and checks them, signs, verifies, decrypts and agrees, for every
// key spec of AWS KMS. It has no state and does no I/O.
//
// Key material is what AWS KMS imports: 32 bytes of SYMMETRIC_DEFAULT, the bytes
// of an HMAC key, and PKCS #8 DER of everything else. A public key is a
// SubjectPublicKeyInfo in DER. Both are taken strictly: exactly the spec, and
// DER of which there is one form only.
//
// What the package copies of a secret it clears before it returns, as far as Go
// lets it: the key schedules and numbers inside the packages of crypto stay on
// the heap until the garbage collector takes them.
package memkey

import (
	"crypto/rand"
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	ErrMaterial = errors.New("not key material of this key spec")
	ErrPublic   = errors.New("not a public key of this key spec")
	ErrPeer     = errors.New("not a public key on the curve of this key")
	ErrSpec     = errors.New("not a key spec for this")
	ErrOptions  = errors.New("not an algorithm of this key spec")
	ErrTooLong  = errors.New("the plaintext is too long for this key")
	ErrUnwrap   = errors.New("the wrapped key cannot be authenticated")
)

// LengthError is a digest, or a mu, of another length than the algorithm takes.
type LengthError struct{ Got, Want int }

func (e *LengthError) Error() string {
	return fmt.Sprintf("a digest of %d bytes where the algorithm takes %d", e.Got, e.Want)
}

// maxMaterial is above that of every spec, so that nobody has large numbers
// computed with.
const maxMaterial = 8 << 10

// private is a private key, taken apart. It is wiped after one operation.
type private interface {
	sign(m message) ([]byte, error)
	public() ([]byte, error)   // SubjectPublicKeyInfo
	material() ([]byte, error) // PKCS #8, in our form
	wipe()
}

// Generate makes a key. public is nil for a secret key.
func Generate(spec string) (material, public []byte, err error) {
	ks, err := specOf(spec)
	if err != nil {
		return nil, nil, err
	}
	if !ks.pair() {
		material = make([]byte, ks.size)
		_, err = rand.Read(material)
		return material, nil, err
	}
	key, err := ks.generate()
	if err != nil {
		return nil, nil, fmt.Errorf("generating a key of spec %s: %w", spec, err)
	}
	defer key.wipe()
	if material, err = key.material(); err != nil {
		return nil, nil, err
	}
	public, err = key.public()
	return material, public, err
}

func (ks *keySpec) generate() (private, error) {
	switch ks.family {
	case familyRSA:
		return generateRSA(ks)
	case familyEC:
		return generateNIST(ks)
	case familyK1:
		return generateK1(ks)
	case familyEdwards:
		return generateEdwards()
	}
	return generateMLDSA(ks)
}

// Public is the public key that belongs to material, nil for a secret key. The
// material is checked as an import: an error is ErrMaterial or ErrSpec.
func Public(spec string, material []byte) (public []byte, err error) {
	key, err := parseImport(spec, material)
	if err != nil || key == nil {
		return nil, err
	}
	defer key.wipe()
	return key.public()
}

// Canonical checks material as Public does and returns it in the one form that
// Generate makes, so that the same key in another encoding compares equal.
func Canonical(spec string, material []byte) ([]byte, error) {
	key, err := parseImport(spec, material)
	switch {
	case err != nil:
		return nil, err
	case key == nil:
		return append([]byte(nil), material...), nil
	}
	defer key.wipe()
	return key.material()
}

// parseImport has a nil key for a secret key.
func parseImport(spec string, material []byte) (private, error) {
	ks, err := specOf(spec)
	if err != nil {
		return nil, err
	}
	if !ks.pair() {
		return nil, ks.checkSecret(material)
	}
	key, err := ks.parse(material)
	if err != nil {
		return nil, err
	}
	if k, ok := key.(*rsaKey); ok && !k.prime() {
		k.wipe()
		return nil, ErrMaterial
	}
	return key, nil
}

func (ks *keySpec) checkSecret(material []byte) error {
	if len(material) != ks.size {
		return ErrMaterial
	}
	return nil
}
