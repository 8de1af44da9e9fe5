// SPDX-License-Identifier: Apache-2.0

// Package plan decides what has to happen to a SQL text before PostgreSQL may
// see it. It is pure: text, catalog snapshot and search_path go in, a [Plan]
// comes out.
//
// The ciphertext of a protected column compares like its plaintext (or not at
// all), so only constants and parameters have to be sealed; nothing else of a
// statement is rewritten, and nothing is ever deparsed: edits are made in place
// at the offsets of PostgreSQL's own scanner. A statement that touches a
// protected column in a way which is not wholly understood is refused with
// SQLSTATE 0A000 and the position of the column.
//
// Expressions between which values go, or which are compared, form a class (see
// class.go). A class that has met a protected column is sealed as a whole: its
// constants and parameters are replaced, its casts taken off, and the columns of
// the result that are of it are opened. One of which any use needs the values as
// they are cannot be sealed, and meets no protected column but in a refusal.
//
// EXECUTE and FETCH say a name only: their plan holds what the text shows, and
// the session completes it with the plan of the statement behind the name.
//
// A search of a column whose values carry search tokens (see like.go) is the one
// operator that is rewritten: col LIKE 'abc%' becomes an overlap of the tokens of
// the value with those of the pattern.
//
// What a text does not show cannot be planned: the bodies of functions, DO
// blocks and triggers. There the CHECK constraint which every protected column
// carries makes the server itself refuse plaintext.
package plan
