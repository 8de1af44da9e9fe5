// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

const (
	keyLen   = 32
	nonceLen = 12
	tagLen   = 16
)

// session is one PKCS#11 session. Its methods are the calls of this package
// into a module, one goroutine at a time; each refuses once the session has
// been abandoned. A session is never used again after an error: some tokens
// leave a failed operation active for ever.
type session struct {
	mod       *module
	epoch     uint64
	slot      uint
	handle    pkcs11.SessionHandle
	opened    bool
	closed    *atomic.Int64 // of the conn
	abandoned atomic.Bool
}

func (s *session) p11() (*pkcs11.Ctx, error) {
	if s.abandoned.Load() {
		return nil, errAbandoned
	}
	return s.mod.p11, nil
}

func (s *session) open(flags uint) error {
	if s.opened {
		return nil
	}
	p, err := s.p11()
	if err != nil {
		return err
	}
	s.handle, err = p.OpenSession(s.slot, pkcs11.CKF_SERIAL_SESSION|flags)
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	s.opened = true
	return nil
}

// close is also how an abandoned session ends. Its caller is inside the gate.
// Errors tell nothing new: the session is gone either way.
func (s *session) close() {
	if s.opened {
		s.opened = false
		_ = s.mod.p11.CloseSession(s.handle)
		s.closed.Add(1)
	}
}

// closeLate closes a session outside any call, unless its epoch has ended.
func (s *session) closeLate() {
	if s.mod.gate.enterAt(context.Background(), s.epoch) != nil {
		return
	}
	defer s.mod.gate.leave()
	s.close()
}

func (s *session) random(n int) ([]byte, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	b, err := p.GenerateRandom(s.handle, n)
	if err != nil {
		return nil, fmt.Errorf("C_GenerateRandom: %w", err)
	}
	if len(b) != n {
		return nil, fmt.Errorf("C_GenerateRandom gave %d bytes of %d", len(b), n)
	}
	return b, nil
}

func (s *session) generate(template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	p, err := s.p11()
	if err != nil {
		return 0, err
	}
	h, err := p.GenerateKey(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, template)
	return h, callError("C_GenerateKey", pkcs11.CKM_AES_KEY_GEN, err)
}

func (s *session) wrap(mech uint, root, key pkcs11.ObjectHandle) ([]byte, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	b, err := p.WrapKey(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)}, root, key)
	return b, callError("C_WrapKey", mech, err)
}

func (s *session) unwrap(mech uint, root pkcs11.ObjectHandle, blob []byte, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	p, err := s.p11()
	if err != nil {
		return 0, err
	}
	h, err := p.UnwrapKey(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)}, root, blob, template)
	return h, callError("C_UnwrapKey", mech, err)
}

func (s *session) derive(base pkcs11.ObjectHandle, epoch [16]byte) (pkcs11.ObjectHandle, error) {
	p, err := s.p11()
	if err != nil {
		return 0, err
	}
	mech, free := deriveMechanism(epoch)
	defer free()
	h, err := p.DeriveKey(s.handle, []*pkcs11.Mechanism{mech}, base, subkeyTemplate())
	return h, callError("C_DeriveKey", pkcs11.CKM_AES_ECB_ENCRYPT_DATA, err)
}

func (s *session) destroy(h pkcs11.ObjectHandle) error {
	p, err := s.p11()
	if err != nil {
		return err
	}
	if err := p.DestroyObject(s.handle, h); err != nil {
		return fmt.Errorf("C_DestroyObject: %w", err)
	}
	return nil
}

// seal encrypts and returns the nonce that the token used, which some tokens
// choose themselves.
func (s *session) seal(key pkcs11.ObjectHandle, nonce [nonceLen]byte, plaintext, aad []byte) (used [nonceLen]byte, ciphertext []byte, err error) {
	p, err := s.p11()
	if err != nil {
		return used, nil, err
	}
	params := pkcs11.NewGCMParams(nonce[:], aad, tagLen*8)
	defer params.Free()
	err = p.EncryptInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key)
	if err != nil {
		return used, nil, callError("C_EncryptInit", pkcs11.CKM_AES_GCM, err)
	}
	if p, err = s.p11(); err != nil {
		return used, nil, err
	}
	ciphertext, err = p.Encrypt(s.handle, plaintext)
	if err != nil {
		return used, nil, callError("C_Encrypt", pkcs11.CKM_AES_GCM, err)
	}
	iv := params.IV()
	if len(iv) != nonceLen || len(ciphertext) != len(plaintext)+tagLen {
		return used, nil, fmt.Errorf("C_Encrypt with CKM_AES_GCM gave a nonce of %d and a ciphertext of %d bytes for %d bytes", len(iv), len(ciphertext), len(plaintext))
	}
	return [nonceLen]byte(iv), ciphertext, nil
}

// openError marks an error of C_Decrypt itself, the only one that can mean a
// wrong tag.
type openError struct{ error }

func (e openError) Unwrap() error { return e.error }

func (s *session) unseal(key pkcs11.ObjectHandle, nonce [nonceLen]byte, ciphertext, aad []byte) ([]byte, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	params := pkcs11.NewGCMParams(nonce[:], aad, tagLen*8)
	defer params.Free()
	err = p.DecryptInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key)
	if err != nil {
		return nil, callError("C_DecryptInit", pkcs11.CKM_AES_GCM, err)
	}
	if p, err = s.p11(); err != nil {
		return nil, err
	}
	plaintext, err := p.Decrypt(s.handle, ciphertext)
	if err != nil {
		return nil, openError{callError("C_Decrypt", pkcs11.CKM_AES_GCM, err)}
	}
	if len(plaintext) != len(ciphertext)-tagLen {
		clear(plaintext)
		return nil, fmt.Errorf("C_Decrypt with CKM_AES_GCM gave %d bytes for %d", len(plaintext), len(ciphertext))
	}
	return plaintext, nil
}

// find returns the handles of the objects that match, at most max of them.
func (s *session) find(template []*pkcs11.Attribute, max int) ([]pkcs11.ObjectHandle, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	if err := p.FindObjectsInit(s.handle, template); err != nil {
		return nil, fmt.Errorf("C_FindObjectsInit: %w", err)
	}
	found, _, err := p.FindObjects(s.handle, max)
	if err != nil {
		return nil, fmt.Errorf("C_FindObjects: %w", err)
	}
	if err := p.FindObjectsFinal(s.handle); err != nil {
		return nil, fmt.Errorf("C_FindObjectsFinal: %w", err)
	}
	return found, nil
}

// require compares attributes of a key with what they must be.
func (s *session) require(key pkcs11.ObjectHandle, want []*pkcs11.Attribute) error {
	p, err := s.p11()
	if err != nil {
		return err
	}
	for _, w := range want {
		got, err := p.GetAttributeValue(s.handle, key, []*pkcs11.Attribute{{Type: w.Type}})
		if err != nil {
			return fmt.Errorf("reading %s: %w", attributeNames[w.Type], err)
		}
		if len(got) != 1 || !bytes.Equal(got[0].Value, w.Value) {
			return fmt.Errorf("%w: %s is %x, not %x", errAttribute, attributeNames[w.Type], got[0].Value, w.Value)
		}
	}
	return nil
}

var errAttribute = errors.New("the key has a wrong attribute")

func callError(function string, mech uint, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s with %s: %w", function, mechanismNames[mech], err)
}

var mechanismNames = map[uint]string{
	pkcs11.CKM_AES_KEY_GEN:          "CKM_AES_KEY_GEN",
	pkcs11.CKM_AES_KEY_WRAP:         "CKM_AES_KEY_WRAP",
	pkcs11.CKM_AES_KEY_WRAP_PAD:     "CKM_AES_KEY_WRAP_PAD",
	pkcs11.CKM_AES_ECB_ENCRYPT_DATA: "CKM_AES_ECB_ENCRYPT_DATA",
	pkcs11.CKM_AES_GCM:              "CKM_AES_GCM",

	pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN:  "CKM_RSA_PKCS_KEY_PAIR_GEN",
	pkcs11.CKM_RSA_PKCS:               "CKM_RSA_PKCS",
	pkcs11.CKM_RSA_PKCS_PSS:           "CKM_RSA_PKCS_PSS",
	pkcs11.CKM_RSA_PKCS_OAEP:          "CKM_RSA_PKCS_OAEP",
	pkcs11.CKM_RSA_X_509:              "CKM_RSA_X_509",
	pkcs11.CKM_EC_KEY_PAIR_GEN:        "CKM_EC_KEY_PAIR_GEN",
	pkcs11.CKM_ECDSA:                  "CKM_ECDSA",
	pkcs11.CKM_ECDH1_DERIVE:           "CKM_ECDH1_DERIVE",
	ckmECEdwardsKeyPairGen:            "CKM_EC_EDWARDS_KEY_PAIR_GEN",
	ckmEdDSA:                          "CKM_EDDSA",
	pkcs11.CKM_GENERIC_SECRET_KEY_GEN: "CKM_GENERIC_SECRET_KEY_GEN",
	pkcs11.CKM_SHA224_HMAC:            "CKM_SHA224_HMAC",
	pkcs11.CKM_SHA256_HMAC:            "CKM_SHA256_HMAC",
	pkcs11.CKM_SHA384_HMAC:            "CKM_SHA384_HMAC",
	pkcs11.CKM_SHA512_HMAC:            "CKM_SHA512_HMAC",
}
