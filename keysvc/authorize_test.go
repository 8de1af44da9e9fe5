// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc"
)

const (
	prefix  = "arn:aws:kms:" + region + ":" + account + ":"
	appARN  = "arn:aws:iam::" + account + ":user/app"
	absent  = "11111111-2222-4333-8444-555555555555"
	refused = " because no identity-based policy allows the "
)

// denied is the message of AccessDeniedException.
func denied(action, resource string) string {
	return "User: " + appARN + " is not authorized to perform: " + action + " on resource: " + resource + refused + action + " action"
}

func TestPrincipals(t *testing.T) {
	s := newServer(t,
		keysvc.Allow{Actions: []string{"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"}, Keys: []string{"alias/app-*"}},
		keysvc.Allow{Actions: []string{"kms:ReEncryptTo"}, Keys: []string{"alias/app-*"}})
	admin, app := s.admin(), s.client(appID)
	mine, mineARN := s.newKey()
	other, otherARN := s.newKey()
	must2(t)(admin.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/app-1"), TargetKeyId: &mine}))
	must2(t)(admin.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/other"), TargetKeyId: &other}))

	for _, name := range []string{"alias/app-1", mine, mineARN} {
		enc, err := app.Encrypt(ctx, &kms.EncryptInput{KeyId: &name, Plaintext: []byte("x")})
		must(t, err)
		must2(t)(app.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob}))
	}
	must2(t)(app.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &mine, KeySpec: "AES_256"}))

	foreign, err := admin.Encrypt(ctx, &kms.EncryptInput{KeyId: &other, Plaintext: []byte("x")})
	must(t, err)
	_, err = app.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: foreign.CiphertextBlob})
	wantError(t, err, "AccessDeniedException", denied("kms:Decrypt", otherARN))
	_, err = app.Encrypt(ctx, &kms.EncryptInput{KeyId: &other, Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", denied("kms:Encrypt", otherARN))
	_, err = app.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &mine})
	wantError(t, err, "AccessDeniedException", denied("kms:DisableKey", mineARN))
	_, err = app.CreateKey(ctx, &kms.CreateKeyInput{})
	wantError(t, err, "AccessDeniedException", denied("kms:CreateKey", "*"))
	_, err = app.ListKeys(ctx, &kms.ListKeysInput{})
	wantError(t, err, "AccessDeniedException", denied("kms:ListKeys", "*"))
	_, err = app.ListAliases(ctx, &kms.ListAliasesInput{})
	wantError(t, err, "AccessDeniedException", denied("kms:ListAliases", "*"))
	_, err = app.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: ptr[int32](1)})
	wantError(t, err, "AccessDeniedException", denied("kms:GenerateRandom", "*"))

	// An alias takes its permission with it when it goes.
	must2(t)(admin.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: ptr("alias/app-1")}))
	_, err = app.Encrypt(ctx, &kms.EncryptInput{KeyId: &mine, Plaintext: []byte("x")})
	wantError(t, err, "AccessDeniedException", denied("kms:Encrypt", mineARN))
}

// TestNothingIsLearnt: a principal without permission gets the same answer for
// a key that is there, disabled, or not there, and for aliases alike.
func TestNothingIsLearnt(t *testing.T) {
	s := newServer(t, keysvc.Allow{Actions: []string{"kms:*"}, Keys: []string{"alias/app-*"}})
	admin, app := s.admin(), s.client(appID)
	there, thereARN := s.newKey()
	off, offARN := s.newKey()
	must2(t)(admin.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &off}))
	must2(t)(admin.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/other"), TargetKeyId: &there}))
	for name, arn := range map[string]string{
		there: thereARN, off: offARN, absent: prefix + "key/" + absent,
		"alias/other": prefix + "alias/other", "alias/none": prefix + "alias/none",
	} {
		_, err := app.Encrypt(ctx, &kms.EncryptInput{KeyId: &name, Plaintext: []byte("x")})
		wantError(t, err, "AccessDeniedException", denied("kms:Encrypt", arn))
		_, err = app.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &name})
		wantError(t, err, "AccessDeniedException", denied("kms:DescribeKey", arn))
	}
	_, err := app.Encrypt(ctx, &kms.EncryptInput{KeyId: ptr("alias/app-none"), Plaintext: []byte("x")})
	wantError(t, err, "NotFoundException", "Alias "+prefix+"alias/app-none is not found.")
	// A pattern on names must not be enough to take over a key by naming it.
	_, err = app.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/app-mine"), TargetKeyId: &there})
	wantError(t, err, "AccessDeniedException", denied("kms:CreateAlias", thereARN))
}

// TestDecryptOfUnknownKey is [B10].
func TestDecryptOfUnknownKey(t *testing.T) {
	s := newServer(t)
	raw, err := refSeal(make([]byte, 32), []byte("0123456789abcdef"), 1, make([]byte, 16), make([]byte, 12), []byte("x"), nil)
	must(t, err)
	_, err = s.admin().Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: raw})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
}

func TestReEncryptNeedsBoth(t *testing.T) {
	s := newServer(t,
		keysvc.Allow{Actions: []string{"kms:ReEncryptFrom"}, Keys: []string{"alias/from", "alias/both"}},
		keysvc.Allow{Actions: []string{"kms:ReEncryptTo"}, Keys: []string{prefix + "alias/to", "alias/both"}})
	admin, app := s.admin(), s.client(appID)
	ids, arns := map[string]string{}, map[string]string{}
	for _, name := range []string{"alias/from", "alias/to", "alias/both"} {
		id, arn := s.newKey()
		ids[name], arns[name] = id, arn
		must2(t)(admin.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &id}))
	}
	for _, tc := range []struct{ from, to, action, resource string }{
		{"alias/from", "alias/to", "", ""},
		{"alias/both", "alias/both", "", ""},
		{"alias/to", "alias/to", "kms:ReEncryptFrom", arns["alias/to"]},
		{"alias/from", "alias/from", "kms:ReEncryptTo", arns["alias/from"]},
	} {
		enc, err := admin.Encrypt(ctx, &kms.EncryptInput{KeyId: &tc.from, Plaintext: []byte("x")})
		must(t, err)
		_, err = app.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: enc.CiphertextBlob, DestinationKeyId: ptr(ids[tc.to])})
		if tc.action == "" {
			must(t, err)
		} else {
			wantError(t, err, "AccessDeniedException", denied(tc.action, tc.resource))
		}
	}
}

func TestTagsNeedPermission(t *testing.T) {
	s := newServer(t, keysvc.Allow{Actions: []string{"kms:CreateKey"}, Keys: []string{"*"}})
	app := s.client(appID)
	must2(t)(app.CreateKey(ctx, &kms.CreateKeyInput{}))
	_, err := app.CreateKey(ctx, &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: ptr("a"), TagValue: ptr("b")}}})
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("got %v", err)
	}
}
