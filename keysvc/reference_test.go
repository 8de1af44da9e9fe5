// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/sidekey/sidekey/keysvc"
)

// A second implementation of BLOB.md, in Go alone and written from its text.

// refSubkey is [B4].
func refSubkey(backing []byte, epoch [16]byte) ([]byte, error) {
	block, err := aes.NewCipher(backing)
	if err != nil {
		return nil, err
	}
	subkey := make([]byte, 32)
	epoch[0] &= 0x7f
	block.Encrypt(subkey[:16], epoch[:])
	epoch[0] |= 0x80
	block.Encrypt(subkey[16:], epoch[:])
	return subkey, nil
}

// refAAD is [B5] and [B6].
func refAAD(header []byte, pairs map[string]string) []byte {
	label := "sidekey kms ciphertext blob"
	out := append([]byte{0, byte(len(label))}, label...)
	out = append(out, header[:37]...)
	keys := make([]string, 0, len(pairs))
	for k := range pairs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	length := func(n int) { out = binary.BigEndian.AppendUint32(out, uint32(n)) }
	length(len(keys))
	for _, k := range keys {
		length(len(k))
		out = append(out, k...)
		length(len(pairs[k]))
		out = append(out, pairs[k]...)
	}
	return out
}

func refGCM(subkey []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(subkey)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func refSeal(backing, keyID []byte, version uint32, epoch, nonce, plaintext []byte, pairs map[string]string) ([]byte, error) {
	blob := append([]byte{1}, keyID...)
	blob = binary.BigEndian.AppendUint32(blob, version)
	blob = append(blob, epoch...)
	aad := refAAD(blob, pairs)
	blob = append(blob, nonce...)
	subkey, err := refSubkey(backing, [16]byte(epoch))
	if err != nil {
		return nil, err
	}
	gcm, err := refGCM(subkey)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(blob, nonce, plaintext, aad), nil
}

func refOpen(backing, blob []byte, pairs map[string]string) ([]byte, error) {
	subkey, err := refSubkey(backing, [16]byte(blob[21:37]))
	if err != nil {
		return nil, err
	}
	gcm, err := refGCM(subkey)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, blob[37:49], blob[49:], refAAD(blob, pairs))
}

// hostToken does in this process what the HSM does, so that benchmarks can
// tell the service's own cost from the HSM's. A wrapped key is the key itself.
type hostToken struct{ keysvc.Token }

func (hostToken) Random(_ context.Context, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := rand.Read(b)
	return b, err
}

func (t hostToken) GenerateKey(ctx context.Context) ([]byte, error) { return t.Random(ctx, 32) }

func (hostToken) Encrypt(_ context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, plaintext, aad []byte) ([12]byte, []byte, error) {
	subkey, err := refSubkey(wrapped, epoch)
	if err != nil {
		return nonce, nil, err
	}
	gcm, err := refGCM(subkey)
	if err != nil {
		return nonce, nil, err
	}
	return nonce, gcm.Seal(nil, nonce[:], plaintext, aad), nil
}

func (hostToken) Decrypt(_ context.Context, wrapped []byte, epoch [16]byte, nonce [12]byte, ciphertext, aad []byte) ([]byte, bool, error) {
	subkey, err := refSubkey(wrapped, epoch)
	if err != nil {
		return nil, false, err
	}
	gcm, err := refGCM(subkey)
	if err != nil {
		return nil, false, err
	}
	plaintext, err := gcm.Open(nil, nonce[:], ciphertext, aad)
	return plaintext, err == nil, nil
}

func (hostToken) Forget([]byte) {}

func (hostToken) Check(context.Context) error { return nil }

// panicToken is an HSM driver with a bug.
type panicToken struct{ keysvc.Token }

func (panicToken) Random(context.Context, int) ([]byte, error) { panic(errors.New("a bug")) }
