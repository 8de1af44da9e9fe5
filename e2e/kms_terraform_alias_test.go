// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// The calls of Terraform's AWS provider for its resource aws_kms_alias: create,
// read by looking through all aliases, update, read, delete, delete again.
func TestTerraformAlias(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	first, firstARN := createKey(ctx, t, client, &kms.CreateKeyInput{})
	second, secondARN := createKey(ctx, t, client, &kms.CreateKeyInput{})
	name := "alias/terraform-20261124080000000000000001"
	if _, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &first}); err != nil {
		t.Fatal(err)
	}
	read := func() *types.AliasListEntry {
		t.Helper()
		pages := kms.NewListAliasesPaginator(client, &kms.ListAliasesInput{})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, alias := range page.Aliases {
				if *alias.AliasName == name {
					return &alias
				}
			}
		}
		return nil
	}
	wantTarget := func(arn string) {
		t.Helper()
		alias := read()
		if alias == nil {
			t.Fatal("the alias is not listed")
		}
		// The provider makes the key's ARN of the alias's and of the bare ID.
		prefix, _, _ := strings.Cut(*alias.AliasArn, "alias/")
		if got := prefix + "key/" + aws.ToString(alias.TargetKeyId); got != arn {
			t.Errorf("the alias is for %s, want %s", got, arn)
		}
	}
	wantTarget(firstARN)
	if _, err := client.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &name, TargetKeyId: &second}); err != nil {
		t.Fatal(err)
	}
	wantTarget(secondARN)
	if _, err := client.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &name}); err != nil {
		t.Fatal(err)
	}
	if read() != nil {
		t.Error("the deleted alias is listed")
	}
	var notFound *types.NotFoundException
	if _, err := client.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &name}); !errors.As(err, &notFound) {
		t.Errorf("deleting again: %v", err)
	}
}
