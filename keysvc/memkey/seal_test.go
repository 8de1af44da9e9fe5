// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// blobVector is a case of BLOB.md, of which the token's tests take the same.
type blobVector struct {
	Result            string            `json:"result"`
	BackingKey        string            `json:"backing_key"`
	EncryptionContext map[string]string `json:"encryption_context"`
	Plaintext         string            `json:"plaintext"`
	Blob              string            `json:"blob"`
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blobAAD is BLOB.md [B5], [B6].
func blobAAD(bound []byte, context map[string]string) []byte {
	field := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	const label = "sidekey kms ciphertext blob"
	aad := append(binary.BigEndian.AppendUint16(nil, uint16(len(label))), label...)
	aad = binary.BigEndian.AppendUint32(append(aad, bound...), uint32(len(context)))
	var keys []string
	for k := range context {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		aad = field(field(aad, k), context[k])
	}
	return aad
}

// Blobs of the token open here, and what is sealed here is the token's blob.
// BLOB.md [B4], [B5].
func TestBlobVectors(t *testing.T) {
	files, err := filepath.Glob("../testdata/vectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v blobVector
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		seen[v.Result]++
		if v.Result == "malformed" {
			continue // for the parser of blobs
		}
		key, blob, plaintext := unhex(t, v.BackingKey), unhex(t, v.Blob), unhex(t, v.Plaintext)
		epoch, nonce, aad := [16]byte(blob[21:37]), [12]byte(blob[37:49]), blobAAD(blob[:37], v.EncryptionContext)
		opened, ok := memkey.Open(key, epoch, nonce, blob[49:], aad)
		if valid := v.Result == "valid"; ok != valid || valid && !bytes.Equal(opened, plaintext) {
			t.Errorf("%s: opens %v to %x", filepath.Base(file), ok, opened)
		}
		if v.Result != "valid" {
			continue
		}
		if sealed, err := memkey.Seal(key, epoch, nonce, plaintext, aad); err != nil || !bytes.Equal(sealed, blob[49:]) {
			t.Errorf("%s: sealed %x, %v", filepath.Base(file), sealed, err)
		}
	}
	if seen["valid"] < 5 || seen["not authentic"] < 5 {
		t.Errorf("vectors: %v", seen)
	}
}

func TestSealWantsAKey(t *testing.T) {
	for _, size := range []int{0, 16, 24, 31, 33} {
		if _, err := memkey.Seal(make([]byte, size), [16]byte{}, [12]byte{}, []byte("x"), nil); err == nil {
			t.Errorf("sealed under %d bytes", size)
		}
		if _, ok := memkey.Open(make([]byte, size), [16]byte{}, [12]byte{}, make([]byte, 20), nil); ok {
			t.Errorf("opened under %d bytes", size)
		}
	}
}
