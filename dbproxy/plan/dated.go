// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"regexp"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// A function may change TimeZone, DateStyle or IntervalStyle, of which the server tells
// only when it has done all that it was sent. What is read and written by them behind
// such a call, in one text, cannot be sealed and shown as PostgreSQL would.

// builtin are functions of PostgreSQL's own, and of common extensions, beside those of
// harmless. That a function of the name changes settings is not to be expected.
var builtin = wordSet(`abs age array_append array_cat array_length array_position array_prepend array_remove array_replace array_to_json
	array_to_string array_upper ascii bit_and bit_length bit_or bool_and bool_or btrim cardinality cbrt ceil ceiling char_length chr
	clock_timestamp concat_ws convert_from convert_to crypt cume_dist current_database current_schema current_schemas current_setting
	date_bin date_part decode degrees dense_rank digest div encode every exp first_value floor format gen_random_bytes gen_salt
	has_schema_privilege has_table_privilege hmac initcap isfinite json_array_elements json_array_elements_text json_array_length
	json_build_array json_each json_each_text json_extract_path_text json_object json_object_agg json_object_keys json_populate_record
	json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof jsonb_array_elements
	jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_each jsonb_each_text jsonb_extract_path
	jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_query
	jsonb_path_query_array jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty jsonb_set
	jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof justify_interval lag last_value lead left ln log lpad ltrim
	make_date make_interval make_time make_timestamp make_timestamptz mod mode nth_value ntile num_nonnulls num_nulls
	obj_description octet_length percent_rank percentile_cont percentile_disc pg_advisory_lock pg_advisory_unlock
	pg_advisory_unlock_all pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_backend_pid pg_column_size pg_current_xact_id
	pg_get_constraintdef pg_get_expr pg_get_indexdef pg_get_serial_sequence pg_get_viewdef pg_notify pg_relation_size
	pg_table_is_visible pg_total_relation_size pg_try_advisory_lock pg_try_advisory_xact_lock pg_typeof phraseto_tsquery pi
	plainto_tsquery power quote_ident quote_literal quote_nullable radians regexp_match regexp_matches regexp_replace
	regexp_split_to_array regexp_split_to_table repeat replace reverse right row_to_json rpad rtrim set_bit setseed setval
	setweight sha256 sha512 sign similarity split_part sqrt starts_with statement_timestamp stddev string_to_array
	string_to_table strpos substr substring timeofday timezone to_date to_hex to_json to_jsonb to_number to_regclass to_timestamp
	to_tsquery to_tsvector transaction_timestamp translate trim trim_array trunc ts_headline ts_rank ts_rank_cd txid_current
	unaccent uuid_generate_v1 uuid_generate_v4 var_pop var_samp variance websearch_to_tsquery width_bucket word_similarity`)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

// callsOf says whether the statement may call a function that changes settings: one that
// is not known. Statements are asked for in their order.
func (a *analyzer) callsOf() bool {
	unknown := false
	for ; a.reached < len(a.tokens) && int(a.tokens[a.reached].Start) < a.end; a.reached++ {
		i := a.reached
		if !unknown && i > 0 && a.tokens[i].Token == pg.Token_ASCII_40 && a.unknownFunction(i-1) { // (
			qualified := a.word(i-2) == "." && a.word(i-3) != "pg_catalog"
			unknown = (qualified || !builtin[a.word(i-1)]) && !a.listOf(i-1)
		}
	}
	return unknown && executes(a.stmt.Command)
}

// listOf says whether the name that ends at token i is followed by a list of columns,
// or of the arguments of EXECUTE.
func (a *analyzer) listOf(i int) bool {
	for a.word(i-1) == "." {
		i -= 2
	}
	switch a.word(i - 1) {
	case "into", "as", "with", "recursive", "copy", "table", "execute":
		return true
	}
	return false
}

// executes says whether a statement of a kind calls functions that its text names.
func executes(command string) bool {
	switch command {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN", "COPY", "CREATETABLEAS", "DECLARECURSOR", "EXECUTE":
		return true
	}
	return false
}

// Dated says that how values of the rule are read or written depends on settings.
func (r *Rule) Dated() bool {
	t := r.Type
	if elem, ok := t.Element(); ok {
		t = elem
	}
	switch t.OID {
	case Date, Time, Timestamp, Timestamptz, Interval:
		return true
	}
	return false
}

// offset ends a time that says where it is meant.
var offset = regexp.MustCompile(`:\d\d(?:\.\d+)?\s*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$`)

// Dated says that what the literal means depends on settings.
func (l *Literal) Dated() bool {
	if !l.Rule.Dated() {
		return false
	}
	own := !l.Array && (l.OID == Unspecified || l.OID == l.Rule.Type.OID)
	switch l.Rule.Type.OID {
	case Date, Time, Timestamp:
		return l.OID == Timestamptz
	case Timestamptz:
		return !own || !offset.MatchString(l.Value)
	case Interval:
		return strings.Contains(l.Value, "-")
	}
	return true
}

// DatedLiteral is a rule of a literal that is read by settings, nil if there is none.
func DatedLiteral(literals []Literal) *Rule {
	for i := range literals {
		if literals[i].Dated() {
			return literals[i].Rule
		}
	}
	return nil
}

// DatedOutput is a rule among those of the statement's results that are written by
// settings, or of the data of COPY FROM, which is read by them; nil if there is none.
func (one *Statement) DatedOutput() *Rule {
	for i := range one.Outputs {
		if r := one.Outputs[i].Rule; r.Dated() {
			return r
		}
	}
	if one.Copy == nil {
		return nil
	}
	for _, r := range one.Copy.Rules() {
		if r.Dated() {
			return r
		}
	}
	return nil
}

// Dated is a rule of what depends on settings in the i-th statement, nil if there is none.
func (p *Plan) Dated(i int) *Rule {
	for n := range p.Literals {
		l := &p.Literals[n]
		if l.Start >= p.Statements[i].start && (i+1 == len(p.Statements) || l.Start < p.Statements[i+1].start) && l.Dated() {
			return l.Rule
		}
	}
	return p.Statements[i].DatedOutput()
}

// AfterCall is the refusal of what depends on settings that a function may have changed.
func AfterCall(r *Rule) *Refusal {
	return &Refusal{Code: codeNotSupported, Message: "a function called before may change the settings that values of protected column " + r.Name() + " depend on",
		Hint: "Send the statement that calls it on its own and wait for its answer, or write a time with its offset from UTC."}
}

// refuseDated refuses what depends on settings behind a call of a function that is not
// known, in one text.
func (a *analyzer) refuseDated(literals []Literal) {
	r, loc := a.stmt.DatedOutput(), -1
	for i := range literals {
		if literals[i].Dated() {
			r, loc = literals[i].Rule, literals[i].Start
			break
		}
	}
	if r != nil {
		refusal := AfterCall(r)
		a.refuseCode(refusal.Code, loc, refusal.Message, "", refusal.Hint)
	}
}
