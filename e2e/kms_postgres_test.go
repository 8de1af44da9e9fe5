// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// kmsDatabase makes a database of the stack's PostgreSQL and returns the edits
// that have a key service keep its keys there.
func kmsDatabase(t *testing.T) (edits []string) {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), strings.TrimSpace(readFile(t, shared.path("postgres-admin.url"))))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	name := "kms_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := admin.Exec(t.Context(), "create database "+name+" owner app"); err != nil {
		t.Fatal(err)
	}
	at := url.URL{Scheme: "postgres", User: url.User("app"), Host: hostOf(shared.env["UPSTREAM_DATABASE_URL"]), Path: name, RawQuery: "sslmode=disable"}
	// What is left of the line, the path of an SQLite store, becomes a comment.
	return []string{"  store: sqlite://", "  store_password_file: " + shared.path("app.secret") + "\n  sweep_interval: 200ms\n  store: " + at.String() + " # not "}
}

// Keys in PostgreSQL survive a restart, a SIGKILL too, with everything that
// belongs to them; their rows hold no key.
func TestKeysInPostgres(t *testing.T) {
	edits := append(kmsDatabase(t), twoRegions...)
	s := startKMS(t, raceBinary, false, edits...)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	id, _ := createKey(ctx, t, client, &kms.CreateKeyInput{Description: aws.String("kept"), Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
	must1[*kms.CreateAliasOutput](t)(client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/kept"), TargetKeyId: &id}))
	must1[*kms.EnableKeyRotationOutput](t)(client.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: aws.Int32(100)}))
	grant := must1[*kms.CreateGrantOutput](t)(client.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(appARN), Operations: []types.GrantOperation{types.GrantOperationDecrypt}}))
	sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/kept"), Plaintext: []byte("kept")}))
	must1[*kms.RotateKeyOnDemandOutput](t)(client.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	doomed, _ := createKey(ctx, t, client, &kms.CreateKeyInput{})
	must1[*kms.ScheduleKeyDeletionOutput](t)(client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &doomed, PendingWindowInDays: aws.Int32(7)}))
	material := describe(t, client, id).CurrentKeyMaterialId
	s.restart(t)
	app := s.client(t, "app", kmsRegion)
	if opened := must1[*kms.DecryptOutput](t)(app.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, GrantTokens: []string{*grant.GrantToken}})); string(opened.Plaintext) != "kept" {
		t.Errorf("opened %q", opened.Plaintext)
	}
	k := &terraformKey{T: t, client: s.client(t, "admin", kmsRegion), id: id}
	k.settle("the key after the restart", func(i keyInfo) bool {
		return *i.metadata.Description == "kept" && *i.metadata.CurrentKeyMaterialId == *material && i.rotation.KeyRotationEnabled && *i.rotation.RotationPeriodInDays == 100 && maps.Equal(i.tags, map[string]string{"a": "b"})
	})
	if metadata := describe(t, k.client, doomed); metadata.KeyState != types.KeyStatePendingDeletion || metadata.DeletionDate == nil {
		t.Errorf("the key to be deleted is %s until %v", metadata.KeyState, metadata.DeletionDate)
	}
}

// restart kills the service and starts it again with the same configuration.
func (s *kmsService) restart(t *testing.T) {
	t.Helper()
	s.command.Process.Kill()
	<-s.exited
	p, err := startProcess(s.logPath, []string{"SOFTHSM2_CONF=" + shared.env["SOFTHSM2_CONF"]}, s.command.Args[0], s.command.Args[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	if err := p.waitForAddress(s.address); err != nil {
		t.Fatal(err)
	}
}

// kmsLease is how long a replica may go on with what it knows of a key.
const kmsLease = 5 * time.Second

// Two replicas of the service share a database: what one makes the other uses
// at once, and what one forbids the other refuses within its lease.
func TestReplicasOfTheKeyService(t *testing.T) {
	edits := kmsDatabase(t)
	one, two := startKMS(t, raceBinary, false, edits...), startKMS(t, raceBinary, false, edits...)
	a, b, ctx := one.client(t, "admin", kmsRegion), two.client(t, "admin", kmsRegion), t.Context()
	appB := two.client(t, "app", kmsRegion)
	id, _ := createKey(ctx, t, a, &kms.CreateKeyInput{})
	sealed := must1[*kms.EncryptOutput](t)(b.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")}))
	must1[*kms.DecryptOutput](t)(a.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}))
	within := func(what, code string, call func() error) {
		t.Helper()
		eventually(t, kmsLease+3*time.Second, what, func() bool { return errorCode(call()) == code })
	}
	decrypt := func(client *kms.Client) func() error {
		return func() error {
			_, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
			return err
		}
	}
	must1[*kms.DisableKeyOutput](t)(a.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
	within("refusal of the disabled key", "DisabledException", decrypt(b))
	must1[*kms.EnableKeyOutput](t)(b.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id}))
	within("use of the enabled key", "", decrypt(a))
	grant := must1[*kms.CreateGrantOutput](t)(a.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: &id, GranteePrincipal: aws.String(appARN), Operations: []types.GrantOperation{types.GrantOperationDecrypt}}))
	within("use of the grant", "", decrypt(appB))
	must1[*kms.RevokeGrantOutput](t)(a.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: &id, GrantId: grant.GrantId}))
	within("refusal after revoking", "AccessDeniedException", decrypt(appB))
	must1[*kms.RotateKeyOnDemandOutput](t)(a.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	rotated := must1[*kms.EncryptOutput](t)(a.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("rotated")}))
	if opened := must1[*kms.DecryptOutput](t)(b.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: rotated.CiphertextBlob})); string(opened.Plaintext) != "rotated" {
		t.Errorf("the other replica opened %q", opened.Plaintext)
	}
	must1[*kms.CreateAliasOutput](t)(a.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/shared"), TargetKeyId: &id}))
	within("use of the alias", "", func() error {
		_, err := b.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/shared"), Plaintext: []byte("x")})
		return err
	})
	must1[*kms.ScheduleKeyDeletionOutput](t)(b.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id}))
	within("refusal of the key to be deleted", "KMSInvalidStateException", decrypt(a))
}

// Replicas that change one key at the same time lose no change, and scheduled
// work is done once.
func TestReplicasChangeKeysTogether(t *testing.T) {
	edits := kmsDatabase(t)
	services := []*kmsService{startKMS(t, raceBinary, false, edits...), startKMS(t, raceBinary, false, edits...)}
	ctx := t.Context()
	clients := []*kms.Client{services[0].client(t, "admin", kmsRegion), services[1].client(t, "admin", kmsRegion)}
	id, _ := createKey(ctx, t, clients[0], &kms.CreateKeyInput{})
	var group sync.WaitGroup
	want := map[string]string{}
	for i := range 20 {
		key := fmt.Sprintf("k%02d", i)
		want[key] = fmt.Sprint(i)
		group.Go(func() {
			if _, err := clients[i%2].TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{{TagKey: &key, TagValue: aws.String(fmt.Sprint(i))}}}); err != nil {
				t.Errorf("tag %d: %v", i, err)
			}
		})
	}
	group.Wait()
	got := map[string]string{}
	for _, tag := range must1[*kms.ListResourceTagsOutput](t)(clients[1].ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: &id})).Tags {
		got[*tag.TagKey] = *tag.TagValue
	}
	if !maps.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}

	external, _ := createKey(ctx, t, clients[0], &kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	material := make([]byte, 32)
	rand.Read(material)
	validTo := time.Now().Add(3 * time.Second)
	importMaterial(t, clients[0], external, material, &kms.ImportKeyMaterialInput{ExpirationModel: types.ExpirationModelTypeKeyMaterialExpires, ValidTo: &validTo})
	for _, client := range clients {
		eventually(t, 15*time.Second, "expiry", func() bool { return describe(t, client, external).KeyState == types.KeyStatePendingImport })
	}
	importMaterial(t, clients[1], external, material, &kms.ImportKeyMaterialInput{})
	time.Sleep(time.Second) // neither replica expires it again
	must1[*kms.EncryptOutput](t)(clients[1].Encrypt(ctx, &kms.EncryptInput{KeyId: &external, Plaintext: []byte("x")}))
}

// The answers and the lives of keys are the same over PostgreSQL.
func TestClientsOverPostgres(t *testing.T) {
	runKMSClients(t, startKMS(t, raceBinary, false, kmsDatabase(t)...), "symmetric", "aliases", "lists", "tags", "grants")
}
