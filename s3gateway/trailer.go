// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"encoding/base64"
	"encoding/binary"
	"hash"
	"io"
	"strconv"

	"github.com/minio/crc64nvme"
)

// trailerChunk is the size of the aws-chunked chunks sent upstream.
const trailerChunk = 1 << 20

const trailerLine = "x-amz-checksum-crc64nvme:"

// withTrailer makes the body of c aws-chunked with a CRC-64/NVME of the
// ciphertext at its end, so that the store verifies what it received.
func (c *call) withTrailer() {
	c.header.Set("X-Amz-Decoded-Content-Length", strconv.FormatInt(c.length, 10))
	c.header.Set("X-Amz-Trailer", "x-amz-checksum-crc64nvme")
	encoding := "aws-chunked"
	if have := c.header.Get("Content-Encoding"); have != "" {
		encoding = have + "," + encoding
	}
	c.header.Set("Content-Encoding", encoding)
	c.payload = unsignedTrailer
	c.body = &trailerReader{src: c.body, left: c.length, sum: crc64nvme.New()}
	c.length = framedLength(c.length)
}

func framedLength(n int64) int64 {
	frame := func(size int64) int64 { return int64(len(strconv.FormatInt(size, 16))) + 4 + size }
	total := n / trailerChunk * frame(trailerChunk)
	if rest := n % trailerChunk; rest > 0 {
		total += frame(rest)
	}
	return total + int64(len("0\r\n"+trailerLine)) + int64(base64.StdEncoding.EncodedLen(8)) + int64(len("\r\n\r\n"))
}

// trailerReader frames a body of known length. The trailer follows only if all
// of it was there: an error of the source leaves the stream without an end.
type trailerReader struct {
	src   io.Reader
	left  int64 // bytes of the source still to come
	chunk int64 // bytes of the chunk still to come
	open  bool  // in a chunk
	out   []byte
	end   bool
	sum   hash.Hash
}

func (t *trailerReader) Read(p []byte) (int, error) {
	if len(t.out) == 0 && t.chunk == 0 {
		if t.end {
			return 0, io.EOF
		}
		t.nextFrame()
	}
	if len(t.out) > 0 {
		n := copy(p, t.out)
		t.out = t.out[n:]
		return n, nil
	}
	n, err := t.src.Read(p[:min(int64(len(p)), t.chunk)])
	t.sum.Write(p[:n])
	t.chunk -= int64(n)
	t.left -= int64(n)
	if err == io.EOF && t.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil // the trailer is still to come
	}
	return n, err
}

func (t *trailerReader) nextFrame() {
	var frame []byte
	if t.open {
		frame = append(frame, "\r\n"...)
	}
	t.chunk = min(t.left, trailerChunk)
	t.open = t.chunk > 0
	frame = append(strconv.AppendInt(frame, t.chunk, 16), "\r\n"...)
	if !t.open {
		t.end = true
		frame = append(frame, trailerLine+base64.StdEncoding.EncodeToString(t.sum.Sum(nil))+"\r\n\r\n"...)
	}
	t.out = frame
}

func crc64Of(b []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc64nvme.Checksum(b)))
}
