// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

func TestRotationSchedule(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, arn := s.newKey()
	status := func() *kms.GetKeyRotationStatusOutput {
		t.Helper()
		out, err := c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id})
		must(t, err)
		if *out.KeyId != arn {
			t.Errorf("KeyId %s", *out.KeyId)
		}
		return out
	}
	if out := status(); out.KeyRotationEnabled || out.RotationPeriodInDays != nil || out.NextRotationDate != nil {
		t.Errorf("new key: %+v", out)
	}
	for _, tc := range []struct {
		period *int32
		want   int32
	}{{nil, 365}, {ptr[int32](90), 90}} {
		must2(t)(c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: tc.period}))
		out := status()
		if !out.KeyRotationEnabled || *out.RotationPeriodInDays != tc.want {
			t.Errorf("enabled: %+v", out)
		}
		if in := time.Until(*out.NextRotationDate).Hours() / 24; in < float64(tc.want)-0.1 || in > float64(tc.want)+0.1 {
			t.Errorf("next rotation in %f days", in)
		}
	}
	must2(t)(c.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: &id}))
	if status().KeyRotationEnabled {
		t.Error("still enabled")
	}
	must2(t)(c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
	_, err := c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id})
	wantError(t, err, "DisabledException", arn+" is disabled.")
	_, err = c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "DisabledException", arn+" is disabled.")
}

// TestRotateOnDemand: old ciphertexts open after rotations, new ones are under
// new material, and AWS's limit holds.
func TestRotateOnDemand(t *testing.T) {
	for _, protection := range []string{"hsm", "memory"} {
		t.Run(protection, func(t *testing.T) {
			s := newServer(t)
			c := s.admin()
			created, err := c.CreateKey(ctx, &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: ptr("sidekey:protection"), TagValue: &protection}}})
			must(t, err)
			id, arn := created.KeyMetadata.KeyId, *created.KeyMetadata.Arn
			var blobs [][]byte
			materials := map[string]bool{}
			encrypt := func() {
				t.Helper()
				out, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
				must(t, err)
				blobs = append(blobs, out.CiphertextBlob)
				d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id})
				must(t, err)
				materials[*d.KeyMetadata.CurrentKeyMaterialId] = true
			}
			encrypt()
			for range 10 {
				out, err := c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: id})
				must(t, err)
				if *out.KeyId != arn {
					t.Errorf("KeyId %s", *out.KeyId)
				}
				encrypt()
			}
			_, err = c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: id})
			if codeOf(err) != "LimitExceededException" {
				t.Errorf("11th: %v", err)
			}
			if len(materials) != 11 {
				t.Errorf("%d materials", len(materials))
			}
			s.restart()
			c = s.admin()
			for i, blob := range blobs {
				out, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
				must(t, err)
				if string(out.Plaintext) != "x" || !materials[*out.KeyMaterialId] || blob[20] != byte(i+1) {
					t.Errorf("blob %d: %+v", i, out)
				}
				delete(materials, *out.KeyMaterialId)
			}
			list, err := c.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: id, IncludeKeyMaterial: "ALL_KEY_MATERIAL", Limit: ptr[int32](7)})
			must(t, err)
			if len(list.Rotations) != 7 || !list.Truncated || list.Rotations[0].RotationDate != nil || list.Rotations[1].RotationType != "ON_DEMAND" {
				t.Errorf("%+v", list)
			}
			list, err = c.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: id, IncludeKeyMaterial: "ALL_KEY_MATERIAL", Marker: list.NextMarker})
			must(t, err)
			if len(list.Rotations) != 4 || list.Truncated || list.Rotations[3].KeyMaterialState != "CURRENT" || list.Rotations[2].KeyMaterialState != "NON_CURRENT" {
				t.Errorf("%+v", list)
			}
		})
	}
}

// TestAutomaticRotation: a key whose time has come is rotated once, though two
// replicas of the service look, and is on the record.
func TestAutomaticRotation(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.newKey()
	must2(t)(c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id}))
	old, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	_, err = s.store.Update(ctx, refOf(id), func(_ *store.Tx, k *store.Key) error {
		k.Rotation.Next = time.Now().Add(-time.Hour)
		return nil
	})
	must(t, err)
	s.stop()
	s.cfg.SweepInterval = 10 * time.Millisecond
	s.start()
	other := &server{t: t, dir: t.TempDir(), token: token, cfg: s.cfg}
	other.start()
	eventually(t, "rotation", func() bool {
		out, err := s.admin().ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: &id})
		must(t, err)
		return len(out.Rotations) != 0
	})
	time.Sleep(200 * time.Millisecond)
	out, err := other.admin().ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: &id})
	must(t, err)
	if len(out.Rotations) != 1 || out.Rotations[0].RotationType != "AUTOMATIC" {
		t.Errorf("%+v", out.Rotations)
	}
	eventually(t, "new date", func() bool { // the other replica may have rotated
		status, err := s.admin().GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id})
		must(t, err)
		return time.Until(*status.NextRotationDate) > 360*24*time.Hour
	})
	dec, err := other.admin().Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old.CiphertextBlob})
	must(t, err)
	if string(dec.Plaintext) != "x" {
		t.Errorf("%q", dec.Plaintext)
	}
}

// TestManyRotations: what a key says of itself does not grow with its
// rotations, and the first ciphertext opens after 1,000 of them.
func TestManyRotations(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	c := s.admin()
	first, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	size := func() (n int) {
		must(t, s.openFile().QueryRow("SELECT length(doc) FROM keys").Scan(&n))
		return n
	}
	before := size()
	m, err := s.store.StoredMaterial(ctx, refOf(id), 1)
	must(t, err)
	for range 1000 {
		_, err = s.store.Update(ctx, refOf(id), func(tx *store.Tx, k *store.Key) error {
			k.Versions++
			k.Version = k.Versions
			return tx.AddMaterial(k.Ref, store.Material{Version: k.Version, Wrapped: m.Wrapped, Created: time.Now(), Rotation: "AUTOMATIC"})
		})
		must(t, err)
	}
	if after := size(); after > before+10 {
		t.Errorf("the key's document grew from %d to %d bytes", before, after)
	}
	s.restart()
	c = s.admin()
	last, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	if !bytes.Equal(last.CiphertextBlob[17:21], []byte{0, 0, 3, 0xe9}) {
		t.Errorf("version %x", last.CiphertextBlob[17:21])
	}
	for _, blob := range [][]byte{first.CiphertextBlob, last.CiphertextBlob} {
		out, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
		must(t, err)
		if string(out.Plaintext) != "x" {
			t.Errorf("%q", out.Plaintext)
		}
	}
	rotations := 0
	for p := kms.NewListKeyRotationsPaginator(c, &kms.ListKeyRotationsInput{KeyId: &id}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		must(t, err)
		rotations += len(page.Rotations)
	}
	if rotations != 1000 {
		t.Errorf("%d rotations", rotations)
	}
}

func TestLastUsage(t *testing.T) {
	s := newServer(t)
	id, arn := s.newKey()
	usage := func() *kms.GetKeyLastUsageOutput {
		t.Helper()
		out, err := s.admin().GetKeyLastUsage(ctx, &kms.GetKeyLastUsageInput{KeyId: &id})
		must(t, err)
		return out
	}
	if out := usage(); out.KeyLastUsage != nil || *out.KeyId != arn {
		t.Errorf("%+v", out)
	}
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	if out := usage(); out.KeyLastUsage.Operation != "Encrypt" {
		t.Errorf("%+v", out.KeyLastUsage)
	}
	must2(t)(s.admin().Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob}))
	_, err = s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x"), DryRun: ptr(true)})
	if codeOf(err) != "DryRunOperationException" {
		t.Error(err)
	}
	s.restart()
	if out := usage(); out.KeyLastUsage.Operation != "Decrypt" || time.Since(*out.KeyLastUsage.Timestamp) > time.Minute || len(*out.KeyLastUsage.KmsRequestId) != 36 {
		t.Errorf("%+v", out.KeyLastUsage)
	}
}
