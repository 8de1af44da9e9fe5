// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/forward"
	"github.com/sidekey/sidekey/s3gateway"
)

func TestPlaintextStaysOnThisHost(t *testing.T) {
	for _, c := range []struct {
		address string
		tls     proxy.TLSConfig
		refused bool
	}{
		{"127.0.0.1:1", proxy.TLSConfig{}, false},
		{"[::1]:1", proxy.TLSConfig{}, false},
		{"localhost:1", proxy.TLSConfig{}, false},
		{"0.0.0.0:1", proxy.TLSConfig{}, true},
		{":1", proxy.TLSConfig{}, true},
		{"10.1.2.3:1", proxy.TLSConfig{}, true},
		{"0.0.0.0:1", proxy.TLSConfig{CertFile: "cert"}, false},
	} {
		config := ProxyConfig{
			S3:       &s3gateway.Config{Listen: c.address, TLS: c.tls},
			Postgres: &dbproxy.Config{Listen: c.address, TLS: dbproxy.TLSConfig{CertFile: c.tls.CertFile}},
		}
		if err := config.checkListeners(); (err != nil) != c.refused {
			t.Errorf("%s with certificate %q: got %v", c.address, c.tls.CertFile, err)
		}
	}
	config := ProxyConfig{Forward: &forward.Config{Listen: "0.0.0.0:1"}}
	if err := config.checkListeners(); err == nil {
		t.Error("the forward proxy may be reached from other hosts")
	}
}

func TestPostgresNeedsRules(t *testing.T) {
	config := ProxyConfig{Postgres: &dbproxy.Config{Listen: "127.0.0.1:1"}}
	if err := config.Validate(); err == nil || !strings.Contains(err.Error(), "rules.columns: missing") {
		t.Errorf("got %v, want the missing rules named", err)
	}
}
