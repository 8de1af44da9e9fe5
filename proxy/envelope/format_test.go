// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A clause of FORMAT.md is covered by a vector that lists it, or by a test file
// that names it as [X1] in a comment.
func TestEveryClauseIsCovered(t *testing.T) {
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, v := range loadVectors(t) {
		for _, c := range v.Clauses {
			covered[c] = true
		}
	}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^\s*//.*?\[([KOHVMU]\d+)\]`)
	for _, file := range tests {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(b, -1) {
			covered[string(m[1])] = true
		}
	}
	defined := regexp.MustCompile(`(?m)^\*\*\[([KOHVMU]\d+)\]\*\*`).FindAllSubmatch(format, -1)
	if len(defined) < 20 {
		t.Fatalf("found %d clauses", len(defined))
	}
	known := map[string]bool{}
	for _, m := range defined {
		clause := string(m[1])
		known[clause] = true
		if !covered[clause] {
			t.Errorf("[%s] has neither a vector nor a test", clause)
		}
	}
	for clause := range covered {
		if !known[clause] {
			t.Errorf("[%s] is not in FORMAT.md", clause)
		}
	}
}
