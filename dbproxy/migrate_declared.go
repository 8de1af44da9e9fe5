// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
)

// declarationTable keeps how columns were declared before they were encrypted, as
// far as their rules do not say it, so that they can be had back. Of a default
// nothing is kept: it is a value, and comes back out of the sealed one.
const declarationTable = `CREATE TABLE IF NOT EXISTS sidekey.declarations (
  table_name text NOT NULL,
  column_name text NOT NULL,
  type text NOT NULL,
  collation_name text,
  PRIMARY KEY (table_name, column_name)
)`

// declared is how a column of plaintext is, or was, declared.
type declared struct {
	// typ is its type in SQL, and collation its collation, nil for that of the type.
	typ       string
	collation *string
	value     *string // its default
}

// declaredQuery reads of a column what SQL says of its type, and its default.
const declaredQuery = `SELECT format_type(a.atttypid, a.atttypmod), n.nspname, t.typname,
  COALESCE((SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '{}'),
  CASE WHEN a.attcollation <> t.typcollation THEN quote_ident(ln.nspname) || '.' || quote_ident(l.collname) END, COALESCE(l.collisdeterministic, true),
  pg_get_expr(f.adbin, f.adrelid)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum AND a.attgenerated = ''
WHERE a.attrelid = $1 AND a.attnum = $2`

// readDeclared reads the declaration that the column has now.
func (t *migrateTable) readDeclared(ctx context.Context, conn *pgx.Conn) error {
	return conn.QueryRow(ctx, declaredQuery, t.oid, t.attnum).Scan(&t.declared.typ, &t.typeSchema, &t.typeName, &t.labels,
		&t.declared.collation, &t.deterministic, &t.declared.value)
}

// is says that the column has the type of its rule.
func (t *migrateTable) is(r *plan.Rule) bool {
	return t.typ == r.Type || r.Type.IsNamed(t.typeSchema, t.typeName)
}

// againstDeclared says what of the column's declaration stands against the move.
func (t *migrateTable) againstDeclared(c *columnMove) (problems []string) {
	if c.m.o.Action == Encrypt && c.rule.Type.OID == plan.Enum && !slices.Equal(t.labels, c.rule.Type.EnumLabels()) {
		problems = append(problems, otherLabels(t.labels, c.rule))
	}
	if c.m.o.Action == Encrypt && c.rule.Equality && !t.deterministic {
		problems = append(problems, "its collation holds values for equal that are not the same, which sealed values cannot: mode random takes it")
	}
	if t.declared.value != nil {
		if why := c.againstDefault(*t.declared.value); why != "" {
			problems = append(problems, "it has a default, "+why+": ALTER TABLE .. ALTER COLUMN .. DROP DEFAULT")
		}
	}
	return problems
}

func otherLabels(labels []string, r *plan.Rule) string {
	return fmt.Sprintf("its type has the labels %q and its rule %q: they must be the same, in the same order", labels, r.Type.EnumLabels())
}

// againstDefault says why a default stands against the move, "" if it does not.
func (c *columnMove) againstDefault(expr string) string {
	encrypted := c.m.o.Action != Encrypt
	switch {
	case c.inPlaceRotation():
		return ""
	case encrypted && !sealedHex(expr):
		return "which is not sealed"
	case !encrypted && !constant(expr, c.rule.Type):
		return "which the server would compute"
	case c.tenant != nil:
		return "but its values are of one tenant each"
	case c.m.o.Action == Decrypt:
		return ""
	case !c.rule.Equality:
		return "and in mode random every row with it would have the same ciphertext"
	}
	return ""
}

// sealedHex says that a default is a constant of type bytea.
func sealedHex(expr string) bool {
	digits, isHex := strings.CutPrefix(expr, `'\x`)
	digits, isBytea := strings.CutSuffix(digits, `'::bytea`)
	_, err := hex.DecodeString(digits)
	return isHex && isBytea && err == nil
}

// constant says that a default is a literal, perhaps of the column's type by name:
// one of another would be converted when it is used, as the session has it.
func constant(expr string, t plan.Type) bool {
	tree, err := pg.Parse("SELECT " + expr)
	if err != nil || len(tree.Stmts) != 1 {
		return false
	}
	targets := tree.Stmts[0].Stmt.GetSelectStmt().GetTargetList()
	if len(targets) != 1 {
		return false
	}
	value := targets[0].GetResTarget().GetVal()
	if cast := value.GetTypeCast(); cast != nil {
		of, err := plan.ParseType(expr[strings.LastIndex(expr, "::")+len("::"):])
		if err == nil && of.OID != t.OID {
			return false
		}
		value = cast.Arg
	}
	return value.GetAConst() != nil
}

// plainDeclared is how the column is to be declared in plaintext: as it was, where
// that is known.
func (c *columnMove) plainDeclared(ctx context.Context) (*declared, error) {
	before, err := c.readDeclaration(ctx)
	if err != nil {
		return nil, err
	}
	if c.rule.Type.OID != plan.Citext && c.rule.Type.OID != plan.Enum {
		before.typ = c.rule.Type.String()
		return before, nil
	}
	before.typ, err = c.userType(ctx, before.typ)
	return before, err
}

// userType finds the type that a rule names in the database, preferably the one
// that the column had.
func (c *columnMove) userType(ctx context.Context, preferred string) (string, error) {
	rows, err := c.conn.Query(ctx, `SELECT n.nspname, t.typname, format_type(t.oid, NULL),
  COALESCE((SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '{}')
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'e' OR t.typname = 'citext' AND t.typtype = 'b' ORDER BY 1, 2`)
	if err != nil {
		return "", err
	}
	found := map[string][]string{} // its labels
	var schema, name, sql string
	var labels []string
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &sql, &labels}, func() error {
		if c.rule.Type.IsNamed(schema, name) {
			found[sql] = slices.Clone(labels)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if _, ok := found[preferred]; !ok {
		if len(found) > 1 {
			return "", fmt.Errorf("the database has several types %s: name the schema in its rule", c.rule.Type)
		}
		for preferred = range found { // the only one
		}
	}
	labels, ok := found[preferred]
	switch {
	case !ok:
		return "", fmt.Errorf("the database has no type %s: make it again, with the labels of the rule", c.rule.Type)
	case c.rule.Type.OID == plan.Enum && !slices.Equal(labels, c.rule.Type.EnumLabels()):
		return "", errors.New(otherLabels(labels, c.rule))
	}
	return preferred, nil
}

// readDeclaration reads what was kept of the column; of one that was made encrypted
// there is nothing.
func (c *columnMove) readDeclaration(ctx context.Context) (*declared, error) {
	var exists bool
	d := &declared{}
	if err := c.conn.QueryRow(ctx, "SELECT to_regclass('sidekey.declarations') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return d, err
	}
	err := c.conn.QueryRow(ctx, "SELECT type, collation_name FROM sidekey.declarations WHERE table_name = $1 AND column_name = $2",
		c.tableName(), c.rule.Column).Scan(&d.typ, &d.collation)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, nil
	}
	return d, err
}

// keepDeclaration keeps how the column was declared, or forgets it when it is so again.
func (c *columnMove) keepDeclaration(ctx context.Context, tx pgx.Tx, was declared) error {
	var err error
	switch c.m.o.Action {
	case Encrypt:
		if _, err := tx.Exec(ctx, declarationTable); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO sidekey.declarations (table_name, column_name, type, collation_name) VALUES ($1, $2, $3, $4)
ON CONFLICT (table_name, column_name) DO UPDATE SET type = $3, collation_name = $4`,
			c.tableName(), c.rule.Column, was.typ, was.collation)
	case Decrypt:
		_, err = tx.Exec(ctx, "DELETE FROM sidekey.declarations WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column)
	}
	return err
}

// moveDefault makes of the default that the column has the one that it is to have.
func (c *columnMove) moveDefault(ctx context.Context, tx pgx.Tx, t *migrateTable) (sql string, err error) {
	if t.declared.value == nil {
		return "", nil
	}
	ctx, op := c.operation(ctx, audit.SpanMigrateColumn)
	n := 0
	defer func() { err = c.recorded(op, n, err) }()
	rows := inBinary(ctx, tx.Conn(), "SELECT ("+*t.declared.value+")::"+t.declared.typ)
	var stored []byte
	for rows.NextRow() {
		stored = bytes.Clone(rows.Values()[0])
	}
	if _, err := rows.Close(); err != nil || stored == nil {
		return "", err
	}
	made, err := c.convert(ctx, []storedRow{{id: "of the default", value: stored}})
	if err != nil {
		return "", err
	}
	n = 1
	if c.to == nil {
		return quoteLiteral(string(made[0])) + "::" + c.back.typ, nil
	}
	return fmt.Sprintf(`'\x%x'::bytea`, made[0]), nil
}

// plainOf reads a value of plaintext. A label that the rule does not know of is
// not quoted: it is a value.
func plainOf(r *plan.Rule, stored []byte) ([]byte, error) {
	if r.Type.OID == plan.Enum && !slices.Contains(r.Type.EnumLabels(), string(stored)) {
		return nil, errors.New("its value is none of the labels in the rule")
	}
	return decodeValue(r.Type, r.Type.OID, formatBinary, stored, locale{zone: time.UTC, version: plan.Grammar})
}
