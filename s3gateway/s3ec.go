// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy/s3ec"
)

// clientPrefix begins the names of user metadata that the Amazon S3 Encryption Client
// owns. They are neither shown nor copied.
const clientPrefix = metaPrefix + "X-Amz-"

// openClient finds out whether a foreign object is one of the Amazon S3 Encryption
// Client. It needs no key for that.
func (x *exchange) openClient(ctx context.Context, f *found) error {
	metadata := map[string]string{}
	for name, values := range f.resp.Header {
		if mapkey, ok := strings.CutPrefix(name, metaPrefix); ok && len(values) > 0 {
			metadata[mapkey] = values[0]
		}
	}
	envelope, incomplete, err := s3ec.Parse(metadata)
	if err != nil {
		return clientError(err)
	}
	if incomplete {
		if envelope.Bare() && !x.g.legacy {
			return nil
		}
		file, err := x.instructionFile(ctx, f)
		if isNotFound(err) && envelope.Bare() {
			return nil
		}
		if err != nil {
			return err
		}
		if envelope, err = envelope.WithInstruction(file); err != nil {
			return clientError(err)
		}
	}
	if envelope.Instructed && !envelope.Committed() && !x.g.legacy {
		return &s3Error{
			code: "InvalidObjectState", status: http.StatusForbidden,
			message: "The key of the object is in an instruction file and its content is not committed to it: whoever can replace that file can replace the content. The configuration can allow such objects.",
		}
	}
	f.foreign.client = envelope
	f.size, err = envelope.Size(f.at.total)
	return clientError(err)
}

// clientError says why an object of the client is not read.
func clientError(err error) error {
	if errors.Is(err, s3ec.ErrRefused) {
		return &s3Error{code: "InvalidObjectState", status: http.StatusForbidden, message: "The object was written by the Amazon S3 Encryption Client and cannot be read: " + err.Error()}
	}
	return err
}

func (x *exchange) instructionFile(ctx context.Context, f *found) ([]byte, error) {
	resp, err := x.g.upstream.do(ctx, call{method: http.MethodGet, bucket: f.bucket, key: f.key + s3ec.InstructionSuffix, query: url.Values{}})
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	file, err := io.ReadAll(io.LimitReader(resp.Body, s3ec.MaxInstructionSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading an instruction file: %w", err)
	}
	return file, nil
}

// verifyClient authenticates a whole object of the client and returns what opens it.
func (x *exchange) verifyClient(ctx context.Context, f *found) (*s3ec.Verified, s3ec.Source, error) {
	client := f.foreign.client
	var opener *s3ec.Opener
	keyARN, err := x.g.cipher.OpenWrapped(ctx, client.WrappedKey, client.EncryptionContext, func(secret []byte) (err error) {
		opener, err = s3ec.NewOpener(secret, client, f.at.total)
		return err
	})
	if err != nil {
		return nil, nil, clientError(err)
	}
	x.op.Set(audit.KeyARN.String(keyARN))
	source := func(ctx context.Context, off, n int64) (io.ReadCloser, error) { return x.openPiece(ctx, f, off, n) }
	verified, err := opener.Verify(ctx, source)
	return verified, source, err
}

// sendClient answers with a range of an object of the client.
func (x *exchange) sendClient(ctx context.Context, f *found, off, n int64, status int) error {
	verified, source, err := x.verifyClient(ctx, f)
	if err != nil {
		return err
	}
	plain, err := verified.Open(ctx, source, off, n)
	if err != nil {
		return err
	}
	defer plain.Close()
	x.copyAnswer(f.resp.Header)
	x.setContent()
	if status == http.StatusPartialContent {
		x.w.Header().Set("Content-Range", contentRange(off, n, f.size))
	}
	return x.stream(ctx, status, plain, n)
}
