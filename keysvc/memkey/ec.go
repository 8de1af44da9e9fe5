// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/asn1"
)

// ecPrivateKey is RFC 5915.
type ecPrivateKey struct {
	Version    int
	PrivateKey []byte
	Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

// parseEC takes the curve and the public key, if they are there, only if they
// are those of the private key.
func parseEC(ks *keySpec, inner []byte) private {
	var info ecPrivateKey
	ok := unmarshal(inner, &info)
	defer clear(info.PrivateKey)
	if !ok || info.Version != 1 || len(info.PrivateKey) != ks.size || info.Curve != nil && !info.Curve.Equal(ks.oid) {
		return nil
	}
	key := parseScalar(ks, info.PrivateKey)
	if key != nil && info.PublicKey.Bytes != nil && !holds(key, info.PublicKey) {
		key.wipe()
		return nil
	}
	return key
}

// parseScalar is nil unless d is 1 to the order less one.
func parseScalar(ks *keySpec, d []byte) private {
	if ks.family == familyK1 {
		if key := parseK1(ks, d); key != nil {
			return key
		}
		return nil
	}
	key, err := ecdsa.ParseRawPrivateKey(ks.curve, d)
	if err != nil {
		return nil
	}
	return &nistKey{ks, key}
}

// marshalEC clears d. As Go and OpenSSL do, it leaves out the curve, which
// PKCS #8 says already, and has the public key.
func marshalEC(ks *keySpec, d, point []byte) ([]byte, error) {
	defer clear(d)
	inner, err := asn1.Marshal(ecPrivateKey{
		Version:    1,
		PrivateKey: d,
		PublicKey:  asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
	if err != nil {
		return nil, err
	}
	return ks.marshalPKCS8(inner)
}

type nistKey struct {
	ks  *keySpec
	key *ecdsa.PrivateKey
}

type nistPublic struct{ key *ecdsa.PublicKey }

func generateNIST(ks *keySpec) (private, error) {
	key, err := ecdsa.GenerateKey(ks.curve, rand.Reader)
	return &nistKey{ks, key}, err
}

func (k *nistKey) sign(m message) ([]byte, error) {
	return ecdsa.SignASN1(rand.Reader, k.key, m.bytes)
}

func (k *nistKey) public() ([]byte, error) {
	point, err := k.key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return k.ks.marshalPublic(point)
}

func (k *nistKey) material() ([]byte, error) {
	d, err := k.key.Bytes()
	if err != nil {
		return nil, err
	}
	point, err := k.key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return marshalEC(k.ks, d, point)
}

func (k *nistKey) wipe() { clear(k.key.D.Bits()) }

// parsePublicNIST takes uncompressed points only, as AWS KMS gives them.
func parsePublicNIST(ks *keySpec, point []byte) *nistPublic {
	key, err := ecdsa.ParseUncompressedPublicKey(ks.curve, point)
	if err != nil {
		return nil
	}
	return &nistPublic{key}
}

func (p *nistPublic) verify(m message, signature []byte) bool {
	return ecdsa.VerifyASN1(p.key, m.bytes, signature)
}

// Agree is ECDH on a NIST curve (SP 800-56A, the primitive of section 5.7.1.2):
// the X coordinate, as long as the field. An error is ErrPeer if peer is not a
// public key of the same curve, ErrSpec or ErrMaterial.
func Agree(spec string, material, peer []byte) ([]byte, error) {
	ks, err := specOf(spec, familyEC)
	if err != nil {
		return nil, err
	}
	theirs, err := ks.parsePublic(peer)
	if err != nil {
		return nil, ErrPeer
	}
	parsed, err := ks.parse(material)
	if err != nil {
		return nil, err
	}
	defer parsed.wipe()
	own, err := parsed.(*nistKey).key.ECDH()
	if err != nil {
		return nil, ErrMaterial
	}
	other, err := theirs.(*nistPublic).key.ECDH()
	if err != nil {
		return nil, ErrPeer
	}
	secret, err := own.ECDH(other)
	if err != nil {
		return nil, ErrPeer
	}
	return secret, nil
}
