// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Go has no secp256k1.

func onK1(point []byte) bool {
	_, err := secp256k1.ParsePubKey(point)
	return err == nil
}

// publicK1 is the uncompressed point of a private key. given is the one that
// came with it, if any, and must be the same.
func publicK1(private, given []byte) (point []byte, ok bool) {
	var d secp256k1.ModNScalar
	defer d.Zero()
	if overflow := d.SetByteSlice(private); overflow || d.IsZero() {
		return nil, false
	}
	key := secp256k1.NewPrivateKey(&d)
	defer key.Zero()
	point = key.PubKey().SerializeUncompressed()
	if len(given) == 0 {
		return point, true
	}
	other, err := secp256k1.ParsePubKey(given)
	return point, err == nil && bytes.Equal(other.SerializeUncompressed(), point)
}

func verifyK1(point, digest, signature []byte) bool {
	key, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return false
	}
	s, err := ecdsa.ParseDERSignature(signature)
	return err == nil && s.Verify(digest, key)
}
