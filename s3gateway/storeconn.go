// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// storeConn is a connection to the store. Bodies go out in pieces of eight sealed
// chunks: net/http leaves the copying to the connection, which would take 32 KiB at a
// time.
type storeConn struct{ *net.TCPConn }

var copyBuffers = sync.Pool{New: func() any { return new([8 * envelope.SealedChunkSize]byte) }}

// ReadFrom implements io.ReaderFrom.
func (c storeConn) ReadFrom(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[8 * envelope.SealedChunkSize]byte)
	defer copyBuffers.Put(buf)
	// Without its other methods, the connection is only written to.
	return io.CopyBuffer(struct{ io.Writer }{c.TCPConn}, r, buf[:])
}

func dialStore(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := dialer.DialContext(ctx, network, address)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		return storeConn{tcp}, nil
	}
	return conn, err
}
