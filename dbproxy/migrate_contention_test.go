// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
)

// A run that waited for another finds what that one has made of the column, and does
// not seal what is sealed. Values of type bytea would take it.
func TestMigrateTwice(t *testing.T) {
	rule := column("people", "email", "bytea", proxy.ModeEquality)
	rule.Moving = proxy.MovingPlaintext
	f := start(t, shared, []proxy.ColumnRule{rule})
	direct := f.direct(t)
	exec1(t, direct, "CREATE TABLE people (id int PRIMARY KEY, email bytea)")
	exec1(t, direct, "INSERT INTO people SELECT i, convert_to('value ' || i, 'UTF8') FROM generate_series(1, 50) i")
	second, waits := make(chan string, 1), make(chan bool, 1000)
	begun := false
	f.mustMigrate(t, dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
		m.Observe(func(step string) {
			if step != "indexed" || begun {
				return
			}
			begun = true
			go func() {
				out, err := f.migrate(t, context.Background(), dbproxy.MigrateOptions{Table: "people"}, func(m *dbproxy.Migrator) {
					m.Observe(func(step string) { waits <- step == "waiting" })
				})
				second <- fmt.Sprint(err, out)
			}()
			if !<-waits {
				t.Error("the second run did not wait")
			}
		})
	})
	if got := <-second; !strings.Contains(got, "<nil>") || !strings.Contains(got, "is as it is to become") {
		t.Errorf("the second run: %s", got)
	}
	app := f.connect(t, pgx.QueryExecModeExec)
	for i := 1; i <= 50; i += 7 {
		var got []byte
		if err := app.QueryRow(t.Context(), "SELECT email FROM people WHERE id = $1", i).Scan(&got); err != nil || string(got) != fmt.Sprint("value ", i) {
			t.Errorf("row %d: got %q, %v", i, got, err)
		}
	}
}
