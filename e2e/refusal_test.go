// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// The store's operator alters what it holds; nothing altered is ever returned.
func TestAlteredObjectsAreRefused(t *testing.T) {
	text := canary(t, shared)
	bucket := shared.bucket(t, "tampered")
	app, upstream := shared.app(t), shared.upstream(t)
	body := bytes.Repeat([]byte(text), 2000) // several chunks
	for name, alter := range map[string]func(sealed []byte) []byte{
		"first byte":     func(b []byte) []byte { b[0] ^= 1; return b },
		"first chunk":    func(b []byte) []byte { b[100] ^= 1; return b },
		"third chunk":    func(b []byte) []byte { b[56+2*16400+5] ^= 1; return b },
		"last byte":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut in a chunk": func(b []byte) []byte { return b[:len(b)-7] },
		"cut at a chunk": func(b []byte) []byte { return b[:56+2*16400] },
		"chunks swapped": func(b []byte) []byte {
			return append(append(append([]byte{}, b[:56]...), b[56+16400:56+2*16400]...), b[56:56+16400]...)
		},
		"extended":        func(b []byte) []byte { return append(b, b[len(b)-40:]...) },
		"replaced":        func([]byte) []byte { return []byte("plaintext") },
		"nothing remains": func([]byte) []byte { return nil },
	} {
		key := strings.ReplaceAll(name, " ", "-")
		put(t, app, bucket, key, body)
		rewriteUpstream(t, upstream, bucket, key, key, alter)
		got, err := get(t.Context(), app, bucket, key)
		if err == nil {
			t.Errorf("%s: %d bytes were returned without an error", name, len(got))
		}
		if len(got) > 0 && !bytes.HasPrefix(body, got) {
			t.Errorf("%s: %d bytes that are not the object's were returned", name, len(got))
		}
		if name == "third chunk" && len(got) > 2*16384 {
			t.Errorf("%s: %d bytes were returned, past the bad chunk", name, len(got))
		}
	}
	put(t, app, bucket, "a", body)
	put(t, app, bucket, "b", []byte(strings.ToUpper(string(body))))
	rewriteUpstream(t, upstream, bucket, "a", "c", func(b []byte) []byte { return b }) // under another name
	if got, err := get(t.Context(), app, bucket, "c"); err == nil {
		t.Errorf("object a was returned as c: %d bytes", len(got))
	}
	list, err := shared.run(shared.binary, "audit", "list", "-n", "200", "--dir", shared.path("audit-proxy"))
	if err != nil || !strings.Contains(list, "InternalError") {
		t.Errorf("the refusals are not in the audit log (%v): %s", err, list)
	}
}

// rewriteUpstream replaces an object behind the sidecar, keeping its metadata.
func rewriteUpstream(t *testing.T, upstream *s3.Client, bucket, from, to string, alter func([]byte) []byte) {
	t.Helper()
	ctx := context.Background()
	head, err := upstream.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &from})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := get(ctx, upstream, bucket, from)
	if err != nil {
		t.Fatal(err)
	}
	_, err = upstream.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &to, Metadata: head.Metadata, Body: bytes.NewReader(alter(sealed))})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnknownOperationsAreRefused(t *testing.T) {
	bucket := shared.bucket(t, "refused")
	app := shared.app(t)
	key := "key"
	put(t, app, bucket, key, []byte("x"))
	_, err := app.GetObjectTorrent(t.Context(), &s3.GetObjectTorrentInput{Bucket: &bucket, Key: &key})
	wantAPIError(t, "GetObjectTorrent", err, "NotImplemented")
	_, err = app.RenameObject(t.Context(), &s3.RenameObjectInput{Bucket: &bucket, Key: ptr("other"), RenameSource: &key})
	wantAPIError(t, "RenameObject", err, "NotImplemented")
	stranger := shared.s3Client(t, "upstream", shared.env["S3_ENDPOINT"])
	_, err = stranger.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantAPIError(t, "a stranger's ListBuckets", err, "InvalidAccessKeyId")
}

func wantAPIError(t *testing.T, what string, err error, code string) {
	t.Helper()
	var apiError smithy.APIError
	if !errors.As(err, &apiError) || apiError.ErrorCode() != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

// A disabled key stops reads and writes within the lease; enabled it works again.
func TestDisabledKey(t *testing.T) {
	people(t)
	text := canary(t, shared)
	bucket := shared.bucket(t, "disabled")
	app := shared.app(t)
	put(t, app, bucket, "object", []byte(text))
	mustPsql(t, shared.env["DATABASE_URL"], "insert into people (id, c_text) values (301, '"+text+"')")
	kms := func(args ...string) string {
		t.Helper()
		out, err := shared.run("/usr/bin/aws", append([]string{"--profile", "admin", "--endpoint-url", shared.env["KMS_ENDPOINT"], "kms"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	id := kms("describe-key", "--key-id", "alias/dev", "--query", "KeyMetadata.KeyId", "--output", "text")
	kms("disable-key", "--key-id", id)
	time.Sleep(2500 * time.Millisecond) // the lease of the dev stack is 2 s
	_, err := get(t.Context(), app, bucket, "object")
	wantAPIError(t, "GET under a disabled key", err, "KMS.DisabledException")
	_, err = app.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: ptr("second"), Body: strings.NewReader(text)})
	wantAPIError(t, "PUT under a disabled key", err, "KMS.DisabledException")
	if out, err := psql(t, shared.env["DATABASE_URL"], "select c_text from people where id = 301"); err == nil || !strings.Contains(err.Error(), "disabled") {
		t.Errorf("SELECT under a disabled key: got %q, %v", out, err)
	}
	if _, err := psql(t, shared.env["DATABASE_URL"], "insert into people (id, c_text) values (302, '"+text+"')"); err == nil {
		t.Error("INSERT under a disabled key worked")
	}
	kms("enable-key", "--key-id", id)
	if got, err := get(t.Context(), app, bucket, "object"); err != nil || string(got) != text {
		t.Errorf("GET under the enabled key: %q, %v", got, err)
	}
	if got := mustPsql(t, shared.env["DATABASE_URL"], "select c_text from people where id = 301"); got != text {
		t.Errorf("SELECT under the enabled key: %q", got)
	}
}

// Killed at any instant, nothing acknowledged is lost.
func TestKilledProcessesLoseNothing(t *testing.T) {
	people(t)
	text := canary(t, shared)
	bucket := shared.bucket(t, "killed")
	put(t, shared.app(t), bucket, "object", []byte(text))
	mustPsql(t, shared.env["DATABASE_URL"], "insert into people (id, c_secret) values (401, '"+text+"')")
	shared.proxy.command.Process.Kill()
	shared.keysvc.command.Process.Kill()
	<-shared.proxy.exited
	<-shared.keysvc.exited
	if err := errors.Join(shared.startKeysvc(), shared.startProxy()); err != nil {
		t.Fatal(err)
	}
	if got, err := get(t.Context(), shared.app(t), bucket, "object"); err != nil || string(got) != text {
		t.Errorf("after the kill: %q, %v", got, err)
	}
	if got := mustPsql(t, shared.env["DATABASE_URL"], "select c_secret from people where id = 401"); got != text {
		t.Errorf("after the kill: %q", got)
	}
}

// With the key service away cached keys serve until their lease ends, then
// nothing does, and all recovers by itself.
func TestKeyServiceAway(t *testing.T) {
	people(t)
	text := canary(t, shared)
	bucket := shared.bucket(t, "away")
	put(t, shared.app(t), bucket, "object", []byte(text))
	mustPsql(t, shared.env["DATABASE_URL"], "insert into people (id, c_secret) values (501, '"+text+"')")
	shared.keysvc.command.Process.Kill()
	<-shared.keysvc.exited
	time.Sleep(2500 * time.Millisecond)
	once := shared.s3Client(t, "app", shared.env["S3_ENDPOINT"])
	_, err := once.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: ptr("object")})
	var apiError smithy.APIError
	if !errors.As(err, &apiError) || (apiError.ErrorCode() != "ServiceUnavailable" && apiError.ErrorCode() != "SlowDown") {
		t.Errorf("GET without a key service: %v, want 503", err)
	}
	if _, err := psql(t, shared.env["DATABASE_URL"], "select c_secret from people where id = 501"); err == nil {
		t.Error("SELECT without a key service was answered")
	}
	if err := shared.startKeysvc(); err != nil {
		t.Fatal(err)
	}
	if got, err := get(t.Context(), shared.app(t), bucket, "object"); err != nil || string(got) != text {
		t.Errorf("after its return: %q, %v", got, err)
	}
	if got := mustPsql(t, shared.env["DATABASE_URL"], "select c_secret from people where id = 501"); got != text {
		t.Errorf("after its return: %q", got)
	}
}

func ptr[T any](v T) *T { return &v }

// A process that cannot start says what is wrong and exits non-zero.
func TestStartErrors(t *testing.T) {
	keysvc, proxy := shared.path("keysvc.yaml"), shared.path("proxy.yaml")
	for _, c := range []struct {
		name, command, config string
		replace               [2]string
		want                  string
	}{
		{"unknown key", "proxy", proxy, [2]string{"  max_age:", "  max_agee:"}, "unknown key cache.max_agee; did you mean cache.max_age?"},
		{"bad duration", "proxy", proxy, [2]string{"lease: 2s", "lease: soon"}, "cache.lease: want a duration"},
		{"unknown column type", "proxy", proxy, [2]string{"type: int4", "type: int44"}, "int4"},
		{"no PostgreSQL", "proxy", proxy, [2]string{"address: 127.0.0.1:", "address: 127.0.0.1:1 #"}, "127.0.0.1:1"},
		{"no secret file", "proxy", proxy, [2]string{"sidecar.secret", "absent.secret"}, "absent.secret"},
		{"no HSM module", "keysvc", keysvc, [2]string{"module-path=/", "module-path=/absent"}, "absent"},
		{"no such token", "keysvc", keysvc, [2]string{"token=sidekey-dev", "token=other"}, "other"},
		{"no PIN file", "keysvc", keysvc, [2]string{"hsm.pin", "absent.pin"}, "absent.pin"},
		{"no store", "keysvc", keysvc, [2]string{"keys.db", "absent/keys.db"}, "absent/keys.db"},
		{"unknown store", "keysvc", keysvc, [2]string{"sqlite://", "oracle://"}, "oracle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := readFile(t, c.config)
			// A state of its own where the shared processes hold a lock.
			text = strings.ReplaceAll(text, shared.path("audit-"), filepath.Join(t.TempDir(), "audit-"))
			if !strings.Contains(text, c.replace[0]) {
				t.Fatalf("no %q in %s", c.replace[0], c.config)
			}
			path := writeFile(t, strings.Replace(text, c.replace[0], c.replace[1], 1))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, plainBinary, c.command, "--config", path)
			command.Env = append(command.Environ(), "SOFTHSM2_CONF="+shared.env["SOFTHSM2_CONF"])
			output, err := command.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("got %v, want exit status 1: %s", err, output)
			}
			if !strings.Contains(string(output), c.want) {
				t.Errorf("got %s, want it to say %q", output, c.want)
			}
		})
	}
}

// A wrong PIN is tried once only: the token's counter must not run out.
func TestWrongPIN(t *testing.T) {
	text := strings.ReplaceAll(readFile(t, shared.path("keysvc.yaml")), shared.path("audit-"), filepath.Join(t.TempDir(), "audit-"))
	wrong := filepath.Join(t.TempDir(), "pin")
	writeFileAt(t, wrong, "0000000000")
	path := writeFile(t, strings.Replace(text, shared.path("hsm.pin"), wrong, 1))
	command := exec.Command(plainBinary, "keysvc", "--config", path)
	command.Env = append(command.Environ(), "SOFTHSM2_CONF="+shared.env["SOFTHSM2_CONF"])
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "PIN") || strings.Contains(string(output), "0000000000") {
		t.Errorf("got %v: %s; want an error that names the PIN and does not tell it", err, output)
	}
}
