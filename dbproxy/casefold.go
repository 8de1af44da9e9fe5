// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// foldQuery asks how the server maps letters to one case, under the collation of
// the database. No script that has cases is behind plane 1. The last column tells
// a mapping that depends on what is around a letter.
const foldQuery = `SELECT c, l, u, false FROM (
  SELECT pg_catalog.chr(i) AS c, pg_catalog.lower(pg_catalog.chr(i) COLLATE "default") AS l, pg_catalog.upper(pg_catalog.chr(i) COLLATE "default") AS u
  FROM pg_catalog.generate_series(1, 131071) i WHERE i NOT BETWEEN 55296 AND 57343 OFFSET 0) x
WHERE (c COLLATE "C") OPERATOR(pg_catalog.<>) l OR (c COLLATE "C") OPERATOR(pg_catalog.<>) u
UNION ALL SELECT '', '', '', (pg_catalog.lower('ΑΣ' COLLATE "default") COLLATE "C") OPERATOR(pg_catalog.=) 'ας'`

// localeQuery asks for what lower and upper go by; ICU's rules of some languages
// depend on what is around a letter.
const localeQuery = `SELECT pg_catalog.current_setting('server_encoding'), COALESCE(j OPERATOR(pg_catalog.->>) 'datlocprovider', 'c'),
  COALESCE(j OPERATOR(pg_catalog.->>) 'datlocale', j OPERATOR(pg_catalog.->>) 'daticulocale', '')
FROM (SELECT pg_catalog.to_jsonb(d) AS j FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) x`

var contextual = []string{"az", "aze", "el", "ell", "gre", "hy", "hye", "arm", "lt", "lit", "tr", "tur"}

// maxVariants bounds the variants in case of one pattern: each is a token for
// every data key of the column.
const maxVariants = 1024

// folding is how a database maps letters to one case.
type folding struct {
	// to has what a letter becomes, and from the letters that become one. Both have
	// only those that differ from what they become, or are not alone.
	to   map[rune]string
	from map[rune][]rune
	// grows has letters that become several, by the first of these; what follows
	// there cannot be searched for, since it may be within one.
	grows  map[rune][]rune
	within map[rune]bool
}

// foldings are those of lower and upper.
type foldings [2]folding

func newFolding() folding {
	return folding{to: map[rune]string{}, from: map[rune][]rune{}, grows: map[rune][]rune{}, within: map[rune]bool{}}
}

// add notes what a letter becomes.
func (f *folding) add(letter rune, becomes string) {
	chars := []rune(becomes)
	if len(chars) == 1 && chars[0] == letter {
		return
	}
	f.to[letter] = becomes
	if len(chars) == 1 {
		f.from[chars[0]] = append(f.from[chars[0]], letter)
		return
	}
	if len(chars) > 0 {
		f.grows[chars[0]] = append(f.grows[chars[0]], letter)
	}
	for _, c := range chars[min(1, len(chars)):] {
		f.within[c] = true
	}
}

// fold is what a text becomes.
func (f *folding) fold(s string) string {
	out := make([]byte, 0, len(s))
	for _, c := range s {
		if to, differs := f.to[c]; differs {
			out = append(out, to...)
		} else {
			out = utf8.AppendRune(out, c)
		}
	}
	return string(out)
}

// variants are the texts that become a part of a folded value; why says that they
// are not known, or too many.
func (f *folding) variants(kind plan.Part, part string) (texts []string, why string) {
	texts = []string{""}
	chars := []rune(part)
	for i, c := range chars {
		if f.within[c] {
			return nil, fmt.Sprintf("The letter %q may be a part of another one in the other case.", c)
		}
		letters := f.from[c]
		if _, differs := f.to[c]; !differs {
			letters = append([]rune{c}, letters...)
		}
		if i == len(chars)-1 && (kind == plan.Prefix || kind == plan.Substring) {
			// The value may go on with the rest of what one letter becomes.
			letters = append(letters[:len(letters):len(letters)], f.grows[c]...)
		}
		if len(letters)*len(texts) > maxVariants {
			return nil, fmt.Sprintf("The pattern has more than %d variants in upper and lower case.", maxVariants)
		}
		longer := make([]string, 0, len(letters)*len(texts))
		for _, t := range texts {
			for _, l := range letters {
				longer = append(longer, t+string(l))
			}
		}
		texts = longer
	}
	return texts, ""
}

// folds asks once how the database maps letters to one case.
func (d *database) folds(ctx context.Context) (*foldings, error) {
	if f := d.folded.Load(); f != nil {
		return f, nil
	}
	f := &foldings{newFolding(), newFolding()}
	err := d.admin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var encoding, provider, locale string
		if err := conn.QueryRow(ctx, localeQuery).Scan(&encoding, &provider, &locale); err != nil {
			return err
		}
		language, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(locale), "_", "-"), "-")
		if encoding != "UTF8" || provider == "i" && slices.Contains(contextual, language) {
			return &pgError{Code: codeNotSupported, Message: "protected columns cannot be searched regardless of case in this database",
				Detail: "Its encoding is " + encoding + " and its locale " + strconv.Quote(locale) + "; which letters are the same in another case is not known there."}
		}
		rows, err := conn.Query(ctx, foldQuery)
		if err != nil {
			return err
		}
		var letter, lower, upper string
		var dependent bool
		_, err = pgx.ForEachRow(rows, []any{&letter, &lower, &upper, &dependent}, func() error {
			if dependent {
				f[0].within['σ'], f[0].within['ς'] = true, true
			}
			if c, size := utf8.DecodeRuneInString(letter); size > 0 {
				f[0].add(c, lower)
				f[1].add(c, upper)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	d.folded.Store(f)
	return f, nil
}

// of gives the folding of a match.
func (f *foldings) of(fold plan.Fold) *folding {
	if fold == plan.Upper {
		return &f[1]
	}
	return &f[0]
}
