// SPDX-License-Identifier: Apache-2.0

package datakey_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/sidekey/sidekey/proxy/datakey"
)

const keyARN = "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-1234-1234-123456789012"

// fakeKMS stands at the seam datakey.KMS: wrapped keys are AES-256-GCM with the
// encryption context as associated data.
type fakeKMS struct {
	aead cipher.AEAD

	mu        sync.Mutex
	errors    map[string]error // by operation; guarded by mu
	generated int              // guarded by mu
	decrypted int              // guarded by mu
	delay     time.Duration    // guarded by mu
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
	return &fakeKMS{aead: aead, errors: map[string]error{}}
}

func (k *fakeKMS) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errors["GenerateDataKey"], k.errors["Decrypt"] = err, err
}

func (k *fakeKMS) failOp(op string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errors[op] = err
}

func (k *fakeKMS) slow(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.delay = d
}

// calls returns how often each operation was called since the last time.
func (k *fakeKMS) calls() (generated, decrypted int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	generated, decrypted = k.generated, k.decrypted
	k.generated, k.decrypted = 0, 0
	return generated, decrypted
}

func (k *fakeKMS) enter(ctx context.Context, op string, count *int) error {
	k.mu.Lock()
	*count++
	delay := k.delay
	k.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.errors[op]
}

func contextBytes(c map[string]string) []byte {
	b, _ := json.Marshal(c)
	return b
}

func (k *fakeKMS) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	if err := k.enter(ctx, "GenerateDataKey", &k.generated); err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	return &kms.GenerateDataKeyOutput{KeyId: aws.String(keyARN), Plaintext: key,
		CiphertextBlob: k.wrap(key, in.EncryptionContext)}, nil
}

func (k *fakeKMS) wrap(key []byte, context map[string]string) []byte {
	return k.aead.Seal(nil, nil, key, contextBytes(context))
}

func (k *fakeKMS) Decrypt(ctx context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	if err := k.enter(ctx, "Decrypt", &k.decrypted); err != nil {
		return nil, err
	}
	if in.KeyId != nil && *in.KeyId != keyARN {
		return nil, &types.IncorrectKeyException{}
	}
	key, err := k.aead.Open(nil, nil, in.CiphertextBlob, contextBytes(in.EncryptionContext))
	if err != nil {
		return nil, &types.InvalidCiphertextException{}
	}
	return &kms.DecryptOutput{KeyId: aws.String(keyARN), Plaintext: key}, nil
}

// wrapped returns n data keys.
func (k *fakeKMS) wrapped(n int) []datakey.Ref {
	refs := make([]datakey.Ref, n)
	for i := range refs {
		key := make([]byte, 32)
		rand.Read(key)
		refs[i] = datakey.Ref{KeyARN: keyARN, Wrapped: k.wrap(key, nil)}
	}
	return refs
}

func apiError(code string) error { return &smithy.GenericAPIError{Code: code, Message: "no"} }

var errNetwork = errors.New("dial tcp: connection refused")

func newCache(t testing.TB, cfg datakey.Config, k *fakeKMS) *datakey.Cache {
	t.Helper()
	c, err := datakey.NewCache(cfg, k, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// peek returns the memory of the secret itself, to look at later.
func peek(secret *[]byte) func(datakey.Use, []byte) error {
	return func(_ datakey.Use, s []byte) error {
		*secret = s
		return nil
	}
}

func nothing(datakey.Use, []byte) error { return nil }

func kindOf(t testing.TB, err error) datakey.Kind {
	t.Helper()
	var e *datakey.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is not a *datakey.Error", err)
	}
	return e.Kind
}

func scope() datakey.Scope {
	return datakey.Scope{KeyID: "alias/k", Context: map[string]string{"a": "b"}, Purpose: "test"}
}
