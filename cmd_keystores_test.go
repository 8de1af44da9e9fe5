// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

func TestKeyStoreConfig(t *testing.T) {
	const uri = "pkcs11:token=t;object=o?module-path=/m.so"
	for _, c := range []struct{ text, want string }{
		{"key_stores:\n- cluster_id: mine\n  hsm: {uri: '" + uri + "'}", `line 2: key_stores[0].cluster_id: "mine" is not of the form cluster-abcdefghijk`},
		{"key_stores:\n- cluster_id: cluster-abcdefghijk\n  hsm:\n    uri: '" + uri + "&pin-source=file:/pin'", "line 4: key_stores[0].hsm.uri: pin-source= names a PIN file, but the PIN is given"},
		{"key_stores:\n- &a\n  cluster_id: cluster-abcdefghijk\n  hsm: {uri: '" + uri + "'}\n- cluster_id: cluster-abcdefghijk\n  hsm: {uri: '" + uri + "'}", "key_stores[1].cluster_id: the same as that of key_stores[0]"},
	} {
		err := parseConfig([]byte(c.text), &KeysvcConfig{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

// TestOpenKeyStores: what the key service is told of a token that does not open.
func TestOpenKeyStores(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	const password = "kmsuser-password"
	pin := filepath.Join(dir, "pin")
	err := errors.Join(keysvctest.UseSoftHSM(dir), os.WriteFile(pin, []byte(password), 0o600), hsm.InitToken(ctx, keysvctest.Module, "tenant", pin, pin))
	if err != nil {
		t.Fatal(err)
	}
	uri := func(label string) hsm.Config {
		return hsm.Config{URI: "pkcs11:token=" + label + ";object=root?module-path=" + keysvctest.Module}
	}
	open := openKeyStores([]KeyStoreConfig{{"cluster-abcdefghijk", uri("tenant")}, {"cluster-absentabsent", uri("absent")}}, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		cluster, pin string
		want         error
	}{
		{"cluster-unknownunkn", password, keysvc.ErrNoCluster},
		{"cluster-unknownunkn", "", keysvc.ErrNoCluster},
		{"cluster-absentabsent", password, keysvc.ErrNoCluster},
		{"cluster-absentabsent", "", nil},
		{"cluster-abcdefghijk", "wrong-password", keysvc.ErrPIN},
		{"cluster-abcdefghijk", password, nil},
	} {
		var pin []byte
		if c.pin != "" {
			pin = []byte(c.pin)
		}
		token, err := open(ctx, c.cluster, pin)
		if !errors.Is(err, c.want) || (token != nil) != (c.pin != "" && err == nil) {
			t.Errorf("%s, PIN %q: got %v, %v", c.cluster, c.pin, token, err)
		}
		if token != nil {
			if err := errors.Join(token.Check(ctx), token.Close()); err != nil {
				t.Error(err)
			}
		}
	}
}
