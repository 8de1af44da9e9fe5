// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
)

type edKey struct{ key ed25519.PrivateKey }

type edPublic struct{ key ed25519.PublicKey }

func generateEdwards() (private, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return &edKey{key}, err
}

// parseEdwards takes CurvePrivateKey of RFC 8410: an OCTET STRING of the seed.
func parseEdwards(inner []byte) *edKey {
	var seed []byte
	ok := unmarshal(inner, &seed)
	defer clear(seed)
	if !ok || len(seed) != ed25519.SeedSize {
		return nil
	}
	return &edKey{ed25519.NewKeyFromSeed(seed)}
}

func (k *edKey) sign(m message) ([]byte, error) {
	return k.key.Sign(nil, m.bytes, &ed25519.Options{Hash: m.hash})
}

func edSpec() *keySpec { return &keySpec{family: familyEdwards, oid: oidEd25519} }

func (k *edKey) public() ([]byte, error) {
	return edSpec().marshalPublic(k.key.Public().(ed25519.PublicKey))
}

func (k *edKey) material() ([]byte, error) {
	seed := k.key.Seed()
	defer clear(seed)
	inner, err := asn1.Marshal(seed)
	if err != nil {
		return nil, err
	}
	return edSpec().marshalPKCS8(inner)
}

func (k *edKey) wipe() { clear(k.key) }

// smallOrder lists the y, sign bit cleared, of the points whose order divides
// 8, and the encodings of such y that are not reduced. Under these as public
// keys one signature may fit any message.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000", // 0: order 4
	"0100000000000000000000000000000000000000000000000000000000000000", // 1: order 1
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1: order 2
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, which is 0
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1, which is 1
}

func parsePublicEdwards(key []byte) *edPublic {
	if len(key) != ed25519.PublicKeySize {
		return nil
	}
	y := bytes.Clone(key)
	y[31] &= 0x7f
	for _, small := range smallOrder {
		if hex.EncodeToString(y) == small {
			return nil
		}
	}
	return &edPublic{bytes.Clone(key)}
}

func (p *edPublic) verify(m message, signature []byte) bool {
	return ed25519.VerifyWithOptions(p.key, m.bytes, signature, &ed25519.Options{Hash: m.hash}) == nil
}
