// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
)

// wireScripts are run by default; SIDEKEY_WIRE_COUNT and SIDEKEY_WIRE_SEED set
// another number and where to begin.
const wireScripts = 250

// wireText is a statement for scripts, and what its parameters are.
type wireText struct {
	sql    string
	params []string // int, text; pin and mail of protected columns
	// refused by the proxy: PostgreSQL gets a text that fails, too.
	refused bool
}

// wireTexts are texts of scripts. Values stand in those only that mean a protected
// table under any search_path: s2.users is none.
var wireTexts = []wireText{
	{sql: "SELECT 1 AS one"},
	{sql: ""},
	{sql: "SELECT $1::int + 1", params: []string{"int"}},
	{sql: "SELECT $1::text, $2::int", params: []string{"text", "int"}},
	{sql: "SELECT generate_series(1, 5) AS n"},
	{sql: "SELECT id, email, v FROM other ORDER BY id"},
	{sql: "SELECT v FROM other WHERE id = $1", params: []string{"int"}},
	{sql: "INSERT INTO other (id, v) VALUES ($1, $2)", params: []string{"int", "text"}},
	{sql: "UPDATE other SET v = $1 WHERE id = 1 RETURNING v", params: []string{"text"}},
	{sql: "SELECT 1/0"},
	{sql: "SELECT 6/(id - 2) FROM other ORDER BY id"},
	{sql: "SELECT nothing FROM other"},
	{sql: "SELEC 1"},
	{sql: "COPY (SELECT * FROM other ORDER BY id) TO STDOUT"},
	{sql: "SHOW TimeZone"},
	{sql: "BEGIN"}, {sql: "COMMIT"}, {sql: "ROLLBACK"}, {sql: "SAVEPOINT s"}, {sql: "ROLLBACK TO s"},
	{sql: "SET search_path TO s2, public"}, {sql: "SET LOCAL search_path TO s2, public"}, {sql: "RESET search_path"},
	{sql: "SELECT pg_catalog.set_config('search_path', 's2', false) IS NULL"},
	{sql: "SELECT email FROM users ORDER BY id"},
	{sql: "SET TimeZone TO 'Asia/Tokyo'"}, {sql: "RESET TimeZone"},
	{sql: "INSERT INTO users (id, seen) VALUES ($1, '2026-01-02 03:04') RETURNING seen", params: []string{"int"}},
	{sql: "CREATE VIEW wire AS SELECT id, email FROM leads"}, {sql: "DROP VIEW wire"},
	{sql: "SELECT email FROM wire ORDER BY id"}, {sql: "UPDATE wire SET email = $1 WHERE id = 11", params: []string{"mail"}},
	{sql: "DECLARE cur CURSOR FOR SELECT email, pin FROM leads ORDER BY id"}, {sql: "FETCH 2 FROM cur"}, {sql: "CLOSE cur"},
	{sql: "DEALLOCATE s1"}, {sql: "DEALLOCATE ALL"}, {sql: "CLOSE ALL"},
	{sql: "SELECT id, email, pin, ssn FROM users ORDER BY id"},
	{sql: "SELECT * FROM users ORDER BY id"},
	{sql: "SELECT id, email FROM public.users WHERE email = $1 ORDER BY id", params: []string{"mail"}},
	{sql: "SELECT id FROM public.users WHERE pin = $1 AND email <> $2 ORDER BY id", params: []string{"pin", "mail"}},
	{sql: "SELECT email FROM public.users WHERE email = 'cnry-ann@x'"},
	{sql: "SELECT email, 6/(id - 2) AS q FROM users ORDER BY id"},
	{sql: "INSERT INTO leads (id, email, pin) VALUES ($1, $2, $3) RETURNING *", params: []string{"int", "mail", "pin"}},
	{sql: "INSERT INTO leads (id, email) VALUES (10, 'cnry-dup')"},
	{sql: "UPDATE leads SET email = $1 WHERE id = $2 RETURNING id, email", params: []string{"mail", "int"}},
	{sql: "DELETE FROM leads WHERE email = $1", params: []string{"mail"}},
	{sql: "SELECT count(email) FROM leads"},
	{sql: "SELECT seen, born FROM users ORDER BY id"},
	{sql: "SELECT lower(email) FROM public.users", refused: true},
	{sql: "SELECT id FROM public.users WHERE email LIKE $1", params: []string{"mail"}, refused: true},
	{sql: "UPDATE public.users SET note = email", refused: true},
}

// wireQueries are for simple queries only.
var wireQueries = []wireText{
	{sql: "SELECT 1; SELECT id, email FROM leads ORDER BY id; SELECT 2"},
	{sql: "INSERT INTO leads (id, email) VALUES (41, 'cnry-two'); SELECT email FROM leads WHERE id = 41; SELECT 1/0"},
	{sql: "BEGIN; SELECT email FROM users WHERE id = 1; COMMIT"},
	{sql: "SELECT 1; SELECT upper(email) FROM leads", refused: true},
	{sql: "PREPARE q AS SELECT email FROM leads ORDER BY id"}, {sql: "EXECUTE q"}, {sql: "DEALLOCATE q"},
	{sql: ";;"},
}

// standIn is what PostgreSQL gets for a text that the proxy refuses.
const standIn = "refusedhere"

// step is one message of a script, as each side gets it.
type step struct {
	text    string // for people
	plain   pgproto3.FrontendMessage
	proxied pgproto3.FrontendMessage
}

// testWire sends the same random messages to both sides, cut into random
// pieces, and compares the answers message by message.
func (s *sides) testWire(t *testing.T) {
	schema := readCorpus(t, "testdata/differential/schema.sql")
	schema.name, schema.first, schema.tables = "wire", "users", []string{"leads", "other"}
	seed, count := fromEnvironment(t, "SIDEKEY_WIRE_SEED", 1), fromEnvironment(t, "SIDEKEY_WIRE_COUNT", wireScripts)
	r := &runner{sides: s, t: t, c: schema, pass: "wire"}
	r.connect()
	r.reset(true)
	r.both("SELECT 1 FROM users LIMIT 1")
	messages, failures := map[string]int{}, 0
	for i := seed; i < seed+count; i++ {
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(i), 1)), ranged: s.ranged}
		script := g.script()
		diff := r.script(script, uint64(i), messages)
		if diff == "" {
			continue
		}
		script, diff = r.shrinkScript(script, uint64(i), diff)
		t.Errorf("SIDEKEY_WIRE_SEED=%d SIDEKEY_WIRE_COUNT=1:\n%s\n%s", i, scriptText(script), diff)
		if failures++; failures > 5 {
			t.Fatal("too many differences")
		}
	}
	t.Logf("%d scripts, answered by %v", count, messages)
	for _, kind := range []string{"DataRow", "PortalSuspended", "ErrorResponse", "CloseComplete", "ParameterDescription", "NoData", "EmptyQueryResponse", "CopyData"} {
		if count >= wireScripts && messages[kind] == 0 {
			t.Errorf("no script was answered by %s", kind)
		}
	}
}

func scriptText(script []step) string {
	var b strings.Builder
	for _, s := range script {
		b.WriteString("\t" + s.text + "\n")
	}
	return b.String()
}

// script is 5 to 40 messages.
func (g *generator) script() []step {
	statements, queried := map[string]wireText{}, false
	var out []step
	add := func(text string, m pgproto3.FrontendMessage) { out = append(out, step{text, m, m}) }
	for range 5 + g.IntN(36) {
		name, portal := pick(g, []string{"", "", "s1", "s2"}), pick(g, []string{"", "", "p1", "p2"})
		n := g.IntN(100)
		if n >= 40 && queried && portal == "" {
			// PostgreSQL itself may crash in an aborted transaction: the portal of a
			// simple query that failed is still there, its text no longer.
			portal = "p1"
		}
		switch {
		case n < 22:
			text := pick(g, wireTexts)
			if statements[name] = text; name != "" && g.chance(70) {
				add("Close S "+name, &pgproto3.Close{ObjectType: 'S', Name: name})
			}
			out = append(out, parseStep(name, text))
			if g.chance(40) {
				add("Describe S "+name, &pgproto3.Describe{ObjectType: 'S', Name: name})
			}
			if g.chance(70) {
				bind := g.bind(portal, name, text)
				add(fmt.Sprintf("Bind %+v", *bind), bind)
				add("Execute "+portal, &pgproto3.Execute{Portal: portal, MaxRows: uint32(g.IntN(3))})
			}
		case n < 40:
			if known := slices.Sorted(maps.Keys(statements)); len(known) > 0 && g.chance(85) {
				name = pick(g, known)
			}
			bind := g.bind(portal, name, statements[name])
			add(fmt.Sprintf("Bind %+v", *bind), bind)
			if g.chance(70) {
				rows := uint32(pick(g, []int{0, 0, 0, 1, 2, 3}))
				add(fmt.Sprintf("Execute %s %d", portal, rows), &pgproto3.Execute{Portal: portal, MaxRows: rows})
			}
		case n < 48:
			rows := uint32(pick(g, []int{0, 1, 2, 100}))
			add(fmt.Sprintf("Execute %s %d", portal, rows), &pgproto3.Execute{Portal: portal, MaxRows: rows})
		case n < 52:
			add("Describe P "+portal, &pgproto3.Describe{ObjectType: 'P', Name: portal})
		case n < 55:
			add("Describe S "+name, &pgproto3.Describe{ObjectType: 'S', Name: name})
		case n < 59:
			add("Close S "+name, &pgproto3.Close{ObjectType: 'S', Name: name})
		case n < 63:
			add("Close P "+portal, &pgproto3.Close{ObjectType: 'P', Name: portal})
		case n < 67:
			add("Flush", &pgproto3.Flush{})
		case n < 80:
			out, queried = append(out, g.querySteps()...), true
		default:
			add("Sync", &pgproto3.Sync{})
		}
	}
	return out
}

func parseStep(name string, text wireText) step {
	m := &pgproto3.Parse{Name: name, Query: text.sql}
	s := step{fmt.Sprintf("Parse %s %q", name, text.sql), m, m}
	if text.refused {
		s.plain = &pgproto3.Parse{Name: name, Query: standIn}
	}
	return s
}

// querySteps are a simple query, mostly where the server reads one.
func (g *generator) querySteps() (out []step) {
	if g.chance(70) {
		out = append(out, step{"Sync", &pgproto3.Sync{}, &pgproto3.Sync{}})
	}
	text := pick(g, append(wireQueries, wireTexts...))
	m := &pgproto3.Query{String: text.sql}
	s := step{fmt.Sprintf("Query %q", text.sql), m, m}
	if text.refused {
		s.plain = &pgproto3.Query{String: standIn}
	}
	return append(out, s)
}

// bind has mostly the parameters that the statement takes.
func (g *generator) bind(portal, name string, text wireText) *pgproto3.Bind {
	b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
	inBinary := g.chance(30)
	for _, kind := range text.params {
		b.Parameters = append(b.Parameters, g.parameter(kind, inBinary))
	}
	if inBinary {
		b.ParameterFormatCodes = []int16{1}
	} else if g.chance(20) {
		b.ParameterFormatCodes = make([]int16, len(b.Parameters))
	}
	if g.chance(3) {
		b.Parameters = append(b.Parameters, []byte("extra"))
	}
	b.ResultFormatCodes = pick(g, [][]int16{nil, nil, {0}, {1}, {0, 1}, {1, 0, 1}, {2}})
	return b
}

func (g *generator) parameter(kind string, inBinary bool) []byte {
	if g.chance(6) {
		return nil
	}
	n := pick(g, []int{1, 2, 10, 11, 40})
	switch kind {
	case "mail":
		return []byte(pick(g, []string{"cnry-ann@x", "cnry-bob@x", "cnry-wire", "", "cnry-é"}))
	case "text":
		return []byte(pick(g, []string{"plain", "", "é"}))
	case "pin":
		n = pick(g, []int{731000001, 731000002, 5})
	}
	if inBinary {
		return binary.BigEndian.AppendUint32(nil, uint32(n))
	}
	if g.chance(5) {
		return []byte("x")
	}
	return fmt.Appendf(nil, "%d", n)
}

// wireReset makes the tables that scripts change what they were.
func (r *runner) wireReset() {
	r.both("SET search_path TO public; DROP VIEW IF EXISTS wire")
	r.both("DELETE FROM users WHERE id > 5; DELETE FROM leads; INSERT INTO leads VALUES (10, 'cnry-bob@x', 731000002, 'l10'), (11, 'cnry-cyd@x', 731000009, 'l11'), (12, NULL, NULL, NULL); " +
		"DELETE FROM other; INSERT INTO other VALUES (1, 'plain-ann@x', 'v1', 1), (2, 'plain-bob@x', 'v2', 2), (3, NULL, NULL, NULL)")
}

// script runs a script on new connections of both sides.
func (r *runner) script(script []step, seed uint64, messages map[string]int) (diff string) {
	r.wireReset()
	plain := newPeer(r.t, fmt.Sprintf("127.0.0.1:%d", r.plain.port), r.database)
	proxied := newPeer(r.t, r.f.addr, r.f.database)
	defer plain.conn.Close()
	defer proxied.conn.Close()
	chunks := rand.New(rand.NewPCG(seed, 2))
	want, err := plain.play(script, func(s step) pgproto3.FrontendMessage { return s.plain }, chunks)
	if err != nil {
		r.t.Fatalf("%s: %v", scriptText(script), err)
	}
	got, err := proxied.play(script, func(s step) pgproto3.FrontendMessage { return s.proxied }, chunks)
	if err != nil {
		return fmt.Sprintf("the connection through the proxy: %v; it said %v", err, wireLines(got, messages))
	}
	wanted, given := wireLines(want, nil), wireLines(got, messages)
	for i := range min(len(wanted), len(given)) {
		// Values are read before the server counts them, or looks at names.
		read := strings.Contains(wanted[i], "08P01: bind message supplies") || strings.Contains(wanted[i], "42P03: ")
		if read && strings.HasPrefix(given[i], "ErrorResponse") {
			given[i] = wanted[i]
		}
		if wanted[i] != given[i] && strings.Contains(got[i].Fields, "cached plan must not change result type") {
			// A prepared statement is not made to mean another table: what follows differs.
			wanted, given = wanted[:i], given[:i]
			break
		}
	}
	if diff = cmp.Diff(wanted, given); diff != "" {
		return diff
	}
	o, alive := r.tables(outcome{}, "")
	if !alive {
		r.connect()
	}
	return o.diff
}

// play writes a script in pieces, reading at the same time, up to the answer of
// a last query.
func (p *peer) play(script []step, side func(step) pgproto3.FrontendMessage, chunks *rand.Rand) ([]reply, error) {
	const last = "the last row"
	var bytes []byte
	var err error
	messages := []pgproto3.FrontendMessage{}
	for _, s := range script {
		messages = append(messages, side(s))
	}
	messages = append(messages, &pgproto3.Sync{}, &pgproto3.Query{String: "ROLLBACK"}, &pgproto3.Query{String: "SELECT '" + last + "'"})
	for _, m := range messages {
		if bytes, err = m.Encode(bytes); err != nil {
			return nil, err
		}
	}
	p.conn.SetDeadline(time.Now().Add(answerTime))
	largest := []int{3, 40, 400, len(bytes)}[chunks.IntN(4)]
	sizes := []int{}
	for left := len(bytes); left > 0; left -= sizes[len(sizes)-1] {
		sizes = append(sizes, min(left, 1+chunks.IntN(largest)))
	}
	go func() {
		for _, n := range sizes {
			if _, err := p.conn.Write(bytes[:n]); err != nil {
				return
			}
			bytes = bytes[n:]
		}
	}()
	var out []reply
	for done := false; ; {
		m, err := p.Receive()
		if err != nil {
			return out, err
		}
		if r, compared := noteReply(m); compared {
			out = append(out, r)
			done = done || r.Kind == "DataRow" && r.Fields == `"`+last+`"`
		}
		if ready, ok := m.(*pgproto3.ReadyForQuery); ok && done {
			p.status = ready.TxStatus
			return out, nil
		}
	}
}

// parameterContext is what PostgreSQL tells of a parameter that it cannot read;
// the proxy reads those of protected columns itself.
var parameterContext = regexp.MustCompile(`; where: (unnamed portal|portal "[^"]*") parameter \$\d+( = '\.\.\.')?`)

// rowDetail is a DETAIL that quotes a row: through the proxy, in ciphertext.
var rowDetail = regexp.MustCompile(`^(Key \(|Failing row contains)`)

// refusedLine stands for what a text gets that is refused, or would be.
const refusedLine = "ErrorResponse of a refused text"

// wireLines are what is compared of answers.
func wireLines(answer []reply, count map[string]int) []string {
	var out []string
	quoting := quotesSealed(answer)
	for _, r := range answer {
		if count != nil {
			count[r.Kind]++
		}
		line := parameterContext.ReplaceAllString(r.String(), "")
		// In an aborted transaction, the stand-in is read before that is noticed.
		if r.refusal || r.code == "25P02" || strings.Contains(r.Fields, `"`+standIn+`"`) {
			line = refusedLine
		} else if r.detail != "" && !quoting && !rowDetail.MatchString(r.detail) {
			line += "; detail: " + r.detail
		}
		out = append(out, line)
	}
	return out
}

// shrinkScript leaves messages out for as long as the answers differ.
func (r *runner) shrinkScript(script []step, seed uint64, diff string) ([]step, string) {
	for again := true; again; {
		again = false
		for i := range script {
			smaller := slices.Delete(slices.Clone(script), i, i+1)
			if d := r.script(smaller, seed, nil); d != "" {
				script, diff, again = smaller, d, true
				break
			}
		}
	}
	return script, diff
}
