// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
)

// repeated is rows of COPY's text format without end but a number.
type repeated struct {
	rows, at int
	rest     []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.at == r.rows {
			return 0, io.EOF
		}
		r.rest = fmt.Appendf(r.rest[:0], "%d\tuser-%d@example.com\t%05d\t%d\tsome note of this row\n", r.at, r.at, r.at%100000, r.at)
		r.at++
	}
	n := 0
	for n < len(p) && len(r.rest) > 0 {
		c := copy(p[n:], r.rest)
		n, r.rest = n+c, r.rest[c:]
	}
	return n, nil
}

// BenchmarkCopy copies rows with three protected columns of five: direct,
// through the proxy into a plain table, and into a protected one; and back. The
// time is that of one row.
func BenchmarkCopy(b *testing.B) {
	f := start(b, shared, copied())
	conn := f.connect(b, pgx.QueryExecModeSimpleProtocol)
	exec1(b, conn, "CREATE TABLE "+copyTables[0])
	exec1(b, conn, "CREATE TABLE plain (id int, email text, ssn varchar(5), pin int, note text)")
	for _, c := range []struct {
		name, table string
		conn        *pgx.Conn
	}{{"direct", "plain", f.direct(b)}, {"untouched", "plain", conn}, {"protected", "ct", conn}} {
		exec1(b, conn, "TRUNCATE "+c.table)
		b.Run("from/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			if _, err := c.conn.PgConn().CopyFrom(b.Context(), &repeated{rows: b.N}, "COPY "+c.table+" (id, email, ssn, pin, note) FROM STDIN"); err != nil {
				b.Fatal(err)
			}
		})
		b.Run("to/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			sql := fmt.Sprintf("COPY (SELECT id, email, ssn, pin, note FROM %s LIMIT %d) TO STDOUT", c.table, b.N)
			tag, err := c.conn.PgConn().CopyTo(b.Context(), io.Discard, sql)
			if err != nil || tag.RowsAffected() == 0 {
				b.Fatal(tag, err)
			}
		})
	}
}
