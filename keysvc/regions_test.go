// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

const secondRegion, thirdRegion = "us-east-1", "ap-southeast-1"

// newRegions is a server of three regions.
func newRegions(t testing.TB) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, dir: dir, token: token, cfg: config(t, dir)}
	s.cfg.Regions = []string{region, secondRegion, thirdRegion}
	s.start()
	return s
}

// in is admin's client of a region.
func (s *server) in(region string) *kms.Client {
	options := s.admin().Options()
	options.Region = region
	return kms.New(options)
}

func (s *server) newMultiRegionKey(in kms.CreateKeyInput) (id, arn string) {
	s.t.Helper()
	in.MultiRegion = ptr(true)
	out, err := s.admin().CreateKey(s.t.Context(), &in)
	must(s.t, err)
	return *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
}

func inRegion(arn, to string) string { return strings.Replace(arn, ":"+region+":", ":"+to+":", 1) }

func (s *server) replicate(id, to string) {
	s.t.Helper()
	_, err := s.admin().ReplicateKey(s.t.Context(), &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: &to})
	must(s.t, err)
}

func describe(t testing.TB, client *kms.Client, id string) *types.KeyMetadata {
	t.Helper()
	out, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
	must(t, err)
	return out.KeyMetadata
}

func TestReplicateKey(t *testing.T) {
	s := newRegions(t)
	ctx := t.Context()
	id, arn := s.newMultiRegionKey(kms.CreateKeyInput{Description: ptr("primary"), Tags: tags(map[string]string{"of": "primary"})})
	if !strings.HasPrefix(id, "mrk-") {
		t.Errorf("ID %s", id)
	}
	mine := policyFor(adminARN)
	out, err := s.admin().ReplicateKey(ctx, &kms.ReplicateKeyInput{
		KeyId: &id, ReplicaRegion: ptr(secondRegion), Description: ptr("replica"), Policy: &mine, Tags: tags(map[string]string{"of": "replica"}),
	})
	must(t, err)
	replica := inRegion(arn, secondRegion)
	ignore := cmp.Options{cmpopts.IgnoreUnexported(types.Tag{}, types.MultiRegionConfiguration{}, types.MultiRegionKey{}, types.KeyMetadata{})}
	wantConfig := &types.MultiRegionConfiguration{
		MultiRegionKeyType: "REPLICA",
		PrimaryKey:         &types.MultiRegionKey{Arn: &arn, Region: ptr(region)},
		ReplicaKeys:        []types.MultiRegionKey{{Arn: &replica, Region: ptr(secondRegion)}},
	}
	m := out.ReplicaKeyMetadata
	if diff := cmp.Diff(wantConfig, m.MultiRegionConfiguration, ignore); diff != "" {
		t.Error(diff)
	}
	if *m.Arn != replica || *m.KeyId != id || *m.Description != "replica" || m.KeyState != types.KeyStateEnabled || *out.ReplicaPolicy != mine {
		t.Errorf("got %s, %s, %q, %s, policy %s", *m.Arn, *m.KeyId, *m.Description, m.KeyState, *out.ReplicaPolicy)
	}
	if diff := cmp.Diff(tags(map[string]string{"of": "replica"}), out.ReplicaTags, ignore); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"of": "primary"}, tagsOf(t, s.admin(), id)); diff != "" {
		t.Error(diff)
	}
	wantConfig.MultiRegionKeyType = "PRIMARY"
	primary := describe(t, s.admin(), id)
	if diff := cmp.Diff(wantConfig, primary.MultiRegionConfiguration, ignore); diff != "" {
		t.Error(diff)
	}
	if *primary.CurrentKeyMaterialId != *m.CurrentKeyMaterialId {
		t.Error("the two have different key material IDs")
	}
	sealed, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("one key")})
	must(t, err)
	opened, err := s.in(secondRegion).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	must(t, err)
	if string(opened.Plaintext) != "one key" || *opened.KeyId != replica {
		t.Errorf("got %q of %s", opened.Plaintext, *opened.KeyId)
	}
	_, err = s.in(secondRegion).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	must(t, err)
	if state := describe(t, s.admin(), id).KeyState; state != types.KeyStateEnabled {
		t.Errorf("the primary key is %s", state)
	}
}

func TestReplicateKeyErrors(t *testing.T) {
	s := newRegions(t)
	ctx := t.Context()
	id, arn := s.newMultiRegionKey(kms.CreateKeyInput{})
	single, singleARN := s.newKey()
	s.replicate(id, secondRegion)
	replicate := func(client *kms.Client, id, to string) error {
		_, err := client.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: &to})
		return err
	}
	replica := inRegion(arn, secondRegion)
	wantError(t, replicate(s.admin(), single, secondRegion), "UnsupportedOperationException", singleARN+" is not a multi-region primary key.")
	wantError(t, replicate(s.in(secondRegion), id, thirdRegion), "UnsupportedOperationException", replica+" is not a multi-region primary key.")
	wantError(t, replicate(s.admin(), id, secondRegion), "AlreadyExistsException", "Key "+replica+" already exists.")
	wantError(t, replicate(s.admin(), id, region), "AlreadyExistsException", "Key "+arn+" already exists.")
	wantError(t, replicate(s.admin(), id, "eu-west-2"), "UnsupportedOperationException", "This key service does not serve the Region eu-west-2.")
	_, err := s.admin().ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: ptr(thirdRegion), Policy: ptr(policyFor(appARN))})
	wantError(t, err, "MalformedPolicyDocumentException", lockout)
	_, err = s.admin().ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: ptr(thirdRegion), Tags: tags(map[string]string{"sidekey:protection": "memory"})})
	wantError(t, err, "TagException", "The protection of the key is hsm: the tag sidekey:protection cannot have another value")
	_, err = s.admin().DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	must(t, err)
	wantError(t, replicate(s.admin(), id, thirdRegion), "DisabledException", arn+" is disabled.")
	_, err = s.in(thirdRegion).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	wantError(t, err, "NotFoundException", "Key '"+inRegion(arn, thirdRegion)+"' does not exist")
}

// importInto imports material into a key of the client's region.
func importInto(t testing.TB, client *kms.Client, id string, material []byte) error {
	t.Helper()
	p, err := client.GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{KeyId: &id, WrappingAlgorithm: "RSAES_OAEP_SHA_256", WrappingKeySpec: "RSA_2048"})
	must(t, err)
	public, err := x509.ParsePKIXPublicKey(p.PublicKey)
	must(t, err)
	sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public.(*rsa.PublicKey), material, nil)
	must(t, err)
	_, err = client.ImportKeyMaterial(t.Context(), &kms.ImportKeyMaterialInput{
		KeyId: &id, ImportToken: p.ImportToken, EncryptedKeyMaterial: sealed, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
	})
	return err
}

// TestReplicaOfImported: a replica awaits the same material.
func TestReplicaOfImported(t *testing.T) {
	s := newRegions(t)
	ctx := t.Context()
	id, arn := s.newMultiRegionKey(kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	_, err := s.admin().ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: ptr(secondRegion)})
	wantError(t, err, "KMSInvalidStateException", arn+" is pending import.")
	material := randomBytes(32)
	must(t, importInto(t, s.admin(), id, material))
	s.replicate(id, secondRegion)
	replica := s.in(secondRegion)
	if state := describe(t, replica, id).KeyState; state != types.KeyStatePendingImport {
		t.Errorf("the replica is %s", state)
	}
	sealed, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	_, err = replica.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	wantError(t, err, "KMSInvalidStateException", inRegion(arn, secondRegion)+" is pending import.")
	if err := importInto(t, replica, id, randomBytes(32)); codeOf(err) != "IncorrectKeyMaterialException" {
		t.Errorf("other material: %v", err)
	}
	must(t, importInto(t, replica, id, material))
	opened, err := replica.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	must(t, err)
	if string(opened.Plaintext) != "x" {
		t.Errorf("got %q", opened.Plaintext)
	}
}

func TestUpdatePrimaryRegion(t *testing.T) {
	s := newRegions(t)
	ctx := t.Context()
	id, arn := s.newMultiRegionKey(kms.CreateKeyInput{})
	s.replicate(id, secondRegion)
	s.replicate(id, thirdRegion)
	move := func(from, to string) error {
		_, err := s.in(from).UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: &to})
		return err
	}
	wantError(t, move(secondRegion, thirdRegion), "UnsupportedOperationException", inRegion(arn, secondRegion)+" is not a multi-region primary key.")
	wantError(t, move(region, region), "ValidationException", "The Region "+region+" is that of the primary key already.")
	wantError(t, move(region, "eu-west-2"), "NotFoundException", "Key '"+inRegion(arn, "eu-west-2")+"' does not exist")
	must(t, move(region, secondRegion))
	for _, where := range []string{region, secondRegion, thirdRegion} {
		c := describe(t, s.in(where), id).MultiRegionConfiguration
		if *c.PrimaryKey.Region != secondRegion || len(c.ReplicaKeys) != 2 || (c.MultiRegionKeyType == "PRIMARY") != (where == secondRegion) {
			t.Errorf("in %s: %s, primary in %s", where, c.MultiRegionKeyType, *c.PrimaryKey.Region)
		}
	}
	_, err := s.in(region).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
	must(t, err)
	wantError(t, move(secondRegion, region), "DisabledException", arn+" is disabled.")
}

// TestDeletePrimary: a primary key waits for the last of its replicas.
func TestDeletePrimary(t *testing.T) {
	s := newRegions(t)
	s.stop()
	s.cfg.SweepInterval = 20 * time.Millisecond
	s.start()
	ctx := t.Context()
	id, arn := s.newMultiRegionKey(kms.CreateKeyInput{})
	s.replicate(id, secondRegion)
	out, err := s.admin().ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: ptr(int32(9))})
	must(t, err)
	if out.KeyState != types.KeyStatePendingReplicaDeletion || out.DeletionDate != nil || *out.PendingWindowInDays != 9 {
		t.Errorf("got %s, %v, %d", out.KeyState, out.DeletionDate, *out.PendingWindowInDays)
	}
	m := describe(t, s.admin(), id)
	if m.KeyState != types.KeyStatePendingReplicaDeletion || *m.PendingDeletionWindowInDays != 9 || m.DeletionDate != nil {
		t.Errorf("got %s, %v", m.KeyState, m.DeletionDate)
	}
	_, err = s.admin().ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: ptr(thirdRegion)})
	wantError(t, err, "KMSInvalidStateException", arn+" is pending replica deletion.")
	_, err = s.in(secondRegion).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id})
	must(t, err)
	if state := describe(t, s.admin(), id).KeyState; state != types.KeyStatePendingReplicaDeletion {
		t.Errorf("the primary key is %s while its replica waits", state)
	}
	replica := store.Ref{Region: secondRegion, ID: multiID(id)}
	_, err = s.store.Update(ctx, replica, func(_ *store.Tx, k *store.Key) error {
		k.DeletionDate = time.Now().Add(-time.Second)
		return nil
	})
	must(t, err)
	eventually(t, "the primary key's deletion begins", func() bool {
		m := describe(t, s.admin(), id)
		return m.KeyState == types.KeyStatePendingDeletion && m.DeletionDate != nil && time.Until(*m.DeletionDate) > 8*24*time.Hour
	})
	must(t, cancelDeletion(s.admin(), id))
	if state := describe(t, s.admin(), id).KeyState; state != types.KeyStateDisabled {
		t.Errorf("got %s", state)
	}
}

func cancelDeletion(client *kms.Client, id string) error {
	_, err := client.CancelKeyDeletion(context.Background(), &kms.CancelKeyDeletionInput{KeyId: &id})
	return err
}

// multiID is the store's ID of a multi-Region key.
func multiID(id string) uuid.UUID { return uuid.MustParse(strings.TrimPrefix(id, "mrk-")) }
