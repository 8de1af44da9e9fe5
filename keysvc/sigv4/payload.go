// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// PayloadMode says how the body is covered by the signature.
type PayloadMode int

// The payload modes, each named by the value of X-Amz-Content-Sha256.
const (
	PayloadSHA256          PayloadMode = iota + 1 // the SHA-256 of the body in hex
	PayloadUnsigned                               // UNSIGNED-PAYLOAD
	PayloadChunked                                // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	PayloadChunkedTrailer                         // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
	PayloadUnsignedTrailer                        // STREAMING-UNSIGNED-PAYLOAD-TRAILER
)

var payloadNames = [...]string{
	PayloadUnsigned:        "UNSIGNED-PAYLOAD",
	PayloadChunked:         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
	PayloadChunkedTrailer:  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
	PayloadUnsignedTrailer: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}

func (m PayloadMode) String() string {
	if m == PayloadSHA256 {
		return "SHA256"
	}
	if m > 0 && int(m) < len(payloadNames) {
		return payloadNames[m]
	}
	return "PayloadMode(" + strconv.Itoa(int(m)) + ")"
}

// Framed reports whether the body is in aws-chunked encoding.
func (m PayloadMode) Framed() bool { return m >= PayloadChunked }

func (m PayloadMode) trailer() bool {
	return m == PayloadChunkedTrailer || m == PayloadUnsignedTrailer
}

func (m PayloadMode) chunkSigned() bool {
	return m == PayloadChunked || m == PayloadChunkedTrailer
}

// setPayload reads the mode from the signed hash of a request whose body is
// read later.
func (v *Verified) setPayload(r *http.Request, c *claim, service string) error {
	stated := c.payloadHash
	if stated == "" {
		switch {
		case c.presigned && service == "s3":
			stated = payloadNames[PayloadUnsigned]
		case service != "s3" && r.ContentLength == 0:
			empty := sha256.Sum256(nil)
			stated = hex.EncodeToString(empty[:])
		default:
			return refuse(InvalidPayloadHash, "X-Amz-Content-Sha256 is required")
		}
	}
	v.payloadHash = stated
	for mode, name := range payloadNames {
		if name != "" && name == stated {
			v.Payload = PayloadMode(mode)
			if v.Presigned && v.Payload.chunkSigned() {
				return refuse(InvalidPayloadHash, "a presigned request cannot have a signed stream")
			}
			return nil
		}
	}
	if strings.HasPrefix(stated, "STREAMING-AWS4-ECDSA-") {
		return refuse(UnsupportedAlgorithm, "ECDSA signatures (SigV4A) are not supported")
	}
	if sum, err := hex.DecodeString(stated); err != nil || len(sum) != sha256.Size {
		return refuse(InvalidPayloadHash, "X-Amz-Content-Sha256 must be a SHA-256 in hex, UNSIGNED-PAYLOAD, or a known streaming form")
	}
	v.Payload = PayloadSHA256
	return nil
}

func (v *Verified) setPayloadOf(body []byte, stated string) error {
	sum := sha256.Sum256(body)
	v.Payload = PayloadSHA256
	if stated == "" {
		v.payloadHash = hex.EncodeToString(sum[:])
		return nil
	}
	if want, ok := decodeSum(stated); !ok || want != sum {
		return refuse(ContentSHA256Mismatch, "X-Amz-Content-Sha256 is not the hash of the body")
	}
	v.payloadHash = stated
	return nil
}

// Body is the verified content of a request, without aws-chunked framing.
//
// What Read returns before io.EOF is not yet authenticated: the caller must be
// able to undo its use. io.EOF is returned only if the length, the payload hash
// or every chunk signature, and the trailer's form and signature have verified;
// every other end is an [Error] or the connection's own error.
type Body struct {
	src     io.Reader
	decoded int64 // -1 unknown
	read    int64
	err     error // sticky
	sum     hash.Hash
	want    []byte
	chunks  *chunkReader
}

// Body returns the reader of r's content. It is called at most once.
func (v *Verified) Body(r *http.Request) (*Body, error) {
	src := io.Reader(r.Body)
	if r.Body == nil {
		src = http.NoBody
	}
	b := &Body{src: src, decoded: r.ContentLength}
	if v.Payload == PayloadSHA256 {
		want, err := hex.DecodeString(v.payloadHash)
		if err != nil {
			return nil, refuse(InvalidPayloadHash, "X-Amz-Content-Sha256 is not hex")
		}
		b.sum, b.want = sha256.New(), want
	}
	if !v.Payload.Framed() {
		return b, nil
	}
	stated := r.Header.Values("X-Amz-Decoded-Content-Length")
	if len(stated) == 0 {
		return nil, refuse(MissingDecodedLength, "X-Amz-Decoded-Content-Length is required")
	}
	n, err := strconv.ParseInt(stated[0], 10, 64)
	if err != nil || n < 0 || len(stated) > 1 {
		return nil, refuse(InvalidDecodedLength, "X-Amz-Decoded-Content-Length must be one number of bytes")
	}
	b.decoded = n
	b.chunks = &chunkReader{
		br: bufio.NewReaderSize(src, maxLine), mode: v.Payload,
		key: v.key, date: v.date, scope: v.scope, previous: v.signature,
		sum: sha256.New(), left: n, announced: announcedTrailers(r.Header),
		// An empty stream is sent by some clients as no body at all.
		bare: n == 0 && r.ContentLength == 0,
	}
	return b, nil
}

// DecodedLength is the declared length of the content in bytes, -1 if the
// request does not declare one.
func (b *Body) DecodedLength() int64 { return b.decoded }

// Trailer returns the trailing headers once Read has returned io.EOF, nil
// before. Their names were announced in X-Amz-Trailer and all announced ones
// are there; what their values say of the content is for the caller to check.
func (b *Body) Trailer() http.Header {
	if b.chunks == nil || b.err != io.EOF {
		return nil
	}
	return b.chunks.trailer
}

func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	if b.chunks != nil {
		n, b.err = b.chunks.Read(p)
	} else {
		n, b.err = b.readPlain(p)
	}
	return n, b.err
}

func (b *Body) readPlain(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.read += int64(n)
	if b.sum != nil {
		b.sum.Write(p[:n])
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, refuse(IncompleteBody, "the body ended before its declared length")
	case err != nil && err != io.EOF:
		return n, err
	case b.decoded >= 0 && b.read > b.decoded:
		return n, refuse(IncompleteBody, "the body is longer than declared")
	case err == io.EOF && b.decoded >= 0 && b.read < b.decoded:
		return n, refuse(IncompleteBody, "the body ended before its declared length")
	case err == io.EOF && b.sum != nil && !hmac.Equal(b.sum.Sum(nil), b.want):
		return n, refuse(ContentSHA256Mismatch, "the SHA-256 of the body is not the one signed")
	}
	return n, err
}
