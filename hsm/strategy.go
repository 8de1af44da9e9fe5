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
// keys wrapped before that must still unwrap.
const (
	formPad    = 1
	formPlain  = 2
	wrappedLen = 1 + keyLen + 8
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

// makeKey makes a backing key and wraps it, and proves before it is lost that
// the wrapped form holds the same key: a wrapped key that does not unwrap is
// lost data. The probe nonce is used once per key made, before any other use.
func makeKey(s *session, root pkcs11.ObjectHandle, form byte) (wrapped []byte, err error) {
	mech, _ := mechanismOf(form)
	var made []pkcs11.ObjectHandle
	defer func() {
		for _, h := range made {
			err = errors.Join(err, s.destroy(h))
		}
	}()
	keep := func(h pkcs11.ObjectHandle, err error) (pkcs11.ObjectHandle, error) {
		if err == nil {
			made = append(made, h)
		}
		return h, err
	}
	fresh, err := keep(s.generate(newTemplate()))
	if err != nil {
		return nil, err
	}
	blob, err := s.wrap(mech, root, fresh)
	if err != nil {
		return nil, err
	}
	if len(blob) != wrappedLen-1 {
		return nil, fmt.Errorf("C_WrapKey with %s gave %d bytes, not %d", mechanismNames[mech], len(blob), wrappedLen-1)
	}
	back, err := keep(s.unwrap(mech, root, blob))
	if err != nil {
		return nil, err
	}
	first, err := keep(s.derive(fresh, probeEpoch))
	if err != nil {
		return nil, err
	}
	second, err := keep(s.derive(back, probeEpoch))
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
