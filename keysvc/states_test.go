// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sidekey/sidekey/keysvc"
)

// TestStates calls every operation on a key in every state.
func TestStates(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	other, _ := s.newKey()
	otherBlob, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &other, Plaintext: []byte("x")})
	must(t, err)
	const (
		ok       = ""
		disabled = "DisabledException: ARN is disabled."
		pending  = "KMSInvalidStateException: ARN is pending deletion."
		not      = "KMSInvalidStateException: ARN is not pending deletion."
		dry      = "DryRunOperationException: The request would have succeeded, but the DryRun option is set."
	)
	for _, tc := range []struct {
		op, body                  string
		enabled, disabled, pendng string
	}{
		{"Encrypt", `{"KeyId":"ID","Plaintext":"eA=="}`, ok, disabled, pending},
		{"Encrypt", `{"KeyId":"ID","Plaintext":"eA==","DryRun":true}`, dry, disabled, pending},
		{"Decrypt", `{"CiphertextBlob":"BLOB"}`, ok, disabled, pending},
		{"Decrypt", `{"CiphertextBlob":"BLOB","KeyId":"ID","DryRun":true}`, dry, disabled, pending},
		{"ReEncrypt", `{"CiphertextBlob":"BLOB","DestinationKeyId":"OTHER"}`, ok, disabled, pending},
		{"ReEncrypt", `{"CiphertextBlob":"THEIRS","DestinationKeyId":"ID"}`, ok, disabled, pending},
		{"ReEncrypt", `{"CiphertextBlob":"THEIRS","DestinationKeyId":"ID","DryRun":true}`, dry, disabled, pending},
		{"GenerateDataKey", `{"KeyId":"ID","KeySpec":"AES_128"}`, ok, disabled, pending},
		{"GenerateDataKey", `{"KeyId":"ID","KeySpec":"AES_128","DryRun":true}`, dry, disabled, pending},
		{"GenerateDataKeyWithoutPlaintext", `{"KeyId":"ID","NumberOfBytes":1}`, ok, disabled, pending},
		{"DescribeKey", `{"KeyId":"ID"}`, ok, ok, ok},
		{"ListResourceTags", `{"KeyId":"ID"}`, ok, ok, ok},
		{"ListAliases", `{"KeyId":"ID"}`, ok, ok, ok},
		{"CreateAlias", `{"AliasName":"alias/NEW","TargetKeyId":"ID"}`, ok, ok, pending},
		{"EnableKey", `{"KeyId":"ID"}`, ok, ok, pending},
		{"DisableKey", `{"KeyId":"ID"}`, ok, ok, pending},
		{"ScheduleKeyDeletion", `{"KeyId":"ID"}`, ok, ok, pending},
		{"CancelKeyDeletion", `{"KeyId":"ID"}`, not, not, ok},
	} {
		for state, want := range map[string]string{"Enabled": tc.enabled, "Disabled": tc.disabled, "PendingDeletion": tc.pendng} {
			id, arn := s.newKey()
			enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
			must(t, err)
			switch state {
			case "Disabled":
				must2(t)(c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
			case "PendingDeletion":
				must2(t)(c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: ptr[int32](7)}))
			}
			body := strings.NewReplacer("ID\"", id+`"`, "BLOB", base64.StdEncoding.EncodeToString(enc.CiphertextBlob), "OTHER", other,
				"THEIRS", base64.StdEncoding.EncodeToString(otherBlob.CiphertextBlob), "NEW", "n-"+id).Replace(tc.body)
			got := s.post(tc.op, body)
			if want != ok {
				code, message, _ := strings.Cut(strings.ReplaceAll(want, "ARN", arn), ": ")
				want = `{"__type":"` + code + `","message":"` + message + `"}`
			}
			if (got.status == 200) != (want == ok) || want != ok && got.body != want {
				t.Errorf("%s %s of a key that is %s: %d %s, want %s", tc.op, tc.body, state, got.status, got.body, want)
			}
		}
	}
}

// TestAliasesThatMove: app may move its aliases among its keys and nothing
// else, whichever of the three, alias, old key or new key, is not its own.
func TestAliasesThatMove(t *testing.T) {
	s := newServer(t, keysvc.Allow{Actions: []string{"kms:*"}, Keys: []string{"alias/app-*"}})
	admin, app := s.admin(), s.client(appID)
	ids := map[string]string{}
	for _, alias := range []string{"alias/app-1", "alias/app-2", "alias/victim"} {
		id, _ := s.newKey()
		ids[alias] = id
		must2(t)(admin.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}))
	}
	update := func(alias, target string) error {
		_, err := app.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: ptr(ids[target])})
		return err
	}
	wantError(t, update("alias/app-1", "alias/victim"), "AccessDeniedException", denied("kms:UpdateAlias", prefix+"key/"+ids["alias/victim"]))
	wantError(t, update("alias/victim", "alias/app-1"), "AccessDeniedException", denied("kms:UpdateAlias", prefix+"alias/victim"))
	_, err := app.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: ptr("alias/victim")})
	wantError(t, err, "AccessDeniedException", denied("kms:DeleteAlias", prefix+"alias/victim"))
	// A key that app's last alias has left is app's no more.
	must(t, update("alias/app-1", "alias/app-2"))
	_, err = app.Encrypt(ctx, &kms.EncryptInput{KeyId: ptr(ids["alias/app-1"]), Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", denied("kms:Encrypt", prefix+"key/"+ids["alias/app-1"]))
}

// TestUnsignedTarget: what selects the operation must be signed.
func TestUnsignedTarget(t *testing.T) {
	s := newServer(t)
	r := s.signed("ListKeys", "{}", time.Now(), adminID, secret)
	auth := r.Header.Get("Authorization")
	if !strings.Contains(auth, ";x-amz-target") {
		t.Fatal(auth)
	}
	r.Header.Set("Authorization", strings.Replace(auth, ";x-amz-target", "", 1))
	if got := s.send(r); got.code() != "InvalidSignatureException" || !strings.Contains(got.body, "x-amz-target") {
		t.Errorf("%+v", got)
	}
}
