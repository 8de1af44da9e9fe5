// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// migratePrincipal is the principal on record.
const migratePrincipal = "migrate"

// exchange is the object as the code of the gateway knows it. No client waits.
func (m *Migrator) exchange(key string) *exchange {
	return &exchange{g: m.g, bucket: m.o.Bucket, key: key, header: http.Header{}, query: url.Values{}}
}

// begin puts an operation on an object on record.
func (m *Migrator) begin(ctx context.Context, x *exchange, operation string) context.Context {
	ctx, x.op = m.g.audit.Begin(ctx, audit.SpanS3(operation),
		audit.Principal.String(migratePrincipal), audit.S3Bucket.String(x.bucket), audit.S3Key.String(x.key))
	return ctx
}

// end ends the record, with the error if there is one. What has no record has failed.
func (m *Migrator) end(x *exchange, err error) error {
	code, text := "", ""
	switch {
	case errors.Is(err, errChanged):
		code, text = "PreconditionFailed", err.Error()
	case err != nil:
		e := x.asS3(err)
		code, text = e.code, e.message
	}
	if text == "" {
		return x.op.End(code)
	}
	return errors.Join(err, x.op.End(code, audit.Reason.String(text)))
}

// looked is an object as it was when it was looked at.
type looked struct {
	found   *found // of a HEAD
	version string // "" in a bucket without versions
	// kept is what is stored beside the content, as a PutObject has it.
	kept http.Header
}

func (l *looked) etag() string { return l.found.resp.Header.Get("Etag") }
func (l *looked) sealed() bool { return l.found.header != "" }

// same says that two looks saw the same object.
func (l *looked) same(other *looked) bool {
	return l.etag() == other.etag() && l.version == other.version && l.found.size == other.found.size &&
		l.found.resp.Header.Get("Last-Modified") == other.found.resp.Header.Get("Last-Modified") &&
		maps.EqualFunc(l.kept, other.kept, slices.Equal)
}

// attempt takes an object up. again says that it was taken up before, so that what
// is sealed by now may be this run's work, which is to be read back.
func (m *Migrator) attempt(ctx context.Context, key string, again bool) (verdict, int64, error) {
	if hidden(key) {
		return m.ownObject(key)
	}
	x := m.exchange(key)
	l, err := m.look(ctx, x)
	if isNotFound(err) {
		return gone, 0, nil
	}
	if err != nil {
		return failed, 0, err
	}
	if l.sealed() {
		return m.sealedBefore(ctx, x, l, again)
	}
	if err := m.refuse(x, l); err != nil {
		return failed, 0, err
	}
	if m.o.DryRun || m.o.VerifyOnly {
		return unsealed, l.found.size, nil
	}
	if err := m.seal(ctx, x, l); err != nil {
		return failed, 0, err
	}
	return sealing, l.found.size, nil
}

// ownObject knows the gateway's own objects by their names: they hold no plaintext.
func (m *Migrator) ownObject(key string) (verdict, int64, error) {
	if key == defaultsKey || strings.HasPrefix(key, uploadsPrefix) || strings.HasPrefix(key, probePrefix) {
		return before, 0, nil
	}
	return failed, 0, errors.New("names that begin with " + hiddenPrefix + " belong to the gateway, which would not serve it")
}

// sealedBefore is for an object that needs no sealing.
func (m *Migrator) sealedBefore(ctx context.Context, x *exchange, l *looked, again bool) (verdict, int64, error) {
	var old []objectVersion
	if m.o.DeletePlaintextVersions && m.store.versioned {
		var err error
		if old, err = m.plaintextVersions(ctx, x, l.version); err != nil {
			return failed, 0, err
		}
	}
	if m.o.VerifyOnly || again && !m.o.NoVerify || len(old) > 0 {
		if err := m.verifySealed(ctx, x, l); err != nil {
			return failed, 0, err
		}
	}
	return before, l.found.size, m.deleteVersions(ctx, x, old)
}

// look reads all that is stored beside the content. Of a sealed object it reads the
// header only.
func (m *Migrator) look(ctx context.Context, x *exchange) (*looked, error) {
	c := call{method: http.MethodHead, bucket: x.bucket, key: x.key, query: url.Values{}, header: http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}}}
	resp, err := m.g.upstream.do(ctx, c)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	l := &looked{found: &found{bucket: x.bucket, key: x.key, call: c, resp: resp}}
	f := l.found
	if m.store.versioned {
		if l.version = resp.Header.Get("X-Amz-Version-Id"); l.version != "" {
			c.query.Set("versionId", l.version)
		}
	}
	if f.at, err = extentOf(resp); err != nil {
		return nil, err
	}
	if f.header, err = sealed(resp.Header); err != nil {
		return nil, err
	}
	if f.header == "" {
		f.size = f.at.total
		l.kept, err = m.kept(ctx, x, l)
		return l, err
	}
	header, err := envelope.ParseHeader(f.header)
	if err != nil {
		return nil, fmt.Errorf("it has an unreadable sidekey header: %w", err)
	}
	f.size, err = header.Suite.PlainSize(f.at.total)
	return l, err
}

// kept collects what a PutObject has to say for the object to stay what it is.
func (m *Migrator) kept(ctx context.Context, x *exchange, l *looked) (http.Header, error) {
	head, kept := l.found.resp.Header, http.Header{}
	copyHeaders(kept, head, []string{
		"Content-Type", "Content-Disposition", "Content-Language", "Cache-Control", "Expires",
		"X-Amz-Storage-Class", "X-Amz-Website-Redirect-Location",
	})
	if encoding := contentEncoding(head["Content-Encoding"]); encoding != "" {
		kept.Set("Content-Encoding", encoding)
	}
	for name, values := range head {
		if strings.HasPrefix(name, metaPrefix) {
			kept[name] = []string{strings.Join(values, ",")}
		}
	}
	source := copySource{bucket: x.bucket, key: x.key, version: l.version}
	if err := x.copyTags(ctx, source, kept); err != nil {
		return nil, fmt.Errorf("reading its tags: %w", err)
	}
	if err := m.keepACL(ctx, l, kept); err != nil {
		return nil, fmt.Errorf("reading its ACL: %w", err)
	}
	if err := m.keepLocks(ctx, l, kept); err != nil {
		return nil, fmt.Errorf("reading its locks: %w", err)
	}
	return kept, nil
}

// askObject reads a sub-resource of the very version that was looked at. It reports
// false if there is none.
func (m *Migrator) askObject(ctx context.Context, l *looked, sub string, answer any) (bool, error) {
	query := url.Values{sub: {""}}
	if l.version != "" {
		query.Set("versionId", l.version)
	}
	err := m.g.ask(ctx, call{method: http.MethodGet, bucket: l.found.bucket, key: l.found.key, query: query}, answer)
	if err != nil && isUnknownHere(err) {
		return false, nil // an object that is gone is found out when it is read
	}
	return err == nil, err
}

type accessControl struct {
	Owner struct{ ID string }
	Grant []struct {
		Grantee struct {
			ID  string
			URI string
		}
		Permission string
	} `xml:"AccessControlList>Grant"`
}

var grantHeaders = map[string]string{
	"FULL_CONTROL": "X-Amz-Grant-Full-Control", "READ": "X-Amz-Grant-Read",
	"READ_ACP": "X-Amz-Grant-Read-Acp", "WRITE_ACP": "X-Amz-Grant-Write-Acp", "WRITE": "X-Amz-Grant-Write",
}

// keepACL puts the grants into the headers of the PutObject itself, so that there is
// no moment without them. The ACL of an object that is its owner's alone needs none.
func (m *Migrator) keepACL(ctx context.Context, l *looked, kept http.Header) error {
	if !m.store.acls {
		return nil
	}
	var acl accessControl
	if ok, err := m.askObject(ctx, l, "acl", &acl); !ok || err != nil {
		return err
	}
	grants, private := http.Header{}, true
	for _, grant := range acl.Grant {
		name, ok := grantHeaders[grant.Permission]
		grantee := `id="` + grant.Grantee.ID + `"`
		if grant.Grantee.URI != "" {
			grantee = `uri="` + grant.Grantee.URI + `"`
		}
		if !ok || strings.ContainsAny(grant.Grantee.ID+grant.Grantee.URI, "\",\r\n") {
			return fmt.Errorf("a grant of %q cannot be kept", grant.Permission)
		}
		grants.Add(name, grantee)
		private = private && grant.Permission == "FULL_CONTROL" && grant.Grantee.URI == "" && grant.Grantee.ID == acl.Owner.ID
	}
	if private {
		return nil
	}
	for name, values := range grants {
		kept[name] = []string{strings.Join(values, ", ")}
	}
	return nil
}

// keepLocks keeps a retention that has not ended, and the legal hold.
func (m *Migrator) keepLocks(ctx context.Context, l *looked, kept http.Header) error {
	if !m.store.locks {
		return nil
	}
	var retention struct{ Mode, RetainUntilDate string }
	if _, err := m.askObject(ctx, l, "retention", &retention); err != nil {
		return err
	}
	if retention.Mode != "" {
		until, err := time.Parse(time.RFC3339, retention.RetainUntilDate)
		if err != nil {
			return err
		}
		if until.After(time.Now()) {
			kept.Set("X-Amz-Object-Lock-Mode", retention.Mode)
			kept.Set("X-Amz-Object-Lock-Retain-Until-Date", retention.RetainUntilDate)
		}
	}
	var hold struct{ Status string }
	if _, err := m.askObject(ctx, l, "legal-hold", &hold); err != nil {
		return err
	}
	if hold.Status == "ON" {
		kept.Set("X-Amz-Object-Lock-Legal-Hold", "ON")
	}
	return nil
}

// refuse finds what cannot be sealed, as far as that shows before it is read.
func (m *Migrator) refuse(x *exchange, l *looked) error {
	head := l.found.resp.Header
	for _, name := range []string{"Key-V2", "Key", "C", "Crypto-Instr-File"} {
		if head.Get(metaPrefix+"X-Amz-"+name) != "" {
			return errors.New("it was written by an Amazon S3 Encryption Client: its content is not plaintext")
		}
	}
	switch class := head.Get("X-Amz-Storage-Class"); {
	case (class == "GLACIER" || class == "DEEP_ARCHIVE" || head.Get("X-Amz-Archive-Status") != "") && !strings.Contains(head.Get("X-Amz-Restore"), `ongoing-request="false"`):
		return errors.New("it is archived: restore it first")
	case head.Get("X-Amz-Missing-Meta") != "" && head.Get("X-Amz-Missing-Meta") != "0":
		return errors.New("it has user metadata that no header can hold, which would be lost")
	}
	_, err := m.g.cipher.ObjectRule(x.bucket, x.key)
	return err
}

// sealedObject is what the store has now, and the digests of what was read before.
type sealedObject struct {
	etag, version string
	pieces        []piece
}

// piece is a length of plaintext and its SHA-256.
type piece struct {
	size int64
	sum  [sha256.Size]byte
}

// seal replaces an object by its sealed form and reads that back.
func (m *Migrator) seal(ctx context.Context, x *exchange, l *looked) error {
	ctx = m.begin(ctx, x, "MigrateObject")
	x.op.Set(audit.Bytes.Int64(l.found.size))
	err := x.op.Durable(ctx)
	var now *sealedObject
	if err == nil {
		now, err = m.replace(ctx, x, l)
	}
	if err == nil && !m.o.NoVerify {
		err = m.verify(ctx, x, now)
	}
	if now != nil && errors.Is(err, errChanged) {
		// It was sealed, and before it was read back a client was there.
		return errors.Join(err, x.op.End("", audit.Reason.String(err.Error())))
	}
	if err = m.end(x, err); err != nil || !m.o.DeletePlaintextVersions || !m.store.versioned {
		return err
	}
	old, err := m.plaintextVersions(ctx, x, now.version)
	if err != nil {
		return err
	}
	return m.deleteVersions(ctx, x, old)
}

// replace writes the sealed form over the object, if that is still the same.
func (m *Migrator) replace(ctx context.Context, x *exchange, l *looked) (*sealedObject, error) {
	sse, err := x.encryption(ctx) // the rule's key, or the bucket's default
	if err != nil {
		return nil, err
	}
	if m.store.ifMatch {
		x.header.Set("If-Match", quoted(l.etag()))
	}
	var now *sealedObject
	if isMultipart(l.etag()) || proxy.SealedSize(l.found.size) > maxObject {
		now, err = m.replaceParts(ctx, x, l, sse)
	} else {
		now, err = m.replaceWhole(ctx, x, l, sse)
	}
	return now, asChanged(err)
}

func isMultipart(etag string) bool { return strings.Contains(etag, "-") }

// asChanged knows the answers of a store to what another writer did meanwhile.
func asChanged(err error) error {
	var e *s3Error
	if errors.As(err, &e) && (e == errOverwritten || e.status == http.StatusPreconditionFailed || e.status == http.StatusConflict || e.code == "NoSuchKey") {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}

// replaceWhole seals an object as one message.
func (m *Migrator) replaceWhole(ctx context.Context, x *exchange, l *looked, sse encryption) (*sealedObject, error) {
	size := l.found.size
	sums := &digests{}
	if algorithm, value, kind := storedChecksum(l.found.resp.Header); kind == fullObject {
		if err := sums.use(algorithm, value); err != nil {
			return nil, err
		}
	}
	plain, err := m.openPlain(ctx, x, l, 0, size)
	if err != nil {
		return nil, err
	}
	defer plain.close()
	if size > smallObject { // a small one is sent once its end was confirmed
		if err := m.confirm(ctx, x, l); err != nil {
			return nil, err
		}
	}
	plain.confirm = func() error { return m.confirmLate(ctx, x, l) }
	header := maps.Clone(l.kept)
	copyHeaders(header, x.header, []string{"If-Match"})
	c := call{method: http.MethodPut, bucket: x.bucket, key: x.key, header: header, length: proxy.SealedSize(size)}
	src := &source{ctx: ctx, body: plain, length: size, digests: sums, record: x.op}
	var proven *proof
	resp, err := x.ship(ctx, src, c, func(content io.Reader) (_ io.Reader, err error) {
		object := proxy.Object{Bucket: x.bucket, Key: x.key, KeyID: sse.keyID, Size: size, Checksums: sums.known()}
		proven, err = m.sealWhole(ctx, x, object, header, content, plain)
		return proven, err
	})
	if proven != nil {
		proven.close()
	}
	if err != nil {
		return nil, err
	}
	drain(resp.Body)
	return &sealedObject{
		etag: resp.Header.Get("Etag"), version: resp.Header.Get("X-Amz-Version-Id"), pieces: []piece{plain.piece()},
	}, nil
}

// sealWhole is the sealed body of an object, which is opened while it passes. It puts
// the sidekey header into header.
func (m *Migrator) sealWhole(ctx context.Context, x *exchange, object proxy.Object, header http.Header, content io.Reader, plain *plainReader) (*proof, error) {
	sealer, err := m.g.cipher.SealObject(ctx, object)
	if err != nil {
		return nil, err
	}
	x.op.Set(audit.KeyARN.String(sealer.KeyARN()))
	header[sealedHeader] = []string{sealer.Header()}
	if err := checkMetadata(header); err != nil {
		return nil, err
	}
	opener, err := m.g.cipher.OpenObject(ctx, x.bucket, x.key, sealer.Header(), nil)
	if err != nil {
		return nil, err
	}
	checksums := func() map[string]string { return object.Checksums }
	return newProof(sealer.Reader(content, checksums), openWhole(opener, object.Size), plain.piece), nil
}

// checkMetadata finds out that the sidekey header does not fit beside the user
// metadata, which not every store does.
func checkMetadata(header http.Header) error {
	size := 0
	for name, values := range header {
		if strings.HasPrefix(name, metaPrefix) {
			size += len(name) - len(metaPrefix) + len(values[0])
		}
	}
	if size > maxUserMetadata {
		return &s3Error{code: "MetadataTooLarge", status: http.StatusBadRequest, message: fmt.Sprintf("With the sidekey header the object has %d bytes of user metadata, of at most %d.", size, maxUserMetadata)}
	}
	return nil
}

// storedChecksum is the additional checksum that an object has, "" if none.
func storedChecksum(head http.Header) (algorithm, value, kind string) {
	for name := range algorithms {
		if value := head.Get(checksumPrefix + name); value != "" {
			kind := head.Get("X-Amz-Checksum-Type")
			if kind == "" && strings.Contains(value, "-") {
				kind = composite
			} else if kind == "" {
				kind = fullObject
			}
			return name, value, kind
		}
	}
	return "", "", ""
}

// confirm looks at the object once more. What is kept with it can change without
// its ETag.
func (m *Migrator) confirm(ctx context.Context, x *exchange, l *looked) error {
	now, err := m.look(ctx, x)
	if err != nil {
		return asChanged(notThere(err))
	}
	if now.sealed() || !l.same(now) {
		return errChanged
	}
	return nil
}

// notThere makes an answer to HEAD, which has no code, that of an object.
func notThere(err error) error {
	if isNotFound(err) {
		return errors.Join(errChanged, err)
	}
	return err
}

// confirmLate is confirm when all but the end of the sealed object is on its way. Some
// stores hold a lock of the object from the beginning of a conditional PutObject, and
// answer no questions till its end: then nobody else can have changed it.
func (m *Migrator) confirmLate(ctx context.Context, x *exchange, l *looked) error {
	if m.store.serial.Load() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	err := m.confirm(limited, x, l)
	if m.store.ifMatch && err != nil && !errors.Is(err, errChanged) && limited.Err() != nil {
		m.store.serial.Store(true)
		return nil
	}
	return err
}

// plainReader reads an object at the rate that is allowed and takes its digest. It
// ends only if confirm has nothing against it.
type plainReader struct {
	ctx     context.Context
	body    io.Reader
	closer  io.Closer
	limit   *rate.Limiter
	sum     hash.Hash // nil for none
	read    int64
	confirm func() error // nil for none
}

// readBurst is what is read at once at most; rates are even over as much.
const readBurst = 64 << 10

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.body.Read(b[:min(len(b), readBurst)])
	if waitErr := p.limit.WaitN(p.ctx, n); waitErr != nil {
		return n, waitErr
	}
	if p.sum != nil {
		p.sum.Write(b[:n])
	}
	p.read += int64(n)
	if err == io.EOF && p.confirm != nil {
		if late := p.confirm(); late != nil {
			return n, late
		}
	}
	return n, err
}

func (p *plainReader) close() { p.closer.Close() }

func (p *plainReader) piece() piece {
	return piece{size: p.read, sum: [sha256.Size]byte(p.sum.Sum(nil))}
}

// openPlain begins to read plaintext of the very object that was looked at.
func (m *Migrator) openPlain(ctx context.Context, x *exchange, l *looked, off, n int64) (*plainReader, error) {
	p := &plainReader{ctx: ctx, body: http.NoBody, closer: http.NoBody, limit: m.limit, sum: sha256.New()}
	if n == 0 {
		return p, nil
	}
	byteRange := ""
	if n != l.found.size {
		byteRange = fmt.Sprintf("bytes=%d-%d", off, off+n-1)
	}
	resp, err := m.g.upstream.do(ctx, l.found.again(byteRange))
	if err != nil {
		return nil, notThere(err)
	}
	at, err := extentOf(resp)
	if err != nil || at.start != off || at.end != off+n || at.total != l.found.size || resp.Header.Get("Etag") != l.etag() {
		resp.Body.Close()
		return nil, errors.Join(err, errChanged)
	}
	p.body, p.closer = exactly(resp.Body, n), resp.Body
	return p, nil
}
