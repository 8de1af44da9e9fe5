// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

type k1Key struct {
	ks  *keySpec
	key *secp256k1.PrivateKey
}

type k1Public struct{ key *secp256k1.PublicKey }

func generateK1(ks *keySpec) (private, error) {
	key, err := secp256k1.GeneratePrivateKey()
	return &k1Key{ks, key}, err
}

// parseK1 takes 32 bytes.
func parseK1(ks *keySpec, d []byte) *k1Key {
	var scalar secp256k1.ModNScalar
	defer scalar.Zero()
	if overflows := scalar.SetByteSlice(d); overflows || scalar.IsZero() {
		return nil
	}
	return &k1Key{ks, secp256k1.NewPrivateKey(&scalar)}
}

// sign is deterministic (RFC 6979), with the lesser of the two S.
func (k *k1Key) sign(m message) ([]byte, error) {
	return ecdsa.Sign(k.key, m.bytes).Serialize(), nil
}

func (k *k1Key) public() ([]byte, error) {
	return k.ks.marshalPublic(k.key.PubKey().SerializeUncompressed())
}

func (k *k1Key) material() ([]byte, error) {
	return marshalEC(k.ks, k.key.Serialize(), k.key.PubKey().SerializeUncompressed())
}

func (k *k1Key) wipe() { k.key.Zero() }

// parsePublicK1 takes uncompressed points only; the library would take more.
func parsePublicK1(point []byte) *k1Public {
	if len(point) != secp256k1.PubKeyBytesLenUncompressed || point[0] != secp256k1.PubKeyFormatUncompressed {
		return nil
	}
	key, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return nil
	}
	return &k1Public{key}
}

func (p *k1Public) verify(m message, signature []byte) bool {
	sig, err := ecdsa.ParseDERSignature(signature)
	return err == nil && sig.Verify(m.bytes, p.key)
}
