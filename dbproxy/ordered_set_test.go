// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// TestOrderedSets: aggregates WITHIN GROUP give what PostgreSQL gives, and their
// constants reach the server sealed.
func TestOrderedSets(t *testing.T) {
	w, f := startTwins(t, []proxy.ColumnRule{column("staff", "age", "int4", "range"), column("staff", "nick", "text", "range"), column("staff", "pin", "int4", "equality")})
	for _, sql := range []string{
		"CREATE TABLE staff (id int PRIMARY KEY, age int, nick text, pin int)",
		"INSERT INTO staff VALUES (1, 30, '{C}b', 5), (2, 40, '{C}d', 5), (3, 50, '{C}f', 6), (4, NULL, NULL, NULL)",
		"SELECT rank('{C}x') WITHIN GROUP (ORDER BY nick), rank('{C}c') WITHIN GROUP (ORDER BY nick DESC), dense_rank('{C}d') WITHIN GROUP (ORDER BY nick) FROM staff",
		"SELECT cume_dist('{C}c') WITHIN GROUP (ORDER BY nick), percent_rank('{C}e') WITHIN GROUP (ORDER BY nick NULLS FIRST) FROM staff",
		"SELECT rank(35) WITHIN GROUP (ORDER BY age), rank(40) WITHIN GROUP (ORDER BY age DESC), rank(35, '{C}x') WITHIN GROUP (ORDER BY age, nick) FROM staff",
		"SELECT rank(2, 45) WITHIN GROUP (ORDER BY id % 2, age) FROM staff", "SELECT id % 2, rank('{C}c') WITHIN GROUP (ORDER BY nick) FILTER (WHERE id < 4) FROM staff GROUP BY 1 ORDER BY 1",
		"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY age), mode() WITHIN GROUP (ORDER BY nick) FROM staff",
		"SELECT percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY age), percentile_disc('{0.5,1}'::float8[]) WITHIN GROUP (ORDER BY nick) FROM staff",
		"SELECT percentile_disc(0.25 + 0.25) WITHIN GROUP (ORDER BY age), percentile_disc((SELECT 0.5)::float8) WITHIN GROUP (ORDER BY age), percentile_disc((SELECT ARRAY[0.5])) WITHIN GROUP (ORDER BY id) FROM staff",
		"SELECT count(*) OVER (ORDER BY age ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), count(*) OVER (ORDER BY age RANGE UNBOUNDED PRECEDING), count(*) OVER (ORDER BY id RANGE 2 PRECEDING) FROM staff ORDER BY id",
	} {
		if w.run(t, sql); w.refused > 0 {
			t.Fatalf("refused: %s", sql)
		}
	}
	for _, sql := range []string{
		"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY age) FROM staff", "SELECT rank(5) WITHIN GROUP (ORDER BY pin) FROM staff", "SELECT mode() WITHIN GROUP (ORDER BY pin) FROM staff",
		// Whether these are one fraction or an array is not seen, or not for the server.
		"SELECT percentile_disc((SELECT ARRAY[0.5, 0.9])) WITHIN GROUP (ORDER BY age) FROM staff", "SELECT percentile_disc(x) WITHIN GROUP (ORDER BY age) FROM staff, (SELECT ARRAY[0.5] AS x) s GROUP BY x", "SELECT percentile_disc('0.5') WITHIN GROUP (ORDER BY age) FROM staff",
		"SELECT rank(id) WITHIN GROUP (ORDER BY age) FROM staff GROUP BY id", "SELECT percentile_disc(age) WITHIN GROUP (ORDER BY id) FROM staff GROUP BY age",
		"SELECT sum(1) OVER (ORDER BY age RANGE 5 PRECEDING) FROM staff", "SELECT sum(1) OVER w FROM staff WINDOW w AS (ORDER BY age RANGE BETWEEN CURRENT ROW AND 5 FOLLOWING)",
	} {
		if _, err := ask(w.proxied, sql); state(err) != "0A000" {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
	var rank int
	conn := f.connect(t, pgx.QueryExecModeCacheStatement)
	if err := conn.QueryRow(t.Context(), "SELECT rank($1) WITHIN GROUP (ORDER BY nick) FROM staff", sealedMarker+"e").Scan(&rank); err != nil || rank != 3 {
		t.Errorf("a parameter of rank: got %d, %v, want 3", rank, err)
	}
	noCanary(t, f, sealedMarker)
}
