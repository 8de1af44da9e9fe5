// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
)

// BenchmarkStatement compares one round trip direct, through the proxy without
// protected columns, and with them.
func BenchmarkStatement(b *testing.B) {
	f := start(b, shared, users())
	setup := f.connect(b, pgx.QueryExecModeExec)
	exec1(b, setup, usersDDL)
	exec1(b, setup, "CREATE TABLE plain (id int PRIMARY KEY, v text)")
	exec1(b, setup, "INSERT INTO plain VALUES (1, 'v')")
	exec1(b, setup, "INSERT INTO users (email, ssn, pin) VALUES ('a', 'b', 1)")
	for _, mode := range []string{"cache_statement", "simple"} {
		for _, c := range []struct {
			name string
			conn *pgx.Conn
			sql  string
			arg  any
		}{
			{"direct", dial(b, f.cluster.url("postgres", f.database)+"&sslmode=disable", execModes[mode]), "SELECT v FROM plain WHERE id = $1", 1},
			{"untouched", f.connect(b, execModes[mode]), "SELECT v FROM plain WHERE id = $1", 1},
			{"protected", f.connect(b, execModes[mode]), "SELECT ssn FROM users WHERE email = $1", "a"},
		} {
			b.Run(mode+"/"+c.name, func(b *testing.B) {
				var v string
				for b.Loop() {
					if err := c.conn.QueryRow(b.Context(), c.sql, c.arg).Scan(&v); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkLiterals has a text of its own for every execution, by the simple
// protocol, on eight connections.
func BenchmarkLiterals(b *testing.B) {
	f := start(b, shared, users())
	setup := f.connect(b, pgx.QueryExecModeExec)
	exec1(b, setup, usersDDL)
	exec1(b, setup, "CREATE TABLE plain (id int PRIMARY KEY, v text)")
	exec1(b, setup, "INSERT INTO plain SELECT i, 'v' FROM generate_series(1, 1000) i")
	exec1(b, setup, "INSERT INTO users (email, ssn, pin) VALUES ('a', 'b', 1)")
	for _, c := range []struct{ name, sql string }{
		{"untouched", "SELECT v FROM plain WHERE id = %d"},
		{"protected", "SELECT email, ssn FROM users WHERE id = %d"},
		{"prepared", "SELECT email, ssn FROM users WHERE id = $1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var n atomic.Int64
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				conn := f.connect(b, pgx.QueryExecModeCacheStatement).PgConn()
				if c.name == "prepared" {
					if _, err := conn.Prepare(b.Context(), "s", c.sql, nil); err != nil {
						b.Error(err)
					}
				}
				for pb.Next() {
					var err error
					if i := n.Add(1); c.name == "prepared" {
						err = conn.ExecPrepared(b.Context(), "s", [][]byte{[]byte("1")}, nil, nil).Read().Err
					} else {
						sql := fmt.Sprintf(c.sql, i)
						if c.name == "protected" {
							sql = fmt.Sprintf(c.sql+" OR id = 1", i+1)
						}
						_, err = conn.Exec(b.Context(), sql).ReadAll()
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkPlan has the cost of a statement's plan: that is kept by the text, by the
// shape of a text with other constants, or made anew of one that has not been seen.
func BenchmarkPlan(b *testing.B) {
	f := start(b, shared, users())
	exec1(b, f.connect(b, pgx.QueryExecModeExec), usersDDL)
	prepare, err := dbproxy.Preparing(b.Context(), f.proxy, f.database)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		sql  func(i int) string
	}{
		{"text", func(int) string { return "SELECT email, ssn FROM users WHERE id = $1" }},
		{"shape", func(i int) string { return fmt.Sprintf("SELECT email, ssn FROM users WHERE id = %d", i) }},
		{"miss", func(i int) string { return fmt.Sprintf("SELECT email, ssn AS s%d FROM users WHERE id = $1", i) }},
		{"miss/untouched", func(i int) string { return fmt.Sprintf("SELECT relname AS s%d FROM pg_class WHERE oid = $1", i) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := prepare(c.sql(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
