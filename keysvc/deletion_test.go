// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// doomed is a key, and something that only it can take back.
type doomed struct {
	arn   string
	alias string
	spec  types.KeySpec
	usage types.KeyUsageType
	made  []byte
}

var specUsages = map[types.KeySpec][]types.KeyUsageType{
	"SYMMETRIC_DEFAULT": {"ENCRYPT_DECRYPT"},
	"RSA_2048":          {"ENCRYPT_DECRYPT", "SIGN_VERIFY"}, "RSA_3072": {"ENCRYPT_DECRYPT"}, "RSA_4096": {"ENCRYPT_DECRYPT"},
	"ECC_NIST_P256": {"SIGN_VERIFY", "KEY_AGREEMENT"}, "ECC_NIST_P384": {"KEY_AGREEMENT"}, "ECC_NIST_P521": {"KEY_AGREEMENT"},
	"ECC_SECG_P256K1": {"SIGN_VERIFY"}, "ECC_NIST_EDWARDS25519": {"SIGN_VERIFY"},
	"HMAC_224": {"GENERATE_VERIFY_MAC"}, "HMAC_256": {"GENERATE_VERIFY_MAC"}, "HMAC_384": {"GENERATE_VERIFY_MAC"}, "HMAC_512": {"GENERATE_VERIFY_MAC"},
	"ML_DSA_44": {"SIGN_VERIFY"}, "ML_DSA_65": {"SIGN_VERIFY"}, "ML_DSA_87": {"SIGN_VERIFY"},
}

func (d *doomed) id() uuid.UUID { return uuid.MustParse(d.arn[strings.LastIndex(d.arn, "/")+1:]) }

// use makes something with a key.
func (d *doomed) use(c *kms.Client, key string) (made []byte, err error) {
	message := []byte("x")
	switch d.usage {
	case "ENCRYPT_DECRYPT":
		in := &kms.EncryptInput{KeyId: &key, Plaintext: message}
		if d.spec != "SYMMETRIC_DEFAULT" {
			in.EncryptionAlgorithm = "RSAES_OAEP_SHA_256"
		}
		var out *kms.EncryptOutput
		if out, err = c.Encrypt(ctx, in); err == nil {
			made = out.CiphertextBlob
		}
	case "SIGN_VERIFY":
		var out *kms.SignOutput
		if out, err = c.Sign(ctx, &kms.SignInput{KeyId: &key, Message: message, SigningAlgorithm: d.algorithm()}); err == nil {
			made = out.Signature
		}
	case "GENERATE_VERIFY_MAC":
		var out *kms.GenerateMacOutput
		if out, err = c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &key, Message: message, MacAlgorithm: d.mac()}); err == nil {
			made = out.Mac
		}
	case "KEY_AGREEMENT":
		if _, made, err = memkey.Generate(string(d.spec)); err == nil {
			_, err = c.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: &key, KeyAgreementAlgorithm: "ECDH", PublicKey: made})
		}
	}
	return made, err
}

// takeBack asks a key to take back what the doomed one has made; "" is for a
// request that names no key.
func (d *doomed) takeBack(c *kms.Client, key string) (err error) {
	name, message := &key, []byte("x")
	if key == "" {
		name = nil
	}
	switch d.usage {
	case "ENCRYPT_DECRYPT":
		in := &kms.DecryptInput{KeyId: name, CiphertextBlob: d.made}
		if d.spec != "SYMMETRIC_DEFAULT" {
			in.EncryptionAlgorithm = "RSAES_OAEP_SHA_256"
		}
		_, err = c.Decrypt(ctx, in)
	case "SIGN_VERIFY":
		_, err = c.Verify(ctx, &kms.VerifyInput{KeyId: name, Message: message, SigningAlgorithm: d.algorithm(), Signature: d.made})
	case "GENERATE_VERIFY_MAC":
		_, err = c.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: name, Message: message, MacAlgorithm: d.mac(), Mac: d.made})
	case "KEY_AGREEMENT":
		_, err = c.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: name, KeyAgreementAlgorithm: "ECDH", PublicKey: d.made})
	}
	return err
}

func (d *doomed) algorithm() types.SigningAlgorithmSpec {
	switch spec := string(d.spec); {
	case strings.HasPrefix(spec, "RSA"):
		return "RSASSA_PSS_SHA_256"
	case strings.HasPrefix(spec, "ML_DSA"):
		return "ML_DSA_SHAKE_256"
	case spec == "ECC_NIST_EDWARDS25519":
		return "ED25519_SHA_512"
	}
	return "ECDSA_SHA_256"
}

func (d *doomed) mac() types.MacAlgorithmSpec {
	return types.MacAlgorithmSpec(strings.Replace(string(d.spec), "_", "_SHA_", 1))
}

// TestErasedIsGone deletes a key of every spec and protection that two replicas
// of the service have just used. Afterwards neither takes back what the key has
// made, by whatever name, nor does one that was started again, nor another key
// that has got the alias.
func TestErasedIsGone(t *testing.T) {
	s := newServer(t)
	s.stop()
	s.cfg.SweepInterval = 20 * time.Millisecond
	s.start()
	other := s.replica(20 * time.Millisecond)
	var all []*doomed
	for spec, usages := range specUsages {
		for _, usage := range usages {
			for _, protection := range []string{"", "memory"} {
				if protection != "" && slices.Contains([]types.KeySpec{"RSA_3072", "RSA_4096"}, spec) {
					continue // seconds each
				}
				all = append(all, s.doom(other, spec, usage, protection))
			}
		}
	}
	eventually(t, "the other replica to see the deletions", func() bool {
		return !slices.ContainsFunc(all, func(d *doomed) bool { return codeOf(d.takeBack(other.admin(), d.arn)) != "KMSInvalidStateException" })
	})
	for _, d := range all {
		s.expire(d.id().String())
	}
	for _, d := range all {
		for _, replica := range []*server{s, other} {
			// One of them erases it; the other sees that within a second.
			eventually(t, "erasure of "+d.arn, func() bool { return codeOf(d.takeBack(replica.admin(), d.arn)) == "NotFoundException" })
			eventually(t, "forgetting of "+d.arn, func() bool { return replica.svc.Held(d.id()) == 0 })
			d.wantGone(t, replica.admin())
		}
	}
	s.restart()
	for _, d := range all {
		d.wantGone(t, s.admin())
		if strings.HasPrefix(string(d.spec), "RSA_3") || strings.HasPrefix(string(d.spec), "RSA_4") {
			continue
		}
		heir := s.keyOf(d.spec, d.usage, "")
		must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &d.alias, TargetKeyId: &heir}))
		d.wantNoHeir(t, s.admin())
	}
}

// doom makes a key, has two replicas use it, and schedules its deletion.
func (s *server) doom(other *server, spec types.KeySpec, usage types.KeyUsageType, protection string) *doomed {
	t := s.t
	t.Helper()
	d := &doomed{arn: s.keyOf(spec, usage, protection), spec: spec, usage: usage}
	d.alias = "alias/" + d.id().String()
	must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &d.alias, TargetKeyId: &d.arn}))
	var err error
	d.made, err = d.use(s.admin(), d.arn)
	must(t, err)
	must(t, d.takeBack(other.admin(), d.arn))
	if _, err := d.use(other.admin(), d.arn); err != nil {
		t.Fatal(err)
	}
	must2(t)(s.admin().ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &d.arn}))
	return d
}

func (d *doomed) wantGone(t *testing.T, c *kms.Client) {
	t.Helper()
	for _, name := range []string{d.arn, d.id().String(), d.alias} {
		if code := codeOf(d.takeBack(c, name)); code != "NotFoundException" {
			t.Errorf("%s %s: taking back as %s: %s", d.spec, d.usage, name, code)
		}
		if _, err := d.use(c, name); codeOf(err) != "NotFoundException" {
			t.Errorf("%s %s: use as %s: %v", d.spec, d.usage, name, err)
		}
		if _, err := c.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &name}); codeOf(err) != "NotFoundException" {
			t.Errorf("%s %s: public key of %s: %v", d.spec, d.usage, name, err)
		}
	}
	if d.spec == "SYMMETRIC_DEFAULT" {
		if code := codeOf(d.takeBack(c, "")); code != "AccessDeniedException" {
			t.Errorf("taking back what names the key: %s", code)
		}
	}
}

// wantNoHeir asks the key that has got the alias.
func (d *doomed) wantNoHeir(t *testing.T, c *kms.Client) {
	t.Helper()
	want := map[types.KeyUsageType]string{"SIGN_VERIFY": "KMSInvalidSignatureException", "GENERATE_VERIFY_MAC": "KMSInvalidMacException", "ENCRYPT_DECRYPT": "InvalidCiphertextException"}[d.usage]
	if d.spec == "SYMMETRIC_DEFAULT" {
		want = "IncorrectKeyException"
	}
	if code := codeOf(d.takeBack(c, d.alias)); code != want {
		t.Errorf("%s %s: another key with the alias: %s, want %s", d.spec, d.usage, code, want)
	}
}

// TestErasedReplica: of a multi-Region key, the keys that are left alive open
// what the erased one has sealed, and nothing else does.
func TestErasedReplica(t *testing.T) {
	for _, protection := range []string{"hsm", "memory"} {
		s := newRegions(t)
		s.stop()
		s.cfg.SweepInterval = 20 * time.Millisecond
		s.start()
		here, there := s.in(region), s.in(secondRegion)
		id, _ := s.newMultiRegionKey(kms.CreateKeyInput{Tags: tags(map[string]string{"sidekey:protection": protection})})
		s.replicate(id, secondRegion)
		sealed, err := here.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
		must(t, err)
		open := func(c *kms.Client) error {
			_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
			return err
		}
		must(t, open(there))
		must2(t)(there.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id}))
		must(t, s.expireIn(secondRegion, id))
		eventually(t, "erasure of the replica", func() bool { return codeOf(open(there)) == "AccessDeniedException" })
		must(t, open(here))
		// A replica made anew has the material again: the primary key lent it.
		s.replicate(id, secondRegion)
		must(t, open(there))
		must2(t)(here.UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: ptr(secondRegion)}))
		must2(t)(here.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id}))
		must(t, s.expireIn(region, id))
		eventually(t, "erasure of what was the primary key", func() bool { return codeOf(open(here)) == "AccessDeniedException" })
		must(t, open(there))
		must2(t)(there.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id}))
		must(t, s.expireIn(secondRegion, id))
		eventually(t, "erasure of the last key", func() bool { return codeOf(open(there)) == "AccessDeniedException" })
		if n := s.svc.Held(multiID(id)); n != 0 {
			t.Errorf("%s: %d versions are held", protection, n)
		}
	}
}

// expireIn sets the deletion date of a multi-Region key to a second ago.
func (s *server) expireIn(region, id string) error {
	_, err := s.store.Update(ctx, store.Ref{Region: region, ID: multiID(id)}, func(_ *store.Tx, k *store.Key) error {
		k.DeletionDate = time.Now().Add(-time.Second)
		return nil
	})
	return err
}

// TestCancelAgainstErasure: a deletion that was canceled does not happen, and
// one that has happened cannot be canceled, however close they come.
func TestCancelAgainstErasure(t *testing.T) {
	s := newServer(t)
	s.stop()
	s.cfg.SweepInterval = time.Millisecond
	s.start()
	c := s.admin()
	outcomes := map[string]int{}
	for i := range 40 {
		id, arn := s.newKey()
		enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
		must(t, err)
		must2(t)(c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id}))
		var canceled error
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			_, canceled = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &id})
		})
		s.store.Update(ctx, refOf(id), func(_ *store.Tx, k *store.Key) error {
			if k.State == store.PendingDeletion {
				k.DeletionDate = time.Now()
			}
			return nil
		})
		wg.Wait()
		outcomes[codeOf(canceled)]++
		if canceled != nil {
			wantError(t, canceled, "NotFoundException", "Key '"+arn+"' does not exist")
			_, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
			if codeOf(err) != "AccessDeniedException" {
				t.Errorf("a key that is gone: %v", err)
			}
			continue
		}
		time.Sleep(3 * time.Millisecond) // for the sweeper
		must2(t)(c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id}))
		must2(t)(c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob}))
	}
	if len(outcomes) != 2 {
		t.Logf("one side always won: %v", outcomes)
	}
	if strings.Contains(s.log.String(), "scheduled work") {
		t.Errorf("log:\n%s", s.log.String())
	}
}
