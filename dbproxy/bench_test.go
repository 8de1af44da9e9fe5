// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
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
