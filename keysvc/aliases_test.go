// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestUpdateAliasTargets: an alias stays with keys that code which uses it can
// use, and goes to no key that waits for its deletion.
func TestUpdateAliasTargets(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	ids, arns := map[string]string{}, map[string]string{}
	for name, in := range map[string]kms.CreateKeyInput{
		"symmetric":        {},
		"other symmetric":  {},
		"external":         {Origin: types.OriginTypeExternal},
		"RSA encrypting":   {KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt},
		"P-256 signing":    {KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify},
		"P-384 signing":    {KeySpec: types.KeySpecEccNistP384, KeyUsage: types.KeyUsageTypeSignVerify},
		"P-256 agreeing":   {KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeKeyAgreement},
		"HMAC-256":         {KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		"HMAC-512":         {KeySpec: types.KeySpecHmac512, KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		"disabled":         {},
		"pending deletion": {},
	} {
		out, err := client.CreateKey(ctx, &in)
		must(t, err)
		ids[name], arns[name] = *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
	}
	_, err := client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: ptr(ids["disabled"])})
	must(t, err)
	_, err = client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: ptr(ids["pending deletion"])})
	must(t, err)
	pending := arns["pending deletion"] + " is pending deletion."
	for i, tc := range []struct{ from, to, code, message string }{
		{"symmetric", "other symmetric", "", ""},
		{"symmetric", "symmetric", "", ""},
		{"symmetric", "external", "", ""},
		{"symmetric", "disabled", "", ""},
		{"disabled", "symmetric", "", ""},
		{"symmetric", "pending deletion", "KMSInvalidStateException", pending},
		{"symmetric", "RSA encrypting", "ValidationException", cannotMove("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "RSA_2048", "ENCRYPT_DECRYPT")},
		{"symmetric", "HMAC-256", "ValidationException", cannotMove("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HMAC_256", "GENERATE_VERIFY_MAC")},
		{"RSA encrypting", "P-256 signing", "ValidationException", cannotMove("RSA_2048", "ENCRYPT_DECRYPT", "ECC_NIST_P256", "SIGN_VERIFY")},
		{"P-256 signing", "P-384 signing", "", ""},
		{"P-256 signing", "P-256 agreeing", "ValidationException", cannotMove("ECC_NIST_P256", "SIGN_VERIFY", "ECC_NIST_P256", "KEY_AGREEMENT")},
		{"HMAC-256", "HMAC-512", "", ""},
	} {
		t.Run(tc.from+" to "+tc.to, func(t *testing.T) {
			alias := fmt.Sprintf("alias/%d", i)
			_, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: ptr(ids[tc.from])})
			must(t, err)
			_, err = client.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: ptr(ids[tc.to])})
			want := ids[tc.to]
			if tc.code != "" {
				want = ids[tc.from]
				wantError(t, err, tc.code, strings.ReplaceAll(tc.message, "{alias}", "arn:aws:kms:"+region+":"+account+":"+alias))
			} else {
				must(t, err)
			}
			if got := *describe(t, client, alias).KeyId; got != want {
				t.Errorf("the alias points to %s", got)
			}
		})
	}
	_, err = client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/late"), TargetKeyId: ptr(ids["pending deletion"])})
	wantError(t, err, "KMSInvalidStateException", pending)
}

// TestAliasOfDeletedTarget: an alias whose key waits for its deletion can
// still be moved away, and removed.
func TestAliasOfDeletedTarget(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, _ := s.newKey()
	other, _ := s.newKey()
	for _, alias := range []string{"alias/moved", "alias/removed"} {
		_, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id})
		must(t, err)
	}
	_, err := client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id})
	must(t, err)
	_, err = client.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: ptr("alias/moved"), TargetKeyId: &other})
	must(t, err)
	_, err = client.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: ptr("alias/removed")})
	must(t, err)
	if got := *describe(t, client, "alias/moved").KeyId; got != other {
		t.Errorf("the alias points to %s", got)
	}
}

// cannotMove has {alias} for the ARN of the alias.
func cannotMove(fromSpec, fromUsage, toSpec, toUsage string) string {
	return "Alias {alias} cannot be moved from a key of KeySpec " + fromSpec + " and KeyUsage " + fromUsage + " to one of KeySpec " + toSpec +
		" and KeyUsage " + toUsage + ": both must be symmetric, asymmetric or HMAC keys of the same usage."
}
