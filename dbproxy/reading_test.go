// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// intervalTexts are those that versions read each in its way.
func intervalTexts(g grammar) (texts []string) {
	numbers := []string{"1.99", "-1.99", "0.5", "0.1", "-0.25", "1.0000005", "0.0000005", "-0.0000015", "1.5", "2.5", "0.29", "1.23456789", "1.", ".5", ".", "1e-3", "1.5e0",
		"2147483647", "2147483648", "-2147483648", "2147483647.5", "3000000000", "99999999999", "1000000000000000", "1000000000.1", "-0", "0.999999999", "0.04166666666"}
	units := []string{"us", "ms", "s", "m", "h", "d", "w", "mon", "y", "dec", "c", "mil"}
	for _, n := range numbers {
		for _, u := range units {
			texts = append(texts, n+" "+u, n+" "+u+" ago", "1 mon -3 d "+n+" "+u, "-1-2 "+n+" "+u, "5:06:07.8 "+n+" "+u, n+" "+u+" 2147483647 h")
		}
		for _, u := range []string{"Y", "M", "W", "D", "TH", "TM", "TS"} {
			designated := "P" + strings.TrimSuffix(u, u[len(u)-1:]) + n + u[len(u)-1:]
			texts = append(texts, designated, "P1Y-2M"+designated[1:])
		}
		texts = append(texts, "1:02:"+n, n+":30", "1-"+n, n)
	}
	for range 2000 {
		n := func() string { return fmt.Sprintf("%d.%0*d", g.IntN(200)-100, 1+g.IntN(9), g.IntN(10000)) }
		texts = append(texts, n()+" "+units[g.IntN(12)]+" "+n()+" "+units[g.IntN(12)], "P"+n()+g.any("Y", "M", "W", "D")+"T"+n()+g.any("H", "M", "S"), n()+" "+g.any("d", "mon", "y")+" "+g.clock())
	}
	return append(texts, "infinity", "-infinity", "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807")
}

// TestIntervalTexts reads intervals as the server does, or not at all. Before
// PostgreSQL 15 that was otherwise.
func TestIntervalTexts(t *testing.T) {
	conn := dial(t, shared.url("postgres", "postgres"), pgx.QueryExecModeSimpleProtocol)
	parsed, err := dbproxy.PlanType("interval")
	if err != nil {
		t.Fatal(err)
	}
	version, read, unread := serverVersion(t), 0, 0
	texts := intervalTexts(grammar{rand.New(rand.NewPCG(5, 6))})
	for i, want := range allStored(t, conn, "interval", texts) {
		value, err := dbproxy.DecodeValue(parsed, 0, 0, []byte(texts[i]), time.UTC, version)
		if err != nil {
			if want != nil {
				unread++
			}
			continue
		}
		read++
		got, err := dbproxy.EncodeValue(nil, parsed, 0, value, nil)
		if err != nil || want == nil || string(got) != *want {
			shown := "an error"
			if want != nil {
				shown = *want
			}
			t.Errorf("%s: got %s, %v; want %s", texts[i], got, err, shown)
		}
	}
	if most := len(texts) / 50; version >= 15 && unread > most || unread > 10*most {
		t.Errorf("%d of %d are read, %d only by the server", read, len(texts), unread)
	}
}
