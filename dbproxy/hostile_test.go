// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// TestRandomFrames sends what no client would; the proxy answers or hangs up,
// and serves others as before.
func TestRandomFrames(t *testing.T) {
	f := start(t, shared, users())
	setup := rawClient(t, f)
	setup.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	kinds := "QPBDECSHdcfFXp\x00zQPBES"
	texts := []string{"SELECT email FROM users", "INSERT INTO users (email) VALUES ($1)", "COPY plain FROM STDIN", "BEGIN", "SELECT 1; SELECT email FROM users; SELECT 1/0",
		"COMMIT", "SELECT lower(email) FROM users", "", "SELECT pg_sleep(0.001)", "DEALLOCATE ALL", "CREATE TABLE IF NOT EXISTS plain (a text)", "DISCARD ALL", "FETCH ALL FROM p"}
	names := []string{"", "a", "p", "sidekey"}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		pick := func(list []string) string { return list[r.IntN(len(list))] }
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		front := pgproto3.NewFrontend(conn, conn)
		front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "postgres", "database": f.database}})
		front.Flush()
		var out []byte
		for range 40 {
			switch r.IntN(12) {
			case 0:
				body := make([]byte, r.IntN(60))
				for i := range body {
					body[i] = byte(r.IntN(256))
				}
				out = append(out, kinds[r.IntN(len(kinds))])
				length := len(body) + 4
				if r.IntN(8) == 0 {
					length = r.IntN(1 << 31)
				}
				out = append(binary.BigEndian.AppendUint32(out, uint32(length)), body...)
			default:
				var m interface {
					Encode([]byte) ([]byte, error)
				}
				switch r.IntN(11) {
				case 0, 1:
					m = &pgproto3.Parse{Name: pick(names), Query: pick(texts), ParameterOIDs: []uint32{25, 17, 0}[:r.IntN(4)]}
				case 2, 3:
					m = &pgproto3.Bind{DestinationPortal: pick(names), PreparedStatement: pick(names), ParameterFormatCodes: []int16{0, 1, 7}[:r.IntN(4)],
						Parameters: [][]byte{[]byte("v"), nil, {0xff}}[:r.IntN(4)], ResultFormatCodes: []int16{1, 0, 9}[:r.IntN(4)]}
				case 4:
					m = &pgproto3.Execute{Portal: pick(names), MaxRows: uint32(r.IntN(3))}
				case 5:
					m = &pgproto3.Describe{ObjectType: "SPx"[r.IntN(3)], Name: pick(names)}
				case 6:
					m = &pgproto3.Close{ObjectType: "SPx"[r.IntN(3)], Name: pick(names)}
				case 7:
					m = &pgproto3.Sync{}
				case 8:
					m = &pgproto3.Query{String: pick(texts)}
				case 9:
					m = &pgproto3.CopyData{Data: []byte("x\n")}
				default:
					m = &pgproto3.CopyDone{}
				}
				out, _ = m.Encode(out)
			}
		}
		done := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, conn)
			done <- n
		}()
		conn.Write(out)
		conn.(*net.TCPConn).CloseWrite()
		begin := time.Now()
		<-done
		if time.Since(begin) > 4*time.Second {
			t.Fatalf("seed %d: the session hangs", seed)
		}
		conn.Close()
	}
	w := rawClient(t, f)
	w.send(&pgproto3.Query{String: "SELECT count(*) FROM users"}).want("T20 D:0 C Z")
}

// TestHostileCopy: a server that miscounts must not get data for a protected
// table as data for a plain one, even from a client that does not wait.
func TestHostileCopy(t *testing.T) {
	type message = pgproto3.BackendMessage
	again := func(m message) []message { return []message{m, m} }
	for what, tamper := range map[string]func(message) []message{
		"asks twice": func(m message) []message {
			if _, ok := m.(*pgproto3.CopyInResponse); ok {
				return again(m)
			}
			return []message{m}
		},
		"completes twice": func(m message) []message {
			if _, ok := m.(*pgproto3.CommandComplete); ok {
				return again(m)
			}
			return []message{m}
		},
		"completes first": func(m message) []message {
			if _, ok := m.(*pgproto3.CopyInResponse); ok {
				return []message{&pgproto3.CommandComplete{CommandTag: []byte("COPY 0")}, m}
			}
			return []message{m}
		},
		"forgets to complete": func(m message) []message {
			if _, ok := m.(*pgproto3.CommandComplete); ok {
				return nil
			}
			return []message{m}
		},
	} {
		var hostileNow atomic.Bool
		addr := hostile(t, shared, func(m message) []message {
			if hostileNow.Load() {
				return tamper(m)
			}
			return []message{m}
		})
		f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = addr })
		w := rawClient(t, f)
		w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
		w.send(&pgproto3.Query{String: "CREATE TABLE plain (v text)"}).want("C Z")
		for _, sql := range []string{"COPY plain FROM STDIN; COPY users (email) FROM STDIN; COPY plain FROM STDIN", "COPY users (email) FROM STDIN; COPY plain FROM STDIN; COPY users (email) FROM STDIN"} {
			hostileNow.Store(false)
			w := rawClient(t, f)
			hostileNow.Store(true)
			w.send(&pgproto3.Query{String: sql})
			for range 4 {
				table := "users"
				if strings.HasPrefix(sql, "COPY plain") {
					table = "plain"
				}
				_, sql, _ = strings.Cut(sql+"; ", "; ")
				data := "open\n"
				if table == "users" {
					data = "hcmark\n"
				}
				w.send(&pgproto3.CopyData{Data: []byte(data)}, &pgproto3.CopyDone{})
			}
			w.Flush()
			w.conn.SetDeadline(time.Now().Add(2 * time.Second))
			for {
				m, err := w.Receive()
				if _, ready := m.(*pgproto3.ReadyForQuery); ready || err != nil {
					break
				}
			}
		}
		hostileNow.Store(false)
		exec1(t, f.direct(t), "CHECKPOINT")
		if files := f.cluster.contains(t, "hcmark"); len(files) > 0 {
			t.Errorf("%s: data is in %v", what, files)
		}
	}
}

// hostile is a server that passes everything on, and changes what it likes.
func hostile(t *testing.T, c *cluster, change func(m pgproto3.BackendMessage) []pgproto3.BackendMessage) string {
	t.Helper()
	return accepting(t, func(conn net.Conn) {
		up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
		if err != nil {
			return
		}
		defer up.Close()
		go func() {
			io.Copy(up, conn)
			up.Close()
		}()
		front := pgproto3.NewFrontend(up, up)
		for {
			m, err := front.Receive()
			if err != nil {
				return
			}
			for _, out := range change(m) {
				b, _ := out.Encode(nil)
				if _, err := conn.Write(b); err != nil {
					return
				}
			}
		}
	})
}

// accepting serves every connection to an address of its own by itself, until the test
// ends.
func accepting(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return ln.Addr().String()
}

func TestHostileServer(t *testing.T) {
	type tampering func(pgproto3.BackendMessage) []pgproto3.BackendMessage
	var tamper atomic.Pointer[tampering] // of all connections; nil passes on
	as := func(m ...pgproto3.BackendMessage) []pgproto3.BackendMessage { return m }
	addr := hostile(t, shared, func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
		if change := tamper.Load(); change != nil {
			return (*change)(m)
		}
		return as(m)
	})
	f := start(t, shared, users(), func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = addr })
	w := rawClient(t, f)
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "INSERT INTO users (email, ssn, pin) VALUES ('hoste', '9-hosts', 1)"}).want("C Z")
	row := func(change func(*pgproto3.DataRow)) func(pgproto3.BackendMessage) []pgproto3.BackendMessage {
		return func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if d, ok := m.(*pgproto3.DataRow); ok {
				change(d)
			}
			return as(m)
		}
	}
	fields := func(change func(*pgproto3.RowDescription)) func(pgproto3.BackendMessage) []pgproto3.BackendMessage {
		return func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if d, ok := m.(*pgproto3.RowDescription); ok {
				change(d)
			}
			return as(m)
		}
	}
	for what, c := range map[string]struct {
		tamper func(pgproto3.BackendMessage) []pgproto3.BackendMessage
		sql    string
	}{
		"plaintext":     {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte("plain") }), "SELECT email FROM users"},
		"hex plaintext": {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte(`\x706c61696e`) }), "SELECT email FROM users"},
		"empty":         {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte{} }), "SELECT email FROM users"},
		"NUL":           {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte("\\x00\x00") }), "SELECT email FROM users"},
		"swapped":       {row(func(d *pgproto3.DataRow) { d.Values[0], d.Values[1] = d.Values[1], d.Values[0] }), "SELECT email, ssn FROM users"},
		"fewer":         {row(func(d *pgproto3.DataRow) { d.Values = d.Values[:1] }), "SELECT email, ssn FROM users"},
		"more":          {row(func(d *pgproto3.DataRow) { d.Values = append(d.Values, d.Values[0]) }), "SELECT email, ssn FROM users"},
		"other origin":  {fields(func(d *pgproto3.RowDescription) { d.Fields[0].TableOID = 1 }), "SELECT email FROM users"},
		"other type":    {fields(func(d *pgproto3.RowDescription) { d.Fields[0].DataTypeOID = 25 }), "SELECT email FROM users"},
		"unexpected":    {fields(func(d *pgproto3.RowDescription) { d.Fields[0] = d.Fields[1] }), "SELECT note, email FROM users"},
		"crossed":       {fields(func(d *pgproto3.RowDescription) { d.Fields[0], d.Fields[1] = d.Fields[1], d.Fields[0] }), "SELECT email, ssn FROM users"},
		"plain array":   {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte("{plain}") }), "SELECT array_agg(email) FROM users"},
		"other array":   {row(func(d *pgproto3.DataRow) { d.Values[0] = d.Values[1] }), "SELECT array_agg(email), array_agg(ssn) FROM users"},
		"nested array":  {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte("{{plain}}") }), "SELECT array_agg(email) FROM users"},
		"no array":      {fields(func(d *pgproto3.RowDescription) { d.Fields[0].DataTypeOID = 17 }), "SELECT array_agg(email) FROM users"},
		"expression":    {row(func(d *pgproto3.DataRow) { d.Values[0] = []byte("plain") }), "SELECT coalesce(email, 'x') FROM users"},
		"moved":         {fields(func(d *pgproto3.RowDescription) { d.Fields[0], d.Fields[1] = d.Fields[1], d.Fields[0] }), "SELECT coalesce(email, 'x'), note FROM users"},
		"origin of expression": {fields(func(d *pgproto3.RowDescription) {
			d.Fields[1].TableOID, d.Fields[1].TableAttributeNumber = d.Fields[0].TableOID, d.Fields[0].TableAttributeNumber
		}), "SELECT ssn, coalesce(email, 'x') FROM users"},
		"one more": {fields(func(d *pgproto3.RowDescription) { d.Fields = append(d.Fields, d.Fields[1]) }), "SELECT coalesce(email, 'x'), note FROM users"},
		"no description": {func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if _, ok := m.(*pgproto3.RowDescription); ok {
				return nil
			}
			return as(m)
		}, "SELECT email FROM users"},
		"twice described": {func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if _, ok := m.(*pgproto3.RowDescription); ok {
				return as(m, &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("x"), DataTypeOID: 25}}})
			}
			return as(m)
		}, "SELECT email FROM users"},
		"bad settings": {func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if _, ok := m.(*pgproto3.RowDescription); ok {
				return as(&pgproto3.ParameterStatus{Name: "TimeZone", Value: "\xff"}, &pgproto3.ParameterStatus{Name: "client_encoding", Value: "SJIS"}, &pgproto3.NoticeResponse{Message: "x"}, m)
			}
			return as(m)
		}, "SELECT lower(note), email FROM users WHERE email = 'none'"},
		"rows unasked": {func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if _, ok := m.(*pgproto3.ReadyForQuery); ok {
				return as(m, &pgproto3.DataRow{Values: [][]byte{[]byte("x")}}, m)
			}
			return as(m)
		}, "SELECT 1"},
		"ready twice": {func(m pgproto3.BackendMessage) []pgproto3.BackendMessage {
			if _, ok := m.(*pgproto3.ReadyForQuery); ok {
				return as(m, m)
			}
			return as(m)
		}, "SELECT 1"},
	} {
		for _, extended := range []bool{false, true} {
			tamper.Store(nil)
			w := rawClient(t, f)
			change := tampering(c.tamper)
			tamper.Store(&change)
			if extended {
				w.send(&pgproto3.Parse{Query: c.sql}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			} else {
				w.send(&pgproto3.Query{String: c.sql})
			}
			w.Flush()
			var got []string
			w.conn.SetDeadline(time.Now().Add(10 * time.Second))
			for {
				m, err := w.Receive()
				if err != nil {
					if e, ok := err.(net.Error); ok && e.Timeout() {
						t.Errorf("%s: hangs after %v", what, got)
					}
					break
				}
				got = append(got, name(m))
				if _, ok := m.(*pgproto3.ReadyForQuery); ok {
					break
				}
			}
			all := strings.Join(got, "; ")
			if strings.Contains(all, "D:") && !strings.Contains(c.sql, "SELECT 1") {
				t.Errorf("%s (extended %v): a row came: %s", what, extended, all)
			}
		}
	}
	tamper.Store(nil)
	rawClient(t, f).send(&pgproto3.Query{String: "SELECT email FROM users"}).want("T25 D:hoste C Z")
}
