// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// TestLargeTextsAreCounted: what stays of a large text is no more than has room.
func TestLargeTextsAreCounted(t *testing.T) {
	f := narrow(t)
	w, sync := rawClient(t, f), &pgproto3.Sync{}
	large := strings.Repeat("x", 2*mib-1000)
	trace := "/*traceparent='" + traceparent + "',x='" + large + "'*/ "
	prepared := 0
	for what, send := range map[string]func(i int){
		"PREPARE": func(i int) {
			w.send(&pgproto3.Query{String: fmt.Sprintf("PREPARE q%d AS SELECT sealed FROM large WHERE id = %d; SELECT 1 /*%s*/", i, i, large)}).want("C T23 D:1 C Z")
		},
		"a trace before other tables": func(i int) {
			w.send(&pgproto3.Parse{Name: fmt.Sprint("t", i), Query: fmt.Sprintf("%sSELECT %d AS a%d", trace, i, i)}, sync).want("1 Z")
		},
		"a trace before a query": func(i int) {
			w.send(&pgproto3.Query{String: fmt.Sprintf("%sSELECT sealed AS a%d FROM large", trace, i)}).want("T25 C Z")
		},
		"a name that is taken": func(i int) {
			w.send(&pgproto3.Parse{Name: "taken", Query: fmt.Sprintf("SELECT %d", prepared)}, sync)
			if prepared++; prepared == 1 {
				w.want("1 Z")
				return
			}
			w.want("E42P05 Z")
			w.send(&pgproto3.Parse{Name: "taken", Query: "SELECT sealed FROM large /*" + large + "*/"}, sync).want("E42P05 Z")
		},
	} {
		send(0)
		before := inUse()
		for i := range 8 {
			send(i + 1)
		}
		f.holding(t, 0, 0)
		if grown := inUse() - before; grown > 8*mib {
			t.Errorf("%s: %d MiB more are in use", what, grown/mib)
		}
	}
	w.send(&pgproto3.Query{String: "DECLARE c CURSOR WITH HOLD FOR SELECT sealed FROM large; SELECT 1 /*" + large + "*/"}).want("C T23 D:1 C Z")
	f.holding(t, 2, 0) // the text tells the cursor from others
	w.send(&pgproto3.Query{String: "CLOSE c"}).want("C Z")
	f.holding(t, 0, 0)
	w.send(&pgproto3.Parse{Name: "a", Query: trace + "SELECT sealed FROM large"}, sync).want("1 Z")
	f.holding(t, 2, 0)
	w.send(&pgproto3.Parse{Name: "b", Query: trace + "SELECT sealed FROM large"}, sync).want("1 Z")
	f.holding(t, 4, 0)
	w.send(&pgproto3.Parse{Name: "c", Query: trace + "SELECT sealed FROM large"}, sync).want("1 Z")
	w.send(&pgproto3.Parse{Name: "d", Query: trace + "SELECT sealed FROM large"}, sync).want("E53200 Z")
	w.send(&pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Close{ObjectType: 'S', Name: "b"}, &pgproto3.Close{ObjectType: 'S', Name: "c"}, sync).want("3 3 3 Z")
	f.holding(t, 0, 0)
}
