// SPDX-License-Identifier: Apache-2.0

package plan

import pg "github.com/pganalyze/pg_query_go/v6"

// partition notes a new partition of a protected table and says whether it is
// one: it holds values of the table, so that later statements of the text must
// know it.
func (a *analyzer) partition(s *pg.CreateStmt) bool {
	if s.Partbound == nil || len(s.InhRelations) != 1 {
		return false
	}
	parent, res := a.resolve(s.InhRelations[0].GetRangeVar())
	if res != resolved || !parent.Protected {
		return false
	}
	a.stmt.Hidden = true
	schema := s.Relation.Schemaname
	if schema == "" && a.opt.Path != nil && !a.pathDirty {
		schema = a.opt.Path.Create
	}
	if a.exists(schema, s.Relation.Relname) {
		return true // it is there, or the server will say so
	}
	a.cat = a.cat.with(&Relation{Schema: schema, Name: s.Relation.Relname, Columns: parent.Columns, Protected: true})
	return true
}
