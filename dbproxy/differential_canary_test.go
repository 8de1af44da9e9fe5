// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// canaries know which use of a protected value was given which number. All
// such values have the word cnry in them, in texts, or begin with 7310, in
// numbers; a value cnry{n} is unlike all others.
type canaries struct {
	last int
	uses map[int]string
}

// mark replaces {n} by a number of its own.
func (c *canaries) mark(sql, use string) string {
	if !strings.Contains(sql, "{n}") {
		return sql
	}
	c.last++
	c.uses[c.last] = use
	return strings.ReplaceAll(sql, "{n}", strconv.Itoa(c.last))
}

// needles are how a canary looks, as it is, in upper case, reversed, or in
// hexadecimal.
var needles = [][]byte{[]byte("cnry"), []byte("CNRY"), []byte("yrnc"), []byte("636e7279"), []byte("636E7279"), []byte("7310"), []byte("ca9a71e0-"), []byte("CA9A71E0")}

// canaryNumber is a canary of digits. A number that is part of hexadecimal text
// is there by chance.
var canaryNumber = regexp.MustCompile(`^[^0-9a-fA-F.]7310[0-9]{5,}[^0-9a-fA-F]`)

const maxLeaks = 20

// leaks finds canaries.
func leaks(b []byte) (at []int) {
	for _, needle := range needles {
		for from := 0; len(at) < maxLeaks; {
			i := bytes.Index(b[from:], needle)
			if i < 0 {
				break
			}
			i += from
			from = i + len(needle)
			if needle[0] != '7' || i > 0 && canaryNumber.Match(b[i-1:min(len(b), i+32)]) {
				at = append(at, i)
			}
		}
	}
	return at
}

// testCanaries looks for protected values in everything that the server has
// written, and in the texts it keeps.
func (s *sides) testCanaries(t *testing.T) {
	conn := s.f.direct(t)
	exec1(t, conn, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
	rows, _ := conn.Query(t.Context(), "SELECT query FROM pg_stat_statements")
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(texts) < 3 {
		t.Fatalf("%d texts, %v", len(texts), err)
	}
	for _, text := range texts {
		s.report(t, "pg_stat_statements", []byte(text))
	}
	exec1(t, conn, "CHECKPOINT")
	files := 0
	err = filepath.WalkDir(s.f.cluster.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // files come and go
		}
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 {
			files++
			s.report(t, strings.TrimPrefix(path, s.f.cluster.dir), b)
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("looked at %d files: %v", files, err)
	}
	s.testCanariesAreFound(t)
}

// testCanariesAreFound checks the search itself: a value that gets past the
// proxy is found.
func (s *sides) testCanariesAreFound(t *testing.T) {
	if t.Failed() {
		return
	}
	exec1(t, s.f.direct(t), "SELECT 'cnry0'")
	found := false
	waitFor(t, func() bool {
		logs, _ := filepath.Glob(filepath.Join(s.f.cluster.dir, "log", "*"))
		for _, path := range logs {
			b, err := os.ReadFile(path)
			found = found || err == nil && len(leaks(b)) > 0
		}
		return found
	})
}

var digits = regexp.MustCompile(`^(?i)cnry[a-z-]*([0-9]+)`)

func (s *sides) report(t *testing.T, where string, b []byte) {
	t.Helper()
	for _, at := range leaks(b) {
		use := "a value that is used more than once"
		if m := digits.FindSubmatch(b[at:min(len(b), at+40)]); m != nil {
			number, _ := strconv.Atoi(string(m[1]))
			use = s.canaries.uses[number]
		}
		t.Errorf("%s has a protected value, of %q: %q", where, use, b[max(0, at-160):min(len(b), at+80)])
	}
}
