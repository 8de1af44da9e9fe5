// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/audit"
)

// auditBytes is all that the audit log holds, without the zeros ahead of its records.
func (s *server) auditBytes() []byte {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.auditDir(), "*"))
	must(s.t, err)
	var all []byte
	for _, file := range files {
		info, err := os.Stat(file)
		must(s.t, err)
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(file)
			must(s.t, err)
			all = append(all, bytes.TrimRight(raw, "\x00")...)
		}
	}
	return all
}

// TestRecordsAreBounded: who may do nothing cannot fill the log's disk with a
// few requests.
func TestRecordsAreBounded(t *testing.T) {
	s := newServer(t)
	before := len(s.auditBytes())
	long := strings.Repeat("k", 900<<10)
	for _, body := range []string{
		`{"KeyId":"` + long + `"}`, `{"AliasName":"` + long + `","TargetKeyId":"x"}`,
		`{"KeyId":"alias/` + long + `"}`, `{"KeyId":"k","EncryptionContext":{"` + long + `":1}}`,
	} {
		for _, op := range []string{"Encrypt", "Decrypt", "CreateAlias", "DescribeKey"} {
			got := s.send(s.signed(op, body, time.Now(), appID, secret))
			if got.status != 400 || len(got.body) > 8<<10 {
				t.Errorf("%s: status %d, %d bytes", op, got.status, len(got.body))
			}
		}
	}
	if grown := len(s.auditBytes()) - before; grown > 256<<10 {
		t.Errorf("16 refused requests have left %d bytes", grown)
	}
}

// TestBothSidesAreOnRecord: an alias change and a ReEncrypt name all that they
// are about, also when they are refused.
func TestBothSidesAreOnRecord(t *testing.T) {
	s := newServer(t, keysvc.Allow{Actions: []string{"kms:ReEncryptFrom"}, Keys: []string{"*"}})
	a, _ := s.newKey()
	b, _ := s.newKey()
	enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &a, Plaintext: []byte("x")})
	must(t, err)
	blob := base64.StdEncoding.EncodeToString(enc.CiphertextBlob)
	must2(t)(s.admin().CreateAlias(ctx, &kms.CreateAliasInput{AliasName: ptr("alias/first"), TargetKeyId: &a}))
	for i, tc := range []struct {
		op, body, id string
		want         []string
	}{
		{"ReEncrypt", `{"CiphertextBlob":"` + blob + `","DestinationKeyId":"` + b + `"}`, appID, []string{a, b, "AccessDenied"}},
		{"ReEncrypt", `{"CiphertextBlob":"` + blob + `","DestinationKeyId":"` + b + `"}`, adminID, []string{a, b}},
		{"UpdateAlias", `{"AliasName":"alias/first","TargetKeyId":"` + b + `"}`, adminID, []string{a, b, "alias/first"}},
		{"CreateAlias", `{"AliasName":"alias/second","TargetKeyId":"` + b + `"}`, adminID, []string{b, "alias/second"}},
		{"CreateAlias", `{"AliasName":"alias/third","TargetKeyId":"` + b + `"}`, appID, []string{b, "alias/third", "AccessDenied"}},
		{"DeleteAlias", `{"AliasName":"alias/second"}`, adminID, []string{b, "alias/second"}},
	} {
		trace := fmt.Sprintf("0af7651916cd43dd8448eb211c8031%02x", i)
		r := s.signed(tc.op, tc.body, time.Now(), tc.id, secret)
		r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
		got := s.send(r)
		spans, err := audit.ReadTrace([]string{s.auditDir()}, trace)
		must(t, err)
		var tree bytes.Buffer
		must(t, audit.WriteTree(&tree, spans))
		for _, want := range tc.want {
			if !strings.Contains(tree.String(), want) {
				t.Errorf("%s (%d %s): no %s in\n%s", tc.op, got.status, got.code(), want, tree.String())
			}
		}
	}
}

// TestHostileBodies: whatever the body, every operation answers in the form of
// AWS and never with an internal error.
func TestHostileBodies(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	deep := strings.Repeat(`{"a":`, 100_000) + `1` + strings.Repeat(`}`, 100_000)
	bodies := []string{
		``, ` `, `null`, `[]`, `1`, `"x"`, `{`, `{}{}`, `{} x`, "\xef\xbb\xbf{}", "{\"KeyId\":\"\xff\"}", `{"KeyId":"\ud800"}`, `{"KeyId":"a\u0000b"}`,
		`{"KeyId":null}`, `{"KeyId":1}`, `{"KeyId":[]}`, `{"KeyId":{}}`, `{"KeyId":true}`, `{"KeyId":"` + id + `","KeyId":"` + id + `"}`,
		`{"KeyId":"` + id + `","NumberOfBytes":1e400}`, `{"KeyId":"` + id + `","NumberOfBytes":99999999999999999999}`,
		`{"KeyId":"` + id + `","NumberOfBytes":-1}`, `{"KeyId":"` + id + `","NumberOfBytes":1.5}`, `{"KeyId":"` + id + `","NumberOfBytes":"32"}`,
		`{"KeyId":"` + id + `","NumberOfBytes":2147483648}`, `{"Limit":0}`, `{"Limit":-2147483648}`, `{"Limit":null,"Marker":null}`, `{"Marker":""}`,
		`{"KeyId":"` + id + `","Plaintext":"eA"}`, `{"KeyId":"` + id + `","Plaintext":"e\n A=="}`, `{"KeyId":"` + id + `","Plaintext":"_-=="}`,
		`{"KeyId":"` + id + `","Plaintext":[120]}`, `{"KeyId":"` + id + `","Plaintext":null}`, `{"CiphertextBlob":null}`, `{"CiphertextBlob":""}`,
		`{"KeyId":"` + id + `","Plaintext":"eA==","EncryptionContext":[]}`, `{"KeyId":"` + id + `","Plaintext":"eA==","EncryptionContext":{"a":null}}`,
		`{"KeyId":"` + id + `","Plaintext":"eA==","EncryptionContext":{"a":"1","a":"2"}}`, `{"KeyId":"` + id + `","Plaintext":"eA==","EncryptionContext":{"a":{}}}`,
		`{"KeyId":"` + id + `","Plaintext":"eA==","GrantTokens":[null]}`, `{"KeyId":"` + id + `","Plaintext":"eA==","GrantTokens":["","","","","","","","","","",""]}`,
		`{"KeyId":"` + id + `","Plaintext":"eA==","DryRun":"true"}`, `{"KeyId":"` + id + `","Plaintext":"eA==","DryRun":null}`,
		`{"Tags":[null]}`, `{"Tags":[{}]}`, `{"Tags":null}`, `{"Tags":[{"TagKey":"a"}]}`, `{"Tags":[{"TagKey":"a","TagValue":"b","Other":` + `[[[[]]]]` + `}]}`,
		`{"PendingWindowInDays":1e1,"KeyId":"` + id + `"}`, `{"Recipient":{"KeyEncryptionAlgorithm":"x","AttestationDocument":"AA=="},"KeyId":"` + id + `","NumberOfBytes":1,"CiphertextBlob":"AA=="}`,
		`{"DryRunModifiers":["IGNORE_CIPHERTEXT"]}`, `{"DryRunModifiers":[],"CiphertextBlob":"AA=="}`, `{"DryRunModifiers":["x"],"DryRun":true}`, `{"DryRunModifiers":["IGNORE_CIPHERTEXT"],"DryRun":true}`,
		`{"x":` + deep + `}`, deep, `{"KeyId":"` + strings.Repeat("é", 2048) + `"}`, `{"AliasName":"alias/","TargetKeyId":"` + id + `"}`, `{"AliasName":"alias//","TargetKeyId":"` + id + `"}`,
		`{"KeyId":"arn:aws:kms"}`, `{"KeyId":"arn:aws:kms:` + region + `:` + account + `:key/"}`, `{"KeyId":"arn:aws:kms:` + region + `:` + account + `:alias/"}`, `{"KeyId":"alias/"}`, `{"KeyId":"00000000-0000-0000-0000-000000000000"}`,
		`{"KeyId":"` + id + `","GranteePrincipal":"` + appARN + `","Operations":[]}`, `{"KeyId":"` + id + `","GranteePrincipal":"` + appARN + `","Operations":[null]}`,
		`{"KeyId":"` + id + `","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"],"Constraints":{}}`, `{"KeyId":"` + id + `","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"],"Constraints":{"EncryptionContextEquals":{"a":null}}}`,
		`{"KeyId":"` + id + `","GranteePrincipal":"` + appARN + `","Operations":["Decrypt"],"Constraints":{"EncryptionContextSubset":{}}}`, `{"KeyId":"` + id + `","Operations":["Decrypt"]}`,
		`{"KeyId":"` + id + `","GranteeServicePrincipal":"s3.amazonaws.com","Operations":["Decrypt"],"Constraints":{"SourceArn":"x"}}`,
		`{"GrantToken":""}`, `{"GrantToken":"AAAA"}`, `{"KeyId":"` + id + `","GrantId":"x"}`, `{"KeyId":"` + id + `","GrantToken":"AAAA"}`, `{"RetiringServicePrincipal":"x"}`,
		`{"KeyId":"` + id + `","Policy":"{}"}`, `{"KeyId":"` + id + `","Policy":{}}`, `{"KeyId":"` + id + `","Policy":"null"}`, `{"KeyId":"` + id + `","Policy":"{\"Statement\":null}"}`,
		`{"KeyId":"` + id + `","Policy":"{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":null}]}","BypassPolicyLockoutSafetyCheck":true}`,
		`{"KeyId":"` + id + `","ReplicaRegion":"x"}`, `{"KeyId":"` + id + `","ReplicaRegion":"us-east-1"}`, `{"KeyId":"` + id + `","PrimaryRegion":"us-east-1"}`,
		`{"KeyId":"` + id + `","Tags":[]}`, `{"KeyId":"` + id + `","TagKeys":[]}`, `{"KeyId":"` + id + `","TagKeys":[null]}`, `{"KeyId":"` + id + `","Description":null}`,
		`{"CustomKeyStoreName":"x"}`, `{"CustomKeyStoreId":"x"}`, `{"CustomKeyStoreId":"x","KeyStorePassword":"1234567"}`, `{"CustomKeyStoreName":"x","CloudHsmClusterId":"cluster-abcdefghijk","KeyStorePassword":"1234567","TrustAnchorCertificate":"x"}`,
		`{"CustomKeyStoreName":"x","CustomKeyStoreType":"EXTERNAL_KEY_STORE","XksProxyAuthenticationCredential":null}`, `{"Origin":"AWS_CLOUDHSM"}`, `{"Origin":"EXTERNAL_KEY_STORE","XksKeyId":"x"}`, `{"Origin":"AWS_CLOUDHSM","CustomKeyStoreId":"x","MultiRegion":true}`,
		`{"KeyId":"urn:uuid:` + id + `"}`, `{"KeyId":"{` + id + `}"}`, `{"KeyId":" ` + id + `"}`, `{"keyid":"` + id + `"}`, `{"KeySpec":"SYMMETRIC_DEFAULT "}`,
	}
	for _, op := range keysvc.OperationNames() {
		for _, body := range bodies {
			got := s.post(op, body)
			null := strings.Contains(body, `{"a":null}`) || strings.Contains(body, `[null]`)
			if len(body) > 80 {
				body = body[:80] + "..."
			}
			switch {
			case got.status == 200:
				if null && op == "Encrypt" {
					t.Errorf("%s %s: %s", op, body, got.body)
				}
			case got.status != 400 || got.code() == "":
				t.Errorf("%s %s: %d %s", op, body, got.status, got.body)
			}
		}
	}
	if log := s.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "level=ERROR") {
		t.Errorf("log:\n%s", log)
	}
}

// TestRequestForms speaks HTTP by hand.
func TestRequestForms(t *testing.T) {
	s := newServer(t)
	addr := strings.TrimPrefix(s.url, "http://")
	raw := func(text string) (int, string) {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, text)
		must(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	head := func(version string, edit func(h http.Header)) string {
		r := s.signed("ListKeys", "{}", time.Now(), adminID, secret)
		h := r.Header.Clone()
		if edit != nil {
			edit(h)
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "Host: %s\r\n", addr)
		h.Write(&b)
		return b.String()
	}
	cl := "Content-Length: 2\r\n\r\n{}"
	for name, tc := range map[string]struct {
		text   string
		status int
		code   string
	}{
		"HTTP/1.0":         {"POST / HTTP/1.0\r\n" + head("", nil) + cl, 200, ""},
		"chunked":          {"POST / HTTP/1.1\r\n" + head("", nil) + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n", 400, "InvalidSignatureException"},
		"absolute":         {"POST " + s.url + "/ HTTP/1.1\r\n" + head("", nil) + cl, 200, ""},
		"absolute, other":  {"POST http://kms.example/ HTTP/1.1\r\n" + head("", nil) + cl, 400, "InvalidSignatureException"},
		"two slashes":      {"POST // HTTP/1.1\r\n" + head("", nil) + cl, 400, "UnknownOperationException"},
		"dot":              {"POST /./ HTTP/1.1\r\n" + head("", nil) + cl, 400, "UnknownOperationException"},
		"encoded slash":    {"POST /%2f HTTP/1.1\r\n" + head("", nil) + cl, 400, "UnknownOperationException"},
		"query":            {"POST /?a= HTTP/1.1\r\n" + head("", nil) + cl, 400, "InvalidSignatureException"},
		"lone question":    {"POST /? HTTP/1.1\r\n" + head("", nil) + cl, 200, ""},
		"GET":              {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "UnknownOperationException"},
		"PUT":              {"PUT / HTTP/1.1\r\n" + head("", nil) + cl, 400, "UnknownOperationException"},
		"POST to healthz":  {"POST /healthz HTTP/1.1\r\n" + head("", nil) + cl, 400, "UnknownOperationException"},
		"two targets":      {"POST / HTTP/1.1\r\n" + head("", nil) + "X-Amz-Target: TrentService.ListAliases\r\n" + cl, 400, "InvalidSignatureException"},
		"target in front":  {"POST / HTTP/1.1\r\nX-Amz-Target: TrentService.ListAliases\r\n" + head("", nil) + cl, 400, "InvalidSignatureException"},
		"two signatures":   {"POST / HTTP/1.1\r\n" + head("", nil) + "Authorization: x\r\n" + cl, 400, "IncompleteSignatureException"},
		"unsigned payload": {"POST / HTTP/1.1\r\n" + head("", func(h http.Header) { h.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }) + cl, 400, "InvalidSignatureException"},
		"folded header":    {"POST / HTTP/1.1\r\n" + head("", nil) + "X-Fold: a\r\n b\r\n" + cl, 200, ""},
		"two hosts":        {"POST / HTTP/1.1\r\nHost: x\r\n" + head("", nil) + cl, 400, "-"},
		"expect":           {"POST / HTTP/1.1\r\n" + head("", nil) + "Expect: 200-ok\r\n" + cl, 417, "-"},
		"two lengths":      {"POST / HTTP/1.1\r\n" + head("", nil) + "Content-Length: 3\r\n" + cl, 400, "-"},
	} {
		status, body := raw(tc.text)
		if code := (reply{body: body}).code(); status != tc.status || tc.code != "-" && code != tc.code {
			t.Errorf("%s: %d %s, want %d %s", name, status, body, tc.status, tc.code)
		}
	}
	// Unsigned is no way in, signed as UNSIGNED-PAYLOAD neither.
	for _, hash := range []string{"UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", ""} {
		r := s.signedAs(hash)
		if got := s.send(r); got.code() != "InvalidSignatureException" {
			t.Errorf("%q: %+v", hash, got)
		}
	}
}

// openFile gives a test what a thief with write access to the key store has.
func (s *server) openFile() *sql.DB {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "keys.db")+"?_pragma=busy_timeout(5000)")
	must(s.t, err)
	s.t.Cleanup(func() { db.Close() })
	return db
}

// TestRevocationDespiteTheFile: DisableKey works although somebody has removed
// what makes the revision grow.
func TestRevocationDespiteTheFile(t *testing.T) {
	s := newServer(t)
	id, arn := s.newKey()
	must2(t)(s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")}))
	_, err := s.openFile().Exec("DROP TRIGGER keys_updated; UPDATE revision SET value = 1")
	must(t, err)
	must2(t)(s.admin().DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
	_, err = s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
	wantError(t, err, "DisabledException", arn+" is disabled.")
}
