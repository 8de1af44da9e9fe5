// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// RewriteSizes copies a page of a listing with the sizes of the plaintext.
func RewriteSizes(w io.Writer, r io.Reader) error {
	page, err := readListing(r)
	if err != nil {
		return err
	}
	for i := range page.items {
		if page.items[i].size != (span{}) {
			page.items[i].plainSize()
		}
	}
	_, err = w.Write(page.render())
	return err
}

// ResolveRange parses a Range header and resolves it for a size.
func ResolveRange(header string, size int64) (off, n int64, ok, ignored bool, upstream string) {
	spec := parseRange(header)
	if spec == nil {
		return 0, 0, false, true, ""
	}
	off, n, ok = spec.within(size)
	return off, n, ok, false, spec.upstreamRange()
}

// Sweep is sweep, of a gateway that is an http.Handler.
func Sweep(ctx context.Context, gateway http.Handler, bucket string, before time.Time) error {
	return gateway.(*Gateway).sweep(ctx, bucket, before)
}

// WholeChecksum is wholeChecksum.
func WholeChecksum(t *envelope.Table) []byte { return wholeChecksum(t) }

// CheckPolicy parses a form's policy and compares fields and size with it.
func CheckPolicy(encoded string, fields map[string]string, size int64, now time.Time) error {
	p, err := parsePolicy(encoded)
	if err != nil {
		return err
	}
	if err := p.check(fields, now); err != nil {
		return err
	}
	return p.checkSize(size)
}

// ReadForm reads a whole form, and its file into w.
func ReadForm(w io.Writer, r *http.Request) (fields map[string]string, err error) {
	x := &exchange{w: httptest.NewRecorder(), r: r}
	f, err := x.readForm()
	if err != nil {
		return nil, err
	}
	if err := f.file.measure(); err != nil {
		return nil, err
	}
	n, err := io.Copy(w, f.file)
	if err == nil && n != f.file.DecodedLength() {
		err = errors.New("the declared length is another")
	}
	return f.fields, err
}

// Hurry has a migrator wait for less.
func (m *Migrator) Hurry(backoff, patience time.Duration) { m.backoff, m.patience = backoff, patience }

// EvenParts are the numbers and sizes of parts that an object gets which has none.
func EvenParts(size int64) (numbers []int, sizes []int64) {
	for _, p := range evenParts(size) {
		numbers, sizes = append(numbers, p.number), append(sizes, p.size)
	}
	return numbers, sizes
}

// Proof passes a sealed body on if open makes plain of it.
func Proof(sealed io.Reader, open func(io.Reader) io.Reader, plain []byte) io.Reader {
	return newProof(sealed, open, func() piece { return piece{int64(len(plain)), sha256.Sum256(plain)} })
}

// NewLookahead is content that can be looked at where it lies.
func NewLookahead(src io.Reader) envelope.Peeker { return newLookahead(src) }

// Shipment is content that is sent as it is.
type Shipment struct{ s *shipment }

func NewShipment(src io.Reader) Shipment {
	content := newLookahead(src)
	return Shipment{&shipment{sealed: content, content: content}}
}

func (s Shipment) Read(p []byte) (int, error) { return s.s.Read(p) }

func (s Shipment) Close() { s.s.close() }

// Released says that the buffer was given back.
func (s Shipment) Released() bool {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return s.s.content.buf == nil
}
