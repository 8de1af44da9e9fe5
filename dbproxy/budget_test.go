// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

const mib = 1 << 20

// narrow is a proxy with room for 8 MiB of messages in each direction, for which
// nobody waits long.
func narrow(t *testing.T) *fixture {
	t.Helper()
	f := start(t, shared, []proxy.ColumnRule{column("large", "sealed", "text", "random")}, func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.MessageMemory = 16 * mib })
	f.proxy.Patience(50 * time.Millisecond)
	rawClient(t, f).send(&pgproto3.Query{String: "CREATE TABLE large (id serial, pin int, sealed text)"}).want("C Z")
	return f
}

// holding waits until messages have so many MiB of room.
func (f *fixture) holding(t *testing.T, clients, servers int64) {
	t.Helper()
	waitFor(t, func() bool {
		c, s := f.proxy.MessagesHeld()
		return c == clients*mib && s == servers*mib
	})
}

// promise begins a Bind of a protected value and does not go on.
func promise(t *testing.T, f *fixture, length int) *wire {
	t.Helper()
	w := rawClient(t, f)
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO large (sealed) VALUES ($1)"}, &pgproto3.Sync{}).want("1 Z")
	head := binary.BigEndian.AppendUint32([]byte{'B'}, uint32(length+4))
	if _, err := w.conn.Write(append(head, "\x00s\x00\x00\x00\x00\x01"+strings.Repeat("x", 1000)...)); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestClientMessageMemory: what does not find room is refused, the session goes on, and
// what needs no room is not in its way.
func TestClientMessageMemory(t *testing.T) {
	f := narrow(t)
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	exec1(t, f.connect(t, pgx.QueryExecModeExec), "CREATE TABLE plain (v text)")
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO large (sealed) VALUES ($1)"}, &pgproto3.Parse{Name: "p", Query: "INSERT INTO plain VALUES ($1)"}, sync).want("1 1 Z")
	large := strings.Repeat("x", 4*mib-1000)
	bind := func(name string) *pgproto3.Bind {
		return &pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{[]byte(large)}}
	}
	query := func(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
	run := &pgproto3.Execute{}
	all := func(refused bool) {
		t.Helper()
		or := func(refusal, otherwise string) string {
			if refused {
				return refusal
			}
			return otherwise
		}
		w.send(query("SELECT 1 /*" + large + "*/")).want(or("E53200 Z", "T23 D:1 C Z"))
		w.send(&pgproto3.Parse{Query: "SELECT 1 /*" + large + "*/"}, &pgproto3.Bind{}, run, sync).want(or("E53200 Z", "1 2 D:1 C Z"))
		w.send(bind("s"), run, sync).want(or("E53200 Z", "2 C Z"))
		w.send(&pgproto3.FunctionCall{Function: 1257 /* textlen */, Arguments: [][]byte{[]byte(large)}}).want(or("E53200 Z", "Z"))
		w.send(query("COPY large (sealed) FROM STDIN")).want("G")
		w.send(&pgproto3.CopyData{Data: []byte(large)}, &pgproto3.CopyDone{}).want(or("E53200 Z", "C Z"))
		w.send(bind("p"), run, sync).want("2 C Z")
		w.send(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("small")}}, run, sync).want("2 C Z")
	}
	other := promise(t, f, 6*mib)
	f.holding(t, 6, 0)
	all(true)
	other.conn.Close()
	f.holding(t, 0, 0)
	all(false)
	f.holding(t, 0, 0)

	// What has to wait gets the room that the other session gives back.
	f.proxy.Patience(time.Minute)
	other = promise(t, f, 6*mib)
	f.holding(t, 6, 0)
	w.send(bind("s"), run, sync).Flush()
	other.conn.Close()
	w.want("2 C Z")

	// More than there is at all finds no room, however long it waits.
	large = strings.Repeat("x", 9*mib)
	w.send(bind("s"), run, sync).want("E54000 Z")
	w.send(query("COPY large (sealed) FROM STDIN")).want("G")
	w.send(&pgproto3.CopyData{Data: []byte(large)}, &pgproto3.CopyDone{}).want("E54000 Z")
	w.send(bind("p"), run, sync).want("2 C Z")
	f.holding(t, 0, 0)
}

// TestServerMessageMemory: a client that does not read keeps the room of a row; the
// statements of others fail, and their sessions go on.
func TestServerMessageMemory(t *testing.T) {
	f := narrow(t)
	f.proxy.Patience(time.Second)
	conn := f.connect(t, pgx.QueryExecModeCacheDescribe)
	exec1(t, conn, "INSERT INTO large (sealed, pin) VALUES ($1, 1)", strings.Repeat("x", 3*mib))
	var value string
	read := func(sql string) string {
		if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
			return state(err)
		}
		return ""
	}
	for name, sql := range map[string]string{"rows": "SELECT sealed FROM large, generate_series(1, 40)", "COPY": "COPY (SELECT sealed FROM large, generate_series(1, 40)) TO STDOUT"} {
		// One of the deaf may be the one that finds no room, and not the others.
		var deaf []*wire
		refused := func(ask func() string) {
			waitFor(t, func() bool {
				deaf = append(deaf, rawClient(t, f))
				deaf[len(deaf)-1].send(&pgproto3.Query{String: sql}).Flush()
				return ask() == "53200"
			})
		}
		refused(func() string { return read("SELECT sealed FROM large") })
		if got := read("SELECT id FROM large"); got != "" {
			t.Errorf("%s: the session does not go on: %s", name, got)
		}
		refused(func() string {
			_, err := conn.PgConn().CopyTo(t.Context(), &strings.Builder{}, "COPY large (sealed) TO STDOUT")
			return state(err)
		})
		for _, w := range deaf {
			w.conn.Close()
		}
		f.holding(t, 0, 0)
		if got := read("SELECT sealed FROM large"); got != "" || len(value) != 3*mib {
			t.Errorf("%s: afterwards: got %d bytes, %q", name, len(value), got)
		}
	}
	exec1(t, conn, "INSERT INTO large (sealed, pin) VALUES ($1, 2)", strings.Repeat("x", 5*mib))
	if err := conn.QueryRow(t.Context(), "SELECT sealed FROM large WHERE pin = 2", pgx.QueryResultFormats{pgx.BinaryFormatCode}).Scan(&value); err != nil {
		t.Errorf("5 MiB in binary: %v", err)
	}
	rawClient(t, f).send(&pgproto3.Query{String: "SELECT sealed FROM large WHERE pin = 2"}).want("T25 E54000 Z")
	f.holding(t, 0, 0)
}

// TestKeptTexts: a large text has its room until its statement is closed.
func TestKeptTexts(t *testing.T) {
	f := narrow(t)
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	comment := " /*" + strings.Repeat("x", 3*mib-100) + "*/"
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql + comment} }
	w.send(parse("a", "SELECT sealed FROM large"), sync).want("1 Z")
	f.holding(t, 3, 0)
	w.send(parse("plain", "SELECT 1"), sync).want("1 Z")
	f.holding(t, 3, 0)
	w.send(parse("b", "SELECT sealed FROM large"), sync).want("1 Z")
	f.holding(t, 6, 0)
	w.send(parse("c", "SELECT sealed FROM large"), sync).want("E53200 Z")
	w.send(&pgproto3.Bind{PreparedStatement: "b"}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "a"}, sync).want("2 C 3 Z")
	f.holding(t, 3, 0)
	w.send(parse("c", "SELECT nothing FROM large"), sync).want("E42703 Z")
	f.holding(t, 3, 0)
	w.send(&pgproto3.Query{String: "SELECT sealed FROM large" + comment}).want("T25 C Z")
	f.holding(t, 3, 0)
	w.conn.Close()
	f.holding(t, 0, 0)
}

// inUse is how much memory of this process is in use.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCopyRowHasRoomUntilItIsSent: a row of COPY that the server does not take yet keeps
// its room.
func TestCopyRowHasRoomUntilItIsSent(t *testing.T) {
	f := narrow(t)
	f.proxy.Patience(time.Second)
	direct := f.direct(t)
	exec1(t, direct, "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END'")
	exec1(t, direct, "CREATE TRIGGER wait BEFORE INSERT ON large FOR EACH ROW EXECUTE FUNCTION wait()")
	exec1(t, direct, "SELECT pg_advisory_lock(7)")
	w, other, sync := rawClient(t, f), rawClient(t, f), &pgproto3.Sync{}
	w.send(&pgproto3.Query{String: "COPY large (sealed) FROM STDIN"}).want("G")
	// The server is within the first row when the second arrives, which is too long
	// for the sockets.
	w.send(&pgproto3.CopyData{Data: []byte("short\n" + strings.Repeat("x", 7*mib-1000) + "\n")}).Flush()
	f.holding(t, 7, 0)
	other.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO large (sealed) VALUES ($1)"}, sync).want("1 Z")
	bind := &pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte(strings.Repeat("x", 2*mib))}}
	other.send(bind, sync).want("E53200 Z")
	f.holding(t, 7, 0)
	exec1(t, direct, "SELECT pg_advisory_unlock(7)")
	w.send(&pgproto3.CopyDone{}).want("C Z")
	f.holding(t, 0, 0)
	other.send(bind, sync).want("2 Z")
}

// TestSmallerIsNotInTheWay: what does not fit, and may wait for long, does not keep
// others from the room that there is.
func TestSmallerIsNotInTheWay(t *testing.T) {
	f := narrow(t)
	f.proxy.Patience(time.Hour)
	promise(t, f, 4*mib)
	f.holding(t, 4, 0)
	for range 3 {
		promise(t, f, 7*mib) // these wait
	}
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO large (sealed) VALUES ($1)"}, sync).want("1 Z")
	for range 3 {
		w.send(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte(strings.Repeat("x", 2*mib))}}, &pgproto3.Execute{}, sync).want("2 C Z")
	}
}

// over waits until a session is ended for the room that it has.
func (w *wire) over() {
	w.t.Helper()
	for {
		m, err := w.Receive()
		if e, ok := m.(*pgproto3.ErrorResponse); ok && (e.Code != "53200" || e.Severity != "FATAL") {
			w.t.Errorf("got %+v", e)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.t.Error("the session goes on")
		}
		if err != nil {
			return
		}
	}
}

// TestStalledRoom: who does not get on loses its room once others wait for it, and not
// before.
func TestStalledRoom(t *testing.T) {
	f := narrow(t)
	f.proxy.Patience(time.Hour)
	f.proxy.Grace(10 * time.Millisecond)
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO large (sealed) VALUES ($1)"}, sync).want("1 Z")
	insert := func() {
		t.Helper()
		w.send(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte(strings.Repeat("x", 3*mib-100))}}, &pgproto3.Execute{}, sync).want("2 C Z")
	}
	slow := promise(t, f, 4*mib)
	f.holding(t, 4, 0)
	insert() // there is room for both
	f.holding(t, 4, 0)
	more := promise(t, f, 3*mib)
	f.holding(t, 7, 0)
	insert()
	slow.over() // one is enough, the older
	f.holding(t, 3, 0)
	more.conn.Close()

	// One whose COPY has stopped within a row.
	copying := rawClient(t, f)
	copying.send(&pgproto3.Query{String: "COPY large (sealed) FROM STDIN"}).want("G")
	copying.send(&pgproto3.CopyData{Data: []byte(strings.Repeat("x", 7*mib-100))}).Flush()
	f.holding(t, 7, 0)
	insert()
	copying.over()

	// One that waits for the server with a text.
	pipelined := rawClient(t, f)
	pipelined.send(&pgproto3.Query{String: "SELECT pg_sleep(1000)"}, &pgproto3.Query{String: "SET DateStyle TO ISO"}, &pgproto3.Query{String: "SELECT 'é' /*" + strings.Repeat("x", 7*mib-200) + "*/"}).Flush()
	f.holding(t, 7, 0)
	insert()
	pipelined.over()
	exec1(t, f.direct(t), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1000)'")

	// Those that do not read what they have asked for.
	for _, sql := range []string{"SELECT sealed FROM large, generate_series(1, 12)", "COPY (SELECT sealed FROM large, generate_series(1, 12)) TO STDOUT"} {
		deaf := rawClient(t, f)
		deaf.send(&pgproto3.Query{String: sql}).Flush()
		f.holding(t, 0, 6)
		var n int
		conn := f.connect(t, pgx.QueryExecModeCacheDescribe)
		rows, err := conn.Query(t.Context(), "SELECT sealed FROM large")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			n++
		}
		if n != 4 || rows.Err() != nil {
			t.Errorf("%s: another gets %d rows, %v", sql, n, rows.Err())
		}
		waitFor(t, func() bool { return f.running(t, "generate_series") == 0 })
	}
	f.holding(t, 0, 0)
}

// running counts the sessions whose statement has a text in it.
func (f *fixture) running(t *testing.T, text string) (n int) {
	t.Helper()
	conn := f.direct(t)
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid() AND strpos(query, $1) > 0", text).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKeptTextsLeaveRoom: prepared statements and queries that run have not all room.
func TestKeptTextsLeaveRoom(t *testing.T) {
	f := narrow(t)
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	comment := " /*" + strings.Repeat("x", 2*mib-100) + "*/"
	parse := func(name string) *pgproto3.Parse {
		return &pgproto3.Parse{Name: name, Query: "SELECT sealed FROM large" + comment}
	}
	w.send(parse("a"), parse("b"), parse("c"), sync).want("1 1 1 Z")
	f.holding(t, 6, 0)
	w.send(parse("d"), sync).want("E53200 Z")
	w.send(&pgproto3.Query{String: "SELECT sealed FROM large" + comment}).want("E53200 Z")
	f.holding(t, 6, 0)
	w.send(&pgproto3.Query{String: "SELECT 1" + comment}).want("T23 D:1 C Z")
	w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO large (sealed) VALUES ($1)"}, sync).want("1 Z")
	w.send(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte(comment)}}, &pgproto3.Execute{}, sync).want("2 C Z")
	w.send(&pgproto3.Close{ObjectType: 'S', Name: "a"}, sync).want("3 Z")
	w.send(parse("d"), sync).want("1 Z")
	w.conn.Close()
	f.holding(t, 0, 0)
}

// TestIdleKeepsNothing: of messages that are not small nothing stays with a session that
// is idle.
func TestIdleKeepsNothing(t *testing.T) {
	const clients = 30
	f := narrow(t)
	sql := "SELECT 1 /*" + strings.Repeat("x", mib-1000) + "*/"
	var idle []*wire
	for range clients {
		idle = append(idle, rawClient(t, f))
	}
	before := inUse()
	for _, w := range idle {
		w.send(&pgproto3.Query{String: sql}).want("T23 D:1 C Z")
		w.Frontend = nil // it has a buffer of its own
	}
	waitFor(t, func() bool { return inUse()-before < clients/3*mib })
	runtime.KeepAlive(idle)
}

// TestTurnsOfTexts: texts that are not small are parsed a few at a time, and the others
// do not wait for them.
func TestTurnsOfTexts(t *testing.T) {
	f := narrow(t)
	w, other := rawClient(t, f), rawClient(t, f)
	done := f.proxy.Parsing()
	w.send(&pgproto3.Query{String: "SELECT 1" + strings.Repeat(", 1", 100_000)}).Flush()
	other.send(&pgproto3.Query{String: "SELECT 1" + strings.Repeat(", 1", 1000)}).Flush()
	if m, err := other.Receive(); err != nil || name(m) != "T23" {
		t.Errorf("a small text: got %v, %v", m, err)
	}
	w.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if m, err := w.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one that is not small: got %v, %v", m, err)
	}
	w.conn.Close()
	done()
	w = rawClient(t, f)
	w.send(&pgproto3.Query{String: "SELECT 1 -- " + strings.Repeat("x", 100_000)}).want("T23 D:1 C Z")
	f.proxy.Parsing()() // all turns have come back
}

// TestMessageMemoryIsChecked: a budget in which next to nothing fits is a mistake.
func TestMessageMemoryIsChecked(t *testing.T) {
	for n, ok := range map[int64]bool{-1: false, 512: false, 16*mib - 1: false, -1 << 63: false, 0: true, 16 * mib: true, 1<<63 - 1: true} {
		cfg := dbproxy.Config{Listen: "127.0.0.1:0", MessageMemory: n, Upstream: dbproxy.UpstreamConfig{Address: "127.0.0.1:5432"}}
		if err := cfg.Validate(); (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "postgres.message_memory: ") {
			t.Errorf("%d: got %v", n, err)
		}
	}
}
