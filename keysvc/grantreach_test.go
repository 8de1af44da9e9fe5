// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestGrantsReachNoFurther: what a grant does not say is refused, however near
// it is: another operation, spelling, context, side of a ReEncrypt, Region,
// key, or a token of somebody else's grant.
func TestGrantsReachNoFurther(t *testing.T) {
	s := newRegions(t)
	app, admin := s.client(appID), s.admin()
	id, _ := s.newMultiRegionKey(kms.CreateKeyInput{})
	s.replicate(id, secondRegion)
	other, _ := s.newKey()
	context := map[string]string{"Tenant": "A"}
	equals := &types.GrantConstraints{EncryptionContextEquals: context}
	s.grant(id, kms.CreateGrantInput{Operations: operations{"Decrypt", "ReEncryptFrom", "GenerateDataKeyWithoutPlaintext", "CreateGrant"}, Constraints: equals})
	_, theirs := s.grant(id, kms.CreateGrantInput{Operations: operations{"Encrypt"}, GranteePrincipal: ptr(adminARN)})
	blob := func(context map[string]string) []byte {
		enc, err := admin.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: context})
		must(t, err)
		return enc.CiphertextBlob
	}
	decrypt := func(c *kms.Client, sealed, asked map[string]string) error {
		_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob(sealed), EncryptionContext: asked, GrantTokens: []string{theirs}})
		return err
	}
	must(t, decrypt(app, context, context))
	there := app.Options()
	there.Region = secondRegion
	replica := kms.New(there)
	create := func(key string, in kms.CreateGrantInput) error {
		in.KeyId, in.GranteePrincipal = &key, ptr(appARN)
		_, err := app.CreateGrant(ctx, &in)
		return err
	}
	reEncrypt := func(to string, toContext map[string]string) error {
		_, err := app.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob(context), SourceEncryptionContext: context, DestinationKeyId: &to, DestinationEncryptionContext: toContext})
		return err
	}
	for name, err := range map[string]error{
		"no context":                 decrypt(app, nil, nil),
		"empty context":              decrypt(app, nil, map[string]string{}),
		"key in another case":        decrypt(app, map[string]string{"tenant": "A"}, map[string]string{"tenant": "A"}),
		"value in another case":      decrypt(app, map[string]string{"Tenant": "a"}, map[string]string{"Tenant": "a"}),
		"one pair more":              decrypt(app, map[string]string{"Tenant": "A", "b": ""}, map[string]string{"Tenant": "A", "b": ""}),
		"another Region":             decrypt(replica, context, context),
		"ReEncrypt to the same key":  reEncrypt(id, context),
		"ReEncrypt to another key":   reEncrypt(other, context),
		"grant without constraint":   create(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}}),
		"grant of a subset":          create(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}, Constraints: &types.GrantConstraints{EncryptionContextSubset: context}}),
		"grant of an empty subset":   create(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}, Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{}}}),
		"grant of no context":        create(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}, Constraints: &types.GrantConstraints{EncryptionContextEquals: map[string]string{}}}),
		"grant of another operation": create(id, kms.CreateGrantInput{Operations: operations{"Decrypt", "Encrypt"}, Constraints: equals}),
		"grant to retire":            create(id, kms.CreateGrantInput{Operations: operations{"Decrypt", "RetireGrant"}, Constraints: equals}),
		"grant on another key":       create(other, kms.CreateGrantInput{Operations: operations{"Decrypt"}, Constraints: equals}),
		"Encrypt by another's token": func() error {
			_, err := app.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: context, GrantTokens: []string{theirs}})
			return err
		}(),
		"the plaintext of a data key": func() error {
			_, err := app.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256", EncryptionContext: context})
			return err
		}(),
		"a data key pair": func() error {
			_, err := app.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &id, KeyPairSpec: "ECC_NIST_P256", EncryptionContext: context})
			return err
		}(),
		"DescribeKey":     func() error { _, err := app.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id}); return err }(),
		"ListGrants":      func() error { _, err := app.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &id}); return err }(),
		"GetKeyPolicy":    func() error { _, err := app.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &id}); return err }(),
		"GetKeyLastUsage": func() error { _, err := app.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: &id}); return err }(),
		"RetireGrant":     func() error { _, err := app.RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: &theirs}); return err }(),
		"a dry run of these": func() error {
			_, err := app.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: context, DryRun: ptr(true)})
			return err
		}(),
	} {
		if codeOf(err) != "AccessDeniedException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, create(id, kms.CreateGrantInput{Operations: operations{"Decrypt", "ReEncryptFrom"}, Constraints: equals}))
	must2(t)(app.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &id, KeySpec: "AES_256", EncryptionContext: context}))
}
