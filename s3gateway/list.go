// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"encoding/xml"
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
	return rewriteSizes(x.w, resp.Body)
}

// rewriteSizes copies a listing byte for byte but for the text of each Size of
// an object or version. A size that no sealed object has stays: the object is
// not ours.
func rewriteSizes(w io.Writer, r io.Reader) error {
	// pending holds what the decoder has read and we have not yet written.
	var pending bytes.Buffer
	decoder := xml.NewDecoder(io.TeeReader(r, &pending))
	written := int64(0)
	var path []string
	for {
		token, err := decoder.RawToken()
		if err == io.EOF {
			_, err := pending.WriteTo(w)
			return err
		}
		if err != nil {
			return fmt.Errorf("reading the upstream's listing: %w", err)
		}
		raw := pending.Next(int(decoder.InputOffset() - written))
		written = decoder.InputOffset()
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
		case xml.EndElement:
			if len(path) > 0 {
				path = path[:len(path)-1]
			}
		case xml.CharData:
			if isSize(path) {
				raw = plainSizeText(raw)
			}
		}
		if _, err := w.Write(raw); err != nil {
			return errClientGone
		}
	}
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
