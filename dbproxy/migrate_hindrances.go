// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// What stands against a move is looked for before anything is changed: a run that
// finds it after hours has cost them, and left the table with a second column.

// hindranceQuery reads of a table what would keep the move from its rows or from
// making indexes, and what would take the second column for more than it is.
const hindranceQuery = `SELECT row_security_active(c.oid), has_schema_privilege(c.relnamespace, 'CREATE'), c.reloftype <> 0,
  EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid),
  ARRAY(SELECT provider::text FROM pg_seclabel l WHERE l.classoid = 'pg_class'::regclass AND l.objoid = c.oid AND l.objsubid = $2 ORDER BY 1),
  ARRAY(SELECT rulename::text FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '2' AND w.ev_enabled IN ('A', 'R') ORDER BY 1),
  EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '2' AND w.ev_enabled IN ('O', 'A', 'R')),
  ARRAY(SELECT format('%s.%I', a.attrelid::regclass, a.attname) FROM pg_attribute a JOIN pg_class o ON o.oid = a.attrelid JOIN pg_type y ON y.oid = a.atttypid JOIN pg_type own ON own.oid = c.reltype
    WHERE o.relkind IN ('r', 'p', 'f', 'c') AND NOT a.attisdropped AND a.attnum > 0 AND (y.oid IN (own.oid, own.typarray) OR y.typbasetype IN (own.oid, own.typarray)) ORDER BY 1)
FROM pg_class c WHERE c.oid = $1`

func (t *migrateTable) readHindrances(ctx context.Context, conn *pgx.Conn) error {
	var secured, creates, typed, subscribed, rules bool
	var labels, always, holders []string
	err := conn.QueryRow(ctx, hindranceQuery, t.oid, t.attnum).Scan(&secured, &creates, &typed, &subscribed, &labels, &always, &rules, &holders)
	if err != nil {
		return err
	}
	t.fires = t.fires || rules
	against := func(list *[]string, holds bool, why string) {
		if holds {
			*list = append(*list, why)
		}
	}
	against(&t.refusal, secured, "row level security holds for the role of admin_url_file, which would not see all rows: it must be superuser, or have BYPASSRLS")
	against(&t.refusal, subscribed, "a subscription writes to it what another server has, in plaintext: drop that first")
	against(&t.refusal, len(always) > 0, "its rules on UPDATE fire always, also for what the move does to rows: "+strings.Join(always, ", "))
	against(&t.dependents, !creates, "the role of admin_url_file may not make its indexes: it needs CREATE on schema "+t.schema)
	against(&t.dependents, typed, "it is a typed table, which takes no second column: ALTER TABLE .. NOT OF")
	against(&t.dependents, len(labels) > 0, "it has a security label of "+strings.Join(labels, ", ")+", which is not of sealed values: SECURITY LABEL .. IS NULL")
	against(&t.dependents, len(holders) > 0, "its rows are stored as a whole, with the values as they are, in "+strings.Join(holders, ", ")+": drop that")
	return nil
}

// readPublications finds who else gets what is written to the table or its partitions.
func (t *migrateTable) readPublications(ctx context.Context, conn *pgx.Conn) error {
	var schemas, names []string
	var oids, leaves []uint32
	for _, p := range t.all() {
		schemas, names, oids = append(schemas, p.schema), append(names, p.table), append(oids, p.oid)
	}
	for _, l := range t.leaves() {
		leaves = append(leaves, l.oid)
	}
	// One that names other columns does not publish the second.
	rows, err := conn.Query(ctx, `SELECT p.pubname::text, p.pubupdate, EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($4)
  AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))
FROM pg_publication p WHERE EXISTS (SELECT FROM pg_publication_tables v JOIN unnest($1::text[], $2::text[]) AS n (s, t) ON v.schemaname = n.s AND v.tablename = n.t WHERE v.pubname = p.pubname)
  AND NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = ANY ($3) AND to_jsonb(r)->>'prattrs' IS NOT NULL) ORDER BY 1`, schemas, names, oids, leaves)
	if err != nil {
		return err
	}
	var name string
	var updates, anonymous bool
	_, err = pgx.ForEachRow(rows, []any{&name, &updates, &anonymous}, func() error {
		t.published = append(t.published, name)
		if updates && anonymous {
			t.refusal = append(t.refusal, "publication "+name+" publishes updates, which the server does not take without a replica identity: give it a primary key, or REPLICA IDENTITY FULL")
		}
		return nil
	})
	return err
}

var (
	// quoted is what a function's body says to no effect on what it reads.
	quoted = regexp.MustCompile(`(?s)--[^\n]*|/\*.*?\*/|'[^']*'`)
	// returned is how a trigger gives the row on.
	returned = regexp.MustCompile(`(?i)\breturn\s+(new|old)\s*;`)
	// wholeRow is a row of which no column is named.
	wholeRow = regexp.MustCompile(`(?i)\b(new|old)\b\s*([^.\s]|\.\s*\*|$)`)
)

// seesColumn says that a trigger's function gets to the column: it names it, or is
// given its name, or takes rows as a whole. Names fold to lower case.
func seesColumn(column, body, args string, transition bool) bool {
	name := regexp.MustCompile(`(?i)(^|[^\pL\pN_$])` + regexp.QuoteMeta(column) + `($|[^\pL\pN_$])`)
	if name.MatchString(body) || name.MatchString(args) || transition {
		return true
	}
	return wholeRow.MatchString(returned.ReplaceAllString(quoted.ReplaceAllString(body, " "), " "))
}

// fits refuses rows that no second value can be given to.
func (c *columnMove) fits(ctx context.Context) error {
	var problems []string
	for _, l := range c.t.leaves() {
		why, err := c.unchecked(ctx, l)
		if err != nil {
			return err
		}
		problems = append(problems, why...)
		if why, err = c.tooLong(ctx, l); err != nil {
			return err
		}
		problems = append(problems, why...)
	}
	if len(problems) > 0 {
		return fmt.Errorf("it cannot be moved:\n  %s", strings.Join(problems, "\n  "))
	}
	return nil
}

// unchecked finds rows that break a constraint that is not valid. The server takes
// no update of such a row, whatever it changes.
func (c *columnMove) unchecked(ctx context.Context, l *migrateTable) (problems []string, err error) {
	rows, err := c.conn.Query(ctx, `SELECT quote_ident(k.conname), CASE WHEN k.contype = 'c' THEN 'NOT (' || pg_get_expr(k.conbin, k.conrelid) || ')'
  ELSE (SELECT quote_ident(a.attname) || ' IS NULL' FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1]) END
FROM pg_constraint k WHERE k.conrelid = $1 AND k.contype IN ('c', 'n') AND NOT k.convalidated AND k.conname <> $2 ORDER BY 1`, l.oid, c.shadowCheck())
	if err != nil {
		return nil, err
	}
	var names, conditions []string
	var name, condition string
	_, err = pgx.ForEachRow(rows, []any{&name, &condition}, func() error {
		names, conditions = append(names, name), append(conditions, condition)
		return nil
	})
	for i, name := range names {
		var some bool
		if err == nil {
			err = c.scan(ctx, "SELECT EXISTS (SELECT FROM ONLY "+l.name+" WHERE "+quoteIdent(c.t.column)+" IS NOT NULL AND "+conditions[i]+")", &some)
		}
		if some {
			problems = append(problems, fmt.Sprintf("rows of %s break its constraint %s, which is not valid, and could not be updated: correct them, or drop it", l.name, name))
		}
	}
	return problems, err
}

// maxIndexed is how long an entry of a btree index can be, with its header.
const maxIndexed = 2704 - 8

// tooLong finds indexes that cannot hold the longest value once it is sealed: unlike
// plaintext it does not get shorter by compression.
func (c *columnMove) tooLong(ctx context.Context, l *migrateTable) (problems []string, err error) {
	if c.m.o.Action != Encrypt || !slices.Contains([]uint32{plan.Text, plan.Varchar, plan.Bytea}, c.rule.Type.OID) {
		return nil, nil
	}
	indexes := slices.DeleteFunc(c.keptIndexes(l), func(x migrateIndex) bool { return x.method != "btree" || !x.holds })
	if len(indexes) == 0 {
		return nil, nil
	}
	var longest int
	err = c.scan(ctx, "SELECT COALESCE(max(octet_length("+quoteIdent(c.t.column)+")), 0) FROM ONLY "+l.name, &longest)
	if err != nil || c.rule.MinLen+longest <= maxIndexed {
		return nil, err
	}
	for _, x := range indexes {
		problems = append(problems, fmt.Sprintf("index %s cannot hold its longest value, of %d bytes, once that is sealed: drop it", x.name, longest))
	}
	return problems, nil
}

// scan has the server go through a table for one value.
func (c *columnMove) scan(ctx context.Context, sql string, into any) error {
	return c.inTransaction(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL enable_seqscan TO on"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sql).Scan(into)
	})
}
