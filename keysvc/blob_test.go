// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"
	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/keysvc/store"
)

var update = flag.Bool("update", false, "write the vectors anew from the reference")

const vectorDir = "testdata/vectors"

// vector is one case of BLOB.md. Binary values are hexadecimal.
type vector struct {
	Comment           string            `json:"comment"`
	Covers            []string          `json:"covers"`
	Result            string            `json:"result"` // valid, malformed, not authentic
	BackingKey        string            `json:"backing_key"`
	Subkey            string            `json:"subkey,omitempty"`
	EncryptionContext map[string]string `json:"encryption_context,omitempty"`
	AAD               string            `json:"aad,omitempty"`
	Plaintext         string            `json:"plaintext,omitempty"`
	Blob              string            `json:"blob"`
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must(t, err)
	return b
}

func loadVectors(t testing.TB) map[string]vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	must(t, err)
	if len(files) < 10 {
		t.Fatalf("%d vectors", len(files))
	}
	all := map[string]vector{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		must(t, err)
		var v vector
		must(t, json.Unmarshal(raw, &v))
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = v
	}
	return all
}

// TestVectors checks each vector against the reference and against the
// service's own parser and additional data.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	for name, v := range loadVectors(t) {
		t.Run(name, func(t *testing.T) {
			blob, backing := unhex(t, v.Blob), unhex(t, v.BackingKey)
			again, err := keysvc.ReparseBlob(blob)
			if v.Result == "malformed" {
				if err == nil {
					t.Fatal("parsed")
				}
				return
			}
			must(t, err)
			if !bytes.Equal(again, blob) {
				t.Errorf("appended again: %x", again)
			}
			aad, err := keysvc.BlobAAD(blob, v.EncryptionContext)
			must(t, err)
			if want := refAAD(blob, v.EncryptionContext); !bytes.Equal(aad, want) {
				t.Errorf("additional data\n got %x\nwant %x", aad, want)
			}
			plaintext, err := refOpen(backing, blob, v.EncryptionContext)
			if v.Result == "not authentic" {
				if err == nil {
					t.Error("opened")
				}
				return
			}
			must(t, err)
			subkey, err := refSubkey(backing, [16]byte(blob[21:37]))
			must(t, err)
			if hex.EncodeToString(plaintext) != v.Plaintext || hex.EncodeToString(subkey) != v.Subkey || hex.EncodeToString(aad) != v.AAD {
				t.Errorf("plaintext %x, subkey %x, additional data %x", plaintext, subkey, aad)
			}
			sealed, err := refSeal(backing, blob[1:17], uint32(blob[17])<<24|uint32(blob[18])<<16|uint32(blob[19])<<8|uint32(blob[20]), blob[21:37], blob[37:49], plaintext, v.EncryptionContext)
			must(t, err)
			if !bytes.Equal(sealed, blob) {
				t.Errorf("sealed again: %x", sealed)
			}
		})
	}
}

// TestEveryClauseIsCovered wants a vector or a test for each tag of BLOB.md.
func TestEveryClauseIsCovered(t *testing.T) {
	spec, err := os.ReadFile("BLOB.md")
	must(t, err)
	covered := map[string]bool{}
	for _, v := range loadVectors(t) {
		for _, tag := range v.Covers {
			covered[tag] = true
		}
	}
	tests, err := filepath.Glob("*_test.go")
	must(t, err)
	tag := regexp.MustCompile(`\[(B[0-9]+)\]`)
	claimed := regexp.MustCompile(`(?m)^// Test[^\n]*(\n//[^\n]*)*`)
	for _, file := range tests {
		src, err := os.ReadFile(file)
		must(t, err)
		for _, comment := range claimed.FindAll(src, -1) {
			for _, m := range tag.FindAllSubmatch(comment, -1) {
				covered[string(m[1])] = true
			}
		}
	}
	tags := tag.FindAllSubmatch(spec, -1)
	if len(tags) < 10 {
		t.Errorf("BLOB.md has %d tags", len(tags))
	}
	for _, m := range tags {
		if !covered[string(m[1])] {
			t.Errorf("[%s] has neither vector nor test", m[1])
		}
	}
}

// TestEpochs holds the writer to [B8]: a new epoch after its messages, after
// its age, for each key, and never the same one twice.
func TestEpochs(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	take := keysvc.NewEpochTaker(func() time.Time { return now })
	a, b := uuid.New(), uuid.New()
	first := take(a, 1)
	for range keysvc.EpochMessages - 1 {
		if take(a, 1) != first {
			t.Fatal("epoch ended early")
		}
	}
	second := take(a, 1)
	if second == first {
		t.Error("epoch outlived its messages")
	}
	now = now.Add(keysvc.EpochAge - time.Nanosecond)
	if take(a, 1) != second {
		t.Error("epoch ended before its age")
	}
	now = now.Add(time.Nanosecond)
	third := take(a, 1)
	if third == second || third == take(b, 1) || third == take(a, 2) {
		t.Error("epochs repeat")
	}
}

// TestNonces looks at what the service writes: [B7] no nonce twice, and [B1].
func TestNonces(t *testing.T) {
	s := newServer(t)
	id, _ := s.newKey()
	seen := map[string]bool{}
	for range 100 {
		enc, err := s.admin().Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("same")})
		must(t, err)
		raw := enc.CiphertextBlob
		if want := uuid.MustParse(id); len(raw) != 49+4+16 || raw[0] != 1 || !bytes.Equal(raw[1:17], want[:]) || !bytes.Equal(raw[17:21], []byte{0, 0, 0, 1}) {
			t.Fatalf("blob %x", raw)
		}
		nonce := string(raw[37:49])
		if seen[nonce] {
			t.Fatal("a nonce repeats")
		}
		seen[nonce] = true
	}
}

// TestAgainstHSM imports a known backing key into the HSM, wrapped under its
// root key, and lets service and reference open each other's blobs. The service
// answers the vectors as [B9] and [B10] say.
func TestAgainstHSM(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	for name, v := range loadVectors(t) {
		t.Run(name, func(t *testing.T) {
			blob, backing := unhex(t, v.Blob), unhex(t, v.BackingKey)
			id := uuid.New()
			if len(blob) > 17 && v.Result != "malformed" {
				id = uuid.UUID(blob[1:17])
			}
			ref := store.Ref{Region: region, ID: id}
			must(t, s.store.CreateKey(ctx, store.Key{Ref: ref, State: store.Enabled, Spec: "SYMMETRIC_DEFAULT", Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS",
				Protection: "hsm", Created: time.Now(), Version: 1, Versions: 1}, store.Material{Version: 1, Wrapped: importKey(t, backing), Created: time.Now()}))
			defer s.store.Discard(ctx, ref)
			out, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: v.EncryptionContext})
			switch {
			case len(blob) == 0:
				wantError(t, err, "ValidationException", "1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length greater than or equal to 1")
			case v.Result != "valid" || blob[20] != 1:
				wantError(t, err, "InvalidCiphertextException", "-")
			case err != nil:
				t.Error(err)
			case hex.EncodeToString(out.Plaintext) != v.Plaintext:
				t.Errorf("the service opened %x", out.Plaintext)
			}
			enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: ptr(id.String()), Plaintext: []byte("by the HSM"), EncryptionContext: v.EncryptionContext})
			must(t, err)
			got, err := refOpen(backing, enc.CiphertextBlob, v.EncryptionContext)
			must(t, err)
			if string(got) != "by the HSM" {
				t.Errorf("the reference opened %q", got)
			}
		})
	}
}

// importKey wraps a known key under the root key of the tests' token.
func importKey(t testing.TB, key []byte) []byte {
	t.Helper()
	p := pkcs11.New(keysvctest.Module)
	slots, err := p.GetSlotList(true)
	must(t, err)
	for _, slot := range slots {
		info, err := p.GetTokenInfo(slot)
		must(t, err)
		if info.Label != keysvctest.Label {
			continue
		}
		session, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		must(t, err)
		defer p.CloseSession(session)
		must(t, p.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, "root")}))
		roots, _, err := p.FindObjects(session, 2)
		must(t, err)
		must(t, p.FindObjectsFinal(session))
		object, err := p.CreateObject(session, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true), pkcs11.NewAttribute(pkcs11.CKA_VALUE, key),
		})
		must(t, err)
		wrapped, err := p.WrapKey(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_WRAP_PAD, nil)}, roots[0], object)
		must(t, err)
		form, err := token.GenerateKey(ctx) // tells the byte before the wrapped key
		must(t, err)
		return append([]byte{form[0]}, wrapped...)
	}
	t.Fatal("no token")
	return nil
}

func writeVectors(t *testing.T) {
	must(t, os.MkdirAll(vectorDir, 0o755))
	seq := func(first byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = first + byte(i)
		}
		return b
	}
	backing, epoch, nonce := seq(0x40, 32), seq(0x01, 16), seq(0xa0, 12)
	high := bytes.Clone(epoch)
	high[0] |= 0x80
	keyID := uuid.MustParse("7f6c5b4a-3928-4716-8504-f3e2d1c0b9a8")
	two := map[string]string{"tenant": "42", "Table": "public.orders"}
	write := func(name string, v vector) {
		raw, err := json.MarshalIndent(v, "", "  ")
		must(t, err)
		must(t, os.WriteFile(filepath.Join(vectorDir, name+".json"), append(raw, '\n'), 0o644))
	}
	valid := func(name, comment string, covers []string, version uint32, epoch, plaintext []byte, pairs map[string]string) []byte {
		blob, err := refSeal(backing, keyID[:], version, epoch, nonce, plaintext, pairs)
		must(t, err)
		subkey, err := refSubkey(backing, [16]byte(epoch))
		must(t, err)
		write(name, vector{comment, covers, "valid", hex.EncodeToString(backing), hex.EncodeToString(subkey), pairs,
			hex.EncodeToString(refAAD(blob, pairs)), hex.EncodeToString(plaintext), hex.EncodeToString(blob)})
		return blob
	}
	refused := func(name, comment string, covers []string, result string, blob []byte, pairs map[string]string) {
		write(name, vector{Comment: comment, Covers: covers, Result: result, BackingKey: hex.EncodeToString(backing), EncryptionContext: pairs, Blob: hex.EncodeToString(blob)})
	}
	edit := func(blob []byte, change func(b []byte) []byte) []byte { return change(bytes.Clone(blob)) }

	one := valid("shortest", "one byte, no encryption context", []string{"B1", "B2", "B4", "B5"}, 1, epoch, []byte{0}, nil)
	bound := valid("data-key", "a data key with two pairs, which sort by bytes: upper case first", []string{"B5", "B6"}, 1, epoch, seq(0, 32), two)
	valid("longest", "4096 bytes", []string{"B2"}, 1, epoch, bytes.Repeat([]byte{0x5a}, 4096), nil)
	valid("epoch-top-bit", "an epoch whose top bit is set has the subkey of the one without, and other additional data", []string{"B4", "B5"}, 1, high, seq(0, 32), two)
	valid("context-empty-strings", "an empty key and an empty value", []string{"B6"}, 1, epoch, []byte("x"), map[string]string{"": "v", "k": ""})
	valid("context-unicode", "UTF-8 is not normalised", []string{"B6"}, 1, epoch, []byte("x"), map[string]string{"\u00e9": "1", "e\u0301": "2"})
	valid("version-max", "the last backing key version", []string{"B1"}, 1<<32-1, epoch, []byte("x"), nil)

	refused("empty", "no bytes", []string{"B2"}, "malformed", []byte{}, nil)
	refused("short", "no ciphertext, only header and tag", []string{"B2"}, "malformed", append(bytes.Clone(one[:49]), one[50:]...), nil)
	refused("long", "4097 bytes of ciphertext", []string{"B2"}, "malformed", append(bytes.Clone(one[:49]), make([]byte, 4097+16)...), nil)
	refused("version-0", "blob version 0", []string{"B3"}, "malformed", edit(one, func(b []byte) []byte { b[0] = 0; return b }), nil)
	refused("version-2", "blob version 2", []string{"B3"}, "malformed", edit(one, func(b []byte) []byte { b[0] = 2; return b }), nil)
	refused("key-id-zero", "key ID of zeros", []string{"B3"}, "malformed", edit(one, func(b []byte) []byte { clear(b[1:17]); return b }), nil)
	refused("backing-version-zero", "backing key version 0", []string{"B3"}, "malformed", edit(one, func(b []byte) []byte { b[20] = 0; return b }), nil)
	refused("trailing", "one byte after the tag", []string{"B2", "B9"}, "not authentic", append(bytes.Clone(bound), 0), two)
	refused("truncated", "the last byte is missing", []string{"B2", "B9"}, "not authentic", bound[:len(bound)-1], two)
	refused("tag", "a changed tag", []string{"B5", "B9"}, "not authentic", edit(bound, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), two)
	refused("nonce", "a changed nonce", []string{"B5"}, "not authentic", edit(bound, func(b []byte) []byte { b[37] ^= 1; return b }), two)
	refused("epoch-bit-flipped", "the top bit of the epoch changed: the same subkey, but bound", []string{"B5"}, "not authentic", edit(bound, func(b []byte) []byte { b[21] ^= 0x80; return b }), two)
	refused("other-key-id", "moved to another key ID", []string{"B5"}, "not authentic", edit(bound, func(b []byte) []byte { b[1] ^= 1; return b }), two)
	refused("no-context", "the encryption context is missing", []string{"B6", "B9"}, "not authentic", bound, nil)
	more := maps.Clone(two)
	more["x"] = ""
	refused("more-context", "one pair more", []string{"B6", "B9"}, "not authentic", bound, more)
	refused("shifted-context", "a character moved from key to value", []string{"B6"}, "not authentic", bound, map[string]string{"tenan": "t42", "Table": "public.orders"})
	fmt.Println("vectors written")
}
