// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// TestForeignNames: a key is found by its ID, its ARN and its aliases in the
// Region that a request is signed for, in one spelling each, and by nothing
// else.
func TestForeignNames(t *testing.T) {
	s := newRegions(t)
	multi, multiARN := s.newMultiRegionKey(kms.CreateKeyInput{})
	single, singleARN := s.newKey()
	alias := "alias/here"
	must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &single}))
	dashed := fmt.Sprintf("%s-%s-%s-%s-%s", multi[4:12], multi[12:16], multi[16:20], multi[20:24], multi[24:])
	names := []string{
		strings.ToUpper(single), strings.ToUpper(multi), "mrk-" + strings.ToUpper(multi[4:]), "MRK-" + multi[4:],
		dashed, "mrk-" + strings.ReplaceAll(single, "-", ""), "mrk-" + single, multi[4:], "{" + single + "}", "urn:uuid:" + single,
		single + " ", " " + single, single + "\n", single + "/", single + "\x00", "key/" + single,
		inRegion(singleARN, secondRegion), inRegion(multiARN, secondRegion), inRegion(prefix+alias, secondRegion), inRegion(singleARN, "eu-west-2"),
		strings.Replace(singleARN, account, "444455556666", 1), strings.Replace(prefix+alias, account, "444455556666", 1),
		strings.Replace(singleARN, "arn:aws:", "arn:aws-cn:", 1), strings.Replace(singleARN, "arn:aws:kms", "arn:aws:KMS", 1), strings.ToUpper(singleARN),
		strings.Replace(singleARN, "key/", "alias/", 1), prefix + "key/" + alias, prefix + "alias/key/" + single, prefix + single, prefix + "key/", prefix + "key", prefix + "alias/", prefix,
		strings.ToUpper(alias), "alias/HERE", "alias/here/", "alias//here", "alias/", "Alias/here", "here", "alias/" + prefix + alias,
		"*", "?", single[:35] + "*", "alias/*", "..", "%",
	}
	for _, name := range names {
		for op, body := range map[string]string{
			"Encrypt": `{"KeyId":%s,"Plaintext":"eA=="}`, "DescribeKey": `{"KeyId":%s}`, "GetKeyPolicy": `{"KeyId":%s}`, "DisableKey": `{"KeyId":%s}`,
			"ListAliases": `{"KeyId":%s}`, "CreateAlias": `{"AliasName":"alias/new","TargetKeyId":%s}`, "ScheduleKeyDeletion": `{"KeyId":%s}`,
			"CreateGrant": `{"KeyId":%s,"GranteePrincipal":"` + appARN + `","Operations":["Decrypt"]}`,
		} {
			got := s.post(op, fmt.Sprintf(body, quoted(t, name)))
			switch got.code() {
			case "NotFoundException", "InvalidArnException", "ValidationException":
			default:
				t.Errorf("%s of %q: %d %s", op, name, got.status, got.body)
			}
		}
	}
	// The same names are those of nothing in another Region.
	for _, name := range []string{single, singleARN, alias, prefix + alias, multi, multiARN} {
		_, err := s.in(secondRegion).Encrypt(ctx, &kms.EncryptInput{KeyId: &name, Plaintext: []byte("x")})
		if codeOf(err) != "NotFoundException" {
			t.Errorf("%s in another Region: %v", name, err)
		}
	}
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &multi, Plaintext: []byte("x")})
	must(t, err)
	_, err = s.in(secondRegion).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("a Region without a replica decrypts: %v", err)
	}
	s.replicate(multi, secondRegion)
	must2(t)(s.in(secondRegion).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob}))
	_, err = s.in(secondRegion).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob, KeyId: &multiARN})
	if codeOf(err) != "NotFoundException" {
		t.Errorf("an ARN of another Region: %v", err)
	}
}
