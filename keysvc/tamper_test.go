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
	const victim, own, off, pending = "(SELECT id FROM aliases WHERE name = 'alias/victim')", "(SELECT id FROM aliases WHERE name = 'alias/app-own')", "(SELECT id FROM aliases WHERE name = 'alias/off')", "(SELECT id FROM aliases WHERE name = 'alias/pending')"
	edit := func(old, new, id string) string {
		return "UPDATE keys SET doc = CAST(replace(CAST(doc AS TEXT), '" + old + "', '" + new + "') AS BLOB) WHERE id = " + id
	}
	for name, tc := range map[string]struct{ script, use string }{
		"key enabled":           {edit(`"State":"Disabled"`, `"State":"Enabled"`, off), "alias/off"},
		"deletion taken back":   {edit(`"State":"PendingDeletion"`, `"State":"Enabled"`, pending), "alias/pending"},
		"deletion brought near": {edit(`"DeletionDate":"2`, `"DeletionDate":"1`, pending), "alias/pending"},
		"material exchanged":    {"UPDATE material SET (wrapped, doc, mac) = (SELECT wrapped, doc, mac FROM material WHERE id = " + victim + ") WHERE id = " + own, "alias/app-own"},
		"material renumbered":   {"UPDATE material SET version = 3 WHERE id = " + own, "alias/app-own"},
		"material removed":      {"DELETE FROM material WHERE id = " + own, "alias/app-own"},
		"version counted up":    {edit(`"Version":1`, `"Version":2`, own), "alias/app-own"},
		"row of another key":    {"UPDATE keys SET (doc, mac) = (SELECT doc, mac FROM keys WHERE id = " + victim + ") WHERE id = " + off, "alias/off"},
		"row of another region": {"INSERT INTO keys SELECT 'us-east-1', id, due, key_store, doc, mac FROM keys WHERE id = " + own + "; UPDATE keys SET doc = x'7b7d' WHERE region <> 'us-east-1' AND id = " + own, "alias/app-own"},
		"alias added":           {"INSERT INTO aliases SELECT region, 'alias/app-new', id, created, updated FROM aliases WHERE name = 'alias/victim'", "alias/app-new"},
		"alias moved":           {"UPDATE aliases SET id = " + victim + " WHERE name = 'alias/app-own'", "alias/app-own"},
		"alias renamed":         {"UPDATE aliases SET name = 'alias/app-2' WHERE name = 'alias/victim'", "alias/app-2"},
		"MAC removed":           {"UPDATE keys SET mac = zeroblob(32) WHERE id = " + own, "alias/app-own"},
		"tag added":             {edit(`"Tags":{}`, `"Tags":{"a":"b"}`, own), "alias/app-own"},
		"description":           {edit(`"Description":""`, `"Description":"x"`, own), "alias/app-own"},
		"state kept by trigger": {"CREATE TRIGGER keep AFTER UPDATE OF doc ON keys WHEN CAST(new.doc AS TEXT) LIKE '%\"Disabled\"%' BEGIN UPDATE keys SET doc = CAST(replace(CAST(doc AS TEXT), '\"Disabled\"', '\"Enabled\"') AS BLOB) WHERE id = new.id; END", ""},
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
					if name != "alias moved" && !strings.HasPrefix(name, "material") && codeOf(err) != "KMSInternalException" {
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
		"under a KMS key":  "UPDATE mac_key SET wrapped = (SELECT wrapped FROM material LIMIT 1)",
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
				_, err = db.Exec("UPDATE mac_key SET wrapped = (SELECT wrapped FROM material LIMIT 1), sealed = ?", blob.CiphertextBlob[37:])
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
			st, err := store.Open(context.Background(), s.cfg.Store, "")
			must(t, err)
			defer st.Close()
			svc, err := keysvc.New(ctx, s.cfg, st, s.token, nil, s.audit, slog.New(slog.DiscardHandler))
			if err == nil {
				svc.Close()
				t.Fatal("it has started")
			}
			if _, err := st.Key(ctx, store.Ref{Region: region, ID: uuid.MustParse(id)}); err == nil {
				t.Error("a locked store answers")
			}
		})
	}
}
