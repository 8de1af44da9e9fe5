// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// classify notes what every statement means for the session, whether or not it
// names a protected table.
func (a *analyzer) classify(n *pg.Node) {
	m := inner(n)
	if m == nil {
		return
	}
	name := strings.TrimSuffix(string(m.Descriptor().Name()), "Stmt")
	a.stmt.Command = strings.ToUpper(name)
	a.tenant(n)
	switch x := n.Node.(type) {
	case *pg.Node_VariableSetStmt:
		a.stmt.Path, a.stmt.Settings = true, changesValues(x.VariableSetStmt)
		a.setting(x.VariableSetStmt)
	case *pg.Node_TransactionStmt:
		a.stmt.Ends = ends(x.TransactionStmt.Kind)
		a.stmt.Path, a.stmt.Finishes = a.stmt.Ends, finishes(x.TransactionStmt.Kind)
		// What a prepared transaction has made is seen from now on.
		a.stmt.Hidden = x.TransactionStmt.Kind == pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED
	case *pg.Node_DiscardStmt:
		a.stmt.Path, a.stmt.Deallocates, a.stmt.Settings = true, true, true
	case *pg.Node_DeallocateStmt:
		a.stmt.Names, a.stmt.Deallocates = x.DeallocateStmt.Name, true
	case *pg.Node_DoStmt, *pg.Node_CallStmt:
		a.stmt.Path, a.stmt.DDL, a.stmt.Writes, a.stmt.Hidden, a.stmt.Settings = true, true, true, true, true
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		a.stmt.Path, a.stmt.Settings = a.calls()
	case *pg.Node_ExplainStmt: // with ANALYZE it executes
		a.stmt.Path = true
		_, a.stmt.Settings = a.calls()
	case *pg.Node_CreateTableAsStmt:
		a.stmt.DDL = true
		_, a.stmt.Settings = a.calls()
	case *pg.Node_CopyStmt:
		a.stmt.CopyFrom = x.CopyStmt.IsFrom
		a.stmt.Path, a.stmt.Settings = a.calls() // of its query
	case *pg.Node_GrantStmt, *pg.Node_GrantRoleStmt:
		a.stmt.Path = true // USAGE decides which schemas are in the path
	case *pg.Node_RenameStmt:
		a.stmt.DDL = true
		if x.RenameStmt.RenameType == pg.ObjectType_OBJECT_SCHEMA && a.cat.hasSchema(x.RenameStmt.Subname, x.RenameStmt.Newname) {
			a.refuse(-1, "a schema of tables with protected columns cannot be renamed, nor another take its name", "Their values are bound to its name.")
		}
	default:
		for _, prefix := range []string{"Create", "Alter", "Drop", "Rename", "View", "Rule", "Index", "ReindexStmt"} {
			if strings.HasPrefix(name, prefix) {
				a.stmt.DDL = true
			}
		}
	}
}

// ends says whether a statement on transactions may take settings back: those
// that begin a transaction or a savepoint leave all as it is.
func ends(kind pg.TransactionStmtKind) bool {
	switch kind {
	case pg.TransactionStmtKind_TRANS_STMT_BEGIN, pg.TransactionStmtKind_TRANS_STMT_START, pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		return false
	}
	return true
}

// finishes says whether a statement on transactions leaves none of it open.
func finishes(kind pg.TransactionStmtKind) bool {
	switch kind {
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT, pg.TransactionStmtKind_TRANS_STMT_ROLLBACK, pg.TransactionStmtKind_TRANS_STMT_PREPARE:
		return true
	}
	return false
}

// changesValues says whether SET or RESET changes how values are read.
func changesValues(s *pg.VariableSetStmt) bool {
	return valueSettings[lowerASCII(s.Name)] || s.Kind == pg.VariableSetKind_VAR_RESET_ALL
}

// valueSettings change how values or texts are read.
var valueSettings = map[string]bool{"timezone": true, "datestyle": true, "intervalstyle": true, "client_encoding": true, "standard_conforming_strings": true}

// setsConfig says whether set_config may be called for one of valueSettings:
// for one of them, or one that is not a plain literal.
func (a *analyzer) setsConfig() bool {
	sets := false
	for i, t := range a.tokens {
		if t.Token == pg.Token_UIDENT && a.word(i+1) == "(" {
			return true // its name is written in another way
		}
		if t.Token != pg.Token_IDENT || identifier(a.text(t)) != "set_config" {
			continue
		}
		a.positional = true // its constants matter
		name := a.word(i + 2)
		plain := a.word(i+1) == "(" && a.word(i+3) == "," && len(name) > 2 && name[0] == '\'' && !strings.Contains(name, `\`)
		sets = sets || !plain || valueSettings[strings.Trim(name, "'")]
	}
	return sets
}

// calls is callsUnknown and setsConfig, which are of the whole text and not of
// a statement: a text of thousands of statements is looked through once.
func (a *analyzer) calls() (unknown, setsConfig bool) {
	if a.called == nil {
		a.called = &struct{ unknown, setsConfig bool }{unknown: a.callsUnknown()}
		a.called.setsConfig = a.called.unknown && a.setsConfig()
	}
	return a.called.unknown, a.called.setsConfig
}

// callsUnknown says whether the text may call a function that sets the
// search_path: set_config, or any function that is not among the common ones.
func (a *analyzer) callsUnknown() bool {
	for i, t := range a.tokens {
		if t.Token == pg.Token_ASCII_40 && i > 0 && a.unknownFunction(i-1) { // (
			return true
		}
	}
	return false
}

// statisticsOf are the catalogs and views that hold values of columns.
var statisticsOf = map[string]bool{"pg_statistic": true, "pg_statistic_ext_data": true, "pg_stats": true, "pg_stats_ext": true, "pg_stats_ext_exprs": true}

// readsStatistics says whether the text names one of them, or may.
func (a *analyzer) readsStatistics() bool {
	for _, t := range a.tokens {
		if t.Token == pg.Token_UIDENT || t.Token == pg.Token_IDENT && statisticsOf[identifier(a.text(t))] {
			return true
		}
	}
	return false
}

// unknownFunction says whether the token before a parenthesis may name such a function.
// Behind a dot any word may, and a common name is one of PostgreSQL's own only behind
// pg_catalog.
func (a *analyzer) unknownFunction(i int) bool {
	t, word := a.tokens[i], a.word(i)
	if i == 0 || a.word(i-1) == ";" {
		return false // COPY (..)
	}
	qualified := i > 0 && a.word(i-1) == "."
	if qualified && (i < 2 || a.word(i-2) != "pg_catalog") {
		return true
	}
	switch {
	case t.Token == pg.Token_UIDENT:
		return true
	case t.Token == pg.Token_IDENT:
		return !harmless[word]
	}
	return t.KeywordKind == pg.KeywordKind_UNRESERVED_KEYWORD && !beforeList[word]
}

// beforeList are keywords that could name a function, but are followed by a list for
// other reasons.
var beforeList = map[string]bool{
	"over": true, "filter": true, "key": true, "include": true, "by": true, "set": true, "sets": true, "cube": true, "rollup": true,
	"materialized": true, "explain": true, "options": true, "columns": true, "inherits": true, "exclude": true, "range": true,
	"rows": true, "groups": true, "conflict": true, "escape": true, "insert": true, "matched": true, "depends": true,
}

var harmless = map[string]bool{
	"count": true, "sum": true, "avg": true, "min": true, "max": true, "now": true, "lower": true, "upper": true,
	"length": true, "nextval": true, "currval": true, "lastval": true, "array_agg": true, "string_agg": true,
	"json_agg": true, "jsonb_agg": true, "json_build_object": true, "jsonb_build_object": true, "gen_random_uuid": true,
	"round": true, "abs": true, "date_trunc": true, "to_char": true, "generate_series": true, "unnest": true, "version": true,
	"pg_sleep": true, "concat": true, "md5": true, "random": true, "any_value": true, "row_number": true, "rank": true,
}

// setting refuses settings under which the server would read the text of later
// statements otherwise than the plan does.
func (a *analyzer) setting(s *pg.VariableSetStmt) {
	if lowerASCII(s.Name) != "standard_conforming_strings" || s.Kind != pg.VariableSetKind_VAR_SET_VALUE {
		return
	}
	for _, n := range s.Args {
		switch lowerASCII(n.GetAConst().GetSval().GetSval()) {
		case "on", "true", "yes", "1", "t", "y":
		default:
			a.refuse(-1, "standard_conforming_strings cannot be switched off: protected values could not be told from text",
				"Write E'' for strings with escapes.")
		}
	}
}

// statement analyzes a statement of a text that has a name which matters.
func (a *analyzer) statement(n *pg.Node) {
	switch x := n.Node.(type) {
	case *pg.Node_SelectStmt:
		out := a.query(x.SelectStmt, nil)
		if x.SelectStmt.IntoClause != nil {
			a.settle(out, "cannot be copied into another table")
			out = &source{}
		}
		a.outputs(out)
	case *pg.Node_InsertStmt:
		a.outputs(a.insert(x.InsertStmt, nil))
	case *pg.Node_UpdateStmt:
		a.outputs(a.update(x.UpdateStmt, nil))
	case *pg.Node_DeleteStmt:
		a.outputs(a.delete(x.DeleteStmt, nil))
	case *pg.Node_MergeStmt:
		a.outputs(a.merge(x.MergeStmt, nil))
	case *pg.Node_ExplainStmt:
		a.explain(x.ExplainStmt)
	case *pg.Node_PrepareStmt:
		a.prepare(x.PrepareStmt)
	case *pg.Node_DeclareCursorStmt:
		a.declare(x.DeclareCursorStmt)
	case *pg.Node_CopyStmt:
		a.copy(x.CopyStmt)
	case *pg.Node_CreateStmt:
		a.createTable(x.CreateStmt)
	case *pg.Node_AlterTableStmt:
		a.alterTable(x.AlterTableStmt)
	case *pg.Node_IndexStmt:
		a.index(x.IndexStmt)
	case *pg.Node_RenameStmt:
		a.rename(x.RenameStmt)
	case *pg.Node_AlterObjectSchemaStmt:
		a.moveSchema(x.AlterObjectSchemaStmt)
	case *pg.Node_ViewStmt:
		a.createView(x.ViewStmt)
	case *pg.Node_CreateTableAsStmt:
		a.tableAs(x.CreateTableAsStmt)
	case *pg.Node_CreateTrigStmt:
		a.trigger(x.CreateTrigStmt)
	case *pg.Node_CreateStatsStmt:
		a.statistics(x.CreateStatsStmt)
	case *pg.Node_CreatePublicationStmt:
		a.publication(x.CreatePublicationStmt.Pubobjects)
	case *pg.Node_AlterPublicationStmt:
		a.publication(x.AlterPublicationStmt.Pubobjects)
	case *pg.Node_CreatePolicyStmt:
		a.policy(x.CreatePolicyStmt.Table, n)
	case *pg.Node_AlterPolicyStmt:
		a.policy(x.AlterPolicyStmt.Table, n)
	case *pg.Node_TruncateStmt, *pg.Node_VacuumStmt, *pg.Node_GrantStmt, *pg.Node_DropStmt, *pg.Node_CommentStmt,
		*pg.Node_LockStmt, *pg.Node_ClusterStmt, *pg.Node_ReindexStmt, *pg.Node_SecLabelStmt,
		*pg.Node_CreateSeqStmt, *pg.Node_AlterSeqStmt, *pg.Node_AlterOwnerStmt, *pg.Node_GrantRoleStmt,
		*pg.Node_RefreshMatViewStmt, *pg.Node_AlterStatsStmt, *pg.Node_AlterObjectDependsStmt:
		// They neither read nor write a value.
	default:
		a.reach(n)
	}
}

func (a *analyzer) explain(e *pg.ExplainStmt) {
	switch e.Query.Node.(type) {
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		a.statement(e.Query)
		a.result = nil
	default:
		a.reach(e.Query)
	}
}

// reach refuses a statement of a kind that has no plan if it names a relation
// that matters.
func (a *analyzer) reach(n *pg.Node) {
	if n == nil {
		return
	}
	if rv := n.GetRangeVar(); rv != nil {
		if a.reaches(rv) {
			a.refuse(int(rv.Location), a.commandName()+" on a table with protected columns is not supported", a.hint())
		}
		return
	}
	if m := inner(n); m != nil {
		eachNode(m, a.reach)
	}
}

func (a *analyzer) reaches(rv *pg.RangeVar) bool {
	rel, res := a.resolve(rv)
	switch res {
	case unprotected:
		return false
	case resolved:
		return rel.Protected || rel.Refuse != ""
	case needPath:
		a.needs(NeedPath)
		return false
	}
	a.needs(NeedCatalog)
	return true
}

var hints = map[string]string{
	"VIEW":          "Select the protected columns from the table itself.",
	"CREATETABLEAS": "CREATE TABLE it, then INSERT.",
}

var commandNames = map[string]string{
	"DECLARECURSOR": "DECLARE CURSOR", "VIEW": "CREATE VIEW", "CREATETABLEAS": "CREATE TABLE AS", "CREATETRIG": "CREATE TRIGGER",
	"RULE": "CREATE RULE", "REFRESHMATVIEW": "REFRESH MATERIALIZED VIEW", "CREATEFUNCTION": "CREATE FUNCTION",
	"CREATESTATS": "CREATE STATISTICS", "CREATEPUBLICATION": "CREATE PUBLICATION", "CREATEFOREIGNTABLE": "CREATE FOREIGN TABLE",
	"CREATESCHEMA": "CREATE SCHEMA with elements",
}

func (a *analyzer) commandName() string {
	if n := commandNames[a.stmt.Command]; n != "" {
		return n
	}
	return a.stmt.Command
}

func (a *analyzer) hint() string { return hints[a.stmt.Command] }
