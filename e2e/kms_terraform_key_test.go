// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// A terraformKey makes the calls of Terraform's AWS provider for its resources
// of keys, in their order, with the provider's waits until what it wrote is read.
type terraformKey struct {
	*testing.T
	client *kms.Client
	id     string
}

// keyInfo is what the provider's findKeyInfo reads.
type keyInfo struct {
	metadata *types.KeyMetadata
	policy   any
	rotation *kms.GetKeyRotationStatusOutput
	tags     map[string]string
}

// read is findKeyInfo: DescribeKey, GetKeyPolicy, GetKeyRotationStatus of keys
// of AWS_KMS, ListResourceTags in pages, and ListAliases of the key's alias.
func (k *terraformKey) read() keyInfo {
	k.Helper()
	ctx := k.Context()
	info := keyInfo{metadata: describe(k.T, k.client, k.id), policy: k.readPolicy(), tags: map[string]string{}}
	if info.metadata.Origin == types.OriginTypeAwsKms {
		info.rotation = must1[*kms.GetKeyRotationStatusOutput](k.T)(k.client.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &k.id}))
	}
	for pages := kms.NewListResourceTagsPaginator(k.client, &kms.ListResourceTagsInput{KeyId: &k.id}); pages.HasMorePages(); {
		for _, tag := range must1[*kms.ListResourceTagsOutput](k.T)(pages.NextPage(ctx)).Tags {
			info.tags[*tag.TagKey] = *tag.TagValue
		}
	}
	return info
}

func (k *terraformKey) readPolicy() (policy any) {
	k.Helper()
	out := must1[*kms.GetKeyPolicyOutput](k.T)(k.client.GetKeyPolicy(k.Context(), &kms.GetKeyPolicyInput{KeyId: &k.id, PolicyName: aws.String("default")}))
	if err := json.Unmarshal([]byte(*out.Policy), &policy); err != nil {
		k.Fatal(err)
	}
	return policy
}

// settle is the provider's wait: what was written must be read several times in
// a row. This service's writes are seen at once.
func (k *terraformKey) settle(what string, is func(keyInfo) bool) {
	k.Helper()
	for range 5 {
		if info := k.read(); !is(info) {
			k.Fatalf("%s is not what is read: %+v", what, info)
		}
	}
}

// remove is the resource's Delete: ScheduleKeyDeletion, and DescribeKey until
// the state is one of those that the provider takes for gone.
func (k *terraformKey) remove() {
	k.Helper()
	must1[*kms.ScheduleKeyDeletionOutput](k.T)(k.client.ScheduleKeyDeletion(k.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &k.id, PendingWindowInDays: aws.Int32(7)}))
	state := describe(k.T, k.client, k.id).KeyState
	if state != types.KeyStatePendingDeletion && state != types.KeyStatePendingReplicaDeletion {
		k.Errorf("the deleted key is %s", state)
	}
	_, err := k.client.ScheduleKeyDeletion(k.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &k.id, PendingWindowInDays: aws.Int32(7)})
	if e := wantKMSError[*types.KMSInvalidStateException](k.T, "deleting again", err); e != nil && *e.Message != *describe(k.T, k.client, k.id).Arn+" is pending deletion." {
		k.Errorf("deleting again: %s, which the provider does not take for deleted", *e.Message)
	}
}

func jsonOf(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

const terraformPolicy = `{"Version":"2012-10-17","Id":"terraform","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + kmsAccount + `:root"},"Action":"kms:*","Resource":"*"}]}`

// aws_kms_key: create with policy, rotation and tags; change everything; delete.
func TestTerraformKey(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	ctx := t.Context()
	k := &terraformKey{T: t, client: s.client(t, "admin", kmsRegion)}
	out := must1[*kms.CreateKeyOutput](t)(k.client.CreateKey(ctx, &kms.CreateKeyInput{
		BypassPolicyLockoutSafetyCheck: false, Description: aws.String("made by Terraform"), KeySpec: types.KeySpecSymmetricDefault, KeyUsage: types.KeyUsageTypeEncryptDecrypt,
		MultiRegion: aws.Bool(false), Policy: aws.String(terraformPolicy), Tags: []types.Tag{{TagKey: aws.String("Name"), TagValue: aws.String("tf")}, {TagKey: aws.String("empty"), TagValue: aws.String("")}},
	}))
	k.id = *out.KeyMetadata.KeyId
	must1[*kms.EnableKeyRotationOutput](t)(k.client.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &k.id, RotationPeriodInDays: aws.Int32(91)}))
	k.settle("the new key", func(i keyInfo) bool {
		return i.metadata.Enabled && *i.metadata.Description == "made by Terraform" && i.rotation.KeyRotationEnabled && *i.rotation.RotationPeriodInDays == 91 &&
			reflect.DeepEqual(i.policy, jsonOf(t, terraformPolicy)) && maps.Equal(i.tags, map[string]string{"Name": "tf", "empty": ""})
	})
	changed := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::` + kmsAccount + `:root"]},"Action":["kms:*"],"Resource":["*"]}]}`
	must1[*kms.DisableKeyRotationOutput](t)(k.client.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &k.id}))
	must1[*kms.UpdateKeyDescriptionOutput](t)(k.client.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &k.id, Description: aws.String("changed")}))
	must1[*kms.PutKeyPolicyOutput](t)(k.client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &k.id, PolicyName: aws.String("default"), Policy: &changed}))
	must1[*kms.UntagResourceOutput](t)(k.client.UntagResource(ctx, &kms.UntagResourceInput{KeyId: &k.id, TagKeys: []string{"empty"}}))
	must1[*kms.TagResourceOutput](t)(k.client.TagResource(ctx, &kms.TagResourceInput{KeyId: &k.id, Tags: []types.Tag{{TagKey: aws.String("Name"), TagValue: aws.String("other")}}}))
	must1[*kms.DisableKeyOutput](t)(k.client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &k.id}))
	k.settle("the changed key", func(i keyInfo) bool {
		return !i.metadata.Enabled && *i.metadata.Description == "changed" && !i.rotation.KeyRotationEnabled && reflect.DeepEqual(i.policy, jsonOf(t, changed)) && maps.Equal(i.tags, map[string]string{"Name": "other"})
	})
	must1[*kms.EnableKeyOutput](t)(k.client.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &k.id}))
	k.settle("the enabled key", func(i keyInfo) bool { return i.metadata.Enabled })
	k.remove()
}

// aws_kms_grant: create, find it by pages, retire or revoke on delete.
func TestTerraformGrant(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{})
	find := func(grant string) *types.GrantListEntry {
		for pages := kms.NewListGrantsPaginator(client, &kms.ListGrantsInput{KeyId: &id, Limit: aws.Int32(100)}); pages.HasMorePages(); {
			for _, entry := range must1[*kms.ListGrantsOutput](t)(pages.NextPage(ctx)).Grants {
				if *entry.GrantId == grant {
					return &entry
				}
			}
		}
		return nil
	}
	for name, remove := range map[string]func(grant *kms.CreateGrantOutput) error{
		"revoke": func(grant *kms.CreateGrantOutput) error {
			_, err := client.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &id, GrantId: grant.GrantId})
			return err
		},
		"retire": func(grant *kms.CreateGrantOutput) error {
			_, err := client.RetireGrant(ctx, &kms.RetireGrantInput{KeyId: aws.String(keyARN(kmsRegion, id)), GrantId: grant.GrantId})
			return err
		},
	} {
		operations := []types.GrantOperation{types.GrantOperationEncrypt, types.GrantOperationDecrypt, types.GrantOperationGenerateDataKey}
		grant := must1[*kms.CreateGrantOutput](t)(client.CreateGrant(ctx, &kms.CreateGrantInput{
			KeyId: &id, GranteePrincipal: aws.String(appARN), Operations: operations, Name: &name, RetiringPrincipal: aws.String("arn:aws:iam::" + kmsAccount + ":user/admin"),
			Constraints: &types.GrantConstraints{EncryptionContextEquals: map[string]string{"Department": "Finance"}},
		}))
		entry := find(*grant.GrantId)
		if entry == nil || aws.ToString(entry.Name) != name || *entry.GranteePrincipal != appARN || !reflect.DeepEqual(entry.Operations, operations) ||
			entry.Constraints == nil || !maps.Equal(entry.Constraints.EncryptionContextEquals, map[string]string{"Department": "Finance"}) {
			t.Fatalf("%s: read %+v", name, entry)
		}
		if err := remove(grant); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if find(*grant.GrantId) != nil {
			t.Errorf("%s: the grant is still listed", name)
		}
		var notFound *types.NotFoundException
		if err := remove(grant); !errors.As(err, &notFound) {
			t.Errorf("%s again: %v", name, err)
		}
	}
}

// aws_kms_external_key: create, import, new expiry with the same material, delete.
func TestTerraformExternalKey(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	ctx := t.Context()
	k := &terraformKey{T: t, client: s.client(t, "admin", kmsRegion)}
	out := must1[*kms.CreateKeyOutput](t)(k.client.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecSymmetricDefault, KeyUsage: types.KeyUsageTypeEncryptDecrypt, Origin: types.OriginTypeExternal, Policy: aws.String(terraformPolicy)}))
	k.id = *out.KeyMetadata.KeyId
	material := []byte("0123456789abcdef0123456789abcdef")
	importMaterial(t, k.client, k.id, material, &kms.ImportKeyMaterialInput{})
	k.settle("the imported key", func(i keyInfo) bool {
		return i.metadata.KeyState == types.KeyStateEnabled && i.metadata.ExpirationModel == types.ExpirationModelTypeKeyMaterialDoesNotExpire && i.metadata.ValidTo == nil
	})
	validTo := time.Now().Add(time.Hour).Truncate(time.Second)
	importMaterial(t, k.client, k.id, material, &kms.ImportKeyMaterialInput{ExpirationModel: types.ExpirationModelTypeKeyMaterialExpires, ValidTo: &validTo})
	k.settle("the expiry", func(i keyInfo) bool { return i.metadata.ValidTo != nil && i.metadata.ValidTo.Equal(validTo) })
	k.remove()
}

// aws_kms_replica_key: ReplicateKey in the primary's region, then the same
// reads in the replica's, whose policy, description and tags are its own.
func TestTerraformReplicaKey(t *testing.T) {
	s := startKMS(t, raceBinary, false, twoRegions...)
	ctx := t.Context()
	primary := s.client(t, "admin", kmsRegion)
	id, arn := createKey(ctx, t, primary, &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Description: aws.String("primary")})
	must1[*kms.ReplicateKeyOutput](t)(primary.ReplicateKey(ctx, &kms.ReplicateKeyInput{
		KeyId: &id, ReplicaRegion: aws.String(kmsOtherRegion), Description: aws.String("replica"), Policy: aws.String(terraformPolicy), Tags: []types.Tag{{TagKey: aws.String("of"), TagValue: aws.String("replica")}}}))
	k := &terraformKey{T: t, client: s.client(t, "admin", kmsOtherRegion), id: id}
	k.settle("the replica", func(i keyInfo) bool {
		return i.metadata.KeyState == types.KeyStateEnabled && *i.metadata.Description == "replica" && *i.metadata.MultiRegionConfiguration.PrimaryKey.Arn == arn &&
			i.metadata.MultiRegionConfiguration.MultiRegionKeyType == types.MultiRegionKeyTypeReplica && reflect.DeepEqual(i.policy, jsonOf(t, terraformPolicy)) && maps.Equal(i.tags, map[string]string{"of": "replica"})
	})
	must1[*kms.DisableKeyOutput](t)(k.client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
	k.settle("the disabled replica", func(i keyInfo) bool { return !i.metadata.Enabled })
	if !describe(t, primary, id).Enabled {
		t.Error("disabling the replica disabled the primary")
	}
	k.remove()
	(&terraformKey{T: t, client: primary, id: id}).read()
}
