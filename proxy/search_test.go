// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy"
)

func TestSearchRules(t *testing.T) {
	for want, rule := range map[string]proxy.ColumnRule{
		"only text and varchar": {Type: "int4", Search: &proxy.Search{Prefix: 1}},
		"not text[]":            {Type: "text[]", Search: &proxy.Search{Prefix: 1}},
		"only values of mode":   {Type: "text", Mode: "equality", Search: &proxy.Search{Prefix: 1}},
		"prefix: 65":            {Type: "text", Search: &proxy.Search{Prefix: 65}},
		"suffix: -1":            {Type: "text", Search: &proxy.Search{Suffix: -1}},
		"substring: 0 to 4":     {Type: "text", Search: &proxy.Search{Substring: proxy.Substring{Max: 4}}},
		"substring: 5 to 4":     {Type: "text", Search: &proxy.Search{Substring: proxy.Substring{Min: 5, Max: 4}}},
		"substring: 3 to 17":    {Type: "text", Search: &proxy.Search{Substring: proxy.Substring{Min: 3, Max: 17}}},
	} {
		rule.Table, rule.Column, rule.KeyID = "t", "c", "k"
		err := (&proxy.Rules{Columns: []proxy.ColumnRule{rule}}).Validate()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "columns[0].search: ") {
			t.Errorf("%+v: got %v, want %q", rule, err, want)
		}
	}
}

func TestSearchWarnings(t *testing.T) {
	for lowest, want := range map[int]int{1: 1, 2: 1, 3: 0} {
		rules := proxy.Rules{Columns: []proxy.ColumnRule{{Search: &proxy.Search{Substring: proxy.Substring{Min: lowest, Max: 4}}}}}
		if got := rules.Warnings(); len(got) != want {
			t.Errorf("from %d characters: %q", lowest, got)
		}
	}
}

// Each data key of a column has a token of its own, of which values under it carry
// one; a column under another Search neither has that prefix nor opens them.
func TestColumnTokens(t *testing.T) {
	f := newFixture(t)
	rule := f.rules.Columns[0]
	rule.Search = &proxy.Search{Prefix: 4}
	first, second := f.columnKey(t, rule, 1), f.columnKey(t, rule, 2)
	old := acquire(t, f.column(t, rule, first))
	both := acquire(t, f.column(t, rule, first, second))
	for _, l := range []*proxy.ColumnLease{old, both} {
		v, err := l.Seal(nil, []byte("alice"))
		if err != nil || !bytes.HasPrefix(v, proxy.CheckPrefix(rule)) || len(v) < proxy.MinSealed(rule) || !proxy.Sealed(v) {
			t.Fatalf("%x, %v", v, err)
		}
		if got, err := both.Open(nil, v); err != nil || string(got) != "alice" {
			t.Errorf("opened %q, %v", got, err)
		}
		for part, want := range map[string]int{"ali": 1, "": 1, "alic": 1, "alice": 0, "b": 0} {
			tokens, err := both.Tokens(proxy.PrefixToken, []byte(part))
			if err != nil || len(tokens) != 2 {
				t.Fatalf("%d tokens, %v", len(tokens), err)
			}
			got := 0
			for _, token := range tokens {
				got += bytes.Count(v, token)
			}
			if got != want {
				t.Errorf("prefix %q: %d of its tokens, want %d", part, got, want)
			}
		}
	}
	longer := rule
	longer.Search = &proxy.Search{Prefix: 5}
	v, _ := old.Seal(nil, []byte("alice"))
	if bytes.HasPrefix(v, proxy.CheckPrefix(longer)) {
		t.Error("the CHECK constraint of a longer prefix takes values without it")
	}
	if _, err := acquire(t, f.column(t, longer, first)).Open(nil, v); err == nil {
		t.Error("opened under another search")
	}
	if _, err := acquire(t, f.column(t, f.rules.Columns[0], first)).Tokens(proxy.PrefixToken, nil); err == nil {
		t.Error("tokens of a column that has none")
	}
}
