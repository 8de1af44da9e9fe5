// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// mostParams is how many parameters a Bind message can hold.
const mostParams = 65535

// TestMostParameters: a Bind with all the parameters it can hold, protected ones
// among them.
func TestMostParameters(t *testing.T) {
	f := start(t, shared, users())
	conn := f.connect(t, pgx.QueryExecModeCacheDescribe)
	exec1(t, conn, usersDDL)
	var sql strings.Builder
	args := make([]any, 0, mostParams)
	sql.WriteString("INSERT INTO users (email, pin, note) VALUES ")
	for i := range mostParams / 3 {
		if i > 0 {
			sql.WriteString(", ")
		}
		fmt.Fprintf(&sql, "($%d, $%d, $%d)", 3*i+1, 3*i+2, 3*i+3)
		args = append(args, fmt.Sprint("pmark-", i), int32(i), fmt.Sprint("plain-", i))
	}
	exec1(t, conn, sql.String(), args...)
	sql.Reset()
	sql.WriteString("SELECT count(*) FROM users WHERE email IN (")
	for i := range args {
		fmt.Fprintf(&sql, "$%d, ", i+1)
		args[i] = fmt.Sprint("pmark-", i)
	}
	var n int
	if err := conn.QueryRow(t.Context(), strings.TrimSuffix(sql.String(), ", ")+")", args...).Scan(&n); err != nil || n != mostParams/3 {
		t.Errorf("got %d, %v; want %d", n, err, mostParams/3)
	}
	noCanary(t, f, "pmark-")
}

// TestTooManyParameters: the protocol counts parameters in 16 bits, and PostgreSQL
// takes $65536 until a Bind cannot supply it.
func TestTooManyParameters(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	sync := &pgproto3.Sync{}
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	full := &pgproto3.Bind{Parameters: make([][]byte, mostParams)}
	direct, _ := opened(t, address(f.cluster), startup(pgproto3.ProtocolVersion30, "user", "postgres", "database", f.database))
	// numbered are the parameters from one to another.
	numbered := func(from, to int) string {
		var list strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&list, ", $%d", i)
		}
		return list.String()[2:]
	}
	for _, on := range []*wire{w, direct} {
		on.send(&pgproto3.Parse{Query: "SELECT 1 WHERE 1 IN (" + numbered(1, mostParams) + ")"}, full, &pgproto3.Execute{}, sync).want("1 2 C Z")
		on.send(&pgproto3.Parse{Query: "SELECT 1 WHERE 1 IN (" + numbered(1, mostParams+1) + ")"}, full, sync).want("1 E08P01 Z")
		on.send(&pgproto3.Parse{Query: "SELECT $2000000000::int"}, sync).want("E42P02 Z")
	}
	before := allocated()
	for _, sql := range []string{"INSERT INTO users (email) VALUES ($65536)", "SELECT id FROM users WHERE email = $2000000000", "INSERT INTO users (email) VALUES ($2147483647)"} {
		w.send(&pgproto3.Parse{Query: sql}, full, sync).want("E08P01 Z")
		w.send(&pgproto3.Query{String: "PREPARE p AS " + sql}).want("E08P01 Z")
	}
	if got := allocated() - before; got > 256<<20 {
		t.Errorf("parameters that there are not took %d MiB", got>>20)
	}
	// One that meets a protected column and another is sent twice: it is one too many.
	twice := func(n int) *pgproto3.Parse {
		return &pgproto3.Parse{Query: "UPDATE users SET email = $1, note = $1 WHERE id IN (" + numbered(2, n) + ")"}
	}
	w.send(twice(mostParams), sync).want("E0A000 Z")
	w.send(twice(mostParams-1), &pgproto3.Bind{Parameters: make([][]byte, mostParams-1)}, &pgproto3.Execute{}, sync).want("1 2 C Z")
}

// allocated is how many bytes this process has ever asked for.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestClaimedLength: memory is taken for what arrives, not for what is promised.
func TestClaimedLength(t *testing.T) {
	f := start(t, shared, users())
	setup := rawClient(t, f)
	setup.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	before := allocated()
	for i := range 30 {
		w := rawClient(t, f)
		w.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO users (email) VALUES ($1)"}, &pgproto3.Sync{}).want("1 Z")
		head := binary.BigEndian.AppendUint32([]byte{"QPBF"[i%4]}, 200<<20)
		w.conn.Write(append(head, "\x00s\x00\x00\x00"+strings.Repeat("x", 1000)...))
		setup.send(&pgproto3.Query{String: "SELECT 1"}).want("T23 D:1 C Z")
	}
	if got := allocated() - before; got > 100<<20 {
		t.Errorf("30 promises of 200 MiB took %d MiB", got>>20)
	}
}
