// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pganalyze/pg_query_go/v6/parser"
)

// Grammar is the release of PostgreSQL whose grammar texts are read by: that of
// libpg_query.
const Grammar = 17

// newerForms are forms that later releases have added, by words of them, "" for
// any, and the one of these at which the grammar fails.
var newerForms = []struct {
	words []string
	at    int
	name  string
}{
	{[]string{"returning", "with"}, 1, "RETURNING WITH"},
	{[]string{")", "virtual"}, 1, "a virtual generated column"},
	{[]string{"without", "overlaps"}, 0, "WITHOUT OVERLAPS"},
	{[]string{"period", ""}, 1, "PERIOD of a foreign key"},
	{[]string{"enforced"}, 0, "ENFORCED"},
	{[]string{"no", "inherit"}, 0, "NO INHERIT of a constraint"},
	{[]string{"add", "not", "null"}, 1, "a NOT NULL constraint of the table"},
	{[]string{",", "not", "null"}, 1, "a NOT NULL constraint of the table"},
	{[]string{"(", "not", "null"}, 1, "a NOT NULL constraint of the table"},
	{[]string{"constraint", "", "not", "null"}, 2, "a NOT NULL constraint of the table"},
	{[]string{"constraint", "", "inherit"}, 2, "INHERIT of a constraint"},
	{[]string{"on", "large", "objects"}, 1, "ALTER DEFAULT PRIVILEGES .. ON LARGE OBJECTS"},
	{[]string{"vacuum", "only"}, 1, "VACUUM ONLY"},
	{[]string{"analyze", "only"}, 1, "ANALYZE ONLY"},
}

// unparsed is the refusal of a text that the grammar does not accept.
func (a *analyzer) unparsed(err error) *Refusal {
	r := syntaxError(a.sql, err)
	if r.Code == codeSyntax {
		r.Unread, r.Newer = true, a.newerForm(a.failedAt(err))
	}
	if strings.HasSuffix(r.Message, " cannot be marked NO INHERIT") { // of which the place is not known
		r.Newer = "NO INHERIT of a constraint"
	}
	return r
}

// On is the refusal in a session with a server of a major version. What a later
// release than the grammar's may accept is not simply called wrong: what is known
// to be of one is not supported, and of what is not known the reason is said.
func (r *Refusal) On(version int) *Refusal {
	if !r.Unread || version <= Grammar {
		return r
	}
	why := fmt.Sprintf("The encrypting proxy reads statements by the grammar of PostgreSQL %d, and that of the server, of PostgreSQL %d, is newer.", Grammar, version)
	told := *r
	if r.Newer == "" {
		told.Detail = why
		return &told
	}
	told.Code, told.Message, told.Detail = codeNotSupported, r.Newer+" is not supported", r.Message
	told.Hint = why + " Write the statement without what is new."
	return &told
}

// failedAt is the index of the token at which the grammar failed: that behind
// the last one if the text ended too early, -1 if it is not known.
func (a *analyzer) failedAt(err error) int {
	var perr *parser.Error
	if !errors.As(err, &perr) || perr.Cursorpos <= 0 {
		return -1
	}
	chars, end := 1, 0
	for i, t := range a.tokens {
		chars += utf8.RuneCountInString(a.sql[end:t.Start])
		if end = int(t.Start); chars >= perr.Cursorpos {
			return i
		}
	}
	return len(a.tokens)
}

func (a *analyzer) newerForm(at int) string {
	if at < 0 {
		return ""
	}
	if a.closesGenerated(at - 1) {
		return "a virtual generated column"
	}
	for _, form := range newerForms {
		if a.words(at-form.at, form.words) {
			return form.name
		}
	}
	return ""
}

func (a *analyzer) words(from int, words []string) bool {
	for i, w := range words {
		if from < 0 || w != "" && a.word(from+i) != w {
			return false
		}
	}
	return true
}

// closesGenerated says whether a token is the ) of GENERATED ALWAYS AS (..),
// behind which the grammar wants STORED.
func (a *analyzer) closesGenerated(i int) bool {
	if i < 0 || a.word(i) != ")" {
		return false
	}
	for depth := 0; i >= 0; i-- {
		switch a.word(i) {
		case ")":
			depth++
		case "(":
			if depth--; depth == 0 {
				return a.words(i-3, []string{"generated", "always", "as"})
			}
		}
	}
	return false
}
