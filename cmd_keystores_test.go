// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"strings"
	"testing"
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
