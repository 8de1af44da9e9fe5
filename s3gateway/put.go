// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

const (
	// maxObject is S3's limit on one PUT, as the client sees it. What is stored
	// is a thousandth larger: a store with the same limit refuses the last 5 MiB
	// below it, before a byte of the body is sent.
	maxObject = 5 << 30

	// smallObject is up to where an object is verified and sealed in memory
	// before the upstream hears of it: a bad one then costs no connection, and
	// a good one can be sent again on another.
	smallObject = 64 << 10
)

// stall is how long a client may neither send nor take a byte that is due.
const stall = 2 * time.Minute

var errStalled = &s3Error{code: "RequestTimeout", status: http.StatusBadRequest, message: "Your socket connection to the server was not read from or written to within the timeout period."}

// content is what the client sends: a request's body or a form's file. It ends in
// io.EOF only if its form, and what was signed of it, has verified.
type content interface {
	io.Reader
	DecodedLength() int64
	Trailer() http.Header
}

// source is the client's content. It ends in io.EOF only once everything that
// the client declared has been verified and the intent is on disk; until then
// the sealer holds back the final chunk, without which there is no object.
type source struct {
	ctx     context.Context
	body    content
	digests *digests
	record  *audit.Op
	conn    *http.ResponseController

	mu  sync.Mutex // the transport may read on while the handler answers
	err error      // guarded by mu: what ended the content, io.EOF if all is well
}

func (s *source) Read(p []byte) (int, error) {
	s.conn.SetReadDeadline(time.Now().Add(stall))
	n, err := s.body.Read(p)
	s.conn.SetReadDeadline(time.Time{}) // the server reads on, to see a client leave
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errStalled
	}
	s.digests.write(p[:n])
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		err = s.verified()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	return n, err
}

func (s *source) verified() error {
	if err := s.digests.check(s.body.Trailer()); err != nil {
		return err
	}
	if err := s.record.Durable(s.ctx); err != nil {
		return err
	}
	return io.EOF
}

// ended returns what ended the content, nil if it has not ended.
func (s *source) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func putObject(ctx context.Context, x *exchange) error {
	src, err := x.newSource(ctx)
	if err != nil {
		return err
	}
	return x.put(ctx, src)
}

// put stores the content under the headers of x.
func (x *exchange) put(ctx context.Context, src *source) error {
	size := src.body.DecodedLength()
	if err := checkSize(size); err != nil {
		return err
	}
	header, err := x.storedHeader()
	if err != nil {
		return err
	}
	sse, err := readEncryption(x.header)
	if err != nil {
		return err
	}
	object := proxy.Object{
		Bucket: x.bucket, Key: x.key, KeyID: sse.keyID, EncryptionContext: sse.context, Size: size,
	}
	x.op.Set(audit.Bytes.Int64(size))
	if size <= smallObject {
		return x.putSmall(ctx, src, object, header)
	}
	return x.putStream(ctx, src, object, header)
}

// checkSize wants the length of the plaintext up front, as S3 does.
func checkSize(size int64) error {
	switch {
	case size < 0:
		return &s3Error{code: "MissingContentLength", status: http.StatusLengthRequired, message: "You must provide the Content-Length HTTP header."}
	case size > maxObject:
		return &s3Error{
			code: "EntityTooLarge", status: http.StatusBadRequest,
			message: "Your proposed upload exceeds the maximum allowed size",
			fields:  [][2]string{{"ProposedSize", strconv.FormatInt(size, 10)}},
		}
	}
	return nil
}

// newSource reads what the client declares of its content.
func (x *exchange) newSource(ctx context.Context) (*source, error) {
	framed := x.verified.Payload.Framed()
	if !framed && strings.Contains(strings.ToLower(strings.Join(x.header["Content-Encoding"], ",")), "aws-chunked") {
		return nil, invalidRequest("Content-Encoding aws-chunked requires a streaming x-amz-content-sha256.")
	}
	if !framed && x.header.Get("X-Amz-Trailer") != "" {
		return nil, invalidRequest("x-amz-trailer requires a streaming x-amz-content-sha256 with a trailer.")
	}
	sums, err := newDigests(x.header)
	if err != nil {
		return nil, err
	}
	body, err := x.verified.Body(x.r)
	if err != nil {
		return nil, err
	}
	return &source{ctx: ctx, body: body, digests: sums, record: x.op, conn: http.NewResponseController(x.w)}, nil
}

// storedHeader is what is stored with the object besides the sidekey header.
func (x *exchange) storedHeader() (http.Header, error) {
	header := http.Header{}
	copyHeaders(header, x.header, storedHeaders, conditionHeaders, ownerHeaders)
	if encoding := contentEncoding(x.header["Content-Encoding"]); encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	return header, x.userMetadata(header)
}

// contentEncoding removes aws-chunked, which is of the transfer only.
func contentEncoding(values []string) string {
	var kept []string
	for _, value := range values {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "aws-chunked") {
				kept = append(kept, coding)
			}
		}
	}
	return strings.Join(kept, ",")
}

// putSmall verifies all of the content first, so that also a checksum from a
// trailer can be stored.
func (x *exchange) putSmall(ctx context.Context, src *source, object proxy.Object, header http.Header) error {
	plain := bytes.NewBuffer(make([]byte, 0, object.Size+bytes.MinRead))
	if _, err := plain.ReadFrom(src); err != nil {
		return err
	}
	defer clear(plain.Bytes()[:plain.Len()])
	object.Checksums = src.digests.known()
	sealer, err := x.g.cipher.SealObject(ctx, object)
	if err != nil {
		return err
	}
	stored := make([]byte, sealer.SealedSize(object.Size))
	if _, err := io.ReadFull(sealer.Reader(bytes.NewReader(plain.Bytes())), stored); err != nil {
		return fmt.Errorf("sealing an object: %w", err)
	}
	header[sealedHeader] = []string{sealer.Header()}
	c := call{
		method: http.MethodPut, bucket: x.bucket, key: x.key, header: header,
		body: bytes.NewReader(stored), length: int64(len(stored)),
		replay: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(stored)), nil },
	}
	if x.g.upstream.checksum {
		header.Set("X-Amz-Checksum-Crc64nvme", crc64Of(stored))
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	return x.answerPut(resp, sealer.KeyARN(), src)
}

// putStream seals while the content passes.
func (x *exchange) putStream(ctx context.Context, src *source, object proxy.Object, header http.Header) error {
	object.Checksums = src.digests.known()
	sealer, err := x.g.cipher.SealObject(ctx, object)
	if err != nil {
		return err
	}
	header[sealedHeader] = []string{sealer.Header()}
	c := call{
		method: http.MethodPut, bucket: x.bucket, key: x.key, header: header,
		body: sealer.Reader(src), length: sealer.SealedSize(object.Size),
	}
	if x.g.upstream.checksum {
		c.withTrailer()
	}
	resp, err := x.g.upstream.do(ctx, c)
	if ended := src.ended(); ended != nil && ended != io.EOF {
		// The content was bad: the upload was cut short, whatever the upstream
		// made of that.
		if resp != nil {
			resp.Body.Close()
		}
		return ended
	}
	if err != nil {
		return err
	}
	return x.answerPut(resp, sealer.KeyARN(), src)
}

func (x *exchange) answerPut(resp *http.Response, keyARN string, src *source) error {
	defer drain(resp.Body)
	if src.ended() != io.EOF {
		return errors.New("the upstream accepted an object before all of it was sent")
	}
	x.copyAnswer(resp.Header)
	header := x.w.Header()
	header.Del("Content-Type")
	setChecksums(header, src.digests.known())
	x.setEncryption(keyARN)
	if x.form != nil {
		return x.answerPost(keyARN)
	}
	header.Set("Content-Length", "0")
	if err := x.op.End("", audit.HTTPStatus.Int(http.StatusOK), audit.KeyARN.String(keyARN)); err != nil {
		return err
	}
	x.writeHeader(http.StatusOK)
	return nil
}

// drain lets the connection be used again if little is left of the answer.
func drain(body io.ReadCloser) {
	io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}
