// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
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
