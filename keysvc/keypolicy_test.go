// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

const (
	defaultPolicy = `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::111122223333:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`
	adminARN = "arn:aws:iam::111122223333:user/admin"

	lockout = "The new key policy will not allow you to update the key policy in the future."
)

func policyFor(arn string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + arn + `"},"Action":"kms:*","Resource":"*"}}`
}

func TestKeyPolicy(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, arn := s.newKey()
	get := func() string {
		t.Helper()
		out, err := client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &arn})
		must(t, err)
		if *out.PolicyName != "default" {
			t.Errorf("PolicyName %s", *out.PolicyName)
		}
		return *out.Policy
	}
	if got := get(); got != defaultPolicy {
		t.Errorf("default policy:\n%s", got)
	}
	names, err := client.ListKeyPolicies(ctx, &kms.ListKeyPoliciesInput{KeyId: &id})
	must(t, err)
	if len(names.PolicyNames) != 1 || names.PolicyNames[0] != "default" || names.Truncated {
		t.Errorf("got %+v", names)
	}
	mine := policyFor(adminARN)
	_, err = client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &mine, PolicyName: ptr("default")})
	must(t, err)
	s.restart()
	client = s.admin()
	if got := get(); got != mine {
		t.Errorf("got %s", got)
	}
	theirs := policyFor(appARN)
	_, err = client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &theirs})
	wantError(t, err, "MalformedPolicyDocumentException", lockout)
	_, err = client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &theirs, BypassPolicyLockoutSafetyCheck: true})
	must(t, err)
	if got := get(); got != theirs {
		t.Errorf("got %s", got)
	}
	_, err = client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id})
	must(t, err)
	_, err = client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &mine})
	must(t, err) // AWS takes it in every state
}

func TestCreateKeyWithPolicy(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	mine, theirs := policyFor("111122223333"), policyFor(appARN)
	_, err := client.CreateKey(ctx, &kms.CreateKeyInput{Policy: &theirs})
	wantError(t, err, "MalformedPolicyDocumentException", lockout)
	for _, in := range []kms.CreateKeyInput{{Policy: &mine}, {Policy: &theirs, BypassPolicyLockoutSafetyCheck: true}} {
		made, err := client.CreateKey(ctx, &in)
		must(t, err)
		out, err := client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: made.KeyMetadata.KeyId})
		must(t, err)
		if *out.Policy != *in.Policy {
			t.Errorf("got %s", *out.Policy)
		}
	}
}

func TestKeyPolicyErrors(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, _ := s.newKey()
	for _, tc := range []struct{ name, policy, code, message string }{
		{"no JSON", "policy", "MalformedPolicyDocumentException", "Syntax errors in policy."},
		{"principal", policyFor("alice"), "MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals."},
		{"too long", policyFor(adminARN) + strings.Repeat(" ", 32<<10), "LimitExceededException", "The key policy exceeds the maximum length of 32768 bytes."},
		{"no Latin-1", "☃", "ValidationException", `1 validation error detected: Value '☃' at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+`},
	} {
		_, err := client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &tc.policy})
		t.Run(tc.name, func(t *testing.T) { wantError(t, err, tc.code, tc.message) })
	}
	mine, other := policyFor(adminARN), "other"
	_, err := client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &id, Policy: &mine, PolicyName: &other})
	wantError(t, err, "NotFoundException", "No such policy exists")
	_, err = client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id, PolicyName: &other})
	wantError(t, err, "NotFoundException", "No such policy exists")
	_, err = s.client(appID).GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id})
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("got %v", err)
	}
}
