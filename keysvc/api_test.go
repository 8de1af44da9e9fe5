// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ctx = context.Background()

func TestEncryptDecrypt(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, arn := s.newKey()
	must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/orders"), TargetKeyId: &id}))
	plaintext := []byte("4096 bytes at most")
	for _, name := range []string{id, arn, "alias/orders", strings.Replace(arn, "key/"+id, "alias/orders", 1)} {
		enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &name, Plaintext: plaintext, EncryptionContext: map[string]string{"a": "1", "b": "2"}})
		must(t, err)
		if *enc.KeyId != arn || enc.EncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault {
			t.Errorf("Encrypt by %s: KeyId %s, algorithm %s", name, *enc.KeyId, enc.EncryptionAlgorithm)
		}
		for _, by := range []*string{nil, &name} {
			dec, err := c.Decrypt(ctx, &kms.DecryptInput{KeyId: by, CiphertextBlob: enc.CiphertextBlob, EncryptionContext: map[string]string{"b": "2", "a": "1"}})
			must(t, err)
			if !bytes.Equal(dec.Plaintext, plaintext) || *dec.KeyId != arn || len(*dec.KeyMaterialId) != 64 {
				t.Errorf("Decrypt: %q, KeyId %s, KeyMaterialId %s", dec.Plaintext, *dec.KeyId, *dec.KeyMaterialId)
			}
		}
	}
}

func TestEncryptionContext(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.newKey()
	for _, tc := range []struct {
		seal, open map[string]string
		same       bool
	}{
		{nil, map[string]string{}, true},
		{map[string]string{}, nil, true},
		{map[string]string{"k": "v"}, map[string]string{"k": "v"}, true},
		{map[string]string{"k": "v"}, nil, false},
		{nil, map[string]string{"k": "v"}, false},
		{map[string]string{"k": "v"}, map[string]string{"K": "v"}, false},
		{map[string]string{"k": "v"}, map[string]string{"k": "V"}, false},
		{map[string]string{"kv": ""}, map[string]string{"k": "v"}, false},
		{map[string]string{"a": "b", "c": "d"}, map[string]string{"a": "bcd"}, false},
		{map[string]string{"é": "ü"}, map[string]string{"é": "ü"}, true},
	} {
		enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: tc.seal})
		must(t, err)
		_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: tc.open})
		if tc.same {
			must(t, err)
		} else {
			wantError(t, err, "InvalidCiphertextException", "-")
		}
	}
}

func TestDataKeys(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, arn := s.newKey()
	for _, tc := range []struct {
		spec types.DataKeySpec
		n    *int32
		want int
	}{{"AES_256", nil, 32}, {"AES_128", nil, 16}, {"", ptr[int32](1), 1}, {"", ptr[int32](1024), 1024}} {
		out, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: tc.spec, NumberOfBytes: tc.n})
		must(t, err)
		dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob})
		must(t, err)
		if len(out.Plaintext) != tc.want || !bytes.Equal(out.Plaintext, dec.Plaintext) || *out.KeyId != arn {
			t.Errorf("GenerateDataKey %s %v: %d bytes, KeyId %s", tc.spec, tc.n, len(out.Plaintext), *out.KeyId)
		}
		bare, err := c.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &id, KeySpec: tc.spec, NumberOfBytes: tc.n})
		must(t, err)
		dec, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: bare.CiphertextBlob})
		must(t, err)
		if len(dec.Plaintext) != tc.want || *bare.KeyId != arn {
			t.Errorf("GenerateDataKeyWithoutPlaintext: %d bytes, want %d", len(dec.Plaintext), tc.want)
		}
	}
	random, err := c.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: ptr[int32](1024)})
	must(t, err)
	if len(random.Plaintext) != 1024 || bytes.Count(random.Plaintext, []byte{0}) > 64 {
		t.Errorf("GenerateRandom: %d bytes", len(random.Plaintext))
	}
}

func TestReEncrypt(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	a, arnA := s.newKey()
	b, arnB := s.newKey()
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &a, Plaintext: []byte("move me"), EncryptionContext: map[string]string{"at": "a"}})
	must(t, err)
	moved, err := c.ReEncrypt(ctx, &kms.ReEncryptInput{
		CiphertextBlob: enc.CiphertextBlob, SourceEncryptionContext: map[string]string{"at": "a"},
		DestinationKeyId: &b, DestinationEncryptionContext: map[string]string{"at": "b"},
	})
	must(t, err)
	if *moved.SourceKeyId != arnA || *moved.KeyId != arnB {
		t.Errorf("ReEncrypt: from %s to %s", *moved.SourceKeyId, *moved.KeyId)
	}
	dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob, KeyId: &b, EncryptionContext: map[string]string{"at": "b"}})
	must(t, err)
	if string(dec.Plaintext) != "move me" {
		t.Errorf("got %q", dec.Plaintext)
	}
}

func TestKeyMetadata(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	before := time.Now().Add(-time.Second)
	created, err := c.CreateKey(ctx, &kms.CreateKeyInput{
		Description: ptr("orders"), KeySpec: types.KeySpecSymmetricDefault,
		Tags: []types.Tag{{TagKey: ptr("team"), TagValue: ptr("a")}, {TagKey: ptr("env"), TagValue: ptr("")}},
	})
	must(t, err)
	m := created.KeyMetadata
	want := &types.KeyMetadata{
		AWSAccountId: ptr(account), KeyId: m.KeyId, Arn: ptr("arn:aws:kms:" + region + ":" + account + ":key/" + *m.KeyId),
		CreationDate: m.CreationDate, CurrentKeyMaterialId: m.CurrentKeyMaterialId, CustomerMasterKeySpec: "SYMMETRIC_DEFAULT",
		Description: ptr("orders"), Enabled: true, EncryptionAlgorithms: []types.EncryptionAlgorithmSpec{"SYMMETRIC_DEFAULT"},
		KeyManager: "CUSTOMER", KeySpec: "SYMMETRIC_DEFAULT", KeyState: "Enabled", KeyUsage: "ENCRYPT_DECRYPT",
		MultiRegion: ptr(false), Origin: "AWS_KMS",
	}
	if diff := cmp.Diff(want, m, cmpopts.IgnoreUnexported(types.KeyMetadata{})); diff != "" {
		t.Errorf("KeyMetadata (-want +got):\n%s", diff)
	}
	if m.CreationDate.Before(before) || m.CreationDate.After(time.Now()) {
		t.Errorf("CreationDate %v", m.CreationDate)
	}
	described, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: m.Arn})
	must(t, err)
	if diff := cmp.Diff(m, described.KeyMetadata, cmpopts.IgnoreUnexported(types.KeyMetadata{})); diff != "" {
		t.Errorf("DescribeKey (-created +described):\n%s", diff)
	}
	tags, err := c.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: m.KeyId, Limit: ptr[int32](1)})
	must(t, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].TagKey != "env" || !tags.Truncated {
		t.Errorf("ListResourceTags: %+v", tags)
	}
	tags, err = c.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: m.KeyId, Marker: tags.NextMarker})
	must(t, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].TagValue != "a" || tags.Truncated || tags.NextMarker != nil {
		t.Errorf("ListResourceTags, second page: %+v", tags)
	}
}

func TestKeyStates(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, arn := s.newKey()
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	use := func() []error {
		_, err1 := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
		_, err2 := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
		_, err3 := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256"})
		_, err4 := c.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: enc.CiphertextBlob, DestinationKeyId: &id})
		return []error{err1, err2, err3, err4}
	}
	must2(t)(c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
	for _, err := range use() {
		wantError(t, err, "DisabledException", arn+" is disabled.")
	}
	must2(t)(c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &arn}))
	for _, err := range use() {
		must(t, err)
	}
	out, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: ptr[int32](7)})
	must(t, err)
	if in := time.Until(*out.DeletionDate); in < 6*24*time.Hour || in > 8*24*time.Hour || *out.KeyId != arn || out.KeyState != "PendingDeletion" || *out.PendingWindowInDays != 7 {
		t.Errorf("ScheduleKeyDeletion: %+v", out)
	}
	described, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	must(t, err)
	if !described.KeyMetadata.DeletionDate.Equal(*out.DeletionDate) {
		t.Errorf("DeletionDate %v, want %v", described.KeyMetadata.DeletionDate, out.DeletionDate)
	}
	_, err1 := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id})
	_, err2 := c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id})
	_, err3 := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	_, err4 := c.CreateAlias(ctx, &kms.CreateAliasInput{TargetKeyId: &id, AliasName: ptr("alias/late")})
	for _, err := range append(use(), err1, err2, err3, err4) {
		wantError(t, err, "KMSInvalidStateException", arn+" is pending deletion.")
	}
	cancelled, err := c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &id})
	must(t, err)
	if *cancelled.KeyId != arn {
		t.Errorf("CancelKeyDeletion: KeyId %s", *cancelled.KeyId)
	}
	described, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	must(t, err)
	if m := described.KeyMetadata; m.KeyState != "Disabled" || m.DeletionDate != nil || m.Enabled {
		t.Errorf("after CancelKeyDeletion: %+v", m)
	}
	_, err = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &id})
	wantError(t, err, "KMSInvalidStateException", arn+" is not pending deletion.")
}

func TestAliases(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	a, _ := s.newKey()
	b, arnB := s.newKey()
	for _, name := range []string{"alias/one", "alias/two", "alias/three/deep"} {
		must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &a}))
	}
	must2(t)(c.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: ptr("alias/two"), TargetKeyId: &arnB}))
	list := func(id *string) (names []string) {
		pages := kms.NewListAliasesPaginator(c, &kms.ListAliasesInput{KeyId: id, Limit: ptr[int32](1)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			must(t, err)
			for _, e := range page.Aliases {
				names = append(names, *e.AliasName)
				if want := "arn:aws:kms:" + region + ":" + account + ":" + *e.AliasName; *e.AliasArn != want || e.CreationDate == nil {
					t.Errorf("alias %+v", e)
				}
			}
		}
		return names
	}
	if diff := cmp.Diff([]string{"alias/one", "alias/three/deep", "alias/two"}, list(nil)); diff != "" {
		t.Errorf("all aliases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"alias/two"}, list(&b)); diff != "" {
		t.Errorf("aliases of a key (-want +got):\n%s", diff)
	}
	must2(t)(c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: ptr("alias/two")}))
	if diff := cmp.Diff([]string(nil), list(&b)); diff != "" {
		t.Errorf("after DeleteAlias (-want +got):\n%s", diff)
	}
	must2(t)(c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &b}))
}

func TestListKeys(t *testing.T) {
	s := newServer(t)
	want := map[string]string{}
	for range 5 {
		id, arn := s.newKey()
		want[id] = arn
	}
	got := map[string]string{}
	pages := kms.NewListKeysPaginator(s.admin(), &kms.ListKeysInput{Limit: ptr[int32](2)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		must(t, err)
		for _, k := range page.Keys {
			got[*k.KeyId] = *k.KeyArn
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || n != 3 {
		t.Errorf("%d pages (-want +got):\n%s", n, diff)
	}
}

func TestErrorTexts(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.newKey()
	other, _ := s.newKey()
	must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/taken"), TargetKeyId: &id}))
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	blob := enc.CiphertextBlob
	encrypt := func(in kms.EncryptInput) func() error {
		return func() error { _, err := c.Encrypt(ctx, &in); return err }
	}
	decrypt := func(in kms.DecryptInput) func() error {
		return func() error { _, err := c.Decrypt(ctx, &in); return err }
	}
	dataKey := func(in kms.GenerateDataKeyInput) func() error {
		return func() error { _, err := c.GenerateDataKey(ctx, &in); return err }
	}
	createKey := func(in kms.CreateKeyInput) func() error {
		return func() error { _, err := c.CreateKey(ctx, &in); return err }
	}
	createAlias := func(name, target string) func() error {
		return func() error {
			_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &target})
			return err
		}
	}
	describe := func(id string) func() error {
		return func() error { _, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id}); return err }
	}
	schedule := func(id string, days int32) func() error {
		return func() error {
			_, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: &days})
			return err
		}
	}
	dry := "The request would have succeeded, but the DryRun option is set."
	one := "1 validation error detected: "
	tests := []struct {
		name          string
		call          func() error
		code, message string
	}{
		{"no such key", describe(absent), "NotFoundException", "Key '" + prefix + "key/" + absent + "' does not exist"},
		{"no key ID", describe("what"), "NotFoundException", "Invalid keyId 'what'"},
		{"upper case key ID", describe(strings.ToUpper(absent[:1]) + "AAAAAAA" + absent[8:]), "NotFoundException", "Key '" + prefix + "key/1AAAAAAA" + absent[8:] + "' does not exist"},
		{"no such alias", describe("alias/none"), "NotFoundException", "Alias " + prefix + "alias/none is not found."},
		{"other account", describe("arn:aws:kms:" + region + ":999999999999:key/" + id), "NotFoundException", "Invalid arn " + region},
		{"other region", describe("arn:aws:kms:us-east-1:" + account + ":key/" + id), "NotFoundException", "Invalid arn us-east-1"},
		{"no key ID in an ARN", describe(prefix + "key/what"), "NotFoundException", "Invalid keyId what"},
		{"alias to control operation", schedule("alias/taken", 7), "InvalidArnException", "Key Aliases are not supported for this operation."},
		{"alias ARN to control operation", schedule(prefix+"alias/taken", 7), "InvalidArnException", "Key Aliases are not supported for this operation."},
		{"window too short", schedule(id, 6), "ValidationException", one + "Value '6' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value greater than or equal to 7"},
		{"window too long", schedule(id, 31), "ValidationException", one + "Value '31' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value less than or equal to 30"},
		{"empty plaintext", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: []byte{}}), "ValidationException", one + "Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"large plaintext", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: make([]byte, 4097)}), "ValidationException", one + "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		{"wrong algorithm", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}), "InvalidKeyUsageException", "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."},
		{"large context", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionContext: map[string]string{"k": strings.Repeat("v", 8192)}}), "ValidationException", "The encryption context is larger than 8192 bytes"},
		{"unknown algorithm", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), EncryptionAlgorithm: "ROT13"}), "ValidationException", one + "Value 'ROT13' at 'encryptionAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, SM2PKE, SYMMETRIC_DEFAULT]"},
		{"many grant tokens", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), GrantTokens: strings.Split("a,b,c,d,e,f,g,h,i,j,k", ",")}), "ValidationException", one + "Value '[a, b, c, d, e, f, g, h, i, j, k]' at 'grantTokens' failed to satisfy constraint: Member must have length less than or equal to 10"},
		{"three violations", encrypt(kms.EncryptInput{KeyId: ptr(""), Plaintext: []byte{}}), "ValidationException", "3 validation errors detected: Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'keyId' failed to satisfy constraint: Member must satisfy regular expression pattern: ^\\p{ASCII}+$; Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"dry run Encrypt", encrypt(kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), DryRun: ptr(true)}), "DryRunOperationException", dry},
		{"dry run Decrypt", decrypt(kms.DecryptInput{CiphertextBlob: blob, DryRun: ptr(true)}), "DryRunOperationException", dry},
		{"dry run Decrypt of bad bytes", decrypt(kms.DecryptInput{CiphertextBlob: append(bytes.Clone(blob), 0), DryRun: ptr(true)}), "InvalidCiphertextException", "-"},
		{"dry run Decrypt without bytes", decrypt(kms.DecryptInput{KeyId: &id, DryRun: ptr(true), DryRunModifiers: []types.DryRunModifierType{"IGNORE_CIPHERTEXT"}}), "DryRunOperationException", dry},
		{"Decrypt without bytes", decrypt(kms.DecryptInput{KeyId: &id}), "ValidationException", one + "Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"},
		{"dry run GenerateDataKey", dataKey(kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256", DryRun: ptr(true)}), "DryRunOperationException", dry},
		{"wrong key", decrypt(kms.DecryptInput{KeyId: &other, CiphertextBlob: blob}), "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation."},
		{"trailing byte", decrypt(kms.DecryptInput{CiphertextBlob: append(bytes.Clone(blob), 0)}), "InvalidCiphertextException", "-"},
		{"short blob", decrypt(kms.DecryptInput{CiphertextBlob: blob[:len(blob)-1]}), "InvalidCiphertextException", "-"},
		{"not a blob", decrypt(kms.DecryptInput{CiphertextBlob: []byte("x")}), "InvalidCiphertextException", "-"},
		{"both sizes", dataKey(kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256", NumberOfBytes: ptr[int32](32)}), "ValidationException", "Please specify either number of bytes or key spec."},
		{"no size", dataKey(kms.GenerateDataKeyInput{KeyId: &id}), "ValidationException", "Please specify either number of bytes or key spec."},
		{"too many bytes", dataKey(kms.GenerateDataKeyInput{KeyId: &id, NumberOfBytes: ptr[int32](1025)}), "ValidationException", one + "Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024"},
		{"too few bytes", dataKey(kms.GenerateDataKeyInput{KeyId: &id, NumberOfBytes: ptr[int32](0)}), "ValidationException", one + "Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"no number of random bytes", func() error { _, err := c.GenerateRandom(ctx, &kms.GenerateRandomInput{}); return err }, "ValidationException", "NumberOfBytes is required."},
		{"SM2", createKey(kms.CreateKeyInput{KeySpec: "SM2", KeyUsage: "SIGN_VERIFY"}), "UnsupportedOperationException", "KeySpec SM2 is not supported in this Region"},
		{"spec twice", createKey(kms.CreateKeyInput{KeySpec: "SYMMETRIC_DEFAULT", CustomerMasterKeySpec: "SYMMETRIC_DEFAULT"}), "ValidationException", "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."},
		{"usage", createKey(kms.CreateKeyInput{KeyUsage: "SIGN_VERIFY"}), "ValidationException", "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"},
		{"policy", createKey(kms.CreateKeyInput{Policy: ptr("{}")}), "MalformedPolicyDocumentException", "Policy contains no statement."},
		{"tag twice", createKey(kms.CreateKeyInput{Tags: []types.Tag{{TagKey: ptr("a"), TagValue: ptr("")}, {TagKey: ptr("a"), TagValue: ptr("")}}}), "TagException", "Duplicate tag keys"},
		{"reserved tag", createKey(kms.CreateKeyInput{Tags: []types.Tag{{TagKey: ptr("aws:a"), TagValue: ptr("")}}}), "TagException", "Tags beginning with aws: are reserved"},
		{"many tags", createKey(kms.CreateKeyInput{Tags: manyTags(51)}), "TagException", "Too many tags"},
		{"empty tag key", createKey(kms.CreateKeyInput{Tags: []types.Tag{{TagKey: ptr(""), TagValue: ptr("")}}}), "ValidationException", one + "Value '' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"alias exists", createAlias("alias/taken", other), "AlreadyExistsException", "An alias with the name " + prefix + "alias/taken already exists"},
		{"alias without prefix", createAlias("taken", id), "ValidationException", `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`},
		{"reserved alias", createAlias("alias/aws/s3", id), "NotAuthorizedException", "The alias prefix alias/aws/ is reserved"},
		{"alias form", createAlias("alias/a b", id), "ValidationException", one + "Value 'alias/a b' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"},
		{"alias with colon", createAlias("alias/a:b", id), "ValidationException", "alias/a:b contains invalid characters for an alias"},
		{"alias to alias", createAlias("alias/new", "alias/taken"), "ValidationException", "Aliases must refer to keys. Not aliases"},
		{"alias of no key", createAlias("alias/new", absent), "NotFoundException", "Key '" + prefix + "key/" + absent + "' does not exist"},
		{"update of no alias", func() error {
			_, err := c.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: ptr("alias/none"), TargetKeyId: &id})
			return err
		}, "NotFoundException", "Alias " + prefix + "alias/none is not found."},
		{"delete of no alias", func() error {
			_, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: ptr("alias/none")})
			return err
		}, "NotFoundException", "Alias " + prefix + "alias/none is not found."},
		{"marker", func() error { _, err := c.ListKeys(ctx, &kms.ListKeysInput{Marker: ptr("%%")}); return err }, "InvalidMarkerException", "The marker is invalid."},
		{"marker of another list", func() error { _, err := c.ListKeys(ctx, &kms.ListKeysInput{Marker: ptr("YWI")}); return err }, "InvalidMarkerException", "The marker is invalid."},
		{"limit", func() error { _, err := c.ListKeys(ctx, &kms.ListKeysInput{Limit: ptr[int32](1001)}); return err }, "ValidationException", one + "Value '1001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 1000"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { wantError(t, tc.call(), tc.code, tc.message) })
	}
}

func TestAliasLimit(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	for i := range 50 {
		must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr(fmt.Sprintf("alias/n%d", i)), TargetKeyId: &id}))
	}
	_, err := s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/n50"), TargetKeyId: &id})
	wantError(t, err, "LimitExceededException", "The key has the maximum number of aliases.")
}

// TestTamperedBlob flips every bit of a blob: none is left that does not count.
func TestTamperedBlob(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.newKey()
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	other := regexp.MustCompile(`^(InvalidCiphertextException|AccessDeniedException)$`)
	for bit := range 8 * len(enc.CiphertextBlob) {
		raw := bytes.Clone(enc.CiphertextBlob)
		raw[bit/8] ^= 1 << (bit % 8)
		_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: raw})
		if code := codeOf(err); !other.MatchString(code) {
			t.Errorf("bit %d: %v", bit, err)
		}
	}
}

func manyTags(n int) []types.Tag {
	tags := make([]types.Tag, n)
	for i := range tags {
		tags[i] = types.Tag{TagKey: ptr(fmt.Sprint(i)), TagValue: ptr("")}
	}
	return tags
}

// must2 fails the test if a call that has a result nobody needs fails.
func must2(t testing.TB) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		must(t, err)
	}
}
