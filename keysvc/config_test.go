// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc"
)

func TestConfigValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*keysvc.Config)
		want string
	}{
		"good":           {func(*keysvc.Config) {}, ""},
		"no region":      {func(c *keysvc.Config) { c.Region = "" }, "keysvc.region: missing"},
		"region":         {func(c *keysvc.Config) { c.Region = "EU" }, `keysvc.region: "EU" is not a region name such as eu-central-1`},
		"no account":     {func(c *keysvc.Config) { c.Account = "" }, "keysvc.account: missing"},
		"account":        {func(c *keysvc.Config) { c.Account = "12" }, `keysvc.account: "12" is not 12 digits`},
		"no store":       {func(c *keysvc.Config) { c.Store = "" }, "keysvc.store: missing (for example sqlite:///var/lib/sidekey/keys.db)"},
		"store scheme":   {func(c *keysvc.Config) { c.Store = "mysql://x" }, `keysvc.store: unknown scheme "mysql" (known: sqlite, postgres)`},
		"store path":     {func(c *keysvc.Config) { c.Store = "sqlite://x" }, "keysvc.store: sqlite://x: want sqlite:///absolute/path"},
		"no listen":      {func(c *keysvc.Config) { c.Listen = "" }, "keysvc.listen: missing (for example 127.0.0.1:8443)"},
		"listen":         {func(c *keysvc.Config) { c.Listen = "x" }, `keysvc.listen: "x" is not host:port`},
		"open listen":    {func(c *keysvc.Config) { c.Listen = ":1" }, "keysvc.listen: :1 is reachable from other hosts and keysvc.tls is not set: data keys would cross the network in the clear"},
		"half TLS":       {func(c *keysvc.Config) { c.TLS.CertFile = "x" }, "keysvc.tls.key_file: missing"},
		"no principals":  {func(c *keysvc.Config) { c.Principals = nil }, "keysvc.principals: missing: nobody could use the service"},
		"name":           {func(c *keysvc.Config) { c.Principals[0].Name = "a b" }, `keysvc.principals[0].name: "a b" is not an IAM user name`},
		"name twice":     {func(c *keysvc.Config) { c.Principals[1].Name = "admin" }, "keysvc.principals[1].name: the same as that of principals[0]"},
		"key twice":      {func(c *keysvc.Config) { c.Principals[1].AccessKeyID = adminID }, "keysvc.principals[1].access_key_id: the same as that of principals[0]"},
		"no secret":      {func(c *keysvc.Config) { c.Principals[1].SecretAccessKeyFile = "" }, "keysvc.principals[1].secret_access_key_file: missing"},
		"no actions":     {func(c *keysvc.Config) { c.Principals[0].Allow[0].Actions = nil }, "keysvc.principals[0].allow[0].actions: missing"},
		"no keys":        {func(c *keysvc.Config) { c.Principals[0].Allow[0].Keys = nil }, "keysvc.principals[0].allow[0].keys: missing"},
		"key":            {func(c *keysvc.Config) { c.Principals[0].Allow[0].Keys = []string{"my key"} }, `keysvc.principals[0].allow[0].keys: "my key" is none of a key ID, a key ARN, alias/name, an alias ARN, a pattern of these with * and ?`},
		"action":         {func(c *keysvc.Config) { c.Principals[0].Allow[0].Actions = []string{"kms:Encript"} }, "keysvc.principals[0].allow[0].actions: unknown action kms:Encript (nearest: kms:Encrypt)"},
		"ReEncrypt":      {func(c *keysvc.Config) { c.Principals[0].Allow[0].Actions = []string{"kms:ReEncrypt"} }, "keysvc.principals[0].allow[0].actions: unknown action kms:ReEncrypt (nearest: kms:ReEncryptTo)"},
		"action pattern": {func(c *keysvc.Config) { c.Principals[0].Allow[0].Actions = []string{"s3:*"} }, "keysvc.principals[0].allow[0].actions: pattern s3:* matches no action"},
		"negative":       {func(c *keysvc.Config) { c.MaxConnections = -1 }, "keysvc.max_connections: must not be negative"},
		"two problems":   {func(c *keysvc.Config) { c.Region, c.Account = "", "" }, "keysvc.region: missing\nkeysvc.account: missing"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, t.TempDir())
			tc.edit(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretFiles(t *testing.T) {
	s := newServer(t)
	for name, tc := range map[string]struct{ content, want string }{
		"missing": {"", "keysvc.principals[0].secret_access_key_file: open "},
		"short":   {"abc\n", "holds fewer than 16 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, t.TempDir())
			cfg.Principals[0].SecretAccessKeyFile = filepath.Join(t.TempDir(), "secret")
			if tc.content != "" {
				must(t, os.WriteFile(cfg.Principals[0].SecretAccessKeyFile, []byte(tc.content), 0o600))
			}
			_, err := keysvc.New(ctx, cfg, s.store, token, nil, s.audit, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.content != "" && strings.Contains(err.Error(), "abc") {
				t.Errorf("New: %v", err)
			}
		})
	}
}
