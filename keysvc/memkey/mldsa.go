// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"bytes"
	"encoding/asn1"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"
)

type mldsaKey struct {
	ks   *keySpec
	seed []byte // xi of FIPS 204
	key  *mldsa.PrivateKey
}

type mldsaPublic struct {
	p   *mldsaParameters
	key *mldsa.PublicKey
}

func generateMLDSA(ks *keySpec) (private, error) {
	key, err := mldsa.GenerateKey(ks.mldsa.set)
	if err != nil {
		return nil, err
	}
	return &mldsaKey{ks, key.Bytes(), key}, nil
}

// mldsaBoth is the form of RFC 9881 section 6 that OpenSSL writes by default.
type mldsaBoth struct {
	Seed     []byte
	Expanded []byte
}

// parseMLDSA takes two of the three forms of RFC 9881: the seed, and seed and
// expanded key, which must agree. Of an expanded key alone nobody can tell
// whether it was made well, and signing with another may betray it.
func parseMLDSA(ks *keySpec, inner []byte) *mldsaKey {
	if len(inner) == 2+mldsa.PrivateKeySize && inner[0] == 0x80 && inner[1] == mldsa.PrivateKeySize {
		return newMLDSA(ks, inner[2:])
	}
	var both mldsaBoth
	ok := unmarshal(inner, &both)
	defer clear(both.Seed)
	defer clear(both.Expanded)
	if !ok || len(both.Seed) != mldsa.PrivateKeySize {
		return nil
	}
	key := newMLDSA(ks, both.Seed)
	if key == nil {
		return nil
	}
	expanded := ks.mldsa.expand(both.Seed)
	defer clear(expanded)
	if !bytes.Equal(expanded, both.Expanded) {
		key.wipe()
		return nil
	}
	return key
}

func newMLDSA(ks *keySpec, seed []byte) *mldsaKey {
	key, err := mldsa.NewPrivateKey(ks.mldsa.set, seed)
	if err != nil {
		return nil
	}
	return &mldsaKey{ks, bytes.Clone(seed), key}
}

// sign is hedged: randomised, and sound with a bad generator, too.
func (k *mldsaKey) sign(m message) ([]byte, error) {
	if m.mode == ExternalMu {
		return k.key.Sign(nil, m.bytes, mldsacrypto.MLDSAMu)
	}
	return k.key.Sign(nil, m.bytes, &mldsa.Options{})
}

func (k *mldsaKey) public() ([]byte, error) {
	return k.ks.marshalPublic(k.key.PublicKey().Bytes())
}

func (k *mldsaKey) material() ([]byte, error) {
	inner, err := asn1.MarshalWithParams(k.seed, "tag:0")
	if err != nil {
		return nil, err
	}
	return k.ks.marshalPKCS8(inner)
}

func (k *mldsaKey) wipe() {
	clear(k.seed)
	*k.key = mldsa.PrivateKey{}
}

func parsePublicMLDSA(ks *keySpec, inner []byte) *mldsaPublic {
	key, err := mldsa.NewPublicKey(ks.mldsa.set, inner)
	if err != nil {
		return nil
	}
	return &mldsaPublic{ks.mldsa, key}
}

func (p *mldsaPublic) verify(m message, signature []byte) bool {
	if m.mode == ExternalMu {
		return p.p.verifyMu(p.key.Bytes(), m.bytes, signature)
	}
	return mldsa.Verify(p.key, m.bytes, signature, nil) == nil
}
