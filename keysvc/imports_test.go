// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"hash"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/tink-crypto/tink-go/v2/kwp/subtle"

	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// externalKey makes a key that waits for its material.
func (s *server) externalKey(spec types.KeySpec, usage types.KeyUsageType) (id, arn string) {
	s.t.Helper()
	out, err := s.admin().CreateKey(ctx, &kms.CreateKeyInput{Origin: "EXTERNAL", KeySpec: spec, KeyUsage: usage})
	must(s.t, err)
	if out.KeyMetadata.KeyState != "PendingImport" || out.KeyMetadata.Enabled || out.KeyMetadata.Origin != "EXTERNAL" {
		s.t.Errorf("new external key: %+v", out.KeyMetadata)
	}
	return *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
}

// wrapFor wraps material as a caller does.
func (s *server) wrapFor(id string, algorithm types.AlgorithmSpec, spec types.WrappingKeySpec, material []byte) *kms.ImportKeyMaterialInput {
	s.t.Helper()
	p, err := s.admin().GetParametersForImport(ctx, &kms.GetParametersForImportInput{KeyId: &id, WrappingAlgorithm: algorithm, WrappingKeySpec: spec})
	must(s.t, err)
	if left := time.Until(*p.ParametersValidTo).Hours(); left < 23.9 || left > 24 || len(p.ImportToken) > 6144 {
		s.t.Errorf("parameters valid for %f hours, token of %d bytes", left, len(p.ImportToken))
	}
	public, err := x509.ParsePKIXPublicKey(p.PublicKey)
	must(s.t, err)
	var h hash.Hash = sha256.New()
	if algorithm == "RSAES_OAEP_SHA_1" || algorithm == "RSA_AES_KEY_WRAP_SHA_1" {
		h = sha1.New()
	}
	oaep := func(b []byte) []byte {
		sealed, err := rsa.EncryptOAEP(h, rand.Reader, public.(*rsa.PublicKey), b, nil)
		must(s.t, err)
		return sealed
	}
	in := &kms.ImportKeyMaterialInput{KeyId: &id, ImportToken: p.ImportToken, ExpirationModel: "KEY_MATERIAL_DOES_NOT_EXPIRE"}
	if algorithm == "RSAES_OAEP_SHA_1" || algorithm == "RSAES_OAEP_SHA_256" {
		in.EncryptedKeyMaterial = oaep(material)
		return in
	}
	kek := make([]byte, 32)
	rand.Read(kek)
	kwp, err := subtle.NewKWP(kek)
	must(s.t, err)
	wrapped, err := kwp.Wrap(material)
	must(s.t, err)
	in.EncryptedKeyMaterial = append(oaep(kek), wrapped...)
	return in
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// TestImportedMaterialIsUsed: what was imported is what encrypts, by every way
// of wrapping it.
func TestImportedMaterialIsUsed(t *testing.T) {
	s := newServer(t)
	for _, algorithm := range []types.AlgorithmSpec{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"} {
		for _, spec := range []types.WrappingKeySpec{"RSA_2048", "RSA_4096"} {
			if spec == "RSA_4096" && algorithm != "RSA_AES_KEY_WRAP_SHA_256" {
				continue // seconds each
			}
			id, arn := s.externalKey("", "")
			material := randomBytes(32)
			out, err := s.admin().ImportKeyMaterial(ctx, s.wrapFor(id, algorithm, spec, material))
			must(t, err)
			if *out.KeyId != arn || len(*out.KeyMaterialId) != 64 {
				t.Errorf("%+v", out)
			}
			enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
			must(t, err)
			got, err := refOpen(material, enc.CiphertextBlob, nil)
			if err != nil || string(got) != "x" {
				t.Errorf("%s %s: %q, %v", algorithm, spec, got, err)
			}
			d, err := s.admin().DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
			must(t, err)
			if m := d.KeyMetadata; m.ExpirationModel != "KEY_MATERIAL_DOES_NOT_EXPIRE" || m.ValidTo != nil || *m.CurrentKeyMaterialId != *out.KeyMaterialId || !m.Enabled {
				t.Errorf("%+v", m)
			}
		}
	}
}

// TestImportLife follows material from its import over deletion and expiry to
// its return. Only the same material comes back.
func TestImportLife(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, arn := s.externalKey("", "")
	encrypt := func() (*kms.EncryptOutput, error) {
		return c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	}
	pending := func() {
		t.Helper()
		_, err := encrypt()
		wantError(t, err, "KMSInvalidStateException", arn+" is pending import.")
		d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
		must(t, err)
		if d.KeyMetadata.KeyState != "PendingImport" || d.KeyMetadata.ExpirationModel != "" {
			t.Errorf("%+v", d.KeyMetadata)
		}
	}
	pending()
	_, err := c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id})
	wantError(t, err, "KMSInvalidStateException", arn+" is pending import.")
	material := randomBytes(32)
	in := s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", material)
	must2(t)(c.ImportKeyMaterial(ctx, in))
	enc, err := encrypt()
	must(t, err)

	must2(t)(c.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &id}))
	pending()
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
	wantError(t, err, "KMSInvalidStateException", arn+" is pending import.")
	var rows int
	must(t, s.openFile().QueryRow("SELECT count(*) FROM material").Scan(&rows))
	if rows != 0 {
		t.Errorf("%d rows of material", rows)
	}
	_, err = c.ImportKeyMaterial(ctx, s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", randomBytes(32)))
	wantError(t, err, "IncorrectKeyMaterialException", "The key material in the request is not the same key material that was previously imported into this KMS key.")

	in.ExpirationModel, in.ValidTo = "KEY_MATERIAL_EXPIRES", ptr(time.Now().Add(time.Hour))
	must2(t)(c.ImportKeyMaterial(ctx, in)) // a token is good for a day
	dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
	must(t, err)
	if string(dec.Plaintext) != "x" {
		t.Errorf("%q", dec.Plaintext)
	}
	// Past its time it is gone at once, and erased by the sweeper.
	_, err = s.store.Update(ctx, refOf(id), func(_ *store.Tx, k *store.Key) error {
		k.Imports[0].ValidTo = time.Now().Add(-time.Second)
		return nil
	})
	must(t, err)
	pending()
	s.stop()
	s.cfg.SweepInterval = 10 * time.Millisecond
	s.start()
	eventually(t, "expiry", func() bool {
		k, err := s.store.Key(ctx, refOf(id))
		must(t, err)
		return k.State == store.PendingImport && !k.Imports[0].Present
	})
	must(t, s.openFile().QueryRow("SELECT count(*) FROM material").Scan(&rows))
	if rows != 0 {
		t.Errorf("%d rows of material", rows)
	}
}

// TestImportRotation: new material waits for a rotation on demand; the old one
// still opens what it sealed.
func TestImportRotation(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, arn := s.externalKey("", "")
	first, second := randomBytes(32), randomBytes(32)
	must2(t)(c.ImportKeyMaterial(ctx, s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", first)))
	_, err := c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	wantError(t, err, "KMSInvalidStateException", "No available key material pending rotation for the key: "+arn+".")
	old, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	must(t, err)
	in := s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", second)
	in.ImportType, in.KeyMaterialDescription = "NEW_KEY_MATERIAL", ptr("second")
	imported, err := c.ImportKeyMaterial(ctx, in)
	must(t, err)
	third := s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", randomBytes(32))
	third.ImportType = "NEW_KEY_MATERIAL"
	_, err = c.ImportKeyMaterial(ctx, third)
	if codeOf(err) != "KMSInvalidStateException" {
		t.Errorf("a third while the second waits: %v", err)
	}
	list := func() []types.RotationsListEntry {
		t.Helper()
		out, err := c.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: &id, IncludeKeyMaterial: "ALL_KEY_MATERIAL"})
		must(t, err)
		return out.Rotations
	}
	if l := list(); len(l) != 2 || l[0].KeyMaterialState != "CURRENT" || l[1].KeyMaterialState != "PENDING_ROTATION" || l[1].RotationDate != nil ||
		*l[1].KeyMaterialDescription != "second" || l[1].ImportState != "IMPORTED" || l[1].ExpirationModel != "KEY_MATERIAL_DOES_NOT_EXPIRE" {
		t.Errorf("%+v", l)
	}
	must2(t)(c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	if l := list(); l[0].KeyMaterialState != "NON_CURRENT" || l[1].KeyMaterialState != "CURRENT" || l[1].RotationType != "ON_DEMAND" {
		t.Errorf("%+v", l)
	}
	enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("y")})
	must(t, err)
	if got, err := refOpen(second, enc.CiphertextBlob, nil); err != nil || string(got) != "y" {
		t.Errorf("%q, %v", got, err)
	}
	dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: old.CiphertextBlob})
	must(t, err)
	if string(dec.Plaintext) != "x" || *dec.KeyMaterialId == *imported.KeyMaterialId {
		t.Errorf("%+v", dec)
	}
	// Without the old material the key as a whole waits.
	must2(t)(c.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: &id, KeyMaterialId: dec.KeyMaterialId}))
	_, err = c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("y")})
	wantError(t, err, "KMSInvalidStateException", arn+" is pending import.")
	must2(t)(c.ImportKeyMaterial(ctx, s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", first)))
	must2(t)(c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("y")}))
}

func TestImportRefusals(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.externalKey("", "")
	other, _ := s.externalKey("", "")
	own, ownARN := s.newKey()
	_, err := c.GetParametersForImport(ctx, &kms.GetParametersForImportInput{KeyId: &own, WrappingAlgorithm: "RSAES_OAEP_SHA_256", WrappingKeySpec: "RSA_2048"})
	wantError(t, err, "UnsupportedOperationException", ownARN+" origin is AWS_KMS which is not valid for this operation.")
	good := s.wrapFor(id, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", randomBytes(32))
	for name, tc := range map[string]struct {
		edit func(*kms.ImportKeyMaterialInput)
		want string
	}{
		"token of another key": {func(in *kms.ImportKeyMaterialInput) { in.KeyId = &other }, "InvalidImportTokenException"},
		"token altered":        {func(in *kms.ImportKeyMaterialInput) { in.ImportToken[40] ^= 1 }, "InvalidImportTokenException"},
		"token short":          {func(in *kms.ImportKeyMaterialInput) { in.ImportToken = in.ImportToken[:9] }, "InvalidImportTokenException"},
		"wrapped altered":      {func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial[290] ^= 1 }, "InvalidCiphertextException"},
		"RSA part altered":     {func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial[30] ^= 1 }, "InvalidCiphertextException"},
		"wrapped short":        {func(in *kms.ImportKeyMaterialInput) { in.EncryptedKeyMaterial = in.EncryptedKeyMaterial[:256] }, "InvalidCiphertextException"},
		"31 bytes": {func(in *kms.ImportKeyMaterialInput) {
			*in = *s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", randomBytes(31))
		}, "IncorrectKeyMaterialException"},
		"no date":             {func(in *kms.ImportKeyMaterialInput) { in.ExpirationModel = "" }, "ValidationException"},
		"date without expiry": {func(in *kms.ImportKeyMaterialInput) { in.ValidTo = ptr(time.Now().Add(time.Hour)) }, "ValidationException"},
		"date in the past": {func(in *kms.ImportKeyMaterialInput) {
			in.ExpirationModel, in.ValidTo = "", ptr(time.Now().Add(-time.Hour))
		}, "ValidationException"},
		"date in two years": {func(in *kms.ImportKeyMaterialInput) {
			in.ExpirationModel, in.ValidTo = "", ptr(time.Now().AddDate(2, 0, 0))
		}, "ValidationException"},
		"existing that is not": {func(in *kms.ImportKeyMaterialInput) { in.ImportType = "EXISTING_KEY_MATERIAL" }, "IncorrectKeyMaterialException"},
		"new with a material ID": {func(in *kms.ImportKeyMaterialInput) {
			in.ImportType, in.KeyMaterialId = "NEW_KEY_MATERIAL", ptr(string(bytes.Repeat([]byte("a"), 64)))
		}, "ValidationException"},
	} {
		t.Run(name, func(t *testing.T) {
			in := *good
			in.ImportToken, in.EncryptedKeyMaterial = bytes.Clone(good.ImportToken), bytes.Clone(good.EncryptedKeyMaterial)
			tc.edit(&in)
			_, err := c.ImportKeyMaterial(ctx, &in)
			if codeOf(err) != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
			must(t, err)
			if d.KeyMetadata.KeyState != "PendingImport" {
				t.Errorf("state %s", d.KeyMetadata.KeyState)
			}
		})
	}
	must2(t)(c.ImportKeyMaterial(ctx, good))
}

// TestImportedPair imports a private key: its public half becomes the key's.
func TestImportedPair(t *testing.T) {
	s := newServer(t)
	id, _ := s.externalKey("ECC_NIST_P256", "SIGN_VERIFY")
	private, public, err := memkey.Generate("ECC_NIST_P256")
	must(t, err)
	must2(t)(s.admin().ImportKeyMaterial(ctx, s.wrapFor(id, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048", private)))
	k, err := s.store.Key(ctx, refOf(id))
	must(t, err)
	if !bytes.Equal(k.Public, public) {
		t.Error("another public key")
	}
}
