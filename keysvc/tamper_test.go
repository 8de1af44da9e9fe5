// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/store"
)

// TestTamperedStore gives somebody the key store's file, for writing, and the
// access key of app, who may use the keys of alias/app-*. Nothing that is
// written to the file widens that: the changed key is refused, and said in the
// log to be changed.
func TestTamperedStore(t *testing.T) {
	const victim, own, off = "(SELECT key_id FROM aliases WHERE name = 'alias/victim')", "(SELECT key_id FROM aliases WHERE name = 'alias/app-own')", "(SELECT key_id FROM aliases WHERE name = 'alias/off')"
	for name, tc := range map[string]struct{ script, use string }{
		"key enabled":           {"UPDATE keys SET state = 'Enabled' WHERE id = " + off, "alias/off"},
		"deletion taken back":   {"UPDATE keys SET state = 'Enabled', deletion_date = NULL WHERE id = (SELECT key_id FROM aliases WHERE name = 'alias/pending')", "alias/pending"},
		"deletion brought near": {"UPDATE keys SET deletion_date = 1 WHERE id = (SELECT key_id FROM aliases WHERE name = 'alias/pending')", "alias/pending"},
		"material exchanged":    {"UPDATE backing_keys SET wrapped = (SELECT wrapped FROM backing_keys WHERE key_id = " + victim + ") WHERE key_id = " + own, "alias/app-own"},
		"material added":        {"INSERT INTO backing_keys SELECT " + own + ", 2, wrapped, created FROM backing_keys WHERE key_id = " + victim, "alias/app-own"},
		"material renumbered":   {"UPDATE backing_keys SET version = 3 WHERE key_id = " + own, "alias/app-own"},
		"material removed":      {"DELETE FROM backing_keys WHERE key_id = " + own, "alias/app-own"},
		"row of another key":    {"UPDATE keys SET (state, key_spec, key_usage, description, created, deletion_date, mac) = (SELECT state, key_spec, key_usage, description, created, deletion_date, mac FROM keys WHERE id = " + victim + ") WHERE id = " + off, "alias/off"},
		"alias added":           {"INSERT INTO aliases SELECT 'alias/app-new', key_id, created, updated FROM aliases WHERE name = 'alias/victim'", "alias/app-new"},
		"alias moved":           {"UPDATE aliases SET key_id = " + victim + " WHERE name = 'alias/app-own'", "alias/app-own"},
		"alias renamed":         {"UPDATE aliases SET name = 'alias/app-2' WHERE name = 'alias/victim'", "alias/app-2"},
		"MAC removed":           {"UPDATE keys SET mac = NULL WHERE id = " + own, "alias/app-own"},
		"tag added":             {"INSERT INTO tags VALUES (" + own + ", 'a', 'b')", "alias/app-own"},
		"description":           {"UPDATE keys SET description = 'x' WHERE id = " + own, "alias/app-own"},
		"state kept by trigger": {"CREATE TRIGGER keep AFTER UPDATE OF state ON keys WHEN new.state <> 'Enabled' BEGIN UPDATE keys SET state = 'Enabled' WHERE id = new.id; END", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, keysvc.Allow{Actions: []string{"kms:*"}, Keys: []string{"alias/app-*"}})
			ids := map[string]string{}
			for _, alias := range []string{"alias/victim", "alias/app-own", "alias/off", "alias/pending", "alias/good"} {
				id, _ := s.newKey()
				ids[alias] = id
				must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}))
			}
			must2(t)(s.admin().DisableKey(ctx, &kms.DisableKeyInput{KeyId: ptr(ids["alias/off"])}))
			must2(t)(s.admin().ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: ptr(ids["alias/pending"])}))
			s.stop()
			_, err := s.openFile().Exec(tc.script)
			must(t, err)
			s.start()
			client := s.admin()
			if strings.HasPrefix(tc.use, "alias/app-") {
				client = s.client(appID)
			}
			use := tc.use
			if use == "" { // what the trigger keeps enabled is refused from then on
				use = "alias/good"
				must2(t)(client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: ptr(ids[use])}))
			}
			_, err = client.Encrypt(ctx, &kms.EncryptInput{KeyId: &use, Plaintext: []byte("x")})
			if codeOf(err) != "KMSInternalException" {
				t.Errorf("Encrypt: %v", err)
			}
			if !strings.Contains(s.log.String(), store.ErrTampered.Error()) {
				t.Errorf("log:\n%s", s.log.String())
			}
			if tc.use != "" {
				must2(t)(s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: ptr(ids["alias/good"]), Plaintext: []byte("x")}))
			}
			// A change does not give the key a new MAC.
			for alias, id := range ids {
				if alias == tc.use {
					_, err := s.admin().EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id})
					if name != "alias moved" && codeOf(err) != "KMSInternalException" {
						t.Errorf("EnableKey: %v", err)
					}
				}
			}
		})
	}
}

// TestTamperedMACKey: the service does not start on a store whose MAC key is
// gone or another's, and makes no new one.
func TestTamperedMACKey(t *testing.T) {
	other := newServer(t)
	other.stop()
	for name, script := range map[string]string{
		"gone":             "DELETE FROM mac_key",
		"byte changed":     "UPDATE mac_key SET sealed = CAST(substr(sealed, 1, 40) || (CASE WHEN substr(sealed, 41, 1) = x'00' THEN x'01' ELSE x'00' END) || substr(sealed, 42) AS BLOB)",
		"short":            "UPDATE mac_key SET sealed = substr(sealed, 1, 20)",
		"under a KMS key":  "UPDATE mac_key SET wrapped = (SELECT wrapped FROM backing_keys LIMIT 1)",
		"ciphertext blob":  "", // filled in below
		"of another store": "ATTACH '" + other.dir + "/keys.db' AS other; UPDATE mac_key SET (wrapped, sealed) = (SELECT wrapped, sealed FROM other.mac_key)",
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			id, _ := s.newKey()
			blob, err := s.admin().GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256"})
			must(t, err)
			s.stop()
			db := s.openFile()
			if name == "ciphertext blob" {
				_, err = db.Exec("UPDATE mac_key SET wrapped = (SELECT wrapped FROM backing_keys LIMIT 1), sealed = ?", blob.CiphertextBlob[37:])
			} else {
				_, err = db.Exec(script)
			}
			must(t, err)
			if name == "of another store" {
				s.start()
				_, err := s.admin().DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
				if codeOf(err) != "KMSInternalException" {
					t.Errorf("got %v", err)
				}
				return
			}
			st, err := store.Open(context.Background(), s.cfg.Store)
			must(t, err)
			defer st.Close()
			svc, err := keysvc.New(ctx, s.cfg, st, s.token, s.audit, slog.New(slog.DiscardHandler))
			if err == nil {
				svc.Close()
				t.Fatal("it has started")
			}
			if _, err := st.Key(ctx, uuid.MustParse(id)); err == nil {
				t.Error("a locked store answers")
			}
		})
	}
}
