// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// searchFunction cuts the tokens out of a value with search tokens, for indexes
// and predicates (envelope/FORMAT.md [V13]). Indexes call it under the role that
// writes, so that every role may; what it shows is in the value anyway.
const searchFunction = `SELECT pg_catalog.pg_advisory_xact_lock(7306369418137281);
CREATE SCHEMA IF NOT EXISTS sidekey;
CREATE OR REPLACE FUNCTION sidekey.search_tokens(bytea) RETURNS bytea[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
SELECT ARRAY(SELECT pg_catalog.substring(v.tokens, 8 OPERATOR(pg_catalog.*) i OPERATOR(pg_catalog.+) 1, 8)
  FROM (SELECT pg_catalog.substring($1, 14, 8 OPERATOR(pg_catalog.*)
    (256 OPERATOR(pg_catalog.*) pg_catalog.get_byte($1, 11) OPERATOR(pg_catalog.+) pg_catalog.get_byte($1, 12))) AS tokens OFFSET 0) v,
    pg_catalog.generate_series(0, pg_catalog.octet_length(v.tokens) OPERATOR(pg_catalog./) 8 OPERATOR(pg_catalog.-) 1) i)
$$;
GRANT USAGE ON SCHEMA sidekey TO PUBLIC;
GRANT EXECUTE ON FUNCTION sidekey.search_tokens(bytea) TO PUBLIC`

// provideSearch makes what a plan calls besides the server's own functions.
func (s *session) provideSearch(p *plan.Plan) error {
	if !p.Searches || p.Refusal != nil {
		return nil
	}
	return s.db.provideSearch(s.ctx)
}

// provideSearch makes the function that a statement with search tokens calls, if
// the database does not have it.
func (d *database) provideSearch(ctx context.Context) error {
	if d.searchable.Load() {
		return nil
	}
	return d.admin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var ready bool
		const usable = `SELECT coalesce(pg_catalog.has_function_privilege('public', pg_catalog.to_regprocedure('sidekey.search_tokens(bytea)'), 'EXECUTE')
  AND pg_catalog.has_schema_privilege('public', 'sidekey', 'USAGE'), false)`
		err := conn.QueryRow(ctx, "SELECT pg_catalog.to_regnamespace('sidekey') IS NOT NULL").Scan(&ready)
		if err == nil && ready {
			err = conn.QueryRow(ctx, usable).Scan(&ready)
		}
		if err == nil && !ready {
			err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				_, err := tx.Conn().PgConn().Exec(ctx, searchFunction).ReadAll()
				return err
			})
		}
		if err == nil {
			d.searchable.Store(true)
		}
		return err
	})
}

// searchTokens are what a pattern stands for: a token of each of its variants for
// each data key of the column. A value that matches has the one of its own.
func (s *session) searchTokens(ctx context.Context, m *plan.Match, r *plan.Rule, oid uint32, format int16, data []byte, loc locale) ([][]byte, error) {
	patterns, oid, err := searchPatterns(m, r, oid, format, data, loc)
	if err != nil {
		return nil, err
	}
	col, err := s.db.column(ctx, r, s.tenant.name)
	if err != nil {
		return nil, err
	}
	lease, err := col.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	var tokens [][]byte
	for _, p := range patterns {
		kind, parts, err := s.searchParts(ctx, m, r, oid, format, p, loc)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			of, err := lease.Tokens(tokenKinds[kind], []byte(part))
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, of...)
		}
		if len(tokens) > maxTokens {
			return nil, &pgError{Code: codeNotSupported, Message: "protected column " + r.Name() + " cannot be searched for so many patterns at once"}
		}
	}
	return tokens, nil
}

// maxTokens bounds what one parameter or literal stands for.
const maxTokens = 65536

// searchPatterns are the patterns in a constant, and their type.
func searchPatterns(m *plan.Match, r *plan.Rule, oid uint32, format int16, data []byte, loc locale) ([][]byte, uint32, error) {
	given, patterns := oid, [][]byte{data}
	if m.Any {
		var err error
		if patterns, err = arrayElements(format, data, loc); err != nil {
			return nil, 0, err
		}
		if element := plan.ElementOf(oid); element != plan.Unspecified {
			oid = element
		}
	}
	for _, p := range patterns {
		if p == nil {
			return nil, 0, &pgError{Code: codeNotSupported, Message: "protected column " + r.Name() + " cannot be searched for an array with NULL", Hint: "Leave it out."}
		}
	}
	switch oid {
	case plan.Unspecified, plan.Unknown, plan.Text:
		return patterns, plan.Text, nil
	case plan.Varchar:
		return patterns, oid, nil
	}
	return nil, 0, patternType(r, given)
}

// searchParts are the parts that a value which matches a pattern may have.
func (s *session) searchParts(ctx context.Context, m *plan.Match, r *plan.Rule, oid uint32, format int16, data []byte, loc locale) (plan.Part, []string, error) {
	pattern, err := decodeValue(plan.Type{OID: plan.Text, Typmod: -1}, oid, format, data, loc)
	if err != nil {
		return 0, nil, err
	}
	kind, part, refusal := m.Part(string(pattern), r)
	if refusal != nil {
		return 0, nil, &pgError{Code: refusal.Code, Message: refusal.Message, Detail: refusal.Detail, Hint: refusal.Hint}
	}
	if m.Fold == plan.NoFold {
		return kind, []string{part}, nil
	}
	all, err := s.db.folds(ctx)
	if err != nil {
		return 0, nil, err
	}
	f := all.of(m.Fold)
	if m.FoldPattern {
		part = f.fold(part)
	}
	parts, why := f.variants(kind, part)
	if why != "" {
		return 0, nil, &pgError{Code: codeNotSupported, Message: "protected column " + r.Name() + " cannot be searched for this pattern regardless of case",
			Detail: why, Hint: "Search with LIKE, or for a shorter part."}
	}
	return kind, parts, nil
}

var tokenKinds = map[plan.Part]proxy.TokenKind{plan.Whole: proxy.WholeToken, plan.Prefix: proxy.PrefixToken, plan.Suffix: proxy.SuffixToken, plan.Substring: proxy.SubstringToken}

func patternType(r *plan.Rule, oid uint32) *pgError {
	return &pgError{Code: codeTypeMismatch,
		Message: "protected column " + r.Name() + " is searched for a pattern of type text but the parameter is of type " + plan.Type{OID: oid, Typmod: -1}.String(),
		Hint:    "Give the parameter type text."}
}

// planSearch is by which parts a rule's values can be found.
func planSearch(s *proxy.Search) *plan.Search {
	if s == nil {
		return nil
	}
	return &plan.Search{Prefix: s.Prefix, Suffix: s.Suffix, Min: s.Substring.Min, Max: s.Substring.Max}
}
