// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

// With the race detector these take gigabytes, and minutes.

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/proxy"
)

// TestLargeValues has values of 100 MB in columns that are protected and that are
// not, in both formats.
func TestLargeValues(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("large", "sealed", "text", "random")})
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "CREATE TABLE large (id int, sealed text, plain text)")
	value := "lgmark" + strings.Repeat("0123456789", 10_000_000)
	for id, format := range []int16{pgx.TextFormatCode, pgx.BinaryFormatCode} {
		conn, as := f.connect(t, pgx.QueryExecModeCacheDescribe), pgx.QueryResultFormats{format}
		exec1(t, conn, "INSERT INTO large (id, sealed) VALUES ($1, $2)", id, value)
		exec1(t, conn, "UPDATE large SET plain = $1 WHERE id = $2", value[6:], id)
		var sealed, plain string
		if err := conn.QueryRow(t.Context(), "SELECT sealed FROM large WHERE id = $1", as, id).Scan(&sealed); err != nil || sealed != value {
			t.Errorf("format %d: sealed: got %d bytes, %v", format, len(sealed), err)
		}
		if err := conn.QueryRow(t.Context(), "SELECT plain FROM large WHERE id = $1", as, id).Scan(&plain); err != nil || plain != value[6:] {
			t.Errorf("format %d: plain: got %d bytes, %v", format, len(plain), err)
		}
		// Both are 300 MB in text, in which the server writes bytea in hexadecimal.
		err := conn.QueryRow(t.Context(), "SELECT sealed, plain FROM large WHERE id = $1", as, id).Scan(&sealed, &plain)
		if want := map[int]string{0: "54000", 1: ""}[id]; state(err) != want || want == "" && err != nil {
			t.Errorf("format %d: both: got %v, want %q", format, err, want)
		}
		exec1(t, conn, "SELECT 1") // the session goes on
	}
	noCanary(t, f, "lgmark")
}

// TestLargeCopy: COPY has no bound but that of one row.
func TestLargeCopy(t *testing.T) {
	f := start(t, shared, []proxy.ColumnRule{column("large", "sealed", "text", "random")})
	conn := f.connect(t, pgx.QueryExecModeExec)
	exec1(t, conn, "CREATE TABLE large (sealed text, plain text)")
	value := "lcmark" + strings.Repeat("0123456789", 10_000_000)
	if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(value+"\tshort\n"), "COPY large FROM STDIN"); err != nil {
		t.Errorf("COPY FROM: %v", err)
	}
	var back strings.Builder
	if _, err := conn.PgConn().CopyTo(t.Context(), &back, "COPY large TO STDOUT"); err != nil || back.String() != value+"\tshort\n" {
		t.Errorf("COPY TO: got %d bytes, %v", back.Len(), err)
	}
	endless := io.LimitReader(zeros{}, 1<<30)
	if _, err := conn.PgConn().CopyFrom(t.Context(), endless, "COPY large FROM STDIN"); state(err) != "54000" {
		t.Errorf("a row without an end: got %v, want 54000", err)
	}
	exec1(t, conn, "SELECT 1")
	noCanary(t, f, "lcmark")
}

// zeros are digits without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// stream writes a message whose body begins with a text and goes on with zeros.
func (w *wire) stream(kind byte, length int, body string) *wire {
	w.t.Helper()
	w.Flush()
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(length+4))
	if _, err := w.conn.Write(append(head, body...)); err != nil {
		w.t.Fatal(err)
	}
	zeros := make([]byte, 1<<16)
	for left := length - len(body); left > 0; {
		n, err := w.conn.Write(zeros[:min(left, len(zeros))])
		if err != nil {
			w.t.Fatal(err)
		}
		left -= n
	}
	return w
}

// TestLargeMessages: what is too large to be changed is refused and not kept in memory,
// and the session goes on; what needs no change passes.
func TestLargeMessages(t *testing.T) {
	const over = 256<<20 + 1
	f := start(t, shared, users())
	w := rawClient(t, f)
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(&pgproto3.Query{String: "CREATE TABLE plain (v bytea)"}).want("C Z")
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO users (email) VALUES ($1)"}, &pgproto3.Parse{Name: "p", Query: "INSERT INTO plain VALUES ($1)"}, &pgproto3.Sync{}).want("1 1 Z")
	before := allocated()
	sync, run := &pgproto3.Sync{}, &pgproto3.Execute{}
	w.stream('Q', over, "SELECT 1").want("E54000 Z")
	w.stream('P', over, "x\x00SELECT 1").send(&pgproto3.Bind{PreparedStatement: "x"}, run, sync).want("E54000 Z")
	w.stream('P', over, "s\x00SELECT 1").send(sync).want("E54000 Z")
	w.stream('B', over, "\x00s\x00\x00\x01\x00\x01\x00\x01\x0f\xff\xff\xff").send(run, sync).want("E54000 Z")
	w.stream('F', over, "").want("E54000 Z")
	w.send(&pgproto3.Bind{PreparedStatement: "x"}, sync).want("E26000 Z")
	w.send(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("still")}}, run, sync).want("2 C Z")
	// The protocol's own limit bounds what passes: here 300 MiB.
	const value = 300 << 20
	bind := "\x00p\x00\x00\x01\x00\x01\x00\x01" + string(binary.BigEndian.AppendUint32(nil, value))
	w.stream('B', len(bind)+value+2, bind).send(run, sync).want("2 C Z")
	w.send(&pgproto3.Query{String: "SELECT length(v) FROM plain"}).want("T23 D:314572800 C Z")
	if got := allocated() - before; got > 64<<20 {
		t.Errorf("messages that are not kept took %d MiB", got>>20)
	}
	for name, c := range map[string]struct {
		kind   byte
		length int
	}{
		"Query beyond 1 GiB": {'Q', 1<<30 - 5}, "Bind beyond 1 GiB": {'B', 1 << 30}, "Parse of 2 GiB": {'P', 1<<31 - 5},
		"Execute": {'E', 9997}, "Describe": {'D', 9997}, "Close": {'C', 1 << 20}, "Sync": {'S', 1 << 30}, "Flush": {'H', 9997},
		"below its own length": {'Q', -1}, "negative": {'B', -5},
	} {
		w := rawClient(t, f)
		w.conn.Write(binary.BigEndian.AppendUint32([]byte{c.kind}, uint32(c.length+4)))
		m, err := w.Receive()
		if e, ok := m.(*pgproto3.ErrorResponse); !ok || e.Code != "08P01" || e.Severity != "FATAL" || e.Message != "invalid message length" {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
}
