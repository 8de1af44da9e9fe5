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

// renew is how old a deadline is before it is set anew.
const renew = 2 * time.Second

var errStalled = &s3Error{code: "RequestTimeout", status: http.StatusBadRequest, message: "Your socket connection to the server was not read from or written to within the timeout period."}

// source is the client's content. It ends in io.EOF only once everything that
// the client declared has been verified and the intent is on disk; until then
// the sealer holds back the final chunk, without which there is no object.
type source struct {
	ctx     context.Context
	body    io.Reader
	length  int64              // of the content as declared; -1 if it is not
	trailer func() http.Header // once the content has ended; nil if there is none
	digests *digests
	record  *audit.Op
	conn    *http.ResponseController // of the client that sends it; nil if none does

	extended time.Time // when the client was last given time

	mu  sync.Mutex // the transport may read on while the handler answers
	err error      // guarded by mu: what ended the content, io.EOF if all is well
}

func (s *source) Read(p []byte) (int, error) {
	s.extend()
	n, err := s.body.Read(p)
	if err != nil && s.conn != nil {
		s.conn.SetReadDeadline(time.Time{}) // the server reads on, to see a client leave
		s.extended = time.Time{}
	}
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

// extend gives the client time to send more. A deadline is set anew when it is some
// seconds old: setting one for each read costs more than the check.
func (s *source) extend() {
	if now := time.Now(); s.conn != nil && now.Sub(s.extended) > renew {
		s.extended = now
		s.conn.SetReadDeadline(now.Add(stall))
	}
}

func (s *source) verified() error {
	var trailer http.Header
	if s.trailer != nil {
		trailer = s.trailer()
	}
	if err := s.digests.check(trailer); err != nil {
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
	header, sse, err := x.storedAs(ctx)
	if err != nil {
		return err
	}
	return x.put(ctx, src, sse, header)
}

// put seals the content as an object of its own and answers.
func (x *exchange) put(ctx context.Context, src *source, sse encryption, header http.Header) error {
	resp, keyARN, err := x.store(ctx, src, sse, header)
	if err != nil {
		return err
	}
	return x.answerPut(resp, keyARN, sse.customer, src)
}

// store seals the content as an object of its own.
func (x *exchange) store(ctx context.Context, src *source, sse encryption, header http.Header) (resp *http.Response, keyARN string, err error) {
	size := src.length
	if err := checkSize(size); err != nil {
		return nil, "", err
	}
	x.op.Set(audit.Bytes.Int64(size))
	if x.g.md5 {
		src.digests.computeMD5()
	}
	if src.digests.algorithm == "" {
		src.digests.compute(defaultChecksum)
	}
	object := proxy.Object{
		Bucket: x.bucket, Key: x.key, KeyID: sse.keyID, EncryptionContext: sse.context, Size: size, CustomerKey: sse.customer.bytes(),
	}
	c := call{method: http.MethodPut, bucket: x.bucket, key: x.key, header: header, length: proxy.SealedSize(size)}
	resp, err = x.ship(ctx, src, c, func(content io.Reader) (io.Reader, error) {
		object.Checksums, object.LateChecksums = src.digests.entries(), src.digests.late()
		if object.LateChecksums {
			object.Checksums = nil // all of them come in the footer
		}
		sealer, err := x.g.cipher.SealObject(ctx, object)
		if err != nil {
			return nil, err
		}
		header[sealedHeader], keyARN = []string{sealer.Header()}, sealer.KeyARN()
		return sealer.Reader(content, func() map[string]string {
			if object.LateChecksums {
				return src.digests.entries()
			}
			return nil
		}), nil
	})
	return resp, keyARN, err
}

// ship sends content upstream as the body of c, sealed by seal, which is called once
// and may still set headers. Small content is verified and sealed first.
func (x *exchange) ship(ctx context.Context, src *source, c call, seal func(io.Reader) (io.Reader, error)) (*http.Response, error) {
	if src.length <= smallObject {
		return x.shipSmall(ctx, src, c, seal)
	}
	content := newLookahead(src)
	body, err := seal(content)
	if err != nil {
		content.close()
		return nil, err
	}
	shipment := &shipment{sealed: body, content: content}
	c.body, c.close = shipment, shipment.close
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
		return nil, ended
	}
	return src.shipped(resp, err)
}

// shipSmall has all of the content before it seals, so that also a checksum from a
// trailer is known by then, and the body can be sent again on another connection.
func (x *exchange) shipSmall(ctx context.Context, src *source, c call, seal func(io.Reader) (io.Reader, error)) (*http.Response, error) {
	plain := bytes.NewBuffer(make([]byte, 0, src.length+bytes.MinRead))
	if _, err := plain.ReadFrom(src); err != nil {
		return nil, err
	}
	defer clear(plain.Bytes()[:plain.Len()])
	body, err := seal(bytes.NewReader(plain.Bytes()))
	if err != nil {
		return nil, err
	}
	stored := make([]byte, c.length)
	if _, err := io.ReadFull(body, stored); err != nil {
		return nil, fmt.Errorf("sealing an object: %w", err)
	}
	c.body = bytes.NewReader(stored)
	c.replay = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(stored)), nil }
	if x.g.upstream.checksum {
		c.header.Set("X-Amz-Checksum-Crc64nvme", crc64Of(stored))
	}
	return src.shipped(x.g.upstream.do(ctx, c))
}

// shipped refuses a success of which the content does not know.
func (s *source) shipped(resp *http.Response, err error) (*http.Response, error) {
	if err == nil && s.ended() != io.EOF {
		resp.Body.Close()
		return nil, errors.New("the upstream accepted an object before all of it was sent")
	}
	return resp, err
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
	return x.newSourceOf(ctx, x.header)
}

// newSourceOf goes by other declarations than the request's.
func (x *exchange) newSourceOf(ctx context.Context, header http.Header) (*source, error) {
	framed := x.verified.Payload.Framed()
	if !framed && strings.Contains(strings.ToLower(strings.Join(x.header["Content-Encoding"], ",")), "aws-chunked") {
		return nil, invalidRequest("Content-Encoding aws-chunked requires a streaming x-amz-content-sha256.")
	}
	if !framed && x.header.Get("X-Amz-Trailer") != "" {
		return nil, invalidRequest("x-amz-trailer requires a streaming x-amz-content-sha256 with a trailer.")
	}
	sums, err := newDigests(header)
	if err != nil {
		return nil, err
	}
	body, err := x.verified.Body(x.r)
	if err != nil {
		return nil, err
	}
	return &source{
		ctx: ctx, body: body, length: body.DecodedLength(), trailer: body.Trailer, digests: sums,
		record: x.op, conn: http.NewResponseController(x.w),
	}, nil
}

// storedAs is what is stored with the object, and how it is encrypted.
func (x *exchange) storedAs(ctx context.Context) (http.Header, encryption, error) {
	header, err := x.storedHeader()
	if err != nil {
		return nil, encryption{}, err
	}
	sse, err := x.encryption(ctx)
	return header, sse, err
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

func (x *exchange) answerPut(resp *http.Response, keyARN string, customer *customerKey, src *source) error {
	defer drain(resp.Body)
	x.copyAnswer(resp.Header)
	header := x.w.Header()
	header.Del("Content-Type")
	header.Set("Etag", x.putETag(src, resp.Header.Get("Etag")))
	objectChecksums(src.digests.known()).set(header)
	x.setEncryption(keyARN, customer)
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
