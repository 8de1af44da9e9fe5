// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sidekey/sidekey/proxy"
)

func copied() []proxy.ColumnRule {
	return []proxy.ColumnRule{
		column("ct", "email", "text", "equality"), column("ct", "ssn", "varchar(5)", ""), column("ct", "pin", "int4", "equality"),
		column("one", "v", "text", ""), column("typed", "n", "numeric(8,2)", ""), column("typed", "at", "timestamptz", ""),
		column("typed", "b", "bytea", ""), column("typed", "j", "jsonb", ""), column("typed", "ok", "bool", ""), column("typed", "d", "date", ""),
		column("typed", "u", "uuid", ""), column("typed", "big", "int8", ""),
	}
}

// copyTables are made twice, in a database without a proxy too.
var copyTables = []string{
	"ct (id int, email text, ssn varchar(5), pin int, note text, twice int GENERATED ALWAYS AS (id * 2) STORED)",
	"one (v text)",
	"typed (n numeric(8,2), at timestamptz, b bytea, j jsonb, ok bool, d date, u uuid, big bigint)",
}

// copyFixture is a proxy and connections to equal tables, one past it.
func copyFixture(t testing.TB) (f *fixture, plain, sealed *pgx.Conn) {
	t.Helper()
	f = start(t, shared, copied())
	plain, sealed = start(t, shared, nil).direct(t), f.connect(t, pgx.QueryExecModeSimpleProtocol)
	for _, table := range copyTables {
		exec1(t, plain, "CREATE TABLE "+table)
		exec1(t, sealed, "CREATE TABLE "+table)
	}
	return f, plain, sealed
}

// inOneByte gives a reader one byte at a time, so that each has its own CopyData.
type inOneByte struct{ r io.Reader }

func (o inOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// reported is what a client sees of an error.
func reported(err error) string {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%s %s | %s | %s | %s", e.Code, e.Message, e.Detail, e.Hint, e.Where)
}

func copyInto(conn *pgx.Conn, sql string, data io.Reader) string {
	tag, err := conn.PgConn().CopyFrom(context.Background(), data, sql)
	return tag.String() + " " + reported(err)
}

func copyOf(conn *pgx.Conn, sql string) string {
	var out bytes.Buffer
	tag, err := conn.PgConn().CopyTo(context.Background(), &out, sql)
	return out.String() + tag.String() + " " + reported(err)
}

// copyInputs are options and data for COPY ct (id, email, ssn, pin, note) or
// the columns that are named.
var copyInputs = []struct{ columns, options, data string }{
	{"", "", ""},
	{"", "", "1\ta@b\t123\t7\tn\n"},
	{"", "", "1\ta@b\t123\t7\tn"},
	{"", "", "1\ta@b\t123\t7\tn\n2\t\\N\t\\N\t\\N\t\\N\n"},
	{"", "", "1\t\t\t7\t\n"},
	{"", "", "1\ta\\tb\t\\\\N\t7\t\\N\n2\tNULL\tN\t\\N\tx\n"},
	{"", "", "1\t\\x41\\101\\x4\\8\\q\t\\07\t-7\tx\\x\n"},
	{"", "", "1\ta\\\nb\tc\t7\t\\\n\n2\tx\ty\t8\tz\n"},
	{"", "", "1\ta\\nb\\rc\\bd\\fe\\vf\t\\t\t7\t\\\\\n"},
	{"", "", "1\ta\t1\t7\tx\r\n2\tb\t2\t8\ty\r\n"},
	{"", "", "1\ta\t1\t7\tx\r2\tb\t2\t8\ty\r"},
	{"", "", "1\ta\t1\t7\tx\r2\tb\t2\t8\ty"},
	{"", "", "1\ta\t1\t7\tx\r\n2\tb\t2\t8\ty\n"},
	{"", "", "1\ta\t1\t7\tx\r\n2\tb\t2\t8\ty\r3\tb\t2\t8\tz\r\n"},
	{"", "", "1\ta\t1\t7\tx\n2\tb\t2\t8\ty\r\n"},
	{"", "", "1\ta\t1\t7\tx\r2\tb\t2\t8\ty\n"},
	{"", "", "1\ta\t1\t7\tx\n\\.\n2\tb\t2\t8\ty\n"},
	{"", "", "1\ta\t1\t7\tx\n\\.\r\n"},
	{"", "", "1\ta\t1\t7\tx\n\\."},
	{"", "", "1\ta\t1\t7\tx\n\\.x\n"},
	{"", "", "1\ta\t1\t7\tx\\.\n2\tb\t2\t8\ty\n"},
	{"", "", "1\ta\t1\t7\tx\r\n\\.\r\ngarbage"},
	{"", "", "1\ta\t1\t7\tx\r\n\\.\n"},
	{"", "", "1\ta\t1\t7\tx\r\\.\r"},
	{"", "", "\\.\n"},
	{"", "", "1\ta\t1\t7\tx\\\\.\n"},
	{"", "", "1\ta\t1\t7\tx\textra\n"},
	{"", "", "1\ta\t1\t7\n"},
	{"", "", "1\ta\n"},
	{"", "", "1\n"},
	{"id, email", "", "\t\n"},
	{"", "", "1\ta\t1\t7\tx\n2\tb\t2\tseven\ty\n"},
	{"", "", "1\ta\t1\t99999999999\tx\n"},
	{"", "", "1\ta\t123456\t7\tx\n"},
	{"", "", "1\ta\t12345   \t7\tx\n"},
	{"", "", "1\ta\t1\t 7 \tx\n"},
	{"", "", "1\ta\t1\t\tx\n"},
	{"", "", "x\ta\t1\t7\tx\n"},
	{"", "", "1\ta\t1\t" + strings.Repeat("9", 200) + "\tx\n"},
	{"", "", "1\té€😀\té€😀\t7\té\n"},
	{"", "", "1\té€😀\té€😀xyz\t7\té\n"},
	{"", "", "1\ta\t1\t7\tx\\"},
	{"", "", "1\ta\\"},
	{"email", "", "a\\"},
	{"email", "", "\\N\\"},
	{"email", "", "\\N"},
	{"email", "", "\\N\n"},
	{"email", "", "\\\\N\n"},
	{"email", "", "\n\n\nx\n"},
	{"email", "", "a\\0b\n"},
	{"email", "", "\\xff\n"},
	{"email", "", "\\xc3\\xa9\n"},
	{"email, pin", "", "a\t1\nb\t2\n"},
	{"pin, email", "", "1\ta\n2\tb\n"},
	{"pin,note,email", "", "1\tn\ta\n"},
	{"id, note", "", "1\tx\n"},
	{"id, email", "(DELIMITER ',')", "1,a\\,b\n2,c\\\n"},
	{"id, email", "DELIMITER AS '|' NULL AS ''", "1|a\n2|\n|b\n"},
	{"id, email", "WITH DELIMITER '|' NULL 'nil'", "1|nil\nnil|nil\\\n2|nill\n"},
	{"id, email", "USING DELIMITERS ':'", "1:a\n2:b:c\n"},
	{"id, email", "(NULL '')", "1\t\n\t\n"},
	{"id, email", "(NULL 'a\\b')", "1\ta\\b\n2\ta\\\\b\n"},
	{"id, email", "(HEADER)", "id\temail\n1\ta\n"},
	{"id, email", "(HEADER)", "anything at all\n1\ta\n"},
	{"id, email", "(HEADER)", "\n1\ta\n"},
	{"id, email", "(HEADER)", ""},
	{"id, email", "(HEADER)", "id\temail"},
	{"id, email", "(HEADER)", "id\temail\r\n1\ta\r\n"},
	{"id, email", "(HEADER)", "id\temail\r\n1\ta\n"},
	{"id, email", "(HEADER)", "id\temail\n1\ta\tb\n"},
	{"id, email", "(HEADER match)", "id\temail\n1\ta\n"},
	{"id, email", "(HEADER match)", "id\temali\n1\ta\n"},
	{"id, email", "(HEADER match)", "id\n1\ta\n"},
	{"id, email", "(HEADER match)", "id\t\\N\n1\ta\n"},
	{"id, email", "(HEADER match)", "id\temail\tx\n"},
	{"id, email", "(HEADER match)", ""},
	{"id, email", "(HEADER false)", "1\ta\n"},
	{"id, email", "(HEADER 1)", "h\n1\ta\n"},
	{"", "CSV", "1,a@b,123,7,n\n2,,,,\n"},
	{"", "(FORMAT csv)", "1,\"a,b\",\"\",7,\"\"\n2,\"a\"\"b\",x,8,\"\"\"\"\n"},
	{"", "(FORMAT csv)", "1,\"a\nb\",\"c\",7,\"d\ne\"\n2,x,y,z,\n"},
	{"", "(FORMAT csv)", "1,a\"b,c\"d,x,7,n\n"},
	{"", "(FORMAT csv)", "1,\"abc,x,7,n\n"},
	{"", "(FORMAT csv)", "1,a,x,7,\"n"},
	{"", "(FORMAT csv)", "1,a,x,7\n"},
	{"", "(FORMAT csv)", "1,a,x,7,8,9\n"},
	{"", "(FORMAT csv)", "1,a,x,7,8\r\n2,b,y,8,\r\n"},
	{"", "(FORMAT csv)", "1,a,x,7,8\r2,b,y,8,\r"},
	{"", "(FORMAT csv)", "1,a,x,7,8\r\n2,b,y,8,\n"},
	{"", "(FORMAT csv)", "1,a,x,7,8\n2,b,y,8,\r\n"},
	{"", "(FORMAT csv)", "1,\"a\r\nb\",x,7,8\n2,b,y,eight,\n"},
	{"email, note", "(FORMAT csv)", "a,8\n\\.\nb,\n"},
	{"email", "(FORMAT csv)", "a\n\\.x\n"},
	{"email", "(FORMAT csv)", "a\n\\."},
	{"", "(FORMAT csv)", "x,a,x,seven,8"},
	{"", "", "x\ta\tx\tseven\t"},
	{"", "(FORMAT csv)", "1,a\\.,\\.,7,\\.\n"},
	{"", "(FORMAT csv)", "1,a,x,seven,8\n"},
	{"", "(FORMAT csv)", "1,\"a\"\n"},
	{"", "(FORMAT csv)", ""},
	{"email", "(FORMAT csv)", "\n\"\"\nx\n\" \"\n"},
	{"email", "(FORMAT csv)", "\\.\n"},
	{"email", "(FORMAT csv)", "\"\\.\"\n"},
	{"id, email", "(FORMAT csv, DELIMITER ';', QUOTE '''')", "1;'a;''b'\n2;\"x\"\n"},
	{"id, email", "(FORMAT csv, ESCAPE '\\')", "1,\"a\\\"b\\\\c\\d\"\n2,a\\b\n3,\"\\\\\"\n"},
	{"id, email", "(FORMAT csv, QUOTE 'x', ESCAPE '6')", "1,xa6xbx\n2,ab\n"},
	{"id, email", "(FORMAT csv, QUOTE '3', DELIMITER '5')", "153a53\n25b\n"},
	{"id, email", "(FORMAT csv, QUOTE '\\')", "1,\\a,b\\\n2,c\n"},
	{"id, email", "(FORMAT csv, QUOTE '\"', ESCAPE 'a')", "1,\"aa\"\n2,\"a\"\"\n"},
	{"id, email", "(FORMAT csv, DELIMITER 'a')", "1ab\n2a\"a\"\n"},
	{"id, email", "(FORMAT csv, NULL 'NULL')", "1,NULL\n2,\"NULL\"\n3,\n"},
	{"id, email", "(FORMAT csv, NULL 'NULL', FORCE_NULL (email))", "1,NULL\n2,\"NULL\"\n3,\n"},
	{"id, email", "(FORMAT csv, FORCE_NULL (email))", "1,\n2,\"\"\n3,\" \"\n"},
	{"id, email", "(FORMAT csv, FORCE_NOT_NULL (email))", "1,\n2,\"\"\n"},
	{"id, email", "(FORMAT csv, FORCE_NOT_NULL (email), NULL 'N')", "1,N\n2,\"N\"\n3,\nN,N\n"},
	{"id, email, pin", "(FORMAT csv, FORCE_NOT_NULL (pin))", "1,a,\n"},
	{"id, email, note", "(FORMAT csv, FORCE_NULL (email, note), FORCE_NOT_NULL (note))", "1,\"\",\"\"\n2,,\n"},
	{"id, email", "CSV HEADER QUOTE AS '''' DELIMITER AS ';' NULL AS 'x'", "a;b\n1;'q;r'\n2;x\n"},
	{"id, email", "CSV FORCE NOT NULL email", "1,\n"},
	{"id, email", "(FORMAT csv, HEADER)", "\"id\nx\",y\n1,a\n"},
	{"id, email", "(FORMAT csv, HEADER)", "\"id,y\n1,a\n"},
	{"id, email", "(FORMAT csv, HEADER match)", "id,\"email\"\n1,a\n"},
	{"id, email", "(FORMAT csv, HEADER match)", "id,Email\n1,a\n"},
	{"id, email", "(FORMAT csv, HEADER match)", "id,\n1,a\n"},
	{"id, email", "(ENCODING 'utf8')", "1\té\n"},
	{"id, email", "(FREEZE false)", "1\ta\n"},
	{"id, email", "WHERE id > 1", "1\ta\n2\tb\n"},
	{"id, email", "WHERE email = 'b' AND id <> 3", "1\ta\n2\tb\n3\tb\n"},
	{"id, email", "WHERE email IS NOT NULL", "1\ta\n2\t\\N\n"},
	{"id, email", "(FORMAT xml)", "1\ta\n"},
	{"id, email", "(DELIMITER 'ab')", "1\ta\n"},
	{"id, email", "(DELIMITER 'a')", "1aa\n"},
	{"id, email", "(QUOTE '\"')", "1\ta\n"},
	{"id, email", "(FORMAT csv, QUOTE 'ab')", "1\ta\n"},
	{"id, email", "(FORMAT csv, QUOTE ',')", "1\ta\n"},
	{"id, email", "(FORMAT csv, FORMAT csv)", "1\ta\n"},
	{"id, email", "(HEADER maybe)", "1\ta\n"},
	{"id, email", "(NULL E'\\n')", "1\ta\n"},
	{"id, nosuch", "", "1\ta\n"},
	{"id, email, email", "", "1\ta\tb\n"},
	{"id, email, twice", "", "1\ta\tb\n"},
	{"id, email", "(FORCE_QUOTE (email))", "1\ta\n"},
	{"id, email", "(FORMAT csv, FORCE_NULL (pin))", "1,a\n"},
}

// TestCopyAgainstPostgres gives the same data to COPY of a plain table and of
// one with protected columns: rows and errors have to be the same.
func TestCopyAgainstPostgres(t *testing.T) {
	_, plain, sealed := copyFixture(t)
	rows := 0
	for _, in := range copyInputs {
		columns := in.columns
		if columns == "" {
			columns = "id, email, ssn, pin, note"
		}
		sql := "COPY ct (" + columns + ") FROM STDIN " + in.options
		exec1(t, plain, "TRUNCATE ct")
		want := copyInto(plain, sql, strings.NewReader(in.data))
		wantRows := copyOf(plain, "COPY ct TO STDOUT")
		rows += strings.Count(wantRows, "\n")
		for _, data := range []io.Reader{strings.NewReader(in.data), inOneByte{strings.NewReader(in.data)}} {
			exec1(t, sealed, "TRUNCATE ct")
			got := copyInto(sealed, sql, data)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s %q: %s", sql, in.data, d)
			}
			if d := cmp.Diff(wantRows, copyOf(sealed, "COPY ct TO STDOUT")); d != "" {
				t.Errorf("%s %q: rows %s", sql, in.data, d)
			}
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows were copied", rows)
	}
}

// TestCopyTo compares what COPY TO gives, byte by byte, in every format.
func TestCopyTo(t *testing.T) {
	_, plain, sealed := copyFixture(t)
	for _, sql := range []string{
		`INSERT INTO ct (id, email, ssn, pin, note) VALUES (1, 'a@b', '12345', 7, 'n'), (2, NULL, NULL, NULL, NULL), (3, '', '', 0, ''),
			(4, E'tab\tnl\ncr\rbs\\ff\f\x0b\x08\x01', E'\\N', -1, E'\\.'), (5, 'comma, "quoted" ''single''', ';|:', 2147483647, 'é€😀'),
			(6, E'\\.', '.', 5, 'x'), (7, 'NULL', E'\\N', 5, 'NULL'), (8, 'abcdefghijklmnopqrstuvwxyz0123456789', E'\r', 5, E'\r'), (9, 'é€😀', 'é€😀', -2147483648, '')`,
		`INSERT INTO one (v) VALUES ('a'), (NULL), (''), (E'\\.'), (E'\n'), (E'\\N'), (' '), ('"')`,
		`INSERT INTO typed (n, at, b, j, ok, d, u, big) VALUES (1.5, '2024-02-29 12:34:56.789+02', '\x00ff27', '{"a": [1, null, "x\\ny"]}', true, '2024-02-29', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', 9223372036854775807),
			(-0.01, 'infinity', '', '"s"', false, '-infinity', '00000000-0000-0000-0000-000000000000', -1), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
	} {
		exec1(t, plain, sql)
		exec1(t, sealed, sql)
	}
	options := []string{"", "BINARY", "(FORMAT binary)", "CSV", "CSV HEADER", "(HEADER)", "(FORMAT csv, FORCE_QUOTE *)", "CSV FORCE QUOTE *", "(NULL 'nil')", "(NULL '')", "CSV NULL 'NULL'",
		"(DELIMITER ',')", "DELIMITER '|' NULL AS 'x'", "(FORMAT csv, DELIMITER ';', QUOTE '''')", `(FORMAT csv, DELIMITER E'\t')`, "(FORMAT csv, QUOTE 'a', ESCAPE 'b')",
		`(FORMAT csv, QUOTE '\')`, `(FORMAT csv, ESCAPE '\')`, "(FORMAT csv, DELIMITER 'x', QUOTE '1')", "(FORMAT csv, DELIMITER '6', ESCAPE '5')", `(FORMAT csv, HEADER, NULL '\N')`, "(ENCODING 'UTF-8')"}
	sources := []string{"ct", "ct (id, email)", "ct (pin, note, ssn, email)", "ct (note)", "one", "typed", "(SELECT * FROM ct ORDER BY id)", "(SELECT email FROM ct ORDER BY id)",
		"(SELECT 1, pin AS p, email, email AS twice, now() > '2000-01-01' FROM ct WHERE email = 'a@b')", "(SELECT id + 1, ssn FROM ct WHERE false)", "(SELECT c.email, o.v FROM ct c JOIN one o ON o.v IS NULL ORDER BY id)",
		"(WITH w AS (SELECT email, id FROM ct) SELECT id, email FROM w ORDER BY id)", "(VALUES (1, 'x'))", "(SELECT count(*) FROM ct)", "(UPDATE ct SET note = 'u' WHERE id = 1 RETURNING email, id, note)"}
	compared := 0
	for _, source := range sources {
		for _, o := range options {
			sql := "COPY " + source + " TO STDOUT " + o
			want, got := copyOf(plain, sql), copyOf(sealed, sql)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", sql, d)
			}
			compared += len(want)
		}
	}
	for _, sql := range []string{"COPY ct (email) TO STDOUT (FORMAT csv, FORCE_QUOTE (email))", "COPY ct (email, note) TO STDOUT (FORMAT csv, FORCE_QUOTE (note))", "COPY ct (email, pin) TO STDOUT CSV FORCE QUOTE pin",
		"COPY ct (nosuch) TO STDOUT", "COPY ct (email) TO STDOUT (FORCE_NULL (email))", "COPY ct (email) TO STDOUT (DELIMITER 'q')"} {
		if d := cmp.Diff(copyOf(plain, sql), copyOf(sealed, sql)); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
	if compared < 10000 {
		t.Errorf("only %d bytes were compared", compared)
	}
}

// TestCopyBinary gives COPY BINARY what the server wrote, whole and damaged.
func TestCopyBinary(t *testing.T) {
	_, plain, sealed := copyFixture(t)
	exec1(t, plain, "INSERT INTO ct (id, email, ssn, pin, note) VALUES (1, 'a@b', '12345', 7, 'n'), (2, NULL, NULL, NULL, NULL), (3, '', '', 0, '')")
	var whole bytes.Buffer
	if _, err := plain.PgConn().CopyTo(t.Context(), &whole, "COPY ct TO STDOUT BINARY"); err != nil {
		t.Fatal(err)
	}
	data := whole.Bytes()
	inputs := [][]byte{data, nil, append(bytes.Clone(data), 0), append(bytes.Clone(data), data...), data[:len(data)-2]}
	for cut := range data {
		inputs = append(inputs, data[:cut])
	}
	for at := range data {
		for _, v := range []byte{byte(at % 2), 0x7f + byte(at%3)*0x40} {
			changed := bytes.Clone(data)
			changed[at] = v
			inputs = append(inputs, changed)
		}
	}
	extended := append(bytes.Clone(data[:15]), 0, 0, 0, 3, 'x', 'y', 'z')
	inputs = append(inputs, append(extended, data[19:]...), extended[:21])
	const sql = "COPY ct FROM STDIN (FORMAT binary)"
	for i, in := range inputs {
		exec1(t, plain, "TRUNCATE ct")
		exec1(t, sealed, "TRUNCATE ct")
		want := copyInto(plain, sql, bytes.NewReader(in))
		var r io.Reader = bytes.NewReader(in)
		if i%2 == 0 {
			r = inOneByte{r}
		}
		got := copyInto(sealed, sql, r)
		if strings.Contains(want, "08P01 insufficient data left in message") && strings.Contains(got, "22P03 incorrect binary data format") {
			got = want // the code that the proxy has for it in every message
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%x: %s", in, d)
		}
		if d := cmp.Diff(copyOf(plain, "COPY ct TO STDOUT"), copyOf(sealed, "COPY ct TO STDOUT")); d != "" {
			t.Errorf("%x: rows %s", in, d)
		}
	}
}

// TestCopyLarge has fields that are longer than any buffer, in pieces.
func TestCopyLarge(t *testing.T) {
	f, _, sealed := copyFixture(t)
	for _, n := range []int{1 << 16, 6 << 20} {
		value := strings.Repeat("0123456789abcde\\\\", n/16)
		want := strings.ReplaceAll(value, `\\`, `\`)
		exec1(t, sealed, "TRUNCATE ct")
		if got := copyInto(sealed, "COPY ct (email, note) FROM STDIN", strings.NewReader("short\tx\n"+value+"\ty\n")); got != "COPY 2 <nil>" {
			t.Fatalf("%d: %s", n, got)
		}
		var stored string
		if err := sealed.QueryRow(t.Context(), "SELECT email FROM ct WHERE note = 'y'").Scan(&stored); err != nil || stored != want {
			t.Errorf("%d: got %d bytes, %v, want %d", n, len(stored), err, len(want))
		}
		if got := copyOf(sealed, "COPY ct (email) TO STDOUT"); got != "short\n"+value+"\nCOPY 2 <nil>" {
			t.Errorf("%d: COPY TO gives %d bytes, want %d", n, len(got), len(value))
		}
	}
	noCanary(t, f, "0123456789abcde")
}

// TestCopyNotSent: of data that is not taken, nothing of a protected column
// gets to the server, not even in its messages.
func TestCopyNotSent(t *testing.T) {
	f := start(t, shared, copied())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	exec1(t, conn, "CREATE TABLE "+copyTables[0])
	for _, in := range []struct{ options, data string }{
		{"", "1\tcnmark\n"}, {"", "1\tcnmark\t1\tn\tcnmark\tcnmark\n"}, {"", "1\tcnmark\t1\tx\n"}, {"", "cnmark\n"}, {"", "1\tok\t1\tn\n2\tcnmark\tcnmark\tn\n"},
		{"", "1\tcnmark\t1\tn\r\n2\tcnmark\t1\tn\n"}, {"", "1\tcnmark\\.\n"}, {"", "1\tcnmark\xff\t1\tn\n"}, {"", "1\tcnmark\\0\t1\tn\n"},
		{"", "\\.\n1\tcnmark\t1\tn\n"}, {"(HEADER match)", "id\tcnmark\tpin\tnote\n"}, {"(HEADER)", "cnmark\n"}, {"CSV", "1,\"cnmark,1,n\n"}, {"CSV", "1,cnmark\n"},
		{"CSV", "1,cnmark,1,n,x,y\n"}, {"CSV QUOTE 'm'", "1,cnmark,1,n\n"}, {"CSV", "\\.\ncnmark\n"}, {"BINARY", "1\tcnmark\t1\tn\n"}, {"BINARY", "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x06cnmark\xff\xffcnmark"},
		{"BINARY", "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\x00\x00\x00\x06cnmark\x00\x00\x00\x06cnmark"},
	} {
		copyInto(conn, "COPY ct (id, email, pin, note) FROM STDIN "+in.options, strings.NewReader(in.data))
		exec1(t, conn, "SELECT 1")
	}
	for _, sql := range []string{"COPY ct FROM PROGRAM 'echo cnmark'", "COPY ct (email) FROM STDIN WHERE email || 'cnmark' = ''", "COPY ct (id) FROM STDIN WHERE email = 'cnmark'"} {
		copyInto(conn, sql, strings.NewReader("1\n"))
	}
	noCanary(t, f, "cnmark")
}
