// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/keysvc/audit"
)

// TestPgDump dumps through the proxy: the data is plain, and goes back in.
func TestPgDump(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	for _, table := range copyTables {
		exec1(t, conn, "CREATE TABLE "+table)
	}
	exec1(t, conn, `INSERT INTO ct (id, email, ssn, pin, note) VALUES (1, E'dpmark-a\tb\n', '123', 7, 'n'), (2, NULL, '', NULL, NULL), (3, E'dpmark-\\N', E'\\.', -1, '"')`)
	exec1(t, conn, "INSERT INTO typed (n, at, b, j, ok, d, u, big) VALUES (1.5, '2024-02-29 12:34:56.789+02', '\\x00ff27', '{\"a\": [1]}', true, '2024-02-29', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', -1)")
	want := copyOf(conn, "COPY ct TO STDOUT") + copyOf(conn, "COPY typed TO STDOUT")
	dump := filepath.Join(t.TempDir(), "dump.sql")
	out, err := exec.Command(filepath.Join(clientBin, "pg_dump"), "-d", f.url(), "-f", dump, "--data-only", "-t", "public.*").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(dump)
	if err != nil || !strings.Contains(string(text), "dpmark-a\\tb\\n") {
		t.Fatalf("%v: %s", err, text)
	}
	whole, err := exec.Command(filepath.Join(clientBin, "pg_dump"), "-d", f.url(), "-n", "public").CombinedOutput()
	if err != nil || !strings.Contains(string(whole), "CREATE TABLE public.ct") {
		t.Errorf("%v: %s", err, whole)
	}
	exec1(t, conn, "TRUNCATE ct, typed")
	restore(t, dump, f.url())
	if d := cmp.Diff(want, copyOf(conn, "COPY ct TO STDOUT")+copyOf(conn, "COPY typed TO STDOUT")); d != "" {
		t.Error(d)
	}
	noCanary(t, f, "dpmark")
}

func TestPsqlCopy(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "CREATE TABLE "+copyTables[0])
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out")
	lines := "id,email,pin\n"
	for i := range 5000 {
		lines += fmt.Sprintf("%d,\"pcmark-%d, \"\"x\"\"\",%d\n", i, i, -i)
	}
	if err := os.WriteFile(in, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	header := "match"
	if serverVersion(t) < 15 {
		header = "true"
	}
	text, err := psql(t, f.url(), nil, `\copy ct (id, email, pin) from '`+in+`' with (format csv, header `+header+`)
COPY ct (id, email) FROM STDIN;
5000	pcmark-inline
\.
\copy (select id, email, pin from ct where id in (7, 5000) order by id) to '`+out+`'
BEGIN;
DECLARE c CURSOR FOR SELECT email FROM ct WHERE email = 'pcmark-inline';
FETCH c;
COMMIT;
`)
	if err != nil || !strings.Contains(text, "COPY 5000") || !strings.Contains(text, "COPY 1\n") || !strings.Contains(text, "\npcmark-inline\n") {
		t.Errorf("%v: %s", err, text)
	}
	got, err := os.ReadFile(out)
	if want := "7\tpcmark-7, \"x\"\t-7\n5000\tpcmark-inline\t\\N\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	text, err = psql(t, f.url(), nil, "\\copy ct (id, email, pin) from stdin\n1\tx\tseven\n\\.\n")
	if err == nil || !strings.Contains(text, "invalid input syntax for type integer: \"seven\"") || !strings.Contains(text, "CONTEXT:  COPY ct, line 1, column pin: \"seven\"") {
		t.Errorf("%v: %s", err, text)
	}
	// FETCH_COUNT makes psql declare cursors.
	text, err = psql(t, f.url(), nil, "\\set FETCH_COUNT 100\nSELECT email FROM ct WHERE id < 250 ORDER BY id;\n")
	if err != nil || strings.Count(text, "pcmark-") != 250 {
		t.Errorf("%v: %s", err, text)
	}
	noCanary(t, f, "pcmark")
}

func TestPythonCopy(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "CREATE TABLE "+copyTables[0])
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s", f.port, f.database)
	for name, script := range map[string]string{
		"psycopg": `
import psycopg, sys
with psycopg.connect(sys.argv[1]) as c:
    cur = c.cursor()
    rows = [(i, "cpmark\t%d\n" % i if i % 3 else None, "s%d" % (i % 10), -i, "note\\%d" % i) for i in range(500)]
    cur.execute("TRUNCATE ct")
    with cur.copy("COPY ct (id, email, ssn, pin, note) FROM STDIN") as copy:
        for r in rows: copy.write_row(r)
    with cur.copy("COPY ct (id, email, ssn, pin, note) TO STDOUT") as copy:
        copy.set_types(["int4", "text", "varchar", "int4", "text"])
        assert list(copy.rows()) == rows
    with cur.copy("COPY (SELECT id, email, ssn, pin, note FROM ct) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "varchar", "int4", "text"])
        assert list(copy.rows()) == rows
    cur.execute("TRUNCATE ct")
    with cur.copy("COPY ct (id, email, ssn, pin, note) FROM STDIN BINARY") as copy:
        copy.set_types(["int4", "text", "varchar", "int4", "text"])
        for r in rows: copy.write_row(r)
    s = c.cursor("named")
    s.execute("SELECT id, email, ssn, pin, note FROM ct WHERE email = %s OR id >= 0 ORDER BY id", ("x",))
    s.itersize = 70
    assert s.fetchmany(3) == rows[:3]
    s.scroll(2)
    assert [r for r in s] == rows[5:]
    s.close()
    b = c.cursor("bin", binary=True, scrollable=True, withhold=True)
    b.execute("SELECT email, pin FROM ct ORDER BY id")
    c.commit()
    assert b.fetchall() == [(r[1], r[3]) for r in rows]
    b.close()
    try:
        with cur.copy("COPY ct (id, pin) FROM STDIN") as copy:
            copy.write("1\tnone\n")
        assert False
    except psycopg.errors.InvalidTextRepresentation as e:
        assert e.diag.context == 'COPY ct, line 1, column pin: "none"', e.diag.context
    c.rollback()
    cur.execute("SELECT count(*) FROM ct")
    assert cur.fetchone() == (500,)
print("ok")
`,
		"psycopg2": `
import psycopg2, sys, io
c = psycopg2.connect(sys.argv[1])
cur = c.cursor()
cur.execute("TRUNCATE ct")
cur.copy_from(io.StringIO("1\tcpmark-2\t5\n2\t\\N\t6\n"), "ct", columns=("id", "email", "pin"))
cur.copy_expert("COPY ct (id, email) FROM STDIN CSV", io.StringIO('3,"cpmark\n3"\n'))
out = io.StringIO()
cur.copy_expert("COPY (SELECT id, email, pin FROM ct ORDER BY id) TO STDOUT CSV HEADER", out)
assert out.getvalue() == 'id,email,pin\n1,cpmark-2,5\n2,,6\n3,"cpmark\n3",\n', out.getvalue()
n = c.cursor("named")
n.itersize = 2
n.execute("SELECT email, id FROM ct WHERE id > %s ORDER BY id", (0,))
assert [r for r in n] == [("cpmark-2", 1), (None, 2), ("cpmark\n3", 3)]
c.commit()
print("ok")
`} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/usr/bin/python3", "-c", script, dsn)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "ok") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	noCanary(t, f, "cpmark")
}

// TestPgxCopy uses pgx's CopyFrom, which prepares a SELECT to learn the types
// and then sends them in binary.
func TestPgxCopy(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	exec1(t, conn, "CREATE TABLE "+copyTables[0])
	rows := make([][]any, 3000)
	for i := range rows {
		rows[i] = []any{int32(i), fmt.Sprintf("gxmark-%d", i), "s", int32(-i), nil}
	}
	n, err := conn.CopyFrom(t.Context(), pgx.Identifier{"ct"}, []string{"id", "email", "ssn", "pin", "note"}, pgx.CopyFromRows(rows))
	if err != nil || n != 3000 {
		t.Fatalf("got %d, %v", n, err)
	}
	var matching int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM ct WHERE email = $1 AND pin = $2", "gxmark-2999", -2999).Scan(&matching); err != nil || matching != 1 {
		t.Errorf("got %d, %v", matching, err)
	}
	noCanary(t, f, "gxmark")
}

// TestCopyAudit finds every COPY on the record, with its rows.
func TestCopyAudit(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "CREATE TABLE "+copyTables[0])
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	comment := "/*traceparent='00-" + trace + "-00f067aa0ba902b7-01'*/ "
	copyInto(conn, comment+"COPY ct (id, email, note) FROM STDIN", strings.NewReader(strings.Repeat("1\tauditedmark\tx\n", 2500)))
	copyOf(conn, comment+"COPY (SELECT email FROM ct LIMIT 700) TO STDOUT")
	copyInto(conn, comment+"COPY ct (pin) FROM STDIN", strings.NewReader("x\n"))
	exec1(t, conn, comment+"PREPARE p AS SELECT email FROM ct LIMIT 9")
	exec1(t, conn, comment+"EXECUTE p")
	spans, err := audit.ReadTrace([]string{f.auditDir}, trace)
	if err != nil {
		t.Fatal(err)
	}
	var tree strings.Builder
	audit.WriteTree(&tree, spans)
	got := tree.String()
	for want, times := range map[string]int{"2500": 1, "700": 1, "22P02": 1, "public.ct.email": 4, "public.ct.pin": 1, "datakey.use": 3, "auditedmark": 0} {
		if n := strings.Count(got, want); n < times || times == 0 && n > 0 {
			t.Errorf("%q is there %d times, want %d, in:\n%s", want, n, times, got)
		}
	}
	// What cannot be recorded is not done.
	other := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	f.audit.Close()
	// The session ends at once: the client may see that before it reads why.
	if got := copyInto(conn, "COPY ct (email) FROM STDIN", strings.NewReader("unrecorded\n")); strings.HasPrefix(got, "COPY") {
		t.Errorf("got %s", got)
	}
	if got := copyOf(other, "COPY ct (email) TO STDOUT"); !strings.Contains(got, "58030") || strings.Contains(got, "auditedmark") {
		t.Errorf("got %.200s", got)
	}
	var stored int
	if err := f.direct(t).QueryRow(t.Context(), "SELECT count(*) FROM ct").Scan(&stored); err != nil || stored != 2500 {
		t.Errorf("got %d rows, %v, want 2500", stored, err)
	}
}

// TestCopyAltered has a value in COPY TO that cannot be authenticated.
func TestCopyAltered(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "CREATE TABLE "+copyTables[0])
	exec1(t, conn, "INSERT INTO ct (id) SELECT 1 FROM generate_series(1, 10)")
	exec1(t, conn, "INSERT INTO ct (id, email) VALUES (2, 'x')")
	exec1(t, f.direct(t), "UPDATE ct SET email = set_byte(email, 20, 255 - get_byte(email, 20)) WHERE id = 2")
	for _, sql := range []string{"COPY ct TO STDOUT", "COPY ct (id, email) TO STDOUT BINARY", "COPY ct (email) TO STDOUT CSV"} {
		if got := copyOf(conn, sql); !strings.Contains(got, " XX001 ") {
			t.Errorf("%s: got %q", sql, got)
		}
	}
	exec1(t, conn, "SELECT 1")
	w := rawClient(t, f)
	w.send(extended("COPY ct TO STDOUT")...).want("1 2 n EXX001 Z")
	w.send(&pgproto3.Query{String: "SELECT id FROM ct WHERE id = 2"}).want("T23 D:2 C Z")
}
