// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

const keyARN = "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-1234-1234-123456789012"

// fakeKMS stands at the seam datakey.KMS: wrapped keys are AES-256-GCM with the
// encryption context as associated data.
type fakeKMS struct {
	aead cipher.AEAD

	mu       sync.Mutex
	err      error // what every call returns; guarded by mu
	generate int   // guarded by mu
	decrypt  int   // guarded by mu
}

func newFakeKMS(t testing.TB) *fakeKMS {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeKMS{aead: aead}
}

func contextBytes(c map[string]string) []byte {
	b, _ := json.Marshal(c)
	return b
}

func (k *fakeKMS) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *fakeKMS) calls() (generate, decrypt int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generate, k.decrypt
}

func (k *fakeKMS) GenerateDataKey(_ context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generate++
	if k.err != nil {
		return nil, k.err
	}
	key := make([]byte, 32)
	rand.Read(key)
	wrapped := k.aead.Seal([]byte("fake kms blob v1 "), nil, key, contextBytes(in.EncryptionContext))
	return &kms.GenerateDataKeyOutput{KeyId: aws.String(keyARN), Plaintext: key, CiphertextBlob: wrapped}, nil
}

func (k *fakeKMS) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.decrypt++
	if k.err != nil {
		return nil, k.err
	}
	if in.KeyId != nil && *in.KeyId != keyARN {
		return nil, &types.IncorrectKeyException{}
	}
	if len(in.CiphertextBlob) < 17 {
		return nil, &types.InvalidCiphertextException{}
	}
	key, err := k.aead.Open(nil, nil, in.CiphertextBlob[17:], contextBytes(in.EncryptionContext))
	if err != nil {
		return nil, &types.InvalidCiphertextException{}
	}
	return &kms.DecryptOutput{KeyId: aws.String(keyARN), Plaintext: key}, nil
}

func disabled() error {
	return &smithy.GenericAPIError{Code: "DisabledException", Message: keyARN + " is disabled."}
}
