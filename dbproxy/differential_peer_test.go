// SPDX-License-Identifier: Apache-2.0

//go:build !race

package dbproxy_test

import (
	"fmt"
	"net"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// answerTime is how long an answer may take before the connection counts as
// stuck. It decides nothing where all is well.
const answerTime = 30 * time.Second

// peer is one side of a comparison: a connection that notes every message of
// every answer.
type peer struct {
	conn net.Conn
	*pgproto3.Frontend
	status byte // of the last ReadyForQuery
}

func newPeer(t testing.TB, addr, database string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{conn: conn, Frontend: pgproto3.NewFrontend(conn, conn)}
	p.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "postgres", "database": database, "TimeZone": "America/New_York"}})
	if _, err := p.answer(nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// reply is one message of an answer, without what differs between two servers.
type reply struct {
	Kind   string // as the protocol's documentation calls it
	Fields string
	// detail of an error or notice; it may quote a row.
	detail string
	code   string
	// refusal says that the proxy itself has refused: errors of the server
	// tell where in its source they were raised.
	refusal bool
}

func (r reply) String() string { return r.Kind + " " + r.Fields }

// noteReply gives what is compared of a message, and false for one of which
// nothing is.
func noteReply(m pgproto3.BackendMessage) (reply, bool) {
	switch m := m.(type) {
	case *pgproto3.RowDescription:
		return reply{Kind: "RowDescription", Fields: describeFields(m.Fields)}, true
	case *pgproto3.DataRow:
		return reply{Kind: "DataRow", Fields: rowText(m.Values)}, true
	case *pgproto3.CommandComplete:
		return reply{Kind: "CommandComplete", Fields: string(m.CommandTag)}, true
	case *pgproto3.ErrorResponse:
		return noteError("ErrorResponse", m), true
	case *pgproto3.NoticeResponse:
		return noteError("NoticeResponse", (*pgproto3.ErrorResponse)(m)), true
	case *pgproto3.ReadyForQuery:
		return reply{Kind: "ReadyForQuery", Fields: string(m.TxStatus)}, true
	case *pgproto3.ParameterStatus:
		return reply{Kind: "ParameterStatus", Fields: m.Name + "=" + m.Value}, true
	case *pgproto3.ParameterDescription:
		return reply{Kind: "ParameterDescription", Fields: fmt.Sprint(m.ParameterOIDs)}, true
	case *pgproto3.CopyData:
		return reply{Kind: "CopyData", Fields: fmt.Sprintf("%q", m.Data)}, true
	case *pgproto3.CopyInResponse:
		return reply{Kind: "CopyInResponse", Fields: fmt.Sprint(m.OverallFormat, m.ColumnFormatCodes)}, true
	case *pgproto3.CopyOutResponse:
		return reply{Kind: "CopyOutResponse", Fields: fmt.Sprint(m.OverallFormat, m.ColumnFormatCodes)}, true
	case *pgproto3.NotificationResponse:
		return reply{Kind: "NotificationResponse", Fields: m.Channel + " " + m.Payload}, true
	case *pgproto3.BackendKeyData, *pgproto3.AuthenticationOk:
		return reply{}, false
	}
	return reply{Kind: strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")}, true
}

// describeFields leaves out the tables' OIDs, which are the databases' own.
func describeFields(fields []pgproto3.FieldDescription) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "[%s type %d size %d typmod %d format %d of table %v column %d]", f.Name, f.DataTypeOID, f.DataTypeSize, f.TypeModifier, f.Format, f.TableOID != 0, f.TableAttributeNumber)
	}
	return b.String()
}

func rowText(values [][]byte) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(" | ")
		}
		if v == nil {
			b.WriteString("NULL")
			continue
		}
		fmt.Fprintf(&b, "%q", v)
	}
	return b.String()
}

func noteError(kind string, e *pgproto3.ErrorResponse) reply {
	r := reply{Kind: kind, code: e.Code, detail: e.Detail}
	// 42804 is a refusal of a type that the server might have cast.
	r.refusal = kind == "ErrorResponse" && e.Routine == "" && (e.Code == "0A000" || e.Code == "42804")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", e.Severity, e.Code, e.Message)
	for _, f := range []struct{ name, value string }{{"hint", e.Hint}, {"where", e.Where}, {"internal query", e.InternalQuery}, {"schema", e.SchemaName}, {"table", e.TableName},
		{"column", e.ColumnName}, {"data type", e.DataTypeName}, {"constraint", e.ConstraintName}} {
		if f.value != "" {
			fmt.Fprintf(&b, "; %s: %s", f.name, f.value)
		}
	}
	if e.Position != 0 || e.InternalPosition != 0 {
		fmt.Fprintf(&b, "; position %d/%d", e.Position, e.InternalPosition)
	}
	r.Fields = b.String()
	return r
}

// answer sends what is buffered and reads up to ReadyForQuery. A COPY FROM STDIN
// gets the data.
func (p *peer) answer(data []byte) ([]reply, error) {
	p.conn.SetDeadline(time.Now().Add(answerTime))
	if err := p.Flush(); err != nil {
		return nil, err
	}
	var out []reply
	for {
		m, err := p.Receive()
		if err != nil {
			return out, fmt.Errorf("after %d messages: %w", len(out), err)
		}
		r, compared := noteReply(m)
		if compared {
			out = append(out, r)
		}
		switch m := m.(type) {
		case *pgproto3.CopyInResponse:
			if err := p.copyIn(data); err != nil {
				return out, err
			}
		case *pgproto3.ReadyForQuery:
			p.status = m.TxStatus
			return out, nil
		}
	}
}

// copyIn sends data in pieces that do not end with lines.
func (p *peer) copyIn(data []byte) error {
	for len(data) > 0 {
		n := min(7, len(data))
		p.Send(&pgproto3.CopyData{Data: data[:n]})
		data = data[n:]
	}
	p.Send(&pgproto3.CopyDone{})
	return p.Flush()
}

func (p *peer) simple(sql string, data []byte) ([]reply, error) {
	p.Send(&pgproto3.Query{String: sql})
	return p.answer(data)
}

// extended runs a statement in one batch, with parameters in text.
func (p *peer) extended(sql string, params [][]byte, data []byte) ([]reply, error) {
	p.Send(&pgproto3.Parse{Query: sql})
	p.Send(&pgproto3.Describe{ObjectType: 'S'})
	p.Send(&pgproto3.Bind{Parameters: params})
	p.Send(&pgproto3.Execute{})
	p.Send(&pgproto3.Sync{})
	return p.answer(data)
}

// binary prepares a statement under a name, learns the types of its parameters
// and runs it with parameters and results in binary.
func (p *peer) binary(sql string, params [][]byte, data []byte) ([]reply, error) {
	const name = "binary"
	p.Send(&pgproto3.Parse{Name: name, Query: sql})
	p.Send(&pgproto3.Describe{ObjectType: 'S', Name: name})
	p.Send(&pgproto3.Sync{})
	p.conn.SetDeadline(time.Now().Add(answerTime))
	if err := p.Flush(); err != nil {
		return nil, err
	}
	var out []reply
	var oids []uint32
	for failed := false; ; {
		m, err := p.Receive()
		if err != nil {
			return out, err
		}
		r, _ := noteReply(m)
		out = append(out, r)
		switch m := m.(type) {
		case *pgproto3.ParameterDescription:
			oids = append(oids, m.ParameterOIDs...)
		case *pgproto3.ErrorResponse:
			failed = true
		case *pgproto3.ReadyForQuery:
			if p.status = m.TxStatus; failed {
				return out, nil
			}
			bound, formats := inBinary(oids, params)
			p.Send(&pgproto3.Bind{PreparedStatement: name, Parameters: bound, ParameterFormatCodes: formats, ResultFormatCodes: []int16{1}})
			p.Send(&pgproto3.Describe{ObjectType: 'P'})
			p.Send(&pgproto3.Execute{})
			p.Send(&pgproto3.Close{ObjectType: 'S', Name: name})
			p.Send(&pgproto3.Sync{})
			more, err := p.answer(data)
			// An error has the statement left.
			p.Send(&pgproto3.Close{ObjectType: 'S', Name: name})
			p.Send(&pgproto3.Sync{})
			if err == nil {
				_, err = p.answer(nil)
			}
			return append(out, more...), err
		}
	}
}

// inBinary encodes texts as values of types; what cannot be stays text.
func inBinary(oids []uint32, texts [][]byte) (values [][]byte, formats []int16) {
	m := pgtype.NewMap()
	for i, text := range texts {
		format := int16(0)
		if text != nil && i < len(oids) {
			if b, ok := encodeBinary(m, oids[i], text); ok {
				text, format = b, 1
			}
		}
		values, formats = append(values, text), append(formats, format)
	}
	return values, formats
}

func encodeBinary(m *pgtype.Map, oid uint32, text []byte) ([]byte, bool) {
	typ, ok := m.TypeForOID(oid)
	if oid == pgtype.JSONOID || oid == pgtype.JSONBOID {
		return nil, false // pgtype would encode a decoded value
	}
	if !ok || !typ.Codec.FormatSupported(pgtype.BinaryFormatCode) {
		return nil, false
	}
	v, err := typ.Codec.DecodeValue(m, oid, pgtype.TextFormatCode, text)
	if err != nil || v == nil {
		return nil, false
	}
	b, err := m.Encode(oid, pgtype.BinaryFormatCode, v, nil)
	return b, err == nil && b != nil
}

// refusedReply says whether an answer is a refusal of the proxy's own.
func refusedReply(answer []reply) bool {
	for _, r := range answer {
		if r.refusal {
			return true
		}
	}
	return false
}

// sealedText is how a value looks in a message of the server that may be
// ciphertext, or what the proxy puts in the place of one.
var sealedText = regexp.MustCompile(`\\\\?x[0-9a-f]{6,}(\.\.\.)?|\(encrypted\)`)

// quotesSealed says whether a DETAIL quotes a value that need not be the same.
func quotesSealed(answer []reply) bool {
	for _, r := range answer {
		if sealedText.MatchString(r.detail) {
			return true
		}
	}
	return false
}

// comparison says what of two answers need not be alike.
type comparison struct {
	unordered bool // rows are in no order
	noRows    bool // the rows are the servers' own affair, as those of EXPLAIN
}

// differs is "" if two answers are the same.
func (c comparison) differs(want, got []reply) string {
	return cmp.Diff(c.lines(want, got), c.lines(got, want))
}

// lines are what of an answer is compared with other.
func (c comparison) lines(answer, other []reply) []string {
	quoting := quotesSealed(answer) || quotesSealed(other)
	var out []string
	rows := 0 // rows at the end of out
	for _, r := range answer {
		isRow := r.Kind == "DataRow" || r.Kind == "CopyData"
		if isRow && c.noRows || c.noRows && r.Kind == "CommandComplete" {
			continue
		}
		if !isRow {
			c.sort(out[len(out)-rows:])
			rows = 0
		} else {
			rows++
		}
		line := r.String()
		if r.detail != "" && !quoting {
			line += "; detail: " + r.detail
		}
		out = append(out, line)
	}
	return out
}

func (c comparison) sort(rows []string) {
	if c.unordered {
		sort.Strings(rows)
	}
}
