// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/s3gateway"
)

func TestValidate(t *testing.T) {
	for want, edit := range map[string]func(*s3gateway.Config){
		"":                                       func(*s3gateway.Config) {},
		"s3.listen: ":                            func(c *s3gateway.Config) { c.Listen = "" },
		"s3.tls.key_file: ":                      func(c *s3gateway.Config) { c.TLS = proxy.TLSConfig{CertFile: "x"} },
		"s3.domains[1]: ":                        func(c *s3gateway.Config) { c.Domains = []string{"a.b", "c:1"} },
		"s3.max_requests: ":                      func(c *s3gateway.Config) { c.MaxRequests = -1 },
		"s3.upstream.endpoint: missing":          func(c *s3gateway.Config) { c.Upstream.Endpoint = "" },
		"s3.upstream.endpoint: want a URL":       func(c *s3gateway.Config) { c.Upstream.Endpoint = "ftp://x" },
		"s3.upstream.endpoint: want scheme":      func(c *s3gateway.Config) { c.Upstream.Endpoint = "http://x/path" },
		"s3.upstream.access_key_id: ":            func(c *s3gateway.Config) { c.Upstream.AccessKeyID = "" },
		"s3.upstream.secret_access_key_file: ":   func(c *s3gateway.Config) { c.Upstream.SecretAccessKeyFile = "" },
		"s3.upstream.checksum: ":                 func(c *s3gateway.Config) { c.Upstream.Checksum = "crc32" },
		"s3.clients: ":                           func(c *s3gateway.Config) { c.Clients = nil },
		"s3.clients[0].name: ":                   func(c *s3gateway.Config) { c.Clients[0].Name = "" },
		"s3.clients[0].access_key_id: ":          func(c *s3gateway.Config) { c.Clients[0].AccessKeyID = "" },
		"s3.clients[0].secret_access_key_file: ": func(c *s3gateway.Config) { c.Clients[0].SecretAccessKeyFile = "" },
		"s3.clients[0].name: anonymous is":       func(c *s3gateway.Config) { c.Clients[0].Name = "anonymous" },
		"s3.anonymous[0].bucket: ":               func(c *s3gateway.Config) { c.Anonymous = []s3gateway.Anonymous{{Actions: []string{"read"}}} },
		"s3.anonymous[1].bucket: ": func(c *s3gateway.Config) {
			c.Anonymous = []s3gateway.Anonymous{{Bucket: "*", Actions: []string{"read"}}, {Bucket: "minio", Actions: []string{"read"}}}
		},
		"s3.anonymous[0].actions: missing": func(c *s3gateway.Config) { c.Anonymous = []s3gateway.Anonymous{{Bucket: "public"}} },
		`s3.anonymous[0].actions: "delete" is unknown; want some of read, list, write`: func(c *s3gateway.Config) {
			c.Anonymous = []s3gateway.Anonymous{{Bucket: "public", Actions: []string{"read", "delete"}}}
		},
		"s3.clients[1].access_key_id: given twice": func(c *s3gateway.Config) { c.Clients = append(c.Clients, c.Clients[0]) },
	} {
		c := s3gateway.Config{
			Listen:   "127.0.0.1:9000",
			Upstream: s3gateway.Upstream{Endpoint: "https://s3.example", AccessKeyID: "a", SecretAccessKeyFile: "f"},
			Clients:  []s3gateway.Client{{Name: "n", AccessKeyID: "a", SecretAccessKeyFile: "f"}},
		}
		edit(&c)
		err := c.Validate()
		if want == "" && err == nil {
			continue
		}
		if err == nil || want == "" || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNewNamesTheFile(t *testing.T) {
	_, err := s3gateway.New(s3gateway.Config{
		Listen:   "127.0.0.1:9000",
		Upstream: s3gateway.Upstream{Endpoint: "https://s3.example", AccessKeyID: "a", SecretAccessKeyFile: "/nowhere/secret"},
		Clients:  []s3gateway.Client{{Name: "n", AccessKeyID: "a", SecretAccessKeyFile: "/nowhere/secret"}},
	}, nil, nil, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "s3.upstream.secret_access_key_file: ") {
		t.Errorf("got %v", err)
	}
}
