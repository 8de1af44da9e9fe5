// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// TestSkippedMessages sends the next batch before it is known that the server
// has skipped a message of the one before: names then mean what they meant.
func TestSkippedMessages(t *testing.T) {
	f := start(t, shared, users())
	w := rawClient(t, f)
	sync, run := &pgproto3.Sync{}, &pgproto3.Execute{}
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(portal, st string, params ...string) *pgproto3.Bind {
		b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: st}
		for _, p := range params {
			b.Parameters = append(b.Parameters, []byte(p))
		}
		return b
	}
	fails := bind("", "nothing")
	w.send(&pgproto3.Query{String: usersDDL}).want("C Z")
	w.send(parse("s", "INSERT INTO users (email) VALUES ($1) RETURNING email"), sync).want("1 Z")

	// Close is skipped: the statement is still there.
	w.send(fails, &pgproto3.Close{ObjectType: 'S', Name: "s"}, sync, bind("", "s", "skmark-1"), run, sync).want("E26000 Z 2 D:skmark-1 C Z")
	// Parse is skipped, of an unnamed statement and of a named one.
	w.send(parse("", "SELECT email FROM users"), sync).want("1 Z")
	w.send(fails, parse("", "SELECT 1"), sync, bind("", ""), run, sync).want("E26000 Z 2 D:skmark-1 C Z")
	w.send(fails, parse("t", "SELECT 1"), sync, parse("t", "INSERT INTO users (email) VALUES ($1)"), bind("", "t", "skmark-2"), run, sync).want("E26000 Z 1 2 C Z")
	// So is a simple query, which would have ended the unnamed statement.
	w.send(parse("", "SELECT count(email) FROM users"), sync).want("1 Z")
	w.send(fails, &pgproto3.Query{String: "SELECT 1"}, sync, bind("", ""), run, sync).want("E26000 Z 2 D:2 C Z")
	// Bind is skipped: the portal is still that of before.
	w.send(&pgproto3.Query{String: "BEGIN"}).want("C Z")
	w.send(parse("u", "SELECT email FROM users ORDER BY id"), parse("v", "SELECT note FROM users"), bind("p", "u"), sync).want("1 1 2 Z")
	w.send(&pgproto3.Query{String: "SAVEPOINT a"}).want("C Z")
	w.send(&pgproto3.Execute{Portal: "p", MaxRows: 1}, sync, &pgproto3.Describe{ObjectType: 'P', Name: "p"}, sync).want("D:skmark-1 s Z T25 Z")
	w.send(&pgproto3.Query{String: "COMMIT"}).want("C Z")
	noCanary(t, f, "skmark")
}
