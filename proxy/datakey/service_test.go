// SPDX-License-Identifier: Apache-2.0

package datakey_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// token is that of all key services of the package.
var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }

// service is a key service with two keys, and faults on demand.
type service struct {
	keysvctest.Faulty
	t      testing.TB // outside of the bubble
	server *keysvctest.Server
	client *kms.Client
	arn    string // of the key alias/k
	other  string // of the key alias/l
	out    outside
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{t: t, server: keysvctest.Start(t, token), out: newOutside(t)}
	s.client = s.server.Client()
	s.Faulty.KMS = calls{s.client, s.out}
	_, s.arn = s.server.CreateKey(t, "alias/k")
	_, s.other = s.server.CreateKey(t, "alias/l")
	return s
}

// outside runs functions outside of a test's bubble. There is no network in a
// bubble: its clock stands still until everyone in it waits for someone else in
// it, and requests would be signed by that clock. So a call to the real service
// is made out here, and takes no time on the bubble's clock.
type outside chan func()

func newOutside(t testing.TB) outside {
	o := make(outside)
	go func() {
		for f := range o {
			go f()
		}
	}()
	t.Cleanup(func() { close(o) })
	return o
}

// do runs f outside and waits for it.
func (o outside) do(f func()) {
	var ended sync.Mutex // a channel would belong to the bubble
	ended.Lock()
	o <- func() {
		defer ended.Unlock()
		f()
	}
	ended.Lock()
}

// calls makes the calls of a client outside. Their contexts stay behind, since
// they end by the bubble's clock.
type calls struct {
	client *kms.Client
	out    outside
}

func (c calls) GenerateDataKey(_ context.Context, in *kms.GenerateDataKeyInput, _ ...func(*kms.Options)) (out *kms.GenerateDataKeyOutput, err error) {
	c.out.do(func() { out, err = c.client.GenerateDataKey(context.Background(), in) })
	return out, err
}

func (c calls) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (out *kms.DecryptOutput, err error) {
	c.out.do(func() { out, err = c.client.Decrypt(context.Background(), in) })
	return out, err
}

// calls returns how often each operation was called since the last time.
func (s *service) calls() (generated, decrypted int) {
	return s.Calls(keysvctest.GenerateDataKey), s.Calls(keysvctest.Decrypt)
}

// refuse has the service refuse the key with an error code, until relent. What
// the service does by itself is not made up.
func (s *service) refuse(code string) (relent func()) {
	switch code {
	case "DisabledException":
		s.out.do(func() { s.server.Disable(s.t, s.arn) })
		return func() { s.out.do(func() { s.server.Enable(s.t, s.arn) }) }
	case "KMSInvalidStateException":
		s.out.do(s.scheduleDeletion)
		return func() { s.out.do(s.cancelDeletion) }
	}
	s.FailAll(apiError(code))
	return func() { s.FailAll(nil) }
}

// stop ends the service, until restart.
func (s *service) stop() (restart func()) {
	s.out.do(func() { s.server.Stop(s.t) })
	return func() { s.out.do(func() { s.server.Restart(s.t) }) }
}

func (s *service) scheduleDeletion() {
	if _, err := s.client.ScheduleKeyDeletion(s.t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &s.arn}); err != nil {
		s.t.Error(err)
	}
}

func (s *service) cancelDeletion() {
	if _, err := s.client.CancelKeyDeletion(s.t.Context(), &kms.CancelKeyDeletionInput{KeyId: &s.arn}); err != nil {
		s.t.Error(err)
	}
	s.server.Enable(s.t, s.arn)
}

// wrapped returns n data keys. Calls does not count the calls that make them.
func (s *service) wrapped(n int) []datakey.Ref {
	refs := make([]datakey.Ref, n)
	s.out.do(func() {
		inParallel(n, func(i int) {
			out, err := s.client.GenerateDataKeyWithoutPlaintext(s.t.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{
				KeyId: &s.arn, KeySpec: types.DataKeySpecAes256,
			})
			if err != nil {
				s.t.Error(err)
				return
			}
			refs[i] = datakey.Ref{KeyARN: s.arn, Wrapped: out.CiphertextBlob}
		})
	})
	return refs
}

// encrypted returns a ciphertext blob of the service.
func (s *service) encrypted(plaintext []byte) (blob []byte) {
	s.out.do(func() {
		out, err := s.client.Encrypt(s.t.Context(), &kms.EncryptInput{KeyId: &s.arn, Plaintext: plaintext})
		if err != nil {
			s.t.Error(err)
			return
		}
		blob = out.CiphertextBlob
	})
	return blob
}

// inParallel calls f with 0 to n-1, sixteen at a time.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for first := range 16 {
		wg.Go(func() {
			for i := first; i < n; i += 16 {
				f(i)
			}
		})
	}
	wg.Wait()
}

func apiError(code string) error { return &smithy.GenericAPIError{Code: code, Message: "no"} }

func newCache(t testing.TB, cfg datakey.Config, s *service) *datakey.Cache {
	t.Helper()
	c, err := datakey.NewCache(cfg, s, slog.New(slog.DiscardHandler))
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
