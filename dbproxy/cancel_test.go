// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// TestManyUnknownCancels: requests to cancel with keys that are not known reach each
// host a few at a time, and keep nobody from logging in and from cancelling.
func TestManyUnknownCancels(t *testing.T) {
	const requests, passed, taken = 300, 16, 128
	var now, most, all, over atomic.Int32
	release := make(chan struct{})
	slow := accepting(t, func(conn net.Conn) {
		defer now.Add(-1)
		all.Add(1)
		for n := now.Add(1); ; {
			before := most.Load()
			if n <= before || most.CompareAndSwap(before, n) {
				break
			}
		}
		<-release
	})
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.Upstream.Address = fmt.Sprintf("127.0.0.1:%d,%s", shared.port, slow)
	})
	session := f.connect(t, pgx.QueryExecModeExec)
	for i := range uint32(requests) {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b, err := (&pgproto3.CancelRequest{ProcessID: 1<<31 - 1, SecretKey: []byte{0, 0, byte(i >> 8), byte(i)}}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		go func() {
			io.Copy(io.Discard, conn)
			over.Add(1)
		}()
	}
	waitFor(t, func() bool { return now.Load() == passed && over.Load() >= requests-taken })
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "SELECT 1")
	ended := make(chan error, 1)
	go func() {
		_, err := session.Exec(t.Context(), "SELECT pg_sleep(60)")
		ended <- err
	}()
	waitFor(t, func() bool { // it may come before the statement
		cancelThrough(t, f.addr, session.PgConn().PID(), session.PgConn().SecretKey())
		select {
		case err := <-ended:
			if state(err) != "57014" {
				t.Errorf("got %v, want 57014", err)
			}
			return true
		default:
			return false
		}
	})
	close(release)
	waitFor(t, func() bool { return over.Load() == requests })
	if most.Load() != passed || all.Load() < passed || all.Load() > taken {
		t.Errorf("%d at a time and %d in all were passed on, want %d and at most %d", most.Load(), all.Load(), passed, taken)
	}
}
