// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

// recorded sends a request under a trace of its own and returns the answer, the
// record of the operation and what it has done with material.
func (s *server) recorded(op, body string) (got reply, record audit.Span, uses []audit.Span) {
	s.t.Helper()
	trace := strings.ReplaceAll(uuid.NewString(), "-", "")
	r := s.signed(op, body, time.Now(), adminID, secret)
	r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-00")
	got = s.send(r)
	spans, err := audit.ReadTrace([]string{s.auditDir()}, trace)
	must(s.t, err)
	for _, span := range spans {
		if span.Name == "kms."+op {
			record = span
		} else {
			uses = append(uses, span)
		}
	}
	return got, record, uses
}

// publicUses are operations that need no private or secret material.
var publicUses = []string{"Verify", "GetPublicKey", "CreateGrant", "ReplicateKey", "UpdatePrimaryRegion", "EnableKeyRotation", "DisableKeyRotation"}

// TestEveryUseIsOnRecord: each operation has one record, with who, what key and
// which request, and each use of material in it a span of its own, with key and
// version. What is refused or a dry run has a record and uses nothing; a dry
// run of what takes a ciphertext opens that. Only uses that succeed are a key's
// last.
func TestEveryUseIsOnRecord(t *testing.T) {
	f := newStateFixture(t)
	s := f.s
	lastUse := func(arn string) string {
		out, err := s.admin().GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: &arn})
		must(t, err)
		if out.KeyLastUsage == nil {
			return ""
		}
		return *out.KeyLastUsage.KmsRequestId
	}
	for _, tc := range stateCases {
		if &tc.want[0] != &inUse[0] {
			continue
		}
		for _, kind := range strings.Fields(tc.kinds) {
			dry := strings.TrimSuffix(tc.body, "}") + `,"DryRun":true}`
			for _, run := range []struct{ state, body string }{{"Enabled", tc.body}, {"Disabled", tc.body}, {"Enabled", dry}} {
				body, arn := f.prepare(kind, run.state, run.body)
				before := lastUse(arn)
				got, record, uses := s.recorded(tc.op, body)
				what := fmt.Sprintf("%s of %s, %s, %s", tc.op, kind, run.state, run.body)
				code := got.code()
				if code == "" && got.status != 200 || record.Code != code || record.Unknown {
					t.Errorf("%s: answered %d %s, recorded %q", what, got.status, got.body, record.Code)
				}
				attrs := fmt.Sprint(record.Attrs)
				for name, want := range map[string]string{
					"sidekey.principal": "arn:aws:iam::" + account + ":user/admin", "sidekey.request_id": got.header.Get("X-Amzn-Requestid"), "sidekey.key.arn": arn, "client.address": "127.0.0.1",
				} {
					if !strings.Contains(fmt.Sprint(record.Attrs[name]), want) || want == "" {
						t.Errorf("%s: no %s %s in %s", what, name, want, attrs)
					}
				}
				opens := strings.Contains(body, "CiphertextBlob") && code == "DryRunOperationException"
				if code != "" && !opens {
					if len(uses) > 0 || lastUse(arn) != before {
						t.Errorf("%s: refused with %s after %v", what, code, uses)
					}
					continue
				}
				if opens && lastUse(arn) != before {
					t.Errorf("%s: a dry run is the last use", what)
				}
				if len(uses) == 0 && !slices.Contains(publicUses, tc.op) && !(kind == "rsa" && tc.op == "Encrypt") {
					t.Errorf("%s: material was used without a span", what)
				}
				for _, use := range uses {
					if use.ParentSpanID != record.SpanID || use.Code != "" {
						t.Errorf("%s: %+v", what, use)
					}
					if use.Name == "hsm.encrypt" || use.Name == "hsm.decrypt" || use.Name == "hsm.sign" || use.Name == "hsm.mac" || use.Name == "hsm.agree" {
						if use.Attrs["sidekey.key.arn"] == nil || use.Attrs["sidekey.key.version"] == nil {
							t.Errorf("%s: %s without key or version: %v", what, use.Name, use.Attrs)
						}
					}
				}
			}
		}
	}
}

// TestBothContextsAreOnRecord: ReEncrypt has two.
func TestBothContextsAreOnRecord(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: map[string]string{"from": "1"}})
	must(t, err)
	_, record, _ := s.recorded("ReEncrypt", fmt.Sprintf(`{"CiphertextBlob":%q,"SourceEncryptionContext":{"from":"1"},"DestinationKeyId":%q,"DestinationEncryptionContext":{"to":"2"}}`,
		base64.StdEncoding.EncodeToString(enc.CiphertextBlob), id))
	for name, want := range map[string]string{
		"sidekey.encryption_context": "[from=1]", "sidekey.encryption_context.keys": "[from]",
		"sidekey.destination_encryption_context": "[to=2]", "sidekey.destination_encryption_context.keys": "[to]",
	} {
		if got := fmt.Sprint(record.Attrs[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestNothingWithoutRecord: with no log to write to, no operation answers, and
// none changes the store; neither does scheduled work.
func TestNothingWithoutRecord(t *testing.T) {
	f := newStateFixture(t)
	s := f.s
	due, _ := s.newKey()
	must2(t)(s.admin().ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &due}))
	s.stop()
	s.cfg.SweepInterval = 5 * time.Millisecond
	s.start()
	type call struct{ op, body string }
	calls := []call{{"CreateKey", `{}`}, {"CreateKey", `{"Origin":"EXTERNAL"}`}, {"GenerateRandom", `{"NumberOfBytes":1}`}, {"ListKeys", `{}`},
		{"CreateCustomKeyStore", `{"CustomKeyStoreName":"n","CloudHsmClusterId":"cluster-abcdefghijk","TrustAnchorCertificate":"x","KeyStorePassword":"1234567"}`},
		{"DescribeCustomKeyStores", `{}`}, {"ListRetirableGrants", `{"RetiringPrincipal":"` + appARN + `"}`}}
	for _, tc := range stateCases {
		state := "Enabled"
		if tc.op == "CancelKeyDeletion" {
			state = "PendingDeletion"
		}
		body, _ := f.prepare(strings.Fields(tc.kinds)[0], state, tc.body)
		calls = append(calls, call{tc.op, body})
	}
	for kind := range f.fill {
		f.set(f.fill[kind]["KEY"], "Enabled")
	}
	s.audit.Close()
	_, err := s.store.Update(ctx, refOf(due), func(_ *store.Tx, k *store.Key) error {
		k.DeletionDate = time.Now().Add(-time.Second)
		return nil
	})
	must(t, err)
	before, err := s.store.Revision(ctx)
	must(t, err)
	for _, call := range calls {
		got := s.post(call.op, call.body)
		if got.status != 500 || got.code() != "KMSInternalException" {
			t.Errorf("%s: %d %s", call.op, got.status, got.body)
		}
		if after, err := s.store.Revision(ctx); err != nil || after != before {
			t.Errorf("%s %s has changed the store, or the sweeper has: %v", call.op, call.body, err)
			before = after
		}
	}
	time.Sleep(50 * time.Millisecond)
	if after, err := s.store.Revision(ctx); err != nil || after != before {
		t.Errorf("scheduled work has changed the store: %v", err)
	}
}
