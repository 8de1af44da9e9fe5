// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// A wrapped backing key is
//
//	off  len  field
//	  0    1  form: 1 = CKM_AES_KEY_WRAP_PAD (RFC 5649), 2 = CKM_AES_KEY_WRAP (RFC 3394)
//	  1   40  the wrapped key
//
// The form is part of it because a token may learn a better mechanism, and
// keys wrapped before that must still unwrap. Any other wrapped key is
//
//	off  len  field
//	  0    1  form: 3 = CKM_AES_KEY_WRAP_PAD, with a kind
//	  1    1  kind: the id of its spec
//	  2   16  of secret keys only: the check, see [checkOf]
//	  .    n  the wrapped key: PKCS #8 of a private key, the value of a secret key
//
// The wrap does not cover the kind. What keeps a key of one kind from being
// used as another is, for private keys, that the token refuses to unwrap what
// is not PKCS #8 of the key type, and that modulus length or curve are compared
// afterwards (fits); for secret keys, the check. A secret key of 32 bytes can
// be passed off as a backing key, since form 1 has no room for a check: that
// evaluates AES under a key made for HMAC, which tells of neither, and yields
// ciphertexts that open under no other key.
const (
	formPad    = 1
	formPlain  = 2
	formKind   = 3
	wrappedLen = 1 + keyLen + 8

	checkLen   = 16
	maxWrapped = 4096 // an RSA-4096 key has 2386 bytes
)

// forms in order of preference. Both are deterministic authenticated wraps.
var forms = []struct {
	form byte
	mech uint
}{
	{formPad, pkcs11.CKM_AES_KEY_WRAP_PAD},
	{formPlain, pkcs11.CKM_AES_KEY_WRAP},
}

func mechanismOf(form byte) (uint, bool) {
	for _, f := range forms {
		if f.form == form {
			return f.mech, true
		}
	}
	return 0, false
}

func parseWrapped(wrapped []byte) (mech uint, blob []byte, err error) {
	if len(wrapped) != wrappedLen {
		return 0, nil, fmt.Errorf("a wrapped key has %d bytes, not %d", wrappedLen, len(wrapped))
	}
	mech, ok := mechanismOf(wrapped[0])
	if !ok {
		return 0, nil, fmt.Errorf("wrapped key of unknown form %d", wrapped[0])
	}
	return mech, wrapped[1:], nil
}

var errWrapped = errors.New("not a wrapped key of its spec")

// parseKind parses the form that has a kind, and refuses one of another spec.
func parseKind(ks *keySpec, wrapped []byte) (check, blob []byte, err error) {
	const least = 2 + 16
	if len(wrapped) < least || len(wrapped) > maxWrapped || wrapped[0] != formKind || wrapped[1] != ks.id {
		return nil, nil, fmt.Errorf("%w: %s", errWrapped, ks.name)
	}
	blob = wrapped[2:]
	if ks.family == familyMAC {
		want := checkLen + 8 + (ks.size+7)/8*8
		if len(blob) != want {
			return nil, nil, fmt.Errorf("%w: %s", errWrapped, ks.name)
		}
		check, blob = blob[:checkLen], blob[checkLen:]
	}
	return check, blob, nil
}

// probe decides the strategy by doing, never by the mechanism list: lists
// promise what calls then refuse, and the reverse.
func (c *conn) probe() (form byte, err error) {
	var failures []error
	for _, f := range forms {
		s := c.newSession() // thrown away: a failed step may leave it unusable
		err := s.open(0)
		if err == nil {
			_, err = makeKey(s, c.root, f.form)
		}
		if err == nil {
			err = probeTag(s, c.root)
		}
		s.close()
		if err == nil {
			return f.form, nil
		}
		failures = append(failures, err)
	}
	return 0, fmt.Errorf("token %q lacks a mechanism that is needed (CKM_AES_KEY_WRAP_PAD or CKM_AES_KEY_WRAP, CKM_AES_ECB_ENCRYPT_DATA, CKM_AES_GCM): %w", c.info.Label, errors.Join(failures...))
}

var (
	probeEpoch = [16]byte([]byte("sidekey probe 01"))
	probeNonce = [nonceLen]byte([]byte("sidekey prob"))
	probeText  = []byte("sidekey probe: 32 bytes of text.")
	probeAAD   = []byte("sidekey probe aad")
)

// made is what a call has made in the token and destroys at its end.
type made struct {
	s       *session
	handles []pkcs11.ObjectHandle
}

func (m *made) keep(h pkcs11.ObjectHandle, err error) (pkcs11.ObjectHandle, error) {
	if err == nil {
		m.handles = append(m.handles, h)
	}
	return h, err
}

func (m *made) destroy(err *error) {
	for _, h := range m.handles {
		*err = errors.Join(*err, m.s.destroy(h))
	}
}

func makeKey(s *session, root pkcs11.ObjectHandle, form byte) (wrapped []byte, err error) {
	return bringKey(s, root, form, func() (pkcs11.ObjectHandle, error) { return s.generate(newTemplate()) })
}

// bringKey wraps a backing key that fresh makes, and proves before it is lost
// that the wrapped form holds the same key: a wrapped key that does not unwrap
// is lost data. The probe nonce is used for one text only of each key made.
func bringKey(s *session, root pkcs11.ObjectHandle, form byte, fresh func() (pkcs11.ObjectHandle, error)) (wrapped []byte, err error) {
	mech, _ := mechanismOf(form)
	m := made{s: s}
	defer m.destroy(&err)
	key, err := m.keep(fresh())
	if err != nil {
		return nil, err
	}
	blob, err := s.wrap(mech, root, key)
	if err != nil {
		return nil, err
	}
	if len(blob) != wrappedLen-1 {
		return nil, fmt.Errorf("C_WrapKey with %s gave %d bytes, not %d", mechanismNames[mech], len(blob), wrappedLen-1)
	}
	back, err := m.keep(s.unwrap(mech, root, blob, unwrapTemplate()))
	if err != nil {
		return nil, err
	}
	first, err := m.keep(s.derive(key, probeEpoch))
	if err != nil {
		return nil, err
	}
	second, err := m.keep(s.derive(back, probeEpoch))
	if err != nil {
		return nil, err
	}
	for _, h := range []pkcs11.ObjectHandle{back, first, second} {
		if err := s.require(h, secretRequired()); err != nil {
			return nil, err
		}
	}
	return append([]byte{form}, blob...), sameKey(s, first, second)
}

func sameKey(s *session, a, b pkcs11.ObjectHandle) error {
	nonce, ciphertext, err := s.seal(a, probeNonce, probeText, probeAAD)
	if err != nil {
		return err
	}
	plaintext, err := s.unseal(b, nonce, ciphertext, probeAAD)
	if err != nil {
		return fmt.Errorf("a wrapped key did not come back the same: %w", err)
	}
	if !bytes.Equal(plaintext, probeText) {
		return errors.New("CKM_AES_GCM gave back other bytes than it was given")
	}
	return nil
}

// probeTag proves that the token checks the associated data.
func probeTag(s *session, root pkcs11.ObjectHandle) error {
	base, err := s.generate(newTemplate())
	if err != nil {
		return err
	}
	key, err := s.derive(base, probeEpoch)
	if err != nil {
		return err
	}
	nonce, ciphertext, err := s.seal(key, probeNonce, probeText, probeAAD)
	if err != nil {
		return err
	}
	if _, err := s.unseal(key, nonce, ciphertext, probeAAD[1:]); err == nil {
		return errors.New("CKM_AES_GCM does not authenticate the associated data")
	}
	return nil
}
