// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
)

// wire is a client that says exactly what a test wants said.
type wire struct {
	t    *testing.T
	conn net.Conn
	*pgproto3.Frontend
}

func rawClient(t *testing.T, f *fixture) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	// GSSENCRequest is declined, then the client goes on.
	conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 48})
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil || answer[0] != 'N' {
		t.Fatalf("GSSENCRequest: got %q, %v", answer, err)
	}
	w := &wire{t, conn, pgproto3.NewFrontend(conn, conn)}
	w.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "postgres", "database": f.database}})
	w.want("Z")
	return w
}

// want reads to the last ReadyForQuery (or other last message) of a summary:
// one letter for each message, with SQLSTATE for errors and text for rows.
func (w *wire) want(summary string) {
	w.t.Helper()
	if err := w.Flush(); err != nil {
		w.t.Fatal(err)
	}
	var got []string
	wanted := strings.Fields(summary)
	startup := summary == "Z"
	for len(got) < len(wanted) {
		m, err := w.Receive()
		if err != nil {
			w.t.Fatalf("after %v: %v", got, err)
		}
		s := name(m)
		if s == "" || startup && s != "Z" {
			continue
		}
		got = append(got, s)
	}
	if d := cmp.Diff(wanted, got); d != "" {
		w.t.Error(d)
	}
}

func name(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.ErrorResponse:
		return "E" + m.Code
	case *pgproto3.DataRow:
		var values []string
		for _, v := range m.Values {
			values = append(values, string(v))
		}
		return "D:" + strings.ReplaceAll(strings.Join(values, ","), " ", "+")
	case *pgproto3.CommandComplete:
		return "C"
	case *pgproto3.ReadyForQuery:
		return "Z"
	case *pgproto3.ParseComplete:
		return "1"
	case *pgproto3.BindComplete:
		return "2"
	case *pgproto3.CloseComplete:
		return "3"
	case *pgproto3.RowDescription:
		return "T" + fmt.Sprint(m.Fields[0].DataTypeOID)
	case *pgproto3.ParameterDescription:
		return "t" + fmt.Sprint(m.ParameterOIDs)
	case *pgproto3.NoData:
		return "n"
	case *pgproto3.PortalSuspended:
		return "s"
	case *pgproto3.CopyInResponse:
		return "G"
	case *pgproto3.EmptyQueryResponse:
		return "I"
	}
	return ""
}

func (w *wire) send(messages ...pgproto3.FrontendMessage) *wire {
	for _, m := range messages {
		w.Send(m)
	}
	return w
}

func TestProtocol(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	sync := &pgproto3.Sync{}
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(portal, st string, params ...string) *pgproto3.Bind {
		b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: st}
		for _, p := range params {
			b.Parameters = append(b.Parameters, []byte(p))
		}
		return b
	}
	run := &pgproto3.Execute{}
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: ""}).want("I Z")
	w.send(&pgproto3.Query{String: "INSERT INTO users (email, pin) VALUES ('a', 1), ('b', 2), ('c', 3); SELECT email FROM users WHERE pin = 2"}).want("C T25 D:b C Z")

	// Describe of a statement, an execution without Describe, and again.
	w.send(parse("s", "SELECT email, pin FROM users WHERE pin = $1"), &pgproto3.Describe{ObjectType: 'S', Name: "s"}, sync).want("1 t[23] T25 Z")
	w.send(bind("", "s", "1"), run, bind("", "s", "3"), run, sync).want("2 D:a,1 C 2 D:c,3 C Z")
	// Its name is taken; the statement stays what it is.
	w.send(parse("s", "SELECT 1"), sync).want("E42P05 Z")
	w.send(bind("", "s", "2"), run, sync).want("2 D:b,2 C Z")
	// A portal in parts.
	w.send(parse("", "SELECT email FROM users ORDER BY id"), bind("p", ""), &pgproto3.Describe{ObjectType: 'P', Name: "p"},
		&pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, sync).want("1 2 T25 D:a D:b s D:c C Z")
	// What follows an error is skipped until Sync, in order, and then all is well.
	w.send(parse("", "SELECT lower(email) FROM users"), bind("", ""), run, parse("x", "SELECT 1"), sync,
		bind("", "s", "1"), run, sync).want("E0A000 Z 2 D:a,1 C Z")
	w.send(bind("", "x"), sync).want("E26000 Z")
	w.send(bind("", "s", "nonsense"), run, bind("", "s", "1"), run, sync).want("E22P02 Z")
	// An unnamed statement ends with a simple query.
	w.send(parse("", "SELECT email FROM users"), sync).want("1 Z")
	w.send(&pgproto3.Query{String: "SELECT 1"}).want("T23 D:1 C Z")
	w.send(bind("", ""), sync).want("E26000 Z")
	// DEALLOCATE ends a statement, whose name then means another.
	w.send(&pgproto3.Query{String: "DEALLOCATE s"}).want("C Z")
	w.send(parse("s", "SELECT id, email FROM users WHERE id = 1"), bind("", "s"), run, sync).want("1 2 D:1,a C Z")
	w.send(&pgproto3.Query{String: "EXECUTE s"}).want("T23 D:1,a C Z")
	w.send(&pgproto3.Close{ObjectType: 'S', Name: "s"}, sync).want("3 Z")

	// COPY FROM by the extended protocol: the server ignores Sync within it.
	w.send(&pgproto3.Query{String: "CREATE TABLE plain (a text)"}).want("C Z")
	w.send(parse("", "COPY plain FROM STDIN"), bind("", ""), run, sync).want("1 2 G")
	w.send(&pgproto3.CopyData{Data: []byte("one\ntw")}, &pgproto3.CopyData{Data: []byte("o\n")}, &pgproto3.CopyDone{}, sync).want("C Z")
	w.send(parse("", "COPY plain FROM STDIN"), bind("", ""), run, sync).want("1 2 G")
	w.send(&pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyFail{Message: "no"}, sync).want("E57014 Z")
	w.send(parse("", "SELECT email FROM users WHERE pin = 1"), bind("", ""), run, sync).want("1 2 D:a C Z")
	w.send(parse("", "COPY users (email, pin) FROM STDIN"), bind("", ""), run, sync).want("1 2 G")
	w.send(&pgproto3.CopyData{Data: []byte("copied\t4")}, &pgproto3.CopyData{Data: []byte("1\n")}, sync, &pgproto3.CopyDone{}, sync).want("C Z")
	w.send(parse("", "COPY users (email, pin) FROM STDIN"), bind("", ""), run, sync).want("1 2 G")
	w.send(&pgproto3.CopyData{Data: []byte("copied\tx\n")}, &pgproto3.CopyData{Data: []byte("more")}, &pgproto3.CopyDone{}, sync).want("E22P02 Z")
	// Without waiting for the server: twice in one text, and in one batch.
	w.send(&pgproto3.Query{String: "COPY plain FROM STDIN; COPY users (email) FROM STDIN; SELECT email FROM users WHERE email = 'eager'"},
		&pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyDone{}, &pgproto3.CopyData{Data: []byte("eager\n")}, &pgproto3.CopyDone{}).want("G C G C T25 D:eager C Z")
	w.send(parse("", "COPY plain FROM STDIN"), bind("", ""), run, &pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyDone{},
		parse("", "COPY users (email) FROM STDIN"), bind("", ""), run, &pgproto3.CopyData{Data: []byte("eager\n")}, &pgproto3.CopyDone{},
		parse("", "SELECT 1 / 0"), bind("", ""), run, parse("", "COPY users (email) FROM STDIN"), bind("", ""), run, &pgproto3.CopyData{Data: []byte("skipped\n")}, &pgproto3.CopyDone{},
		sync).want("1 2 G C 1 2 G E23505 Z")
	w.send(parse("", "COPY users (email) FROM STDIN"), bind("", ""), run, &pgproto3.CopyData{Data: []byte("keen\n")}, &pgproto3.CopyDone{},
		parse("", "SELECT pin FROM users WHERE email = 'copied'"), bind("", ""), run, sync).want("1 2 G C 1 2 D:41 C Z")
	// Data that no COPY reads is ignored.
	w.send(&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}, &pgproto3.Query{String: "COPY users (nosuch) FROM STDIN"}, &pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{},
		&pgproto3.Query{String: "SELECT email FROM users WHERE pin = 41"}).want("E42703 Z T25 D:copied C Z")
	// The client gives up, or its query ends the COPY.
	w.send(&pgproto3.Query{String: "COPY users (email) FROM STDIN"}).want("G")
	w.send(&pgproto3.CopyData{Data: []byte("given up\nhal")}, &pgproto3.CopyFail{Message: "no"}).want("E57014 Z")
	w.send(&pgproto3.Query{String: "SELECT count(*) FROM users WHERE email IN ('given up', 'skipped', 'hal')"}).want("T20 D:0 C Z")

	// Calls by message: PostgreSQL's own pass, others do not.
	w.send(&pgproto3.FunctionCall{Function: 20000}).want("E0A000 Z")
	w.send(&pgproto3.Query{String: "BEGIN"}).want("C Z")
	w.send(parse("", "CREATE TABLE leads (email text)"), bind("", ""), run, sync).want("1 2 C Z")
	w.send(parse("", "INSERT INTO leads VALUES ($1) RETURNING email"), &pgproto3.Describe{ObjectType: 'S'}, bind("", "", "in tx"), run, sync).want("1 t[25] T25 2 D:in+tx C Z")
}
