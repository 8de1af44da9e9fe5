// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// A grant lets app do what it names under its constraint and nothing else,
// at once, until it is retired by its token.
func TestGrantsFromCreationToRetirement(t *testing.T) {
	overHTTPAndTLS(t, nil, func(t *testing.T, s *kmsService) {
		admin, app, ctx := s.client(t, "admin", kmsRegion), s.client(t, "app", kmsRegion), t.Context()
		id, arn := createKey(ctx, t, admin, &kms.CreateKeyInput{})
		encrypt := func(context map[string]string, tokens ...string) ([]byte, error) {
			out, err := app.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: context, GrantTokens: tokens})
			if err != nil {
				return nil, err
			}
			return out.CiphertextBlob, nil
		}
		allowed := map[string]string{"tenant": "7"}
		_, err := encrypt(allowed)
		denied(t, "without a grant", err)
		grant := must1[*kms.CreateGrantOutput](t)(admin.CreateGrant(ctx, &kms.CreateGrantInput{
			KeyId: &id, GranteePrincipal: aws.String(appARN), RetiringPrincipal: aws.String(appARN), Name: aws.String("tenant-7"),
			Operations:  []types.GrantOperation{types.GrantOperationEncrypt, types.GrantOperationDecrypt, types.GrantOperationCreateGrant},
			Constraints: &types.GrantConstraints{EncryptionContextSubset: allowed},
		}))
		blob := must1[[]byte](t)(encrypt(map[string]string{"tenant": "7", "more": "is allowed"}, *grant.GrantToken))
		must1[*kms.DecryptOutput](t)(app.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"tenant": "7", "more": "is allowed"}}))
		_, err = encrypt(map[string]string{"tenant": "8"})
		denied(t, "another tenant", err)
		_, err = encrypt(nil)
		denied(t, "no context", err)
		_, err = app.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256, EncryptionContext: allowed})
		denied(t, "another operation", err)
		_, err = app.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &id})
		denied(t, "listing grants", err)

		entries := must1[*kms.ListGrantsOutput](t)(admin.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &id})).Grants
		if len(entries) != 1 || *entries[0].GrantId != *grant.GrantId || *entries[0].KeyId != arn || aws.ToString(entries[0].Name) != "tenant-7" || time.Since(*entries[0].CreationDate).Abs() > time.Minute {
			t.Errorf("listed %+v", entries)
		}
		retirable := must1[*kms.ListRetirableGrantsOutput](t)(admin.ListRetirableGrants(ctx, &kms.ListRetirableGrantsInput{RetiringPrincipal: aws.String(appARN)})).Grants
		if len(retirable) != 1 || *retirable[0].GrantId != *grant.GrantId {
			t.Errorf("retirable: %+v", retirable)
		}
		must1[*kms.RetireGrantOutput](t)(app.RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: grant.GrantToken}))
		_, err = encrypt(allowed)
		denied(t, "after retiring", err)
		_, err = app.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"tenant": "7", "more": "is allowed"}})
		denied(t, "decrypting after retiring", err)
	})
}

// A grantee hands on what it was granted, and no more.
func TestGrantsByGrantees(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	admin, app, ctx := s.client(t, "admin", kmsRegion), s.client(t, "app", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, admin, &kms.CreateKeyInput{})
	give := func(client *kms.Client, operations ...types.GrantOperation) error {
		_, err := client.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(appARN), Operations: operations})
		return err
	}
	if err := give(admin, types.GrantOperationDecrypt, types.GrantOperationCreateGrant); err != nil {
		t.Fatal(err)
	}
	if err := give(app, types.GrantOperationDecrypt); err != nil {
		t.Errorf("handing on Decrypt: %v", err)
	}
	denied(t, "handing on Encrypt", give(app, types.GrantOperationEncrypt))
	_, err := app.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &id, GrantId: aws.String(fmt.Sprintf("%064d", 1))})
	denied(t, "revoking", err)
}

// The same name and members make the same grant; many grants come by pages;
// revoked ones are gone.
func TestGrantNamesAndPages(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	admin, app, ctx := s.client(t, "admin", kmsRegion), s.client(t, "app", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, admin, &kms.CreateKeyInput{})
	var made []string
	for i := range 7 {
		in := &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(appARN), Name: aws.String(fmt.Sprint("grant-", i)), Operations: []types.GrantOperation{types.GrantOperationDescribeKey}}
		first := must1[*kms.CreateGrantOutput](t)(admin.CreateGrant(ctx, in))
		again := must1[*kms.CreateGrantOutput](t)(admin.CreateGrant(ctx, in))
		if *first.GrantId != *again.GrantId {
			t.Errorf("the same grant is %s, then %s", *first.GrantId, *again.GrantId)
		}
		made = append(made, *first.GrantId)
	}
	var listed []string
	for pages := kms.NewListGrantsPaginator(admin, &kms.ListGrantsInput{KeyId: &id, Limit: aws.Int32(3)}); pages.HasMorePages(); {
		page := must1[*kms.ListGrantsOutput](t)(pages.NextPage(ctx))
		if len(page.Grants) > 3 {
			t.Errorf("a page of %d grants", len(page.Grants))
		}
		for _, entry := range page.Grants {
			listed = append(listed, *entry.GrantId)
		}
	}
	slices.Sort(made)
	if slices.Sort(listed); !slices.Equal(listed, made) {
		t.Errorf("listed %v, want %v", listed, made)
	}
	must1[*kms.DescribeKeyOutput](t)(app.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id}))
	for _, grant := range made {
		must1[*kms.RevokeGrantOutput](t)(admin.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &id, GrantId: &grant}))
	}
	_, err := app.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	denied(t, "after revoking all", err)
}

func denied(t *testing.T, what string, err error) {
	t.Helper()
	if code := errorCode(err); code != "AccessDeniedException" {
		t.Errorf("%s: %v, want AccessDeniedException", what, err)
	}
}

// The last use of a key names what used it, and only successes count.
func TestLastUsageOfKeys(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, arn := createKey(ctx, t, client, &kms.CreateKeyInput{})
	last := func() *kms.GetKeyLastUsageOutput {
		return must1[*kms.GetKeyLastUsageOutput](t)(client.GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: &id}))
	}
	fresh := last()
	if *fresh.KeyId != arn || fresh.KeyLastUsage != nil && fresh.KeyLastUsage.Timestamp != nil || !fresh.KeyCreationDate.Equal(*describe(t, client, id).CreationDate) {
		t.Errorf("before any use: %+v", fresh)
	}
	if _, err := client.Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: []byte("nonsense")}); err == nil {
		t.Fatal("nonsense opens")
	}
	sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")}))
	must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}))
	eventually(t, 20*time.Second, "last usage by Decrypt", func() bool {
		used := last().KeyLastUsage
		return used != nil && used.Operation == types.KeyLastUsageTrackingOperationDecrypt && time.Since(*used.Timestamp).Abs() < time.Minute
	})
}

// errorCode is the code of the API's error, or "".
func errorCode(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}
