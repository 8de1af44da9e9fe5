// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"sort"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"
)

// Path is a session's search_path as the server resolves it.
type Path struct {
	// Create is current_schema(): where CREATE makes what has a bare name.
	Create string
	// Search is current_schemas(true).
	Search []string

	key string
}

// NewPath makes a path of current_schema() and current_schemas(true).
func NewPath(create string, search []string) *Path {
	return &Path{Create: create, Search: search, key: create + "\n" + strings.Join(search, "\n")}
}

// Key is equal for equal paths that NewPath made.
func (p *Path) Key() string { return p.key }

// Need says what the caller has to find out before it can plan the text.
type Need int

const (
	// NeedNothing: the plan is complete.
	NeedNothing Need = iota
	// NeedPath: a bare name means different tables under different search_paths.
	NeedPath
	// NeedCatalog: the text names a configured table or a column which the
	// snapshot does not have.
	NeedCatalog
)

// Plan is what to do with one SQL text.
type Plan struct {
	Need Need
	// Refusal, if not nil, is the answer in place of the server's.
	Refusal *Refusal
	// Missing, if not nil, is the error for a name that nothing in the text has, beside
	// which constants may stand that are not to be logged: PostgreSQL's, or that of
	// what is not supported, should it have another meaning.
	Missing *Refusal
	// Statements, one for each in the text. Empty for an empty text.
	Statements []Statement
	// Literals are to be replaced by sealed values, in order of position.
	Literals []Literal
	// Edits are to be made as they are, in order of position.
	Edits []Edit
	// Params are the parameters to be sealed, by number.
	Params map[int]Param
	// NumParams is the highest number of a parameter.
	NumParams int
	// Mentions says that some identifier is the name of a relation that matters,
	// so that the plan depends on the catalog.
	Mentions bool
	// Resolves are the schemas in which bare names that matter were found, in
	// order, "" for none. Ambiguous says that they would
	// mean others under another search_path.
	Resolves  []string
	Ambiguous bool
	// Shared says that the plan is that of every text with the same Shape: it
	// changes nothing, and no constant decides what columns there are.
	Shared bool
	// Searches says that it uses search tokens, and so the function that gives them.
	Searches bool
	// Fingerprint of the text without its constants; only if Touched.
	Fingerprint string
}

// Statement is what the plan says of one statement.
type Statement struct {
	// Command is the statement's kind, such as SELECT.
	Command string
	start   int // of its text
	// Touched are the protected columns that it uses, in order of name.
	Touched []*Rule
	// Outputs are the protected columns among its result columns, in order.
	Outputs []Output
	// Columns is the number of its result columns, -1 if it is not known.
	Columns int
	// Moved are protected columns between which values go, as in UNION and
	// INSERT .. SELECT, so that they may be read as those of another.
	Moved []*Rule
	// Compared are pairs of protected columns that it compares with each other, as in
	// a join: who knows the values of one learns those of the other.
	Compared [][2]*Rule
	// Plain are rules of columns in plaintext, of tables that it names.
	Plain []*Rule
	// Writes says that it stores something.
	Writes bool
	// Reads says that it may read what it does not name: by a function that is not
	// one of the common ones, as a statement prepared before, or in statistics.
	Reads bool
	// DDL says that the catalog may differ afterwards.
	DDL bool
	// Path says that the search_path may differ afterwards.
	Path bool
	// Settings says that settings which values depend on may differ afterwards:
	// TimeZone, DateStyle, IntervalStyle, client_encoding, standard_conforming_strings.
	Settings bool
	// Calls says that it may call functions that are not known, which may change
	// TimeZone, DateStyle or IntervalStyle.
	Calls bool
	// Tenant says that the tenant may be another afterwards.
	Tenant bool
	// Ends says that it ends a transaction, which may take settings back.
	Ends bool
	// Finishes says that it ends a transaction as a whole, should it succeed.
	Finishes bool
	// Hidden says that it may do anything, in a text that is not seen, or make a
	// relation that later statements must know.
	Hidden bool
	// Inner is the statement that it prepares or declares a cursor for.
	Inner *Inner
	// Execute, Fetch, and Closes (all if ClosesAll) are what it uses by name.
	Execute   *Execute
	Fetch     *Fetch
	Closes    string
	ClosesAll bool
	// Unseen says that it fetches from a cursor whose statement is not known:
	// protected columns among its result columns are found by their origin.
	Unseen bool
	// Names is the prepared statement that it ends.
	Names string
	// Deallocates says that it ends Names, or all if that is empty.
	Deallocates bool
	// Creates are rules whose columns it makes.
	Creates []*Rule
	// CopyFrom says that it is COPY FROM.
	CopyFrom bool
	// Copy is what a COPY of protected columns copies; nil for other statements.
	Copy *Copy
}

// Literal is a constant that stands for a value of a protected column.
type Literal struct {
	Start, End int // byte range in the text
	// Value is the constant as the server would read it, without quotes.
	Value string
	// OID is the type that the text gives it, or Unspecified.
	OID uint32
	// As is that type if it has a modifier, to which the value is rounded first; of an
	// argument of EXECUTE, the parameter's type, to which it is assigned first.
	As   *Type
	Rule *Rule
	// Cast says that the replacement has to say that it is bytea.
	Cast bool
	// Array says that it is an array of such values, as in = ANY ('{a,b}').
	Array bool
	// Match, if not nil, says that it is a pattern: its form is an array of tokens.
	Match *Match
	// Use is what the value is for.
	Use Use
	// Since is the release of PostgreSQL that added its form, 0 if all have it: those
	// before read 0x10 and 1_000 otherwise, as 0 and 1 with names, or not at all.
	Since int
}

// Use is what a value is for: what is stored is rounded or cut to the column's
// type, what is compared with is not.
type Use int

// Uses; a parameter can have several.
const (
	Store Use = 1 << iota
	Compare
	Order // it is compared with <, <=, > or >=, so that only a value of the column's type has a place
	Read  // it may be read as a value of the column, whose type it must not change
	Typed // it must not change the type of what is read, as the second argument of NULLIF could
)

// Edit replaces a byte range of the text.
type Edit struct {
	Start, End int
	Text       string
}

// Param is a parameter that stands for a value of a protected column.
type Param struct {
	Rule *Rule
	// OID is the type that a cast in the text gives it, or Unspecified.
	OID uint32
	// As is that type if it has a modifier, to which the value is rounded first.
	As *Type
	// Array says that it is an array of such values, as in = ANY ($1).
	Array bool
	// Match, if not nil, says that it is a pattern: its form is an array of tokens.
	Match *Match
	// Location is where it stands, as a byte offset.
	Location int
	// Use is what the value is for.
	Use Use
	// Operand says that it only stands beside operators, which take a varchar as
	// text and a cidr as inet.
	Operand bool
	// Source is the number that the client knows it by, 0 if it is the same: a
	// parameter that stands for different values is several for the server.
	Source int
}

// Uses says whether the statement uses a protected column or makes one, or may.
func (one *Statement) Uses() bool { return len(one.Touched)+len(one.Creates) > 0 || one.Unseen }

// Touched says whether any statement uses a protected column or makes one.
func (p *Plan) Touched() bool {
	for i := range p.Statements {
		if p.Statements[i].Uses() {
			return true
		}
	}
	return false
}

// Raw says that the text may be forwarded as it is.
func (p *Plan) Raw() bool {
	return p.Need == NeedNothing && p.Refusal == nil && len(p.Literals)+len(p.Edits)+len(p.Params) == 0
}

// Refusal is an error for the client, in PostgreSQL's fields.
type Refusal struct {
	Code, Message, Detail, Hint string
	// Position counts characters of the client's text from 1; 0 is none.
	Position int
	// Unread says that the grammar does not accept the text, and Newer what is in
	// it that a later release of PostgreSQL does, if that is known.
	Unread bool
	Newer  string
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// SQLSTATEs of refusals.
const (
	codeNotSupported   = "0A000"
	codeSyntax         = "42601"
	CodeNoTable        = "42P01"
	CodeNoColumn       = "42703"
	codeTypeMismatch   = "42804"
	codeTooComplex     = "54001"
	codeTooManyColumns = "54011"
	codeTooManyParams  = "08P01"
)

// Options of Make.
type Options struct {
	// Path is nil if the search_path is not known.
	Path *Path
	// Fresh says that the catalog was just read: what it lacks is not there.
	Fresh bool
}

// Make plans one text. It never panics and never returns nil.
func Make(sql string, cat *Catalog, opt Options) *Plan {
	if strings.IndexByte(sql, 0) >= 0 || !utf8.ValidString(sql) {
		return refused(&Refusal{Code: "22021", Message: "invalid byte sequence for encoding \"UTF8\""})
	}
	if tooLong(sql) {
		return refused(errTooLong)
	}
	a := &analyzer{sql: sql, cat: cat, opt: opt}
	mentioned, err := a.scan()
	if err != nil {
		return refused(syntaxError(sql, err))
	}
	tree, err := pg.Parse(sql)
	if err != nil {
		return refused(a.unparsed(err))
	}
	p := &Plan{Statements: make([]Statement, len(tree.Stmts)), Mentions: mentioned}
	settings, tenant, calls, statistics := false, false, false, a.readsStatistics()
	for i, raw := range tree.Stmts {
		a.stmt = &p.Statements[i]
		a.start, a.end = int(raw.StmtLocation), len(sql)
		a.stmt.start = a.start
		if raw.StmtLen > 0 {
			a.end = a.start + int(raw.StmtLen)
		}
		a.classify(raw.Stmt)
		a.names(raw.Stmt)
		a.stmt.Calls = a.callsOf() || a.stmt.Fetch != nil // of which it is not seen
		unknown, _ := a.calls()
		a.stmt.Reads = unknown || a.stmt.Execute != nil || statistics
		if mentioned {
			a.touched, a.moved, a.compared = make(map[*Rule]bool), make(map[*Rule]bool), nil
			literals := len(a.literals)
			a.statement(raw.Stmt)
			a.rowTypes(raw.Stmt)
			a.resolveConstants()
			a.finishOutputs()
			a.takeMissing(p)
			a.keeps(a.literals[literals:])
			a.stmt.Touched, a.stmt.Moved, a.stmt.Compared = sortedRules(a.touched), sortedRules(a.moved), a.compared
			if calls {
				a.refuseDated(a.literals[literals:])
			}
			if settings && len(a.touched) > 0 {
				a.refuse(-1, "settings that values depend on change within this text", "Send SET on its own.")
			}
		}
		if tenant && ofTenant(a.stmt.Touched) != nil {
			a.refuse(-1, "the tenant of protected column "+ofTenant(a.stmt.Touched).Name()+" may change within this text", "Send the statement that sets it on its own.")
		}
		tenant = tenant || a.stmt.Tenant
		a.pathDirty = a.pathDirty || a.stmt.Path || a.stmt.DDL
		a.altered = a.altered || a.stmt.DDL
		settings = settings || a.stmt.Settings
		calls = calls || a.stmt.Calls
	}
	return a.finish(p)
}

func (a *analyzer) finish(p *Plan) *Plan {
	if a.need != NeedNothing && !a.opt.Fresh || a.need == NeedPath {
		if a.need == NeedPath && a.opt.Path != nil {
			a.refuse(0, "the search_path changes within this text, so that a table name is ambiguous", "Qualify the table name with its schema.")
		} else {
			return &Plan{Need: a.need, Statements: p.Statements, Mentions: p.Mentions}
		}
	}
	if a.err != nil {
		return &Plan{Refusal: a.err, Statements: p.Statements, Mentions: p.Mentions}
	}
	sort.Slice(a.literals, func(i, j int) bool { return a.literals[i].Start < a.literals[j].Start })
	sort.SliceStable(a.edits, func(i, j int) bool { return a.edits[i].Start < a.edits[j].Start })
	p.Literals, p.Edits = a.literals, a.edits
	p.Resolves, p.Ambiguous = a.resolves, a.ambiguous
	if len(a.params) > 0 {
		p.Params = a.params
	}
	p.NumParams, p.Searches = a.lastParam, a.searching
	p.Shared = p.Raw() && p.Missing == nil && !a.positional && onlyData(p.Statements)
	if p.Touched() {
		p.Fingerprint, _ = pg.Fingerprint(a.sql)
	}
	return p
}

// onlyData says whether all statements read or change rows: in others, such as
// SET, constants can mean anything.
func onlyData(statements []Statement) bool {
	for i := range statements {
		switch statements[i].Command {
		case "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE":
		default:
			return false
		}
	}
	return len(statements) > 0
}

func refused(r *Refusal) *Plan { return &Plan{Refusal: r} }

func syntaxError(sql string, err error) *Refusal {
	if errors.Is(err, errTooDeep) || strings.Contains(err.Error(), "recursion depth") {
		return &Refusal{Code: codeTooComplex, Message: "stack depth limit exceeded", Hint: "The encrypting proxy cannot read a statement that nests so deeply."}
	}
	var perr *parser.Error
	if !errors.As(err, &perr) {
		return &Refusal{Code: codeSyntax, Message: "syntax error"}
	}
	r := &Refusal{Code: codeSyntax, Message: perr.Message}
	if strings.Contains(perr.Message, "stack depth") || strings.Contains(perr.Message, "memory") {
		r.Code = codeTooComplex
	}
	if perr.Cursorpos > 0 {
		// libpg_query counts characters here, as the protocol does.
		r.Position = min(perr.Cursorpos, utf8.RuneCountInString(sql)+1)
	}
	return r
}

func sortedRules(set map[*Rule]bool) []*Rule {
	rules := make([]*Rule, 0, len(set))
	for r := range set {
		rules = append(rules, r)
	}
	sort.Slice(rules, func(i, j int) bool { return rules[i].Name() < rules[j].Name() })
	return rules
}
