// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestTemporaryViews: a temporary view does not show protected columns under a name that
// is not known, whichever way it has become one.
func TestTemporaryViews(t *testing.T) {
	f := start(t, shared, attacked())
	conn := f.connect(t, pgx.QueryExecModeSimpleProtocol)
	for _, sql := range attackSetup {
		exec1(t, conn, marked(sql, sealedMarker))
	}
	for _, c := range []struct{ sql, state, want string }{
		{"CREATE TEMP VIEW mails AS SELECT id, email FROM users", "0A000", ""},
		{"CREATE VIEW pg_temp.mails AS SELECT lower(note), email AS e FROM users", "0A000", ""},
		{"CREATE TEMP VIEW known AS SELECT id, upper(note) AS note FROM users WHERE email = '{C}-a'", "", ""},
		{"CREATE OR REPLACE TEMP VIEW known AS SELECT id, upper(note) AS note FROM users WHERE email = '{C}-b'", "", ""},
		{"SELECT note FROM known", "", "N2"},
		{"SELECT note FROM pg_temp.known", "", "N2"},
		{"CREATE TEMP TABLE picked (id int)", "", ""},
		{"CREATE VIEW mails AS SELECT id, email FROM users JOIN picked USING (id)", "", ""}, // the server makes it temporary
		{"SELECT id FROM mails WHERE email = '{C}-a'", "0A000", ""},
		{"SELECT id FROM pg_temp.mails WHERE email = '{C}-a'", "0A000", ""},
		{"CREATE VIEW again AS SELECT email FROM mails", "0A000", ""},
		{"DROP VIEW mails", "", ""},
		{"DO $$BEGIN CREATE TEMP VIEW mails AS SELECT email FROM users; END$$", "", ""},
		{"SELECT 1 FROM mails WHERE email = '{C}-a'", "0A000", ""},
		{"DROP VIEW pg_temp.mails", "", ""},
		{"SET search_path = pg_temp, public", "", ""},
		{"CREATE VIEW mails AS SELECT email FROM public.users", "", ""},
		{"SELECT 1 FROM mails WHERE email = '{C}-a'", "0A000", ""},
		{"DROP VIEW mails", "", ""},
		{"RESET search_path", "", ""},
		{"CREATE VIEW mails AS SELECT id, email FROM users", "", ""},
		{"SELECT id::text FROM mails WHERE email = '{C}-a'", "", "1"},
	} {
		if got, err := names(t, conn, marked(c.sql, sealedMarker)); state(err) != c.state || got != c.want {
			t.Errorf("%s: got %q, %v, want %q, %q", c.sql, got, err, c.want, c.state)
		}
	}
	noCanary(t, f, sealedMarker)
}
