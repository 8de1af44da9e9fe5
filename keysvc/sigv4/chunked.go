// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxLine bounds a chunk header and a trailer line.
	maxLine = 1 << 10
	// maxTrailerLines is far above the one or two that clients send.
	maxTrailerLines = 16
)

// chunkReader decodes aws-chunked. Framing, without and with signatures:
//
//	hex-size[;chunk-signature=hex64]CRLF data CRLF ... 0[;chunk-signature=hex64]CRLF
//	[name:value LF|CRLF ... [CRLF] x-amz-trailer-signature:hex64 CRLF] CRLF
//
// Sizes are counters only: nothing is allocated by what they say.
type chunkReader struct {
	br        *bufio.Reader
	mode      PayloadMode
	key       []byte
	date      string
	scope     string
	previous  string // signature of the chunk before, first the request's
	current   string // signature that the chunk being read claims
	sum       hash.Hash
	chunk     int64 // bytes of the current chunk still to come
	inChunk   bool
	left      int64 // bytes of the whole still to come
	announced []string
	trailer   http.Header
	bare      bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for !c.inChunk {
		if c.bare {
			if _, err := c.br.Peek(1); err == io.EOF {
				return 0, c.finishBare()
			}
			c.bare = false
		}
		last, err := c.nextChunk()
		if err != nil {
			return 0, err
		}
		if last {
			return 0, c.finish()
		}
	}
	if int64(len(p)) > c.chunk {
		p = p[:c.chunk]
	}
	n, err := c.br.Read(p)
	if c.mode.chunkSigned() {
		c.sum.Write(p[:n])
	}
	c.chunk -= int64(n)
	c.left -= int64(n)
	if err != nil {
		return n, short(err)
	}
	if c.chunk == 0 {
		if err := c.endChunk(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// nextChunk reads a chunk header; the chunk of size 0 is the last.
func (c *chunkReader) nextChunk() (last bool, err error) {
	line, err := c.line(true)
	if err != nil {
		return false, err
	}
	digits, extension, signed := strings.Cut(line, ";")
	size, err := strconv.ParseUint(digits, 16, 62)
	if err != nil {
		return false, refuse(BadChunk, "the chunk size cannot be read")
	}
	if signed != c.mode.chunkSigned() {
		return false, refuse(BadChunk, "the chunk has a signature where none belongs, or none where one does")
	}
	if signed {
		name, signature, _ := strings.Cut(extension, "=")
		if name != "chunk-signature" || len(signature) != 2*sha256.Size {
			return false, refuse(BadChunk, "the chunk signature cannot be read")
		}
		c.current = signature
		c.sum.Reset()
	}
	if int64(size) > c.left {
		return false, refuse(IncompleteBody, "the chunks hold more than X-Amz-Decoded-Content-Length says")
	}
	if size == 0 {
		return true, c.checkChunk()
	}
	c.chunk, c.inChunk = int64(size), true
	return false, nil
}

func (c *chunkReader) endChunk() error {
	var crlf [2]byte
	if _, err := io.ReadFull(c.br, crlf[:]); err != nil {
		return short(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return refuse(BadChunk, "the chunk is not followed by CRLF")
	}
	c.inChunk = false
	return c.checkChunk()
}

func (c *chunkReader) checkChunk() error {
	if !c.mode.chunkSigned() {
		return nil
	}
	empty := sha256.Sum256(nil)
	return c.checkSignature(algorithm+"-PAYLOAD", c.current,
		hex.EncodeToString(empty[:])+"\n"+hex.EncodeToString(c.sum.Sum(nil)))
}

// checkSignature verifies one link of the chain and becomes its end.
func (c *chunkReader) checkSignature(kind, signature, rest string) error {
	want := mac(c.key, kind+"\n"+c.date+"\n"+c.scope+"\n"+c.previous+"\n"+rest)
	got, err := hex.DecodeString(signature)
	if err != nil || !hmac.Equal(got, want) {
		return refuse(BadChunkSignature, "a chunk signature does not match")
	}
	c.previous = signature
	return nil
}

// finish reads what follows the last chunk and returns io.EOF if all is well.
func (c *chunkReader) finish() error {
	if c.left != 0 {
		return refuse(IncompleteBody, "the chunks hold less than X-Amz-Decoded-Content-Length says")
	}
	if err := c.readTrailer(); err != nil {
		return err
	}
	for _, name := range c.announced {
		if len(c.trailer[name]) == 0 {
			return refuse(BadTrailer, "the trailer %s was announced and is absent", strings.ToLower(name))
		}
	}
	if err := c.skipSecondEnd(); err != nil {
		return err
	}
	if _, err := c.br.ReadByte(); err != io.EOF {
		if err != nil {
			return short(err)
		}
		return refuse(BadChunk, "bytes follow the end of the stream")
	}
	return io.EOF
}

// skipSecondEnd skips one more empty line after an unsigned trailer: minio-go
// ends a trailer's lines with LF and then the trailer as if it had not.
func (c *chunkReader) skipSecondEnd() error {
	next, err := c.br.Peek(2)
	if c.mode == PayloadUnsignedTrailer && string(next) == "\r\n" {
		_, err = c.br.Discard(2)
	}
	if err != nil && err != io.EOF {
		return short(err)
	}
	return nil
}

// finishBare ends a stream of no bytes at all. The length of zero is signed,
// and there is nothing else to cover, unless a trailer was promised.
func (c *chunkReader) finishBare() error {
	if len(c.announced) > 0 {
		return refuse(IncompleteBody, "the body is empty and its trailer is absent")
	}
	return io.EOF
}

// readTrailer reads the lines after the last chunk up to the empty one. Clients
// differ in line ends and in whether the last empty line is sent.
func (c *chunkReader) readTrailer() error {
	c.trailer = make(http.Header)
	var signed bytes.Buffer
	signature := ""
	for range maxTrailerLines {
		line, err := c.line(false)
		if err == io.EOF || err == nil && line == "" {
			if err == nil && signature == "" && c.mode == PayloadChunkedTrailer && signed.Len() > 0 {
				continue // the empty line before the signature
			}
			return c.checkTrailer(signed.Bytes(), signature)
		}
		if err != nil {
			return err
		}
		if !c.mode.trailer() || signature != "" {
			return refuse(BadTrailer, "a trailer line stands where none belongs")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return refuse(BadTrailer, "a trailer line cannot be read")
		}
		if strings.EqualFold(name, "x-amz-trailer-signature") && c.mode == PayloadChunkedTrailer {
			signature = strings.TrimSpace(value)
			continue
		}
		value = strings.TrimSpace(value)
		if err := c.addTrailer(name, value); err != nil {
			return err
		}
		signed.WriteString(strings.ToLower(name) + ":" + value + "\n")
	}
	return refuse(BadTrailer, "too many trailer lines")
}

func (c *chunkReader) addTrailer(name, value string) error {
	name = http.CanonicalHeaderKey(name)
	if !slices.Contains(c.announced, name) {
		return refuse(BadTrailer, "the trailer %s was not announced in X-Amz-Trailer", strings.ToLower(name))
	}
	if len(c.trailer[name]) > 0 {
		return refuse(BadTrailer, "the trailer %s is given more than once", strings.ToLower(name))
	}
	c.trailer.Set(name, value)
	return nil
}

func (c *chunkReader) checkTrailer(lines []byte, signature string) error {
	if c.mode != PayloadChunkedTrailer {
		return nil
	}
	if signature == "" {
		return refuse(BadTrailer, "the trailer signature is absent")
	}
	sum := sha256.Sum256(lines)
	return c.checkSignature(algorithm+"-TRAILER", signature, hex.EncodeToString(sum[:]))
}

// line reads up to LF. Chunk headers must end in CRLF; an end of input where
// one is due is an error, before a trailer line it is io.EOF.
func (c *chunkReader) line(header bool) (string, error) {
	raw, err := c.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", refuse(BadChunk, "a line of the stream is longer than %d bytes", maxLine)
	case err == io.EOF && len(raw) == 0 && !header:
		return "", io.EOF
	case err != nil:
		return "", short(err)
	}
	text, crlf := strings.CutSuffix(string(raw), "\r\n")
	if !crlf {
		if header {
			return "", refuse(BadChunk, "a chunk header does not end in CRLF")
		}
		text = strings.TrimSuffix(text, "\n")
	}
	if header && text == "" {
		return "", refuse(BadChunk, "a chunk header is empty")
	}
	return text, nil
}

// short turns an early end into IncompleteBody and leaves other errors alone.
func short(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(IncompleteBody, "the body ended in the middle of the stream")
	}
	return err
}

func announcedTrailers(h http.Header) []string {
	var names []string
	for _, value := range h.Values("X-Amz-Trailer") {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	return names
}
