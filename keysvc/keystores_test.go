// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

const storePassword = "kmsuser-password"

// clusters are SoftHSM tokens beside the one of the service, by cluster ID.
type clusters struct {
	t      testing.TB
	mu     sync.Mutex
	labels map[string]string
	opened atomic.Int32
	away   atomic.Bool // tokens do not answer
}

var clusterNumber atomic.Int32

// add makes a token whose PIN is storePassword.
func (c *clusters) add() (id string) {
	c.t.Helper()
	dir := c.t.TempDir()
	pin, soPIN := filepath.Join(dir, "pin"), filepath.Join(dir, "so-pin")
	must(c.t, errors.Join(os.WriteFile(pin, []byte(storePassword), 0o600), os.WriteFile(soPIN, []byte("so-pin"), 0o600)))
	label := fmt.Sprintf("cluster-%d", clusterNumber.Add(1))
	must(c.t, hsm.InitToken(context.Background(), keysvctest.Module, label, soPIN, pin))
	id = "cluster-abcdefghij" + strings.Repeat("a", len(c.labels)+1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.labels[id] = label
	return id
}

// open is the service's keysvc.OpenToken.
func (c *clusters) open(ctx context.Context, clusterID string, pin []byte) (keysvc.CustomToken, error) {
	c.mu.Lock()
	label, ok := c.labels[clusterID]
	c.mu.Unlock()
	if !ok {
		return nil, keysvc.ErrNoCluster
	}
	if pin == nil {
		return nil, nil
	}
	c.opened.Add(1)
	if c.away.Load() {
		return nil, errors.New("the token does not answer")
	}
	cfg := hsm.Config{URI: "pkcs11:token=" + label + ";object=root?module-path=" + keysvctest.Module}
	token, err := hsm.OpenWithPIN(ctx, cfg, pin, slog.New(slog.DiscardHandler))
	if errors.Is(err, hsm.ErrPIN) {
		return nil, keysvc.ErrPIN
	}
	if err != nil {
		return nil, err
	}
	return token, nil
}

func newServerWithClusters(t testing.TB) (*server, *clusters) {
	t.Helper()
	c := &clusters{t: t, labels: map[string]string{}}
	dir := t.TempDir()
	s := &server{t: t, dir: dir, token: token, open: c.open, cfg: config(t, dir)}
	s.start()
	return s, c
}

func newKeyStore(t testing.TB, client *kms.Client, name, cluster, password string) string {
	t.Helper()
	out, err := client.CreateCustomKeyStore(t.Context(), &kms.CreateCustomKeyStoreInput{
		CustomKeyStoreName: &name, CloudHsmClusterId: &cluster, KeyStorePassword: &password, TrustAnchorCertificate: ptr("certificate"),
	})
	must(t, err)
	return *out.CustomKeyStoreId
}

func describeStore(t testing.TB, client *kms.Client, id string) types.CustomKeyStoresListEntry {
	t.Helper()
	out, err := client.DescribeCustomKeyStores(t.Context(), &kms.DescribeCustomKeyStoresInput{CustomKeyStoreId: &id})
	must(t, err)
	return out.CustomKeyStores[0]
}

func connectStore(client *kms.Client, id string) error {
	_, err := client.ConnectCustomKeyStore(context.Background(), &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &id})
	return err
}

func disconnectStore(client *kms.Client, id string) error {
	_, err := client.DisconnectCustomKeyStore(context.Background(), &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id})
	return err
}

func waitStore(t testing.TB, client *kms.Client, id string, state types.ConnectionStateType) {
	t.Helper()
	eventually(t, "the key store is "+string(state), func() bool { return describeStore(t, client, id).ConnectionState == state })
}

// TestCustomKeyStore: the life of a custom key store and a key in it.
func TestCustomKeyStore(t *testing.T) {
	s, c := newServerWithClusters(t)
	ctx, client := t.Context(), s.admin()
	cluster := c.add()
	id := newKeyStore(t, client, "one", cluster, storePassword)
	e := describeStore(t, client, id)
	if !strings.HasPrefix(id, "cks-") || e.ConnectionState != "DISCONNECTED" || *e.CloudHsmClusterId != cluster || *e.CustomKeyStoreName != "one" ||
		e.CustomKeyStoreType != "AWS_CLOUDHSM" || *e.TrustAnchorCertificate != "certificate" || e.ConnectionErrorCode != "" {
		t.Errorf("got %s: %+v", id, e)
	}
	in := &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm, CustomKeyStoreId: &id}
	_, err := client.CreateKey(ctx, in)
	wantError(t, err, "CustomKeyStoreInvalidStateException", "Custom key store "+id+" is DISCONNECTED, which is not valid for this operation.")
	must(t, connectStore(client, id))
	must(t, connectStore(client, id)) // AWS takes it again
	waitStore(t, client, id, "CONNECTED")

	made, err := client.CreateKey(ctx, in)
	must(t, err)
	key, arn := *made.KeyMetadata.KeyId, *made.KeyMetadata.Arn
	if m := made.KeyMetadata; *m.CustomKeyStoreId != id || *m.CloudHsmClusterId != cluster || m.Origin != "AWS_CLOUDHSM" || m.KeyState != "Enabled" {
		t.Errorf("got %+v", m)
	}
	sealed, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("in the other token")})
	must(t, err)
	decrypt := func() error {
		out, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
		if err == nil && string(out.Plaintext) != "in the other token" {
			t.Errorf("got %q", out.Plaintext)
		}
		return err
	}
	must(t, decrypt())
	random, err := client.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: ptr(int32(16)), CustomKeyStoreId: &id})
	must(t, err)
	if len(random.Plaintext) != 16 {
		t.Errorf("%d random bytes", len(random.Plaintext))
	}

	must(t, disconnectStore(client, id))
	if m := describe(t, client, key); m.KeyState != types.KeyStateUnavailable || m.Enabled {
		t.Errorf("the key is %s", m.KeyState)
	}
	wantError(t, decrypt(), "KMSInvalidStateException", arn+" is unavailable.")
	_, err = client.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: ptr(int32(16)), CustomKeyStoreId: &id})
	wantError(t, err, "CustomKeyStoreInvalidStateException", "Custom key store "+id+" is DISCONNECTED, which is not valid for this operation.")
	_, err = client.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &id})
	wantError(t, err, "CustomKeyStoreHasCMKsException", "Custom key store "+id+" contains KMS keys.")

	must(t, connectStore(client, id))
	waitStore(t, client, id, "CONNECTED")
	must(t, decrypt())
	s.restart()
	client = s.admin()
	must(t, decrypt()) // the service connects again by itself
}

// TestKeyStorePassword: a wrong password is tried once, and never again.
func TestKeyStorePassword(t *testing.T) {
	s, c := newServerWithClusters(t)
	ctx, client := t.Context(), s.admin()
	id := newKeyStore(t, client, "one", c.add(), "wrong-password")
	must(t, connectStore(client, id))
	waitStore(t, client, id, "FAILED")
	if e := describeStore(t, client, id); e.ConnectionErrorCode != types.ConnectionErrorCodeTypeInvalidCredentials {
		t.Errorf("got %s", e.ConnectionErrorCode)
	}
	wantError(t, connectStore(client, id), "CustomKeyStoreInvalidStateException", "Custom key store "+id+" is FAILED, which is not valid for this operation.")
	update := &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, KeyStorePassword: ptr(storePassword)}
	_, err := client.UpdateCustomKeyStore(ctx, update)
	wantError(t, err, "CustomKeyStoreInvalidStateException", "Custom key store "+id+" is FAILED, which is not valid for this operation.")
	must(t, disconnectStore(client, id))
	must(t, connectStore(client, id)) // with the same wrong password
	waitStore(t, client, id, "FAILED")
	s.restart()
	client = s.admin()
	waitStore(t, client, id, "FAILED")
	if n := c.opened.Load(); n != 1 {
		t.Errorf("the wrong password was tried %d times", n)
	}
	must(t, disconnectStore(client, id))
	_, err = client.UpdateCustomKeyStore(ctx, update)
	must(t, err)
	must(t, connectStore(client, id))
	waitStore(t, client, id, "CONNECTED")
	rows, err := os.ReadFile(filepath.Join(s.dir, "keys.db"))
	must(t, err)
	if wal, err := os.ReadFile(filepath.Join(s.dir, "keys.db-wal")); err == nil {
		rows = append(rows, wal...)
	}
	if strings.Contains(string(rows), storePassword) || !strings.Contains(string(rows), id) {
		t.Error("the password is in the store, or the key store is not")
	}
}

// TestKeyStoreAway: a token that is away when the service starts is waited for.
func TestKeyStoreAway(t *testing.T) {
	s, c := newServerWithClusters(t)
	client := s.admin()
	id := newKeyStore(t, client, "one", c.add(), storePassword)
	must(t, connectStore(client, id))
	waitStore(t, client, id, "CONNECTED")
	c.away.Store(true)
	s.restart()
	client = s.admin()
	eventually(t, "a login fails", func() bool { return c.opened.Load() >= 2 })
	if state := describeStore(t, client, id).ConnectionState; state != "CONNECTED" {
		t.Errorf("got %s", state)
	}
	c.away.Store(false)
	_, err := client.GenerateRandom(t.Context(), &kms.GenerateRandomInput{NumberOfBytes: ptr(int32(16)), CustomKeyStoreId: &id})
	must(t, err)

	c.away.Store(true)
	must(t, disconnectStore(client, id))
	must(t, connectStore(client, id))
	waitStore(t, client, id, "FAILED")
	if e := describeStore(t, client, id); e.ConnectionErrorCode != types.ConnectionErrorCodeTypeInternalError {
		t.Errorf("got %s", e.ConnectionErrorCode)
	}
}

func TestKeyStoreErrors(t *testing.T) {
	s, c := newServerWithClusters(t)
	ctx, client := t.Context(), s.admin()
	first, second := c.add(), c.add()
	one := newKeyStore(t, client, "one", first, storePassword)
	two := newKeyStore(t, client, "two", second, storePassword)
	create := func(in kms.CreateCustomKeyStoreInput) error {
		_, err := client.CreateCustomKeyStore(ctx, &in)
		return err
	}
	update := func(in kms.UpdateCustomKeyStoreInput) error {
		_, err := client.UpdateCustomKeyStore(ctx, &in)
		return err
	}
	createKey := func(in kms.CreateKeyInput) error {
		_, err := client.CreateKey(ctx, &in)
		return err
	}
	describe := func(in kms.DescribeCustomKeyStoresInput) error {
		_, err := client.DescribeCustomKeyStores(ctx, &in)
		return err
	}
	full := func(name, cluster string) kms.CreateCustomKeyStoreInput {
		return kms.CreateCustomKeyStoreInput{CustomKeyStoreName: &name, CloudHsmClusterId: &cluster, KeyStorePassword: ptr(storePassword), TrustAnchorCertificate: ptr("c")}
	}
	noPassword, nowhere := full("three", first), "cluster-zzzzzzzzzzz"
	noPassword.KeyStorePassword = nil
	for _, tc := range []struct {
		name          string
		err           error
		code, message string
	}{
		{"name", create(full("one", second)), "CustomKeyStoreNameInUseException", "The custom key store name one is in use."},
		{"cluster", create(full("three", first)), "CloudHsmClusterInUseException", "Cluster " + first + " is associated with another custom key store."},
		{"unknown cluster", create(full("three", nowhere)), "CloudHsmClusterNotFoundException", "Cluster " + nowhere + " is not found: key_stores of the configuration does not have it."},
		{"no password", create(noPassword), "ValidationException", "KeyStorePassword is required for a custom key store of type AWS_CLOUDHSM."},
		{"name alone", create(kms.CreateCustomKeyStoreInput{CustomKeyStoreName: ptr("x")}), "ValidationException", "CloudHsmClusterId is required for a custom key store of type AWS_CLOUDHSM."},
		{"external", create(kms.CreateCustomKeyStoreInput{CustomKeyStoreName: ptr("x"), CustomKeyStoreType: "EXTERNAL_KEY_STORE"}), "UnsupportedOperationException", "Custom key stores of type EXTERNAL_KEY_STORE are not supported by this key service."},
		{"rename", update(kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &two, NewCustomKeyStoreName: ptr("one")}), "CustomKeyStoreNameInUseException", "The custom key store name one is in use."},
		{"other cluster", update(kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &two, CloudHsmClusterId: &first}), "CloudHsmClusterInUseException", "Cluster " + first + " is associated with another custom key store."},
		{"update missing", update(kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: ptr("cks-0")}), "CustomKeyStoreNotFoundException", "Custom key store cks-0 is not found."},
		{"connect missing", connectStore(client, "cks-0"), "CustomKeyStoreNotFoundException", "Custom key store cks-0 is not found."},
		{"disconnect", disconnectStore(client, one), "CustomKeyStoreInvalidStateException", "Custom key store " + one + " is DISCONNECTED, which is not valid for this operation."},
		{"describe missing", describe(kms.DescribeCustomKeyStoresInput{CustomKeyStoreName: ptr("three")}), "CustomKeyStoreNotFoundException", "Custom key store three is not found."},
		{"describe both", describe(kms.DescribeCustomKeyStoresInput{CustomKeyStoreName: ptr("one"), CustomKeyStoreId: &one}), "ValidationException", "You cannot specify both CustomKeyStoreId and CustomKeyStoreName."},
		{"key without store", createKey(kms.CreateKeyInput{Origin: "AWS_CLOUDHSM"}), "ValidationException", "CustomKeyStoreId is required for a KMS key whose Origin is AWS_CLOUDHSM."},
		{"store without origin", createKey(kms.CreateKeyInput{CustomKeyStoreId: &one}), "ValidationException", "You cannot specify CustomKeyStoreId for a KMS key whose Origin is AWS_KMS."},
		{"missing store", createKey(kms.CreateKeyInput{Origin: "AWS_CLOUDHSM", CustomKeyStoreId: ptr("cks-0")}), "CustomKeyStoreNotFoundException", "Custom key store cks-0 is not found."},
		{"delete", func() error {
			_, err := client.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &two})
			return err
		}(), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.code == "" {
				must(t, tc.err)
				return
			}
			wantError(t, tc.err, tc.code, tc.message)
		})
	}
	must(t, update(kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &one, NewCustomKeyStoreName: ptr("uno"), CloudHsmClusterId: &second}))
	three := newKeyStore(t, client, "three", first, storePassword)
	var names []string
	for pages := kms.NewDescribeCustomKeyStoresPaginator(client, &kms.DescribeCustomKeyStoresInput{Limit: ptr(int32(1))}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		must(t, err)
		for _, e := range page.CustomKeyStores {
			names = append(names, *e.CustomKeyStoreName)
		}
	}
	if len(names) != 2 || names[0] == names[1] {
		t.Errorf("got %q, with %s", names, three)
	}
	_, err := s.client(appID).CreateCustomKeyStore(ctx, ptr(full("x", first)))
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("got %v", err)
	}
}

// TestKeyStoreOfReplicas: a replica of the service that was not asked to
// connect logs in once another one has been let in, and logs out with it. A
// wrong password is tried by one of them only.
func TestKeyStoreOfReplicas(t *testing.T) {
	s, c := newServerWithClusters(t)
	other := &server{t: t, dir: t.TempDir(), token: token, open: c.open, cfg: s.cfg}
	other.start()
	ctx, client := t.Context(), s.admin()
	id := newKeyStore(t, client, "one", c.add(), "wrong-password")
	must(t, connectStore(client, id))
	waitStore(t, other.admin(), id, "FAILED")
	if n := c.opened.Load(); n != 1 {
		t.Errorf("the wrong password was tried %d times", n)
	}
	must(t, disconnectStore(client, id))
	_, err := client.UpdateCustomKeyStore(ctx, &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, KeyStorePassword: ptr(storePassword)})
	must(t, err)
	must(t, connectStore(client, id))
	waitStore(t, client, id, "CONNECTED")
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm, CustomKeyStoreId: &id})
	must(t, err)
	eventually(t, "the other replica encrypts", func() bool {
		_, err := other.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: made.KeyMetadata.KeyId, Plaintext: []byte("x")})
		return err == nil
	})
	must(t, disconnectStore(client, id))
	eventually(t, "the other replica refuses", func() bool {
		_, err := other.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: made.KeyMetadata.KeyId, Plaintext: []byte("x")})
		return codeOf(err) == "KMSInvalidStateException"
	})
}
