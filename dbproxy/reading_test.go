// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/dbproxy"
)

// TestArrayTexts reads every short text of braces, commas and ones, with bounds and
// without, as the server does: since PostgreSQL 17 {{}} is an empty array.
func TestArrayTexts(t *testing.T) {
	conn := dial(t, shared.url("postgres", "postgres"), pgx.QueryExecModeSimpleProtocol)
	parsed, err := dbproxy.PlanType("int4[]")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, bounds := range []string{"", "[1:1]=", "[0:1]=", "[1:0]=", "[2:3][1:1]="} {
		last, longest := []string{bounds + "{"}, 8
		if bounds != "" {
			longest = 6
		}
		for range longest {
			texts = append(texts, last...)
			var next []string
			for _, s := range last {
				for _, c := range "{},1" {
					next = append(next, s+string(c))
				}
			}
			last = next
		}
	}
	g := grammar{rand.New(rand.NewPCG(7, 8))}
	for range 3000 {
		texts = append(texts, g.any("", "", "[1:1]=", "[1:2][1:1]=")+"{"+g.some(6, "{}", "{}", "{1}", "{{}}", "{{},{}}", ",", ",", "{", "}")+"}")
	}
	version, read := serverVersion(t), 0
	for i, want := range allStored(t, conn, "int4[]", texts) {
		var got []byte
		value, err := dbproxy.DecodeValue(parsed, 0, 0, []byte(texts[i]), time.UTC, version)
		if err == nil {
			got, err = dbproxy.EncodeValue(nil, parsed, 0, value, nil)
		}
		switch {
		case want == nil && err == nil:
			t.Errorf("%s: got %s, want an error", texts[i], got)
		case want != nil && (err != nil || string(got) != *want):
			t.Errorf("%s: got %s, %v; want %s", texts[i], got, err, *want)
		case want != nil:
			read++
		}
	}
	if read < 20 {
		t.Errorf("only %d texts are read", read)
	}
}

// allStored is stored for many texts.
func allStored(t *testing.T, conn *pgx.Conn, typ string, texts []string) (out []*string) {
	t.Helper()
	for some := range slices.Chunk(texts, 1000) {
		out = append(out, stored(t, conn, typ, some)...)
	}
	return out
}
