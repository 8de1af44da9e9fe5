// SPDX-License-Identifier: Apache-2.0

package keysvctest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }

func generate(t *testing.T, client keysvctest.KMS, key string) *kms.GenerateDataKeyOutput {
	t.Helper()
	out, err := client.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is wrapped before a restart opens after it, and not in between.
func TestRestartKeepsKeys(t *testing.T) {
	server := keysvctest.Start(t, token)
	_, arn := server.CreateKey(t, "alias/k")
	client := server.Client()
	made := generate(t, client, "alias/k")
	if *made.KeyId != arn {
		t.Errorf("key %s, want %s", *made.KeyId, arn)
	}
	in := &kms.DecryptInput{CiphertextBlob: made.CiphertextBlob}
	server.Stop(t)
	if _, err := client.Decrypt(t.Context(), in); err == nil {
		t.Error("a stopped service answers")
	}
	server.Restart(t)
	out, err := client.Decrypt(t.Context(), in)
	if err != nil || !bytes.Equal(out.Plaintext, made.Plaintext) {
		t.Errorf("after the restart: %v", err)
	}
	if records, err := audit.List([]string{server.AuditDir()}, 10); err != nil || len(records) != 4 {
		t.Errorf("%d operations on record, %v; want 4", len(records), err)
	}
}

func TestDisable(t *testing.T) {
	server := keysvctest.Start(t, token)
	id, arn := server.CreateKey(t)
	server.Disable(t, arn)
	var disabled *types.DisabledException
	_, err := server.Client().GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256})
	if !errors.As(err, &disabled) {
		t.Errorf("got %v, want DisabledException", err)
	}
	server.Enable(t, id)
	generate(t, server.Client(), id)
}

func TestFaulty(t *testing.T) {
	server := keysvctest.Start(t, token)
	id, _ := server.CreateKey(t)
	faulty := &keysvctest.Faulty{KMS: server.Client()}
	in := &kms.DecryptInput{CiphertextBlob: generate(t, faulty, id).CiphertextBlob}
	fault := errors.New("no")
	faulty.Fail(keysvctest.Decrypt, fault)
	if _, err := faulty.Decrypt(t.Context(), in); err != fault {
		t.Errorf("got %v, want the fault", err)
	}
	generate(t, faulty, id)
	faulty.FailAll(nil)
	if _, err := faulty.Decrypt(t.Context(), in); err != nil {
		t.Error(err)
	}
	faulty.Slow(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := faulty.Decrypt(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	if g, d := faulty.Calls(keysvctest.GenerateDataKey), faulty.Calls(keysvctest.Decrypt); g != 2 || d != 3 {
		t.Errorf("%d and %d calls, want 2 and 3", g, d)
	}
	if n := faulty.Calls(keysvctest.Decrypt); n != 0 {
		t.Errorf("%d calls since the last time", n)
	}
}
