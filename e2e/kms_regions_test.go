// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// twoRegions has a service answer for two regions.
var twoRegions = []string{"region: " + kmsRegion, "region: " + kmsRegion + "\n  regions: [" + kmsRegion + ", " + kmsOtherRegion + "]"}

// One endpoint serves two regions: related keys have one material, and each
// region its own keys, aliases, grants, descriptions and states.
func TestMultiRegionKeys(t *testing.T) {
	s := startKMS(t, raceBinary, false, twoRegions...)
	here, there, ctx := s.client(t, "admin", kmsRegion), s.client(t, "admin", kmsOtherRegion), t.Context()
	for _, c := range []struct {
		spec  types.KeySpec
		usage types.KeyUsageType
		check func(t *testing.T, here, there *kms.Client, id string)
	}{
		{types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt, sealsHereOpensThere},
		{types.KeySpecHmac256, types.KeyUsageTypeGenerateVerifyMac, macsHereVerifiesThere},
		{types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify, signsHereVerifiesThere},
	} {
		t.Run(string(c.spec), func(t *testing.T) {
			id, arn := createKey(ctx, t, here, &kms.CreateKeyInput{MultiRegion: aws.Bool(true), KeySpec: c.spec, KeyUsage: c.usage})
			made := must1[*kms.ReplicateKeyOutput](t)(here.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(kmsOtherRegion)}))
			if *made.ReplicaKeyMetadata.Arn != keyARN(kmsOtherRegion, id) || *made.ReplicaKeyMetadata.KeyId != id {
				t.Errorf("the replica of %s is %s", arn, *made.ReplicaKeyMetadata.Arn)
			}
			c.check(t, here, there, id)
			c.check(t, there, here, id)
			must1[*kms.DisableKeyOutput](t)(there.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
			if !describe(t, here, id).Enabled {
				t.Error("disabling the replica disables the primary")
			}
			must1[*kms.EnableKeyOutput](t)(there.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id}))
			c.check(t, there, here, id)
		})
	}
}

func sealsHereOpensThere(t *testing.T, here, there *kms.Client, id string) {
	t.Helper()
	sealed := must1[*kms.EncryptOutput](t)(here.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("moved"), EncryptionContext: map[string]string{"a": "b"}}))
	opened := must1[*kms.DecryptOutput](t)(there.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: map[string]string{"a": "b"}}))
	if string(opened.Plaintext) != "moved" || *opened.KeyId == *sealed.KeyId {
		t.Errorf("opened %q with %s", opened.Plaintext, *opened.KeyId)
	}
}

func macsHereVerifiesThere(t *testing.T, here, there *kms.Client, id string) {
	t.Helper()
	made := must1[*kms.GenerateMacOutput](t)(here.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: &id, Message: []byte("m"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256}))
	must1[*kms.VerifyMacOutput](t)(there.VerifyMac(t.Context(), &kms.VerifyMacInput{KeyId: &id, Message: []byte("m"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Mac: made.Mac}))
}

func signsHereVerifiesThere(t *testing.T, here, there *kms.Client, id string) {
	t.Helper()
	signed := must1[*kms.SignOutput](t)(here.Sign(t.Context(), &kms.SignInput{KeyId: &id, Message: []byte("m"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256}))
	must1[*kms.VerifyOutput](t)(there.Verify(t.Context(), &kms.VerifyInput{KeyId: &id, Message: []byte("m"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256, Signature: signed.Signature}))
}

// Rotation of the primary rotates its replicas; the primary can move; and it
// is not deleted before its replicas.
func TestPrimaryRegionAndRotation(t *testing.T) {
	s := startKMS(t, raceBinary, false, twoRegions...)
	here, there, ctx := s.client(t, "admin", kmsRegion), s.client(t, "admin", kmsOtherRegion), t.Context()
	id, _ := createKey(ctx, t, here, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	must1[*kms.ReplicateKeyOutput](t)(here.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(kmsOtherRegion)}))
	before := must1[*kms.EncryptOutput](t)(there.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("before")}))
	must1[*kms.RotateKeyOnDemandOutput](t)(here.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	must1[*kms.EnableKeyRotationOutput](t)(here.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id}))
	if a, b := describe(t, here, id), describe(t, there, id); *a.CurrentKeyMaterialId != *b.CurrentKeyMaterialId {
		t.Errorf("the material in use is %s here and %s there", *a.CurrentKeyMaterialId, *b.CurrentKeyMaterialId)
	}
	sealsHereOpensThere(t, here, there, id)
	sealsHereOpensThere(t, there, here, id)
	must1[*kms.DecryptOutput](t)(here.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: before.CiphertextBlob}))
	if status := must1[*kms.GetKeyRotationStatusOutput](t)(there.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id})); !status.KeyRotationEnabled {
		t.Error("the replica's rotation is not that of the primary")
	}
	_, err := there.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantKMSError[*types.UnsupportedOperationException](t, "rotating a replica", err)

	must1[*kms.UpdatePrimaryRegionOutput](t)(here.UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String(kmsOtherRegion)}))
	for _, client := range []*kms.Client{here, there} {
		if c := describe(t, client, id).MultiRegionConfiguration; *c.PrimaryKey.Region != kmsOtherRegion || len(c.ReplicaKeys) != 1 || *c.ReplicaKeys[0].Region != kmsRegion {
			t.Errorf("after moving the primary: %+v", c)
		}
	}
	must1[*kms.RotateKeyOnDemandOutput](t)(there.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	answer := must1[*kms.ScheduleKeyDeletionOutput](t)(there.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)}))
	if answer.KeyState != types.KeyStatePendingReplicaDeletion || answer.DeletionDate != nil {
		t.Errorf("deleting the primary: %s at %v", answer.KeyState, answer.DeletionDate)
	}
	must1[*kms.CancelKeyDeletionOutput](t)(there.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &id}))
}

// Keys and aliases of one region are not seen in another.
func TestRegionsAreSeparate(t *testing.T) {
	s := startKMS(t, raceBinary, false, twoRegions...)
	here, there, ctx := s.client(t, "admin", kmsRegion), s.client(t, "admin", kmsOtherRegion), t.Context()
	mine, _ := createKey(ctx, t, here, &kms.CreateKeyInput{})
	theirs, theirARN := createKey(ctx, t, there, &kms.CreateKeyInput{})
	if theirARN != keyARN(kmsOtherRegion, theirs) {
		t.Errorf("the key's ARN is %s", theirARN)
	}
	for client, id := range map[*kms.Client]string{here: mine, there: theirs} {
		must1[*kms.CreateAliasOutput](t)(client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/same"), TargetKeyId: &id}))
		keys := must1[*kms.ListKeysOutput](t)(client.ListKeys(ctx, &kms.ListKeysInput{})).Keys
		if len(keys) != 1 || *keys[0].KeyId != id || *describe(t, client, "alias/same").KeyId != id {
			t.Errorf("keys: %v", keys)
		}
	}
	sealed := must1[*kms.EncryptOutput](t)(here.Encrypt(ctx, &kms.EncryptInput{KeyId: &mine, Plaintext: []byte("x")}))
	if _, err := there.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}); err == nil {
		t.Error("a single-Region key's ciphertext opens in another region")
	}
	_, err := s.client(t, "admin", "ap-southeast-1").ListKeys(ctx, &kms.ListKeysInput{})
	if err == nil {
		t.Error("a region that the service does not serve answers")
	}
}

// After many rotations every ciphertext still opens, with the material that
// sealed it, and the history is listed by pages.
func TestOldCiphertextsOpenAfterRotations(t *testing.T) {
	s := startKMS(t, raceBinary, false)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{})
	var blobs [][]byte
	var materials []string
	for i := range 11 {
		if i > 0 {
			must1[*kms.RotateKeyOnDemandOutput](t)(client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
		}
		sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte{byte(i)}}))
		blobs, materials = append(blobs, sealed.CiphertextBlob), append(materials, *describe(t, client, id).CurrentKeyMaterialId)
	}
	_, err := client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantKMSError[*types.LimitExceededException](t, "the 11th rotation", err)
	for i, blob := range blobs {
		opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob}))
		if opened.Plaintext[0] != byte(i) || *opened.KeyMaterialId != materials[i] {
			t.Errorf("ciphertext %d: opened %v with %s, want %s", i, opened.Plaintext, *opened.KeyMaterialId, materials[i])
		}
	}
	var listed []string
	for pages := kms.NewListKeyRotationsPaginator(client, &kms.ListKeyRotationsInput{KeyId: &id, Limit: aws.Int32(3), IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}); pages.HasMorePages(); {
		for _, rotation := range must1[*kms.ListKeyRotationsOutput](t)(pages.NextPage(ctx)).Rotations {
			listed = append(listed, *rotation.KeyMaterialId)
		}
	}
	if slices.Sort(listed); !slices.Equal(listed, slices.Sorted(slices.Values(materials))) {
		t.Errorf("listed %v, want %v", listed, materials)
	}
}
