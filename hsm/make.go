// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"crypto"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// fresh is a key that has just come to be in the token, still extractable.
type fresh struct {
	key    pkcs11.ObjectHandle
	public []byte // SubjectPublicKeyInfo; nil of secret keys
}

// source makes a fresh key.
type source func(*session, *made) (fresh, error)

// both is a key as it leaves the token.
type both struct{ wrapped, public []byte }

// bring wraps a fresh key of any spec but SYMMETRIC_DEFAULT and proves before
// it is lost that the wrapped form holds the same key: unwrapped as for every
// later use, it signs for the public half, or gives the same check.
func bring(s *session, root pkcs11.ObjectHandle, ks *keySpec, from source) (b both, err error) {
	m := made{s: s}
	defer m.destroy(&err)
	f, err := from(s, &m)
	if err != nil {
		return both{}, err
	}
	var check []byte
	if ks.family == familyMAC {
		if check, err = s.checkOf(ks, f.key); err != nil {
			return both{}, err
		}
	}
	blob, err := s.wrap(pkcs11.CKM_AES_KEY_WRAP_PAD, root, f.key)
	if err != nil {
		return both{}, err
	}
	wrapped := slices.Concat([]byte{formKind, ks.id}, check, blob)
	back, err := m.keep(s.unwrapSpec(ks, root, wrapped))
	if err != nil {
		return both{}, err
	}
	if err := s.require(back, secretRequired()); err != nil {
		return both{}, err
	}
	if ks.pair() {
		err = s.signsFor(ks, back, f.public)
	}
	return both{wrapped, f.public}, err
}

// generated makes a key in the token.
func generated(ks *keySpec) source {
	return func(s *session, m *made) (fresh, error) {
		if !ks.pair() {
			key, err := m.keep(s.generateSecret(ks))
			return fresh{key: key}, err
		}
		public, private, err := s.generatePair(ks)
		if err != nil {
			return fresh{}, err
		}
		m.handles = append(m.handles, public, private)
		der, err := s.publicKey(ks, public)
		return fresh{private, der}, err
	}
}

// unwrapSpec unwraps a key, and destroys it again if it is of another spec.
func (s *session) unwrapSpec(ks *keySpec, root pkcs11.ObjectHandle, wrapped []byte) (pkcs11.ObjectHandle, error) {
	check, blob, err := parseKind(ks, wrapped)
	if err != nil {
		return 0, err
	}
	h, err := s.unwrap(pkcs11.CKM_AES_KEY_WRAP_PAD, root, blob, ks.unwrapped())
	if err != nil {
		return 0, err
	}
	if err := s.fits(ks, h, check); err != nil {
		m := made{s: s, handles: []pkcs11.ObjectHandle{h}}
		m.destroy(&err)
		return 0, err
	}
	return h, nil
}

// fits proves that an unwrapped key is of the spec that its kind says.
func (s *session) fits(ks *keySpec, key pkcs11.ObjectHandle, check []byte) error {
	switch ks.family {
	case familyMAC:
		got, err := s.checkOf(ks, key)
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(got, check) != 1 {
			return fmt.Errorf("%w: %s", errWrapped, ks.name)
		}
	case familyRSA:
		n, err := s.modulus(key)
		if err != nil {
			return err
		}
		if n.BitLen() != ks.size*8 {
			return fmt.Errorf("%w: %s", errWrapped, ks.name)
		}
	case familyEC:
		return s.require(key, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, ks.params())})
	}
	return nil
}

// checkOf is the check of a secret key: the first 16 bytes of the MAC, under
// the key and by the mechanism of its spec, of a text that names the spec. It
// can only be made in the token, of a key that already is of that spec, so a
// kind byte that was changed comes with no right check. It tells nothing of the
// key that its other MACs do not.
func (s *session) checkOf(ks *keySpec, key pkcs11.ObjectHandle) ([]byte, error) {
	mac, err := s.sign(key, ks.mac, nil, []byte("sidekey: check of a wrapped key of spec "+ks.name))
	if err != nil {
		return nil, err
	}
	if len(mac) != ks.hash.Size() {
		return nil, fmt.Errorf("%s gave %d bytes, not %d", mechanismNames[ks.mac], len(mac), ks.hash.Size())
	}
	return mac[:checkLen], nil
}

// signsFor proves that a private key belongs to a public one.
func (s *session) signsFor(ks *keySpec, key pkcs11.ObjectHandle, public []byte) error {
	data, opts := probeText, crypto.SignerOpts(crypto.Hash(0))
	if ks.family != familyEdwards {
		h := ks.hash.New()
		h.Write(probeText)
		data, opts = h.Sum(nil), ks.hash
	}
	plan, err := ks.signing(data, opts)
	if err != nil {
		return err
	}
	raw, err := s.sign(key, plan.mech, plan.param, plan.data)
	if err != nil {
		return err
	}
	signature, err := ks.signature(raw)
	if err != nil {
		return err
	}
	if !ks.verify(public, data, opts, signature) {
		return fmt.Errorf("%w: a wrapped key did not come back the same, or %s is wrong", errProof, mechanismNames[plan.mech])
	}
	return nil
}
