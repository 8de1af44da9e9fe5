// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const (
	tenantCluster  = "cluster-abcdefghijk"
	tenantPassword = "kmsuser-password"
)

// tenantToken makes a second SoftHSM token and returns the edits that let a
// service have it as a custom key store.
func tenantToken(t *testing.T, label string) (edits []string) {
	t.Helper()
	util := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "so-password", "--pin", tenantPassword)
	util.Env = append(os.Environ(), "SOFTHSM2_CONF="+shared.env["SOFTHSM2_CONF"])
	if out, err := util.CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	module := regexp.MustCompile(`module-path=[^&\s]+`).FindString(readFile(t, shared.path("keysvc.yaml")))
	return []string{"hsm:\n", "key_stores:\n  - cluster_id: " + tenantCluster + "\n    hsm: {uri: \"pkcs11:token=" + label + ";object=sidekey-root?" + module + "\"}\nhsm:\n"}
}

// A tenant's keys are in a token of its own, from CreateCustomKeyStore to its
// deletion: disconnected they are unavailable, reconnected they open what they
// sealed, across a restart too.
func TestCustomKeyStores(t *testing.T) {
	s := startKMS(t, raceBinary, false, tenantToken(t, "e2e-tenant")...)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	in := &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("tenant"), CloudHsmClusterId: aws.String(tenantCluster), KeyStorePassword: aws.String("wrong-password"), TrustAnchorCertificate: aws.String("certificate")}
	id := *must1[*kms.CreateCustomKeyStoreOutput](t)(client.CreateCustomKeyStore(ctx, in)).CustomKeyStoreId
	connect := &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &id}
	state := func(want types.ConnectionStateType) types.CustomKeyStoresListEntry {
		t.Helper()
		var entry types.CustomKeyStoresListEntry
		eventually(t, 20*time.Second, string(want), func() bool {
			entry = must1[*kms.DescribeCustomKeyStoresOutput](t)(client.DescribeCustomKeyStores(ctx, &kms.DescribeCustomKeyStoresInput{CustomKeyStoreId: &id})).CustomKeyStores[0]
			return entry.ConnectionState == want
		})
		return entry
	}
	must1[*kms.ConnectCustomKeyStoreOutput](t)(client.ConnectCustomKeyStore(ctx, connect))
	if entry := state(types.ConnectionStateTypeFailed); entry.ConnectionErrorCode != types.ConnectionErrorCodeTypeInvalidCredentials {
		t.Errorf("with a wrong password: %s", entry.ConnectionErrorCode)
	}
	must1[*kms.DisconnectCustomKeyStoreOutput](t)(client.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id}))
	state(types.ConnectionStateTypeDisconnected)
	must1[*kms.UpdateCustomKeyStoreOutput](t)(client.UpdateCustomKeyStore(ctx, &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &id, KeyStorePassword: aws.String(tenantPassword)}))
	must1[*kms.ConnectCustomKeyStoreOutput](t)(client.ConnectCustomKeyStore(ctx, connect))
	state(types.ConnectionStateTypeConnected)

	made := must1[*kms.CreateKeyOutput](t)(client.CreateKey(ctx, &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm, CustomKeyStoreId: &id})).KeyMetadata
	if made.Origin != types.OriginTypeAwsCloudhsm || aws.ToString(made.CustomKeyStoreId) != id || aws.ToString(made.CloudHsmClusterId) != tenantCluster {
		t.Errorf("the key is %+v", made)
	}
	key := made.KeyId
	sealed := must1[*kms.EncryptOutput](t)(client.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("the tenant's")}))
	opens := func() {
		t.Helper()
		if opened := must1[*kms.DecryptOutput](t)(client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})); string(opened.Plaintext) != "the tenant's" {
			t.Errorf("opened %q", opened.Plaintext)
		}
	}
	opens()
	_, err := client.CreateKey(ctx, &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm, CustomKeyStoreId: &id, KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeSignVerify})
	if err == nil {
		t.Error("a custom key store took an asymmetric key")
	}
	_, err = client.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: key})
	wantKMSError[*types.UnsupportedOperationException](t, "rotation", err)

	must1[*kms.DisconnectCustomKeyStoreOutput](t)(client.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &id}))
	state(types.ConnectionStateTypeDisconnected)
	if metadata := describe(t, client, *key); metadata.KeyState != types.KeyStateUnavailable {
		t.Errorf("disconnected, the key is %s", metadata.KeyState)
	}
	_, err = client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	wantKMSError[*types.KMSInvalidStateException](t, "disconnected", err)
	_, err = client.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &id})
	wantKMSError[*types.CustomKeyStoreHasCMKsException](t, "deleting it with a key", err)
	must1[*kms.ConnectCustomKeyStoreOutput](t)(client.ConnectCustomKeyStore(ctx, connect))
	state(types.ConnectionStateTypeConnected)
	opens()
	s.restart(t)
	client = s.client(t, "admin", kmsRegion)
	state(types.ConnectionStateTypeConnected)
	opens()
}

// A key store without keys can be deleted, once it is disconnected.
func TestEmptyCustomKeyStores(t *testing.T) {
	s := startKMS(t, raceBinary, false, tenantToken(t, "e2e-empty")...)
	client, ctx := s.client(t, "admin", kmsRegion), t.Context()
	in := &kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("tenant"), CloudHsmClusterId: aws.String(tenantCluster), KeyStorePassword: aws.String(tenantPassword), TrustAnchorCertificate: aws.String("certificate")}
	id := must1[*kms.CreateCustomKeyStoreOutput](t)(client.CreateCustomKeyStore(ctx, in)).CustomKeyStoreId
	_, err := client.CreateCustomKeyStore(ctx, in)
	wantKMSError[*types.CustomKeyStoreNameInUseException](t, "the same name again", err)
	_, err = client.CreateKey(ctx, &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm, CustomKeyStoreId: id})
	wantKMSError[*types.CustomKeyStoreInvalidStateException](t, "a key while it is not connected", err)
	must1[*kms.DeleteCustomKeyStoreOutput](t)(client.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: id}))
	_, err = client.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: id})
	wantKMSError[*types.CustomKeyStoreNotFoundException](t, "deleting it again", err)
}
