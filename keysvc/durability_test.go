// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/sys/unix"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

func TestRestart(t *testing.T) {
	s := newServer(t)
	id, arn := s.newKey()
	off, offARN := s.newKey()
	must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/kept"), TargetKeyId: &id}))
	must2(t)(s.admin().DisableKey(ctx, &kms.DisableKeyInput{KeyId: &off}))
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("kept")})
	must(t, err)
	s.restart()
	dec, err := s.admin().Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob, KeyId: ptr("alias/kept")})
	must(t, err)
	if string(dec.Plaintext) != "kept" || *dec.KeyId != arn {
		t.Errorf("got %q of %s", dec.Plaintext, *dec.KeyId)
	}
	_, err = s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &off, Plaintext: []byte("x")})
	wantError(t, err, "DisabledException", offARN+" is disabled.")
}

// TestDeletionErases moves deletion dates into the past, in the store, and wants
// the wrapped material gone from every byte of it: at the start of a service
// for one key, while it runs for the other.
func TestDeletionErases(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	first, _ := s.newKey()
	second, secondARN := s.newKey()
	kept, _ := s.newKey()
	var wrapped [2][]byte
	var blob []byte
	for i, id := range []string{first, second} {
		m, err := s.store.StoredMaterial(ctx, refOf(id), 1)
		must(t, err)
		wrapped[i] = m.Wrapped
		must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr(fmt.Sprintf("alias/gone-%d", i)), TargetKeyId: &id}))
		enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
		must(t, err)
		blob = enc.CiphertextBlob
		must2(t)(c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id}))
	}
	s.expire(first)
	s.stop()
	s.cfg.SweepInterval = 20 * time.Millisecond
	s.start()
	c = s.admin()
	gone := func(id string) func() bool {
		return func() bool {
			_, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
			return codeOf(err) == "NotFoundException"
		}
	}
	eventually(t, "erasure at the start", gone(first))
	must2(t)(c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &second}))
	s.expire(second)
	eventually(t, "erasure while running", gone(second))
	_, err := c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &second})
	wantError(t, err, "NotFoundException", "Key '"+secondARN+"' does not exist")
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
	if codeOf(err) != "AccessDeniedException" {
		t.Errorf("Decrypt after erasure: %v", err)
	}
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: ptr("alias/gone-1")})
	wantError(t, err, "NotFoundException", "Alias "+prefix+"alias/gone-1 is not found.")
	must2(t)(c.Encrypt(ctx, &kms.EncryptInput{KeyId: &kept, Plaintext: []byte("x")}))
	eventually(t, "the last bytes to go", func() bool {
		files, err := filepath.Glob(filepath.Join(s.dir, "keys.db*"))
		must(t, err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			must(t, err)
			if bytes.Contains(raw, wrapped[0]) || bytes.Contains(raw, wrapped[1]) {
				return false
			}
		}
		return true
	})
}

// expire sets a key's deletion date to a second ago.
func (s *server) expire(id string) {
	s.t.Helper()
	_, err := s.store.Update(ctx, refOf(id), func(_ *store.Tx, k *store.Key) error {
		k.DeletionDate = time.Now().Add(-time.Second)
		return nil
	})
	must(s.t, err)
}

// TestAuditFailure fills the disk of the audit log: nothing is answered and
// nothing is changed until there is room again.
func TestAuditFailure(t *testing.T) {
	dir := t.TempDir()
	s := &server{t: t, dir: dir, token: token, cfg: config(t, dir)}
	must(t, os.Mkdir(s.auditDir(), 0o700))
	must(t, unix.Mount("tmpfs", s.auditDir(), "tmpfs", 0, "size=384k"))
	t.Cleanup(func() { unix.Unmount(s.auditDir(), unix.MNT_DETACH) })
	s.start()
	id, _ := s.newKey()
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("canary-plaintext")})
	must(t, err)

	fill := filepath.Join(s.auditDir(), "fill")
	f, err := os.Create(fill)
	must(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	blob := base64.StdEncoding.EncodeToString(enc.CiphertextBlob)
	decrypt := func() reply { return s.post("Decrypt", `{"CiphertextBlob":"`+blob+`"}`) }
	for decrypt().status == 200 { // until the room that the log has ahead is used
	}
	canary := base64.StdEncoding.EncodeToString([]byte("canary-plaintext"))
	for range 5 {
		got := decrypt()
		if got.status != 500 || got.code() != "KMSInternalException" || strings.Contains(got.body, canary) {
			t.Errorf("Decrypt: %+v", got)
		}
		for op, body := range map[string]string{
			"GenerateDataKey": `{"KeyId":"` + id + `","KeySpec":"AES_256"}`, "CreateKey": `{}`,
			"DisableKey": `{"KeyId":"` + id + `"}`, "ListKeys": `{}`, "DescribeKey": `{"KeyId":"` + absent + `"}`,
		} {
			if got := s.post(op, body); got.status != 500 || got.code() != "KMSInternalException" || strings.Contains(got.body, "Plaintext") {
				t.Errorf("%s: %+v", op, got)
			}
		}
	}
	if got := health(t, s); !strings.Contains(got, `"audit":"failed"`) {
		t.Errorf("health: %s", got)
	}
	must(t, os.Remove(fill))
	eventually(t, "recovery", func() bool { return decrypt().status == 200 })
	keys, err := s.admin().ListKeys(ctx, &kms.ListKeysInput{})
	must(t, err)
	if len(keys.Keys) != 1 {
		t.Errorf("%d keys: CreateKey worked without a record", len(keys.Keys))
	}
	if m, err := s.admin().DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id}); err != nil || !m.KeyMetadata.Enabled {
		t.Errorf("DisableKey worked without a record: %v", err)
	}
	if log := s.log.String(); strings.Contains(log, "canary") {
		t.Errorf("log:\n%s", log)
	}
}

// TestRecords reads back what an operation leaves in the log.
func TestRecords(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	r := s.signed("GenerateDataKey", `{"KeyId":"`+id+`","KeySpec":"AES_256","EncryptionContext":{"tenant":"42"}}`, time.Now(), adminID, secret)
	trace := "0af7651916cd43dd8448eb211c80319c"
	r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-00")
	if got := s.send(r); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	refused := s.signed("Decrypt", `{"CiphertextBlob":"eA==","KeyId":"`+id+`"}`, time.Now(), appID, secret)
	refused.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-00")
	if got := s.send(refused); got.code() != "AccessDeniedException" {
		t.Fatalf("%+v", got)
	}
	spans, err := audit.ReadTrace([]string{s.auditDir()}, trace)
	must(t, err)
	var tree bytes.Buffer
	must(t, audit.WriteTree(&tree, spans))
	for _, want := range []string{"kms.GenerateDataKey", "hsm.random", "hsm.encrypt", "kms.Decrypt", "AccessDeniedException", "user/admin", "user/app", id, "tenant"} {
		if !strings.Contains(tree.String(), want) {
			t.Errorf("no %s in\n%s", want, tree.String())
		}
	}
	if len(spans) != 4 {
		t.Errorf("%d spans:\n%s", len(spans), tree.String())
	}
}

// TestDisableIsAtOnce uses a key from many sides and disables it: no request
// that begins after the answer of DisableKey succeeds.
func TestDisableIsAtOnce(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.newKey()
	for range 5 {
		must2(t)(c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id}))
		var mu sync.Mutex
		disabled := false
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					mu.Lock()
					after := disabled
					mu.Unlock()
					_, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256"})
					if after && codeOf(err) != "DisabledException" {
						t.Errorf("used after DisableKey: %v", err)
					}
					if after {
						return
					}
				}
			})
		}
		must2(t)(c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
		mu.Lock()
		disabled = true
		mu.Unlock()
		wg.Wait()
	}
}

func TestConcurrency(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			id, _ := s.newKey()
			alias := fmt.Sprintf("alias/c-%d", n)
			must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}))
			for i := range 20 {
				text := fmt.Sprint(n, i)
				enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &alias, Plaintext: []byte(text)})
				if err != nil {
					t.Error(err)
					return
				}
				dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
				if err != nil || string(dec.Plaintext) != text {
					t.Errorf("got %v, %v, want %s", dec, err, text)
				}
			}
		})
	}
	wg.Wait()
}
