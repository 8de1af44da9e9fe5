// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// record is what was sent to a server.
type record struct {
	mu  sync.Mutex
	all bytes.Buffer // guarded by mu
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(b)
}

// text is what was sent since it was last asked for.
func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.all.Reset()
	return r.all.String()
}

// recorded is a server that passes everything on, and what it got.
func recorded(t *testing.T, c *cluster) (addr string, got *record) {
	t.Helper()
	got = new(record)
	return accepting(t, func(conn net.Conn) {
		up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
		if err != nil {
			return
		}
		defer up.Close()
		go io.Copy(conn, up)
		io.Copy(io.MultiWriter(up, got), conn)
	}), got
}

// TestRefusedIsNotSent: the values and data of what is refused do not get to the server,
// though it would not look at them.
func TestRefusedIsNotSent(t *testing.T) {
	addr, got := recorded(t, shared)
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = addr })
	w, sync, run := rawClient(t, f), &pgproto3.Sync{}, &pgproto3.Execute{}
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "CREATE TABLE plain (v text)"}).want("C Z")
	w.send(&pgproto3.Parse{Name: "mail", Query: "INSERT INTO users (email) VALUES ($1)"}, sync).want("1 Z")
	w.send(&pgproto3.Parse{Name: "plain", Query: "INSERT INTO plain VALUES ($1)"}, sync).want("1 Z")
	value := func(name string) *pgproto3.Bind {
		return &pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{[]byte("rfmark")}}
	}
	data, done := &pgproto3.CopyData{Data: []byte("rfmark\n")}, &pgproto3.CopyDone{}
	refused := &pgproto3.Parse{Query: "SELECT id FROM users WHERE email || 'x' = $1"}
	for what, c := range map[string]struct {
		messages []pgproto3.FrontendMessage
		want     string
	}{
		"a parameter":                {[]pgproto3.FrontendMessage{refused, value(""), &pgproto3.Describe{ObjectType: 'P'}, run, sync}, "E0A000 Z"},
		"that of another":            {[]pgproto3.FrontendMessage{refused, value("plain"), run, sync}, "E0A000 Z"},
		"behind Flush":               {[]pgproto3.FrontendMessage{refused, &pgproto3.Flush{}, value(""), run, sync}, "E0A000 Z"},
		"behind a query":             {[]pgproto3.FrontendMessage{refused, &pgproto3.Query{String: "SELECT 1"}, value(""), run, sync}, "E0A000 Z"},
		"behind a refused parameter": {[]pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "mail", Parameters: [][]byte{{0xff}}}, run, value("nothing"), run, sync}, "E22021 Z"},
		"COPY":                       {[]pgproto3.FrontendMessage{&pgproto3.Parse{Query: "COPY users (email) FROM STDIN WHERE email || 'x' = ''"}, &pgproto3.Bind{}, run, data, done, sync}, "E0A000 Z"},
		"COPY in a query":            {[]pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY users (email) FROM STDIN WHERE email || 'x' = ''"}, data, done}, "E0A000 Z"},
		"COPY TO":                    {[]pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY plain TO STDOUT"}, data, done}, "C Z"},
		"data of nothing":            {[]pgproto3.FrontendMessage{data, done, &pgproto3.Query{String: "SELECT 1"}}, "T23 D:1 C Z"},
	} {
		w.send(c.messages...).want(c.want)
		// What comes behind it shows that all of it has arrived.
		w.send(value("plain"), sync).want("2 Z")
		if n := strings.Count(got.text(), "rfmark"); n != 1 {
			t.Errorf("%s: the server gets it", what)
		}
	}
	w.send(&pgproto3.Query{String: "COPY plain FROM STDIN"}).want("G")
	w.send(data, done).want("C Z")
	if !strings.Contains(got.text(), "rfmark") {
		t.Error("data of COPY into another table does not arrive")
	}
}

// TestSkippedIsNotKept: what the server skips takes no memory, as long as Sync does not
// come; nor do the Sync messages that it does not answer.
func TestSkippedIsNotKept(t *testing.T) {
	const messages = 200_000
	f := start(t, shared, users())
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	flood := func(m pgproto3.FrontendMessage) {
		t.Helper()
		one, err := m.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.conn.Write(bytes.Repeat(one, messages)); err != nil {
			t.Fatal(err)
		}
	}
	describe := &pgproto3.Describe{ObjectType: 'S', Name: "s"}
	for what, c := range map[string]struct{ sql, state string }{"refused": {"SELECT id FROM users WHERE email || 'x' = ''", "0A000"}, "failed": {"SELECT 1 / 0 FROM nothing", "42P01"}} {
		w.send(&pgproto3.Parse{Query: c.sql}, &pgproto3.Flush{}).want("E" + c.state)
		before := allocated()
		flood(describe)
		w.send(sync).want("Z")
		if got := allocated() - before; got > 10*mib {
			t.Errorf("%s: %d messages took %d MiB", what, messages, got/mib)
		}
	}
	w.send(&pgproto3.Query{String: "COPY users (email) FROM STDIN"}).want("G")
	one, err := sync.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.conn.Write(bytes.Repeat(one, messages)) // it ends before all are sent
	for {
		m, err := w.Receive()
		if e, ok := m.(*pgproto3.ErrorResponse); ok && (e.Code != "08P01" || e.Severity != "FATAL") {
			t.Errorf("Sync without end: got %+v", e)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("Sync without end: the session goes on")
		}
		if err != nil {
			return
		}
	}
}
