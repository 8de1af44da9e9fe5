// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"
)

func (s *session) generateSecret(ks *keySpec) (pkcs11.ObjectHandle, error) {
	p, err := s.p11()
	if err != nil {
		return 0, err
	}
	_, mech := ks.keyType()
	h, err := p.GenerateKey(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)},
		ks.fresh(pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, ks.size)))
	return h, callError("C_GenerateKey", mech, err)
}

func (s *session) generatePair(ks *keySpec) (public, private pkcs11.ObjectHandle, err error) {
	p, err := s.p11()
	if err != nil {
		return 0, 0, err
	}
	_, mech := ks.keyType()
	public, private, err = p.GenerateKeyPair(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)}, ks.public(), ks.fresh())
	return public, private, callError("C_GenerateKeyPair", mech, err)
}

func (s *session) create(template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	p, err := s.p11()
	if err != nil {
		return 0, err
	}
	h, err := p.CreateObject(s.handle, template)
	if err != nil {
		return 0, fmt.Errorf("C_CreateObject: %w", err)
	}
	return h, nil
}

func (s *session) attribute(key pkcs11.ObjectHandle, attribute uint) ([]byte, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	got, err := p.GetAttributeValue(s.handle, key, []*pkcs11.Attribute{{Type: attribute}})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", attributeNames[attribute], err)
	}
	if len(got) != 1 {
		return nil, fmt.Errorf("%w: no %s", errAttribute, attributeNames[attribute])
	}
	return got[0].Value, nil
}

// sign is C_Sign, which also is how a MAC is made.
func (s *session) sign(key pkcs11.ObjectHandle, mech uint, param, data []byte) ([]byte, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	if err := p.SignInit(s.handle, []*pkcs11.Mechanism{{Mechanism: mech, Parameter: param}}, key); err != nil {
		return nil, callError("C_SignInit", mech, err)
	}
	if p, err = s.p11(); err != nil {
		return nil, err
	}
	signature, err := p.Sign(s.handle, data)
	if err != nil {
		return nil, activeError{callError("C_Sign", mech, err)}
	}
	return signature, nil
}

// activeError marks an error that may leave an operation active in the session,
// which is then good for nothing.
type activeError struct{ error }

func (e activeError) Unwrap() error { return e.error }

func (s *session) decrypt(key pkcs11.ObjectHandle, mech *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	if err := p.DecryptInit(s.handle, []*pkcs11.Mechanism{mech}, key); err != nil {
		return nil, callError("C_DecryptInit", mech.Mechanism, err)
	}
	if p, err = s.p11(); err != nil {
		return nil, err
	}
	plaintext, err := p.Decrypt(s.handle, ciphertext)
	if err != nil {
		return nil, openError{callError("C_Decrypt", mech.Mechanism, err)}
	}
	return plaintext, nil
}

// agree derives the X coordinate of ECDH with a point, reads it and destroys it.
func (s *session) agree(key pkcs11.ObjectHandle, point []byte, size int) (secret []byte, err error) {
	p, err := s.p11()
	if err != nil {
		return nil, err
	}
	m := made{s: s}
	defer m.destroy(&err)
	mech := pkcs11.NewMechanism(pkcs11.CKM_ECDH1_DERIVE, pkcs11.NewECDH1DeriveParams(pkcs11.CKD_NULL, nil, point))
	h, err := m.keep(p.DeriveKey(s.handle, []*pkcs11.Mechanism{mech}, key, sharedTemplate(size)))
	if err != nil {
		return nil, callError("C_DeriveKey", pkcs11.CKM_ECDH1_DERIVE, err)
	}
	value, err := s.attribute(h, pkcs11.CKA_VALUE)
	if err != nil {
		return nil, err
	}
	return leftPad(value, size)
}

// leftPad gives a big-endian number its full size: some tokens drop zeros at
// its front. It clears number.
func leftPad(number []byte, size int) ([]byte, error) {
	if len(number) > size || len(number) == 0 {
		clear(number)
		return nil, fmt.Errorf("the token gave %d bytes for a number of %d", len(number), size)
	}
	if len(number) == size {
		return number, nil
	}
	padded := make([]byte, size)
	copy(padded[size-len(number):], number)
	clear(number)
	return padded, nil
}
