// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// must1 fails the test for an error of a call that must succeed.
func must1[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// wantKMSError wants an error of the SDK's own type E.
func wantKMSError[E error](t *testing.T, what string, err error) (typed E) {
	t.Helper()
	if !errors.As(err, &typed) {
		t.Errorf("%s: %v, want %T", what, err, typed)
	}
	return typed
}

// The SDK for Go with symmetric keys, states and paginators.
func TestGoSDKOfTheKeyService(t *testing.T) {
	overHTTPAndTLS(t, nil, func(t *testing.T, s *kmsService) {
		client, ctx := s.client(t, "admin", kmsRegion), t.Context()
		id, arn := createKey(ctx, t, client, &kms.CreateKeyInput{})
		context := map[string]string{"tenant": "7"}
		sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("secret"), EncryptionContext: context}))
		opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: context}))
		if string(opened.Plaintext) != "secret" || *opened.KeyId != arn || *sealed.KeyId != arn {
			t.Errorf("decrypted %q with %s", opened.Plaintext, *opened.KeyId)
		}
		if request, ok := middleware.GetRequestIDMetadata(opened.ResultMetadata); !ok || request == "" {
			t.Error("the answer has no request ID")
		}
		_, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
		if e := wantKMSError[*types.InvalidCiphertextException](t, "another context", err); e != nil && e.Message != nil {
			t.Errorf("another context: %q tells why", *e.Message)
		}
		_, err = client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("12345678-1234-1234-1234-123456789012")})
		wantKMSError[*types.NotFoundException](t, "an absent key", err)
		_, err = client.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1025)})
		if e := wantKMSError[smithy.APIError](t, "1025 random bytes", err); e != nil && (e.ErrorCode() != "ValidationException" || e.ErrorFault() != smithy.FaultUnknown) {
			t.Errorf("1025 random bytes: %s, fault %s", e.ErrorCode(), e.ErrorFault())
		}
		testGoPaginators(t, client)
	})
}

func testGoPaginators(t *testing.T, client *kms.Client) {
	t.Helper()
	ctx := t.Context()
	id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{})
	var names []string
	for i := range 5 {
		name := fmt.Sprintf("alias/page/%d", i)
		must1[*kms.CreateAliasOutput](t)(client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &id}))
		names = append(names, name)
	}
	var got []string
	for pages := kms.NewListAliasesPaginator(client, &kms.ListAliasesInput{KeyId: &id, Limit: aws.Int32(2)}); pages.HasMorePages(); {
		for _, alias := range must1[*kms.ListAliasesOutput](t)(pages.NextPage(ctx)).Aliases {
			got = append(got, *alias.AliasName)
		}
	}
	if slices.Sort(got); !slices.Equal(got, names) {
		t.Errorf("aliases by pages: %v, want %v", got, names)
	}
	keys := map[string]bool{}
	for pages := kms.NewListKeysPaginator(client, &kms.ListKeysInput{Limit: aws.Int32(1)}); pages.HasMorePages(); {
		for _, key := range must1[*kms.ListKeysOutput](t)(pages.NextPage(ctx)).Keys {
			keys[*key.KeyId] = true
		}
	}
	if len(keys) != 2 || !keys[id] {
		t.Errorf("keys by pages: %v", keys)
	}
	_, err := client.ListKeys(ctx, &kms.ListKeysInput{Marker: aws.String("no such marker")})
	wantKMSError[*types.InvalidMarkerException](t, "a wrong marker", err)
}
