// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/sidekey/sidekey/proxy"
)

// list passes a listing on with the sizes of the plaintext.
func list(ctx context.Context, x *exchange) error {
	resp, err := x.g.upstream.do(ctx, x.forwardCall())
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	x.copyAnswer(resp.Header)
	if err := x.done(resp.StatusCode); err != nil {
		return err
	}
	x.writeHeader(resp.StatusCode)
	out := bufio.NewWriterSize(x, 32<<10)
	if err := rewriteSizes(out, resp.Body); err != nil {
		return err
	}
	return out.Flush()
}

// rewriteSizes copies a listing byte for byte but for the text of each Size of
// an object or version. A size that no sealed object has stays: the object is
// not ours.
//
// It looks at tags only, so that what S3 sends and XML forbids, such as control
// characters in names, passes. What is held of a listing is one tag or the text
// between two, which no store needs to make long.
func rewriteSizes(w io.Writer, r io.Reader) error {
	in := bufio.NewReaderSize(r, maxMarkup)
	var path []string
	for {
		text, err := in.ReadSlice('<')
		if err == bufio.ErrBufferFull {
			return errListing
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading the upstream's listing: %w", err)
		}
		if err == io.EOF {
			if len(path) > 0 {
				return fmt.Errorf("reading the upstream's listing: %w", io.ErrUnexpectedEOF)
			}
			return writeListing(w, text)
		}
		text = text[:len(text)-1]
		if isSize(path) {
			text = plainSizeText(text)
		}
		if err := writeListing(w, text); err != nil {
			return err
		}
		markup, err := readMarkup(in)
		if err != nil {
			return err
		}
		if path, err = follow(path, markup); err != nil {
			return err
		}
		if err := writeListing(w, markup); err != nil {
			return err
		}
	}
}

const (
	// maxMarkup is far above a name of 1024 characters, each written as an entity.
	maxMarkup = 64 << 10
	maxDepth  = 32
)

var errListing = errors.New("reading the upstream's listing: it is not one")

func writeListing(w io.Writer, p []byte) error {
	if _, err := w.Write(p); err != nil {
		return errClientGone
	}
	return nil
}

// readMarkup reads from a "<", which is already read, to the end of the tag,
// comment or section, and returns it with the "<".
func readMarkup(in *bufio.Reader) ([]byte, error) {
	markup, quote := []byte{'<'}, byte(0)
	for {
		piece, err := in.ReadSlice('>')
		markup = append(markup, piece...)
		switch {
		case err == bufio.ErrBufferFull || len(markup) > maxMarkup:
			return nil, errListing
		case err == io.EOF:
			return nil, fmt.Errorf("reading the upstream's listing: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return nil, fmt.Errorf("reading the upstream's listing: %w", err)
		}
		if quote = quoteAfter(quote, piece); complete(markup, quote) {
			return markup, nil
		}
	}
}

// quoteAfter is the quotation mark that is open after piece, 0 for none.
func quoteAfter(quote byte, piece []byte) byte {
	for _, c := range piece {
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	return quote
}

// complete says whether the ">" at the end of markup ends it.
func complete(markup []byte, quote byte) bool {
	switch {
	case bytes.HasPrefix(markup, []byte("<!--")):
		return len(markup) >= len("<!---->") && bytes.HasSuffix(markup, []byte("-->"))
	case bytes.HasPrefix(markup, []byte("<![CDATA[")):
		return bytes.HasSuffix(markup, []byte("]]>"))
	case bytes.HasPrefix(markup, []byte("<?")):
		return bytes.HasSuffix(markup, []byte("?>"))
	}
	return quote == 0
}

// follow keeps the names of the open elements.
func follow(path []string, markup []byte) ([]string, error) {
	switch {
	case markup[1] == '!' || markup[1] == '?' || bytes.HasSuffix(markup, []byte("/>")):
		return path, nil
	case markup[1] == '/':
		if len(path) > 0 {
			path = path[:len(path)-1]
		}
		return path, nil
	case len(path) == maxDepth:
		return nil, errListing
	}
	name := markup[1 : len(markup)-1]
	if end := bytes.IndexAny(name, " \t\r\n"); end >= 0 {
		name = name[:end]
	}
	if _, local, ok := bytes.Cut(name, []byte(":")); ok {
		name = local
	}
	return append(path, string(name)), nil
}

func isSize(path []string) bool {
	n := len(path)
	return n == 3 && path[2] == "Size" && (path[1] == "Contents" || path[1] == "Version")
}

func plainSizeText(text []byte) []byte {
	size, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return text
	}
	plain, err := proxy.PlainSize(size)
	if err != nil {
		return text
	}
	return strconv.AppendInt(nil, plain, 10)
}

// empty passes on an answer without a body.
func (x *exchange) empty(resp *http.Response) error {
	x.copyAnswer(resp.Header)
	if err := x.done(resp.StatusCode); err != nil {
		return err
	}
	x.writeHeader(resp.StatusCode)
	return nil
}
