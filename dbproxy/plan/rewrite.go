// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/hex"
	"sort"
	"strings"
	"unicode/utf8"
)

// Rewritten is a text with its edits made.
type Rewritten struct {
	SQL string
	// changes are in order of position, for mapping error positions back.
	changes []change
}

type change struct{ start, end, length int }

// Rewrite makes the plan's edits; seal gives the stored form of a literal: one
// value, or those of the array that it is; nil stands for NULL.
func (p *Plan) Rewrite(sql string, seal func(Literal) ([][]byte, error)) (*Rewritten, error) {
	edits := make([]Edit, 0, len(p.Edits)+len(p.Literals))
	edits = append(edits, p.Edits...)
	for _, l := range p.Literals {
		sealed, err := seal(l)
		if err != nil {
			return nil, err
		}
		edits = append(edits, Edit{l.Start, l.End, l.text(sealed)})
	}
	sort.SliceStable(edits, func(i, j int) bool { return edits[i].Start < edits[j].Start })
	var b strings.Builder
	at := 0
	out := &Rewritten{}
	for _, e := range edits {
		if e.Start < at {
			continue // the same cast seen twice
		}
		b.WriteString(sql[at:e.Start])
		b.WriteString(e.Text)
		out.changes = append(out.changes, change{e.Start, e.End, len(e.Text)})
		at = e.End
	}
	b.WriteString(sql[at:])
	out.SQL = b.String()
	return out, nil
}

// text is what replaces the literal.
func (l *Literal) text(sealed [][]byte) string {
	values := make([]string, 0, len(sealed))
	for _, v := range sealed {
		text := "NULL"
		if v != nil {
			text = `'\x` + hex.EncodeToString(v) + `'`
		}
		values = append(values, text)
	}
	switch {
	case l.Array || l.Match != nil:
		return " ARRAY[" + strings.Join(values, ", ") + "]::pg_catalog.bytea[] "
	case l.Cast:
		return " " + values[0] + "::pg_catalog.bytea "
	}
	return " " + values[0]
}

// Position maps a character position in the rewritten text, as the server
// counts, to the one in the client's text.
func (r *Rewritten) Position(position int, original string) int {
	if len(r.changes) == 0 {
		return position
	}
	offset := byteOffset(r.SQL, position-1)
	shift := 0
	for _, c := range r.changes {
		start := c.start + shift
		if offset < start {
			break
		}
		if offset < start+c.length {
			offset, shift = c.start, 0
			return utf8.RuneCountInString(original[:offset]) + 1
		}
		shift += c.length - (c.end - c.start)
	}
	offset = min(max(offset-shift, 0), len(original))
	return utf8.RuneCountInString(original[:offset]) + 1
}

func byteOffset(s string, runes int) int {
	for i := range s {
		if runes <= 0 {
			return i
		}
		runes--
	}
	return len(s)
}
