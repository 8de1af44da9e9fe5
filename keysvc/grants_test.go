// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sidekey/sidekey/keysvc/audit"
)

type operations = []types.GrantOperation

// grant creates a grant on a key for app, as admin, and returns its ID and token.
func (s *server) grant(id string, in kms.CreateGrantInput) (grantID, token string) {
	s.t.Helper()
	in.KeyId = &id
	if in.GranteePrincipal == nil {
		in.GranteePrincipal = ptr(appARN)
	}
	out, err := s.admin().CreateGrant(context.Background(), &in)
	must(s.t, err)
	return *out.GrantId, *out.GrantToken
}

func listGrants(t testing.TB, client *kms.Client, in kms.ListGrantsInput) []types.GrantListEntry {
	t.Helper()
	var all []types.GrantListEntry
	for pages := kms.NewListGrantsPaginator(client, &in); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		all = append(all, page.Grants...)
	}
	return all
}

// TestGrantAllows: a grant holds from its creation to its end, also in a
// service that was started again.
func TestGrantAllows(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	id, arn := s.newKey()
	encrypt := func(context map[string]string) error {
		_, err := s.client(appID).Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: context})
		return err
	}
	denied := notAuthorized("kms:Encrypt", arn)
	wantError(t, encrypt(nil), "AccessDeniedException", denied)
	grantID, token := s.grant(id, kms.CreateGrantInput{
		Operations:  operations{"Encrypt", "DescribeKey"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"tenant": "1"}},
	})
	must(t, encrypt(map[string]string{"tenant": "1", "more": "x"}))
	wantError(t, encrypt(nil), "AccessDeniedException", denied)
	wantError(t, encrypt(map[string]string{"tenant": "2"}), "AccessDeniedException", denied)
	_, err := s.client(appID).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id, GrantTokens: []string{token}})
	must(t, err)
	_, err = s.client(appID).Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: []byte("x")})
	if codeOf(err) == "" {
		t.Error("decrypted")
	}
	_, err = s.client(appID).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("got %v", err)
	}
	s.restart()
	must(t, encrypt(map[string]string{"tenant": "1"}))
	_, err = s.admin().RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &id, GrantId: &grantID})
	must(t, err)
	wantError(t, encrypt(map[string]string{"tenant": "1"}), "AccessDeniedException", denied)
}

func notAuthorized(action, arn string) string {
	return "User: " + appARN + " is not authorized to perform: " + action + " on resource: " + arn +
		" because no identity-based policy allows the " + action + " action"
}

func TestListGrants(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, arn := s.newKey()
	other, _ := s.newKey()
	first, _ := s.grant(id, kms.CreateGrantInput{
		Name: ptr("one"), Operations: operations{"Decrypt", "Decrypt", "RetireGrant"}, RetiringPrincipal: ptr(adminARN),
		Constraints: &types.GrantConstraints{EncryptionContextEquals: map[string]string{"b": "2", "a": "1"}},
	})
	want := types.GrantListEntry{
		GrantId: &first, KeyId: &arn, Name: ptr("one"), GranteePrincipal: ptr(appARN), RetiringPrincipal: ptr(adminARN),
		IssuingAccount: ptr("arn:aws:iam::111122223333:root"), Operations: operations{"Decrypt", "RetireGrant"},
		Constraints: &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "1", "b": "2"}},
	}
	ignore := cmp.Options{cmpopts.IgnoreFields(types.GrantListEntry{}, "CreationDate"), cmpopts.IgnoreUnexported(types.GrantListEntry{}, types.GrantConstraints{})}
	if diff := cmp.Diff([]types.GrantListEntry{want}, listGrants(t, client, kms.ListGrantsInput{KeyId: &id}), ignore); diff != "" {
		t.Error(diff)
	}
	var ids []string
	for range 4 {
		grantID, _ := s.grant(id, kms.CreateGrantInput{Operations: operations{"Encrypt"}, GranteePrincipal: ptr(adminARN), RetiringPrincipal: ptr(appARN)})
		ids = append(ids, grantID)
	}
	elsewhere, _ := s.grant(other, kms.CreateGrantInput{Operations: operations{"Encrypt"}, RetiringPrincipal: ptr(appARN)})
	slices.Sort(ids)
	idsOf := func(list []types.GrantListEntry) (ids []string) {
		for _, g := range list {
			ids = append(ids, *g.GrantId)
		}
		return ids
	}
	if got := listGrants(t, client, kms.ListGrantsInput{KeyId: &id, Limit: ptr(int32(2))}); len(got) != 5 {
		t.Errorf("got %d grants", len(got))
	}
	if diff := cmp.Diff(ids, idsOf(listGrants(t, client, kms.ListGrantsInput{KeyId: &id, GranteePrincipal: ptr(adminARN), Limit: ptr(int32(3))}))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{first}, idsOf(listGrants(t, client, kms.ListGrantsInput{KeyId: &id, GrantId: &first}))); diff != "" {
		t.Error(diff)
	}
	var retirable []string
	for pages := kms.NewListRetirableGrantsPaginator(client, &kms.ListRetirableGrantsInput{RetiringPrincipal: ptr(appARN), Limit: ptr(int32(2))}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		must(t, err)
		retirable = append(retirable, idsOf(page.Grants)...)
	}
	ids = append(ids, elsewhere)
	slices.Sort(ids)
	if diff := cmp.Diff(ids, retirable); diff != "" {
		t.Error(diff)
	}
	_, err := client.ListGrants(ctx, &kms.ListGrantsInput{KeyId: &id, Marker: ptr("nonsense")})
	wantError(t, err, "InvalidMarkerException", "The marker is invalid.")
}

// TestGrantNames: a request with a name can be made again.
func TestGrantNames(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	in := kms.CreateGrantInput{Name: ptr("n"), Operations: operations{"Decrypt", "Encrypt"}}
	first, token := s.grant(id, in)
	in.Operations = operations{"Encrypt", "Decrypt"}
	again, other := s.grant(id, in)
	if again != first || other == token {
		t.Errorf("got grants %s and %s, tokens equal: %v", first, again, other == token)
	}
	in.Operations = operations{"Encrypt"}
	if another, _ := s.grant(id, in); another == first {
		t.Error("another grant has the ID of the first")
	}
	in.Name = nil
	if one, _ := s.grant(id, in); one == first {
		t.Error("a grant without a name has the ID of the first")
	}
	if n := len(listGrants(t, s.admin(), kms.ListGrantsInput{KeyId: &id})); n != 3 {
		t.Errorf("%d grants", n)
	}
}

// TestGrantNamesAtOnce: of requests with one name that are made at the same
// time, one creates the grant.
func TestGrantNamesAtOnce(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	client := s.admin()
	var wait sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wait.Go(func() {
			out, err := client.CreateGrant(t.Context(), &kms.CreateGrantInput{KeyId: &id, Name: ptr("n"), GranteePrincipal: ptr(appARN), Operations: operations{"Decrypt"}})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = *out.GrantId
		})
	}
	wait.Wait()
	if all := slices.Compact(slices.Sorted(slices.Values(ids))); len(all) != 1 {
		t.Errorf("%d grants", len(all))
	}
}

// TestGrantOfGrant: who may create grants by a grant can give away no more
// than that.
func TestGrantOfGrant(t *testing.T) {
	s := newServer(t)
	id, arn := s.newKey()
	s.grant(id, kms.CreateGrantInput{
		Operations:  operations{"CreateGrant", "Decrypt"},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1"}},
	})
	create := func(c *types.GrantConstraints, ops ...types.GrantOperation) error {
		_, err := s.client(appID).CreateGrant(t.Context(), &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: ptr(adminARN), Operations: ops, Constraints: c})
		return err
	}
	strict := &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "1", "b": "2"}}
	must(t, create(strict, "Decrypt"))
	denied := notAuthorized("kms:CreateGrant", arn)
	wantError(t, create(strict, "Decrypt", "Encrypt"), "AccessDeniedException", denied)
	wantError(t, create(nil, "Decrypt"), "AccessDeniedException", denied)
	wantError(t, create(&types.GrantConstraints{EncryptionContextSubset: map[string]string{"b": "2"}}, "Decrypt"), "AccessDeniedException", denied)
}

func TestRetireGrant(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	id, arn := s.newKey()
	retire := func(accessKeyID string, in kms.RetireGrantInput) error {
		_, err := s.client(accessKeyID).RetireGrant(ctx, &in)
		return err
	}
	decrypt := operations{"Decrypt"}
	denied := notAuthorized("kms:RetireGrant", arn)

	grantID, token := s.grant(id, kms.CreateGrantInput{Operations: decrypt})
	wantError(t, retire(appID, kms.RetireGrantInput{GrantToken: &token}), "AccessDeniedException", denied)
	wantError(t, retire(appID, kms.RetireGrantInput{KeyId: &arn, GrantId: ptr(strings.Repeat("0", 64))}), "AccessDeniedException", denied)
	wantError(t, retire(adminID, kms.RetireGrantInput{GrantToken: &token, DryRun: ptr(true)}), "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	must(t, retire(adminID, kms.RetireGrantInput{GrantToken: &token}))
	wantError(t, retire(adminID, kms.RetireGrantInput{GrantToken: &token}), "NotFoundException", "Grant ID "+grantID+" not found")

	grantID, _ = s.grant(id, kms.CreateGrantInput{Operations: decrypt, GranteePrincipal: ptr(adminARN), RetiringPrincipal: ptr(appARN)})
	must(t, retire(appID, kms.RetireGrantInput{KeyId: &arn, GrantId: &grantID}))
	grantID, _ = s.grant(id, kms.CreateGrantInput{Operations: operations{"Decrypt", "RetireGrant"}})
	must(t, retire(appID, kms.RetireGrantInput{KeyId: &arn, GrantId: &grantID}))
	if n := len(listGrants(t, s.admin(), kms.ListGrantsInput{KeyId: &id})); n != 0 {
		t.Errorf("%d grants are left", n)
	}

	either := "You must specify a grant token, or a key ARN and a grant ID."
	wantError(t, retire(adminID, kms.RetireGrantInput{}), "ValidationException", either)
	wantError(t, retire(adminID, kms.RetireGrantInput{KeyId: &arn}), "ValidationException", either)
	wantError(t, retire(adminID, kms.RetireGrantInput{KeyId: &arn, GrantToken: &token}), "ValidationException", either)
	wantError(t, retire(adminID, kms.RetireGrantInput{KeyId: &arn, GrantId: ptr("x")}), "InvalidGrantIdException", "The grant ID x is invalid.")
}

// TestGrantOnRecord: the record of a use that a grant allowed names the grant.
func TestGrantOnRecord(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	grantID, _ := s.grant(id, kms.CreateGrantInput{Operations: operations{"Encrypt"}})
	const trace = "0af7651916cd43dd8448eb211c80319d"
	r := s.signed("Encrypt", `{"KeyId":"`+id+`","Plaintext":"eA=="}`, time.Now(), appID, secret)
	r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	if got := s.send(r); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	spans, err := audit.ReadTrace([]string{s.auditDir()}, trace)
	must(t, err)
	var tree bytes.Buffer
	must(t, audit.WriteTree(&tree, spans))
	if !strings.Contains(tree.String(), grantID) {
		t.Errorf("no %s in\n%s", grantID, tree.String())
	}
}

// TestGrantTokens: a token that was changed anywhere is none.
func TestGrantTokens(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	id, _ := s.newKey()
	_, token := s.grant(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}})
	raw, err := base64.StdEncoding.DecodeString(token)
	must(t, err)
	bad := []string{"x", base64.StdEncoding.EncodeToString(raw[:len(raw)-1]), base64.StdEncoding.EncodeToString(append(raw, 0))}
	for i := range raw {
		raw[i] ^= 1
		bad = append(bad, base64.StdEncoding.EncodeToString(raw))
		raw[i] ^= 1
	}
	for _, token := range bad {
		_, err := s.admin().DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id, GrantTokens: []string{token}})
		wantError(t, err, "InvalidGrantTokenException", "The grant token is invalid.")
	}
	_, err = s.admin().RetireGrant(ctx, &kms.RetireGrantInput{GrantToken: &bad[4]})
	wantError(t, err, "InvalidGrantTokenException", "The grant token is invalid.")
}

func TestCreateGrantErrors(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, arn := s.newKey()
	pairs := map[string]string{}
	for i := range 9 {
		pairs[string(rune('a'+i))] = ""
	}
	for _, tc := range []struct {
		name, code, message string
		in                  kms.CreateGrantInput
	}{
		{"operation", "ValidationException", "-", kms.CreateGrantInput{Operations: operations{"PutKeyPolicy"}}},
		{"CreateGrant alone", "ValidationException", "Grants must not contain only the CreateGrant operation.", kms.CreateGrantInput{Operations: operations{"CreateGrant"}}},
		{"no operation", "ValidationException", "Grants must contain at least one operation.", kms.CreateGrantInput{Operations: operations{}}},
		{"other usage", "ValidationException", "Grant operations [Sign, GetPublicKey] are not supported for keys of KeySpec SYMMETRIC_DEFAULT and KeyUsage ENCRYPT_DECRYPT.", kms.CreateGrantInput{Operations: operations{"Sign", "Decrypt", "GetPublicKey"}}},
		{"grantee", "InvalidArnException", "ARN does not refer to a valid principal: alice", kms.CreateGrantInput{GranteePrincipal: ptr("alice"), Operations: operations{"Decrypt"}}},
		{"no grantee", "ValidationException", "You must specify either GranteePrincipal or GranteeServicePrincipal.", kms.CreateGrantInput{Operations: operations{"Decrypt"}}},
		{"retiring", "InvalidArnException", "ARN does not refer to a valid principal: bob", kms.CreateGrantInput{RetiringPrincipal: ptr("bob"), Operations: operations{"Decrypt"}}},
		{"name", "ValidationException", "1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$", kms.CreateGrantInput{Name: ptr("a b"), Operations: operations{"Decrypt"}}},
		{"two constraints", "ValidationException", "Grant constraints must contain only one of EncryptionContextEquals and EncryptionContextSubset.", kms.CreateGrantInput{Operations: operations{"Decrypt"}, Constraints: &types.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "1"}, EncryptionContextSubset: map[string]string{"a": "1"}}}},
		{"many pairs", "ValidationException", "Grant constraints must contain at most 8 encryption context pairs of 384 characters together.", kms.CreateGrantInput{Operations: operations{"Decrypt"}, Constraints: &types.GrantConstraints{EncryptionContextEquals: pairs}}},
		{"dry run", "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.", kms.CreateGrantInput{Operations: operations{"Decrypt"}, DryRun: ptr(true)}},
		{"alias", "InvalidArnException", "Key Aliases are not supported for this operation.", kms.CreateGrantInput{KeyId: ptr(strings.Replace(arn, "key/"+id, "alias/x", 1)), Operations: operations{"Decrypt"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.GranteePrincipal == nil && tc.name != "no grantee" {
				tc.in.GranteePrincipal = ptr(appARN)
			}
			if tc.in.KeyId == nil {
				tc.in.KeyId = &id
			}
			_, err := client.CreateGrant(ctx, &tc.in)
			if tc.message == "-" {
				if codeOf(err) != tc.code {
					t.Errorf("got %v", err)
				}
				return
			}
			wantError(t, err, tc.code, tc.message)
		})
	}
	if n := len(listGrants(t, client, kms.ListGrantsInput{KeyId: &id})); n != 0 {
		t.Errorf("%d grants", n)
	}
	_, err := client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	must(t, err)
	_, err = client.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: ptr(appARN), Operations: operations{"Decrypt"}})
	wantError(t, err, "DisabledException", arn+" is disabled.")
	_, err = client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &id, GrantId: ptr(strings.Repeat("0", 64))})
	wantError(t, err, "NotFoundException", "Grant ID "+strings.Repeat("0", 64)+" not found")
}
