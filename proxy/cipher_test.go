// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

func testRules(keyARN string) proxy.Rules {
	return proxy.Rules{
		Objects: []proxy.ObjectRule{
			{Bucket: "tenants", Prefix: "a/", KeyID: keyARN, EncryptionContext: map[string]string{"tenant": "a"}},
			{Bucket: "tenants", Prefix: "b/", KeyID: keyARN, EncryptionContext: map[string]string{"tenant": "b"}},
			{Bucket: "data", KeyID: keyARN},
			{Bucket: "other", KeyID: keyARN},
		},
		Columns: []proxy.ColumnRule{
			{Table: "users", Column: "name", Type: "text", KeyID: keyARN},
			{Table: "users", Column: "city", Type: "text", KeyID: keyARN},
			{Table: "users", Column: "email", Type: "varchar(80)", Mode: "equality", KeyID: keyARN, Domain: "email"},
			{Table: "crm.leads", Column: "mail", Type: "text", Mode: "equality", KeyID: keyARN, Domain: "email"},
			{Table: "users", Column: "ssn", Type: "text", Mode: "equality", KeyID: keyARN},
		},
	}
}

type fixture struct {
	kms    *keysvctest.Server
	keyARN string
	keys   *datakey.Cache
	log    *audit.Log
	dir    string
	cipher *proxy.Cipher
	rules  proxy.Rules
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{kms: keysvctest.Start(t, token), dir: t.TempDir()}
	_, f.keyARN = f.kms.CreateKey(t)
	f.rules = testRules(f.keyARN)
	if err := f.rules.Validate(); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.keys, err = datakey.NewCache(datakey.Config{}, f.kms.Client(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if f.log, err = audit.Open(audit.Config{Dir: f.dir}, audit.ServiceProxy, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.log.Close(); f.keys.Close() })
	f.cipher = proxy.NewCipher(f.rules, f.keys, f.log)
	return f
}

func (f *fixture) put(t testing.TB, o proxy.Object, plain []byte) (header string, body []byte) {
	t.Helper()
	s, err := f.cipher.SealObject(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	body, err = io.ReadAll(s.Reader(bytes.NewReader(plain), nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := int64(len(body)), proxy.SealedSize(int64(len(plain))); got != want {
		t.Fatalf("sealed size %d, want %d", got, want)
	}
	return s.Header(), body
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestObjectRoundTrip(t *testing.T) {
	f := newFixture(t)
	checksums := map[string]string{"x-amz-checksum-crc32": "4OlqRA==", "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
	plain := randomBytes(100_000)
	header, body := f.put(t, proxy.Object{Bucket: "tenants", Key: "a/k", Checksums: checksums}, plain)
	if len(header) > 400 {
		t.Errorf("header has %d bytes, want at most 400", len(header))
	}
	o, err := f.cipher.OpenObject(t.Context(), "tenants", "a/k", header, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(checksums, o.Checksums()); diff != "" {
		t.Error(diff)
	}
	if o.KeyARN() != f.keyARN {
		t.Errorf("key ARN %q", o.KeyARN())
	}
	size, err := o.PlainSize(int64(len(body)))
	if err != nil || size != int64(len(plain)) {
		t.Fatalf("plain size %d, %v", size, err)
	}
	got, err := io.ReadAll(o.Reader(bytes.NewReader(body), int64(len(plain))))
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opening: %v", err)
	}
	for _, r := range [][2]int64{{0, 1}, {16383, 2}, {50_000, 10}, {99_999, 1}, {0, 100_000}, {16384, 16384}, {90_000, 50_000}} {
		off, n := o.Range(r[0], r[1], size)
		got, err := io.ReadAll(o.RangeReader(bytes.NewReader(body[off:off+n]), r[0], r[1], size))
		if err != nil || !bytes.Equal(got, plain[r[0]:min(r[0]+r[1], size)]) {
			t.Errorf("range %v: %d bytes, %v", r, len(got), err)
		}
	}
}

func TestObjectsDoNotSwap(t *testing.T) {
	f := newFixture(t)
	plain := randomBytes(40_000)
	header, body := f.put(t, proxy.Object{Bucket: "data", Key: "one"}, plain)
	header2, body2 := f.put(t, proxy.Object{Bucket: "data", Key: "two"}, plain)
	if _, err := f.cipher.OpenObject(t.Context(), "data", "two", header, nil); !errors.Is(err, proxy.ErrOpen) {
		t.Errorf("header under another name: %v, want ErrOpen", err)
	}
	var kerr *datakey.Error
	if _, err := f.cipher.OpenObject(t.Context(), "other", "one", header, nil); !errors.As(err, &kerr) || kerr.Kind != datakey.Corrupt {
		t.Errorf("header in another bucket: %v, want Corrupt", err)
	}
	o, err := f.cipher.OpenObject(t.Context(), "data", "two", header2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(o.Reader(bytes.NewReader(body), int64(len(plain)))); !errors.Is(err, proxy.ErrOpen) || len(got) != 0 {
		t.Errorf("body of another object: %d bytes, %v", len(got), err)
	}
	off, n := o.Range(0, 10, int64(len(plain)))
	if got, err := io.ReadAll(o.RangeReader(bytes.NewReader(body[off:off+n]), 0, 10, int64(len(plain)))); !errors.Is(err, proxy.ErrOpen) || len(got) != 0 {
		t.Errorf("range of another object: %d bytes, %v", len(got), err)
	}
	mixed := append(bytes.Clone(body2[:56+16400]), body[56+16400:]...)
	if got, err := io.ReadAll(o.Reader(bytes.NewReader(mixed), int64(len(plain)))); !errors.Is(err, proxy.ErrOpen) || !bytes.Equal(got, plain[:16384]) {
		t.Errorf("second chunk of another object: %d bytes, %v", len(got), err)
	}
}

// A store that claims another size than the header proves is refused before a
// byte of a range is returned, and the size is not among the checksums.
func TestClaimedSizeIsProven(t *testing.T) {
	f := newFixture(t)
	checksums := map[string]string{"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
	plain := randomBytes(100_000)
	header, body := f.put(t, proxy.Object{Bucket: "tenants", Key: "a/k", Checksums: checksums, Size: int64(len(plain))}, plain)
	if len(header) > 400 {
		t.Errorf("header has %d bytes, want at most 400", len(header))
	}
	o, err := f.cipher.OpenObject(t.Context(), "tenants", "a/k", header, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(checksums, o.Checksums()); diff != "" {
		t.Error(diff)
	}
	if size, err := o.PlainSize(int64(len(body))); err != nil || size != int64(len(plain)) {
		t.Errorf("size %d, %v", size, err)
	}
	for _, claimed := range []int64{proxy.SealedSize(32_768), proxy.SealedSize(99_999), proxy.SealedSize(1 << 40)} {
		if _, err := o.PlainSize(claimed); !errors.Is(err, proxy.ErrOpen) {
			t.Errorf("a body of %d bytes: %v, want ErrOpen", claimed, err)
		}
	}
}

func TestSealerSealsOnce(t *testing.T) {
	f := newFixture(t)
	s, err := f.cipher.SealObject(t.Context(), proxy.Object{Bucket: "data", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, s.Reader(bytes.NewReader(nil), nil))
	if n, err := s.Reader(bytes.NewReader(nil), nil).Read(make([]byte, 100)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("a second body: %d, %v", n, err)
	}
}

func TestNoRule(t *testing.T) {
	f := newFixture(t)
	if _, err := f.cipher.SealObject(t.Context(), proxy.Object{Bucket: "tenants", Key: "c/x"}); !errors.Is(err, proxy.ErrNoRule) {
		t.Errorf("got %v, want ErrNoRule", err)
	}
}

func TestReservedContext(t *testing.T) {
	f := newFixture(t)
	o := proxy.Object{Bucket: "data", Key: "k", EncryptionContext: map[string]string{"aws:s3:arn": "arn:aws:s3:::other"}}
	if _, err := f.cipher.SealObject(t.Context(), o); err == nil {
		t.Error("an object chose its bucket's context")
	}
}

func (f *fixture) column(t testing.TB, rule proxy.ColumnRule, keys ...proxy.ColumnKey) *proxy.Column {
	t.Helper()
	col, err := f.cipher.Column(rule, keys)
	if err != nil {
		t.Fatal(err)
	}
	return col
}

func (f *fixture) columnKey(t testing.TB, rule proxy.ColumnRule, id uint32) proxy.ColumnKey {
	t.Helper()
	arn, wrapped, err := f.cipher.NewColumnKey(t.Context(), rule)
	if err != nil {
		t.Fatal(err)
	}
	return proxy.ColumnKey{ID: id, KeyARN: arn, Wrapped: wrapped}
}

func acquire(t testing.TB, col *proxy.Column) *proxy.ColumnLease {
	t.Helper()
	l, err := col.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestColumnRandom(t *testing.T) {
	f := newFixture(t)
	rule := f.rules.Columns[0]
	old, young := f.columnKey(t, rule, 1), f.columnKey(t, rule, 2)
	before := acquire(t, f.column(t, rule, old))
	l := acquire(t, f.column(t, rule, old, young))
	a, err := before.Seal(nil, []byte("alice"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := l.Seal(nil, []byte("alice"))
	for i, v := range [][]byte{a, b} {
		if id, _ := proxy.ValueKeyID(v); id != uint32(i+1) || !proxy.Sealed(v) ||
			!bytes.HasPrefix(v, proxy.CheckPrefix(rule)) || len(v) != proxy.MinSealed(rule)+5 {
			t.Errorf("value %d: %x", i, v)
		}
		if got, err := l.Open(nil, v); err != nil || string(got) != "alice" {
			t.Errorf("value %d: %q, %v", i, got, err)
		}
	}
	if _, err := before.Open(nil, b); !errors.Is(err, proxy.ErrColumnKey) {
		t.Errorf("a newer key: %v, want ErrColumnKey", err)
	}
	if _, err := l.Open(nil, []byte("plain text of some length, forty bytes.")); !errors.Is(err, proxy.ErrFormat) {
		t.Errorf("plaintext: %v, want ErrFormat", err)
	}
}

// Values of columns in mode range compare as their plaintexts, also across a domain,
// and not as those of another mode.
func TestColumnRange(t *testing.T) {
	f := newFixture(t)
	rule := func(column, mode string) proxy.ColumnRule {
		return proxy.ColumnRule{Table: "t", Column: column, Type: "bytea", Mode: mode, KeyID: f.rules.Columns[0].KeyID, Domain: "d"}
	}
	born := rule("born", proxy.ModeRange)
	key := f.columnKey(t, born, 1)
	a, b := acquire(t, f.column(t, born, key)), acquire(t, f.column(t, rule("died", proxy.ModeRange), key))
	var last []byte
	for i := range 300 {
		l := a
		if i%2 == 1 {
			l = b
		}
		v, err := l.Seal(nil, []byte{byte(i >> 8), byte(i)})
		if err != nil || bytes.Compare(last, v) >= 0 || !bytes.HasPrefix(v, proxy.CheckPrefix(born)) || len(v) < proxy.MinSealed(born) || !proxy.Sealed(v) {
			t.Fatalf("%d: %x, %v", i, v, err)
		}
		if got, err := a.Open(nil, v); err != nil || !bytes.Equal(got, []byte{byte(i >> 8), byte(i)}) {
			t.Fatalf("%d: %x, %v", i, got, err)
		}
		last = v
	}
	if got, err := acquire(t, f.column(t, rule("born", proxy.ModeEquality), key)).Open(nil, last); !errors.Is(err, proxy.ErrOpen) {
		t.Errorf("a range value as one of mode equality: %q, %v, want ErrOpen", got, err)
	}
	if _, err := a.Seal(nil, make([]byte, proxy.MaxRange+2)); err == nil {
		t.Error("a value that fits into no index")
	}
}

func TestColumnsDoNotSwap(t *testing.T) {
	f := newFixture(t)
	name, city := f.rules.Columns[0], f.rules.Columns[1]
	key := f.columnKey(t, name, 1)
	v, err := acquire(t, f.column(t, name, key)).Seal(nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := acquire(t, f.column(t, city, f.columnKey(t, city, 1))).Open(nil, v); !errors.Is(err, proxy.ErrOpen) {
		t.Errorf("name in city: %q, %v, want ErrOpen", got, err)
	}
	var kerr *datakey.Error
	if _, err := f.column(t, city, key).Acquire(t.Context()); !errors.As(err, &kerr) || kerr.Kind != datakey.Corrupt {
		t.Errorf("key of name for city: %v, want Corrupt", err)
	}
}

func TestDomainsCompare(t *testing.T) {
	f := newFixture(t)
	email, mail, ssn := f.rules.Columns[2], f.rules.Columns[3], f.rules.Columns[4]
	key := f.columnKey(t, email, 7)
	a, b := acquire(t, f.column(t, email, key)), acquire(t, f.column(t, mail, key))
	va, _ := a.Seal(nil, []byte("x@example.com"))
	vb, _ := b.Seal(nil, []byte("x@example.com"))
	if va == nil || !bytes.Equal(va, vb) {
		t.Errorf("columns of a domain differ: %x, %x", va, vb)
	}
	c := acquire(t, f.column(t, ssn, f.columnKey(t, ssn, 7)))
	vc, _ := c.Seal(nil, []byte("x@example.com"))
	if bytes.Equal(va, vc) {
		t.Error("a column outside the domain compares")
	}
	if got, err := b.Open(nil, va); err != nil || string(got) != "x@example.com" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDisabledKeyStopsColumnsAndObjects(t *testing.T) {
	f := newFixture(t)
	rule := f.rules.Columns[0]
	col := f.column(t, rule, f.columnKey(t, rule, 1))
	acquire(t, col).Release()
	f.kms.Disable(t, f.keyARN)
	var kerr *datakey.Error
	if _, err := f.cipher.SealObject(t.Context(), proxy.Object{Bucket: "data", Key: "k"}); !errors.As(err, &kerr) || kerr.Kind != datakey.Disabled {
		t.Errorf("sealing: %v, want Disabled", err)
	}
	if kerr.KMSCode != "DisabledException" {
		t.Errorf("code %q", kerr.KMSCode)
	}
}

func TestUseIsRecordedOncePerOperation(t *testing.T) {
	f := newFixture(t)
	rule := f.rules.Columns[0]
	col := f.column(t, rule, f.columnKey(t, rule, 1))
	ctx, op := f.log.Begin(t.Context(), audit.SpanPostgresQuery)
	for range 5 {
		l, err := col.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	}
	if err := op.End(""); err != nil {
		t.Fatal(err)
	}
	spans, err := audit.ReadTrace([]string{f.dir}, op.TraceID())
	if err != nil {
		t.Fatal(err)
	}
	uses := 0
	for _, s := range spans {
		if s.Name == audit.SpanDataKeyUse {
			uses++
		}
	}
	if uses != 1 {
		t.Errorf("%d uses on the record, want 1", uses)
	}
}

func TestObjectUsesAreRecorded(t *testing.T) {
	f := newFixture(t)
	header, _ := f.put(t, proxy.Object{Bucket: "data", Key: "k"}, nil)
	ctx, op := f.log.Begin(t.Context(), audit.SpanS3("GetObject"))
	if _, err := f.cipher.OpenObject(ctx, "data", "k", header, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.cipher.OpenObject(ctx, "data", "wrong", header, nil); err == nil {
		t.Fatal("opened under a wrong name")
	}
	if err := op.End(""); err != nil {
		t.Fatal(err)
	}
	spans, err := audit.ReadTrace([]string{f.dir}, op.TraceID())
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, s := range spans {
		if s.Name == audit.SpanDataKeyUse {
			codes = append(codes, s.Code)
		}
	}
	if diff := cmp.Diff([]string{"", "AuthenticationFailed"}, codes); diff != "" {
		t.Error(diff)
	}
}

func TestTimesOutWithItsCaller(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if _, err := f.cipher.SealObject(ctx, proxy.Object{Bucket: "data", Key: "k"}); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A use outside any operation is recorded all the same, and durable at once; with
// no record there is no use.
func TestUseWithoutAnOperation(t *testing.T) {
	f := newFixture(t)
	rule := f.rules.Columns[0]
	header, _ := f.put(t, proxy.Object{Bucket: "data", Key: "k"}, nil)
	col := f.column(t, rule, f.columnKey(t, rule, 1))
	acquire(t, col)
	if _, err := f.cipher.OpenObject(t.Context(), "data", "k", header, nil); err != nil {
		t.Fatal(err)
	}
	traces, err := audit.List([]string{f.dir}, 10)
	if err != nil || len(traces) != 3 {
		t.Errorf("%d traces, %v; want 3", len(traces), err)
	}
	f.log.Close()
	if _, err := f.cipher.OpenObject(t.Context(), "data", "k", header, nil); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if _, err := f.cipher.SealObject(t.Context(), proxy.Object{Bucket: "data", Key: "k"}); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if _, err := col.Acquire(t.Context()); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

// A damaged header is refused and on the record.
func TestDamagedHeaderIsRecorded(t *testing.T) {
	f := newFixture(t)
	ctx, op := f.log.Begin(t.Context(), audit.SpanS3("GetObject"))
	if _, err := f.cipher.OpenObject(ctx, "data", "k", "not a header", nil); !errors.Is(err, proxy.ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
	if err := op.End("InternalError"); err != nil {
		t.Fatal(err)
	}
	spans, err := audit.ReadTrace([]string{f.dir}, op.TraceID())
	if err != nil || len(spans) != 2 || spans[1].Code != "Malformed" {
		t.Errorf("%+v, %v", spans, err)
	}
}
