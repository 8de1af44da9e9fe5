// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// streamBuffer holds seven chunks, and the room that opening the last of them
// in place needs. Two of them are in use per GET.
const streamBuffer = 7*envelope.ChunkSize + envelope.SealedChunkSize

var streamBuffers = sync.Pool{New: func() any { return new([streamBuffer]byte) }}

// stream sends plaintext. Its reader returns authenticated bytes only, and the
// first of them are there before the status line goes out. One buffer is always
// held back until the next is there: at the end of the content the record is
// ended first, and only then the last bytes leave. A client can tell a whole
// answer from one that failed later by its length.
func (x *exchange) stream(ctx context.Context, status int, plain io.Reader, n int64) error {
	held, next := streamBuffers.Get().(*[streamBuffer]byte), streamBuffers.Get().(*[streamBuffer]byte)
	used := min(n+envelope.SealedChunkSize, streamBuffer)
	defer func() {
		clear(held[:used])
		clear(next[:used])
		streamBuffers.Put(held)
		streamBuffers.Put(next)
	}()
	x.op.Set(audit.Bytes.Int64(n))
	filled, err := fill(held[:], plain)
	if err != nil && err != io.EOF {
		return err
	}
	sent := int64(0)
	for err == nil {
		var more int
		more, err = fill(next[:], plain)
		if err != nil && err != io.EOF {
			return err
		}
		if more == 0 {
			break
		}
		if sent == 0 {
			if err := x.op.Durable(ctx); err != nil {
				return err
			}
		}
		if err := x.send(status, n, held[:filled]); err != nil {
			return err
		}
		sent += int64(filled)
		held, next, filled = next, held, more
	}
	if sent+int64(filled) != n {
		return fmt.Errorf("%w: %d bytes where %d were due", envelope.ErrOpen, sent+int64(filled), n)
	}
	if err := x.op.End("", audit.HTTPStatus.Int(status)); err != nil {
		return err
	}
	if sent == 0 {
		proxy.Cork(x.r.Context())
	}
	return x.send(status, n, held[:filled])
}

// errClientGone is the end of an answer that the client did not take.
var errClientGone = &s3Error{code: "ClientDisconnected", status: 499, message: "The client closed the connection."}

func (x *exchange) send(status int, n int64, p []byte) error {
	if !x.started {
		x.w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		x.writeHeader(status)
	}
	_, err := x.Write(p)
	return err
}

// Write sends a part of the body. The deadline stays, so that what is left in
// buffers at the end has one too; the next answer sets its own.
func (x *exchange) Write(p []byte) (int, error) {
	x.extend()
	n, err := x.w.Write(p)
	if err != nil {
		return n, errClientGone
	}
	return n, nil
}

// extend gives the client time to take what is sent next. A handler without a
// connection below it has no deadlines.
func (x *exchange) extend() {
	if now := time.Now(); now.Sub(x.extended) > renew {
		x.extended = now
		http.NewResponseController(x.w).SetWriteDeadline(now.Add(stall))
	}
}

// fill reads whole chunks as long as another fits.
func fill(buf []byte, r io.Reader) (int, error) {
	n := 0
	for len(buf)-n >= envelope.SealedChunkSize {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("opening an object: %w", err)
			}
			return n, err
		}
	}
	return n, nil
}
