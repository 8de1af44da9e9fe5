// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"encoding/binary"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	oldestProtocol = pgproto3.ProtocolVersion30
	// newestProtocol is what the server is asked for at most: what a later one
	// allows could not be read.
	newestProtocol = pgproto3.ProtocolVersion32
	// optionPrefix is that of startup parameters that extend the protocol. None is
	// known here, so the server gets none.
	optionPrefix = "_pq_."
)

// protocol is what becomes of the version and options that a client asks for.
type protocol struct {
	version  uint32   // asked of the server; then what it made of it
	lowered  bool     // the client has asked for a later one
	declined []string // options
}

// supported refuses other major versions, as PostgreSQL does.
func supported(version uint32) *pgError {
	if version>>16 == oldestProtocol>>16 {
		return nil
	}
	return failf(codeNotSupported, "unsupported frontend protocol %d.%d: server supports %d.%d to %d.%d", version>>16, version&0xffff,
		oldestProtocol>>16, oldestProtocol&0xffff, newestProtocol>>16, newestProtocol&0xffff)
}

// refuseVersion tells a client of another major version, one before 3 in the form
// that it knows (send_message_to_frontend of elog.c).
func (p *Proxy) refuseVersion(conn net.Conn, version uint32, e *pgError) {
	if version == 0 || version>>16 > oldestProtocol>>16 {
		p.refuseStart(conn, e)
		return
	}
	conn.SetDeadline(time.Now().Add(time.Second))
	conn.Write([]byte("EFATAL:  " + e.Message + "\n\x00"))
	letRead(conn)
}

// offer makes the startup message that the server gets.
//
//	StartupMessage: int32 version, then names and values, then an empty name
func offer(startup []byte, parameters [][2]string) ([]byte, protocol) {
	pr := protocol{version: binary.BigEndian.Uint32(startup)}
	if pr.lowered = pr.version > newestProtocol; pr.lowered {
		pr.version = newestProtocol
	}
	for _, p := range parameters {
		if strings.HasPrefix(p[0], optionPrefix) {
			pr.declined = append(pr.declined, p[0])
		}
	}
	if !pr.lowered && pr.declined == nil {
		return startup, pr
	}
	out := binary.BigEndian.AppendUint32(nil, pr.version)
	for _, p := range parameters {
		if !strings.HasPrefix(p[0], optionPrefix) {
			out = append(out, p[0]+"\x00"+p[1]+"\x00"...)
		}
	}
	return append(out, 0), pr
}

// negotiate takes the server's first message. The client gets one
// NegotiateProtocolVersion for what the proxy declines and what the server does.
// answered says that the message was the server's.
func (s *session) negotiate(kind byte, body []byte) (answered bool, err error) {
	if kind == 'v' {
		var m pgproto3.NegotiateProtocolVersion
		if err := m.Decode(body); err != nil || m.NewestMinorProtocol < oldestProtocol || m.NewestMinorProtocol >= s.protocol.version || len(m.UnrecognizedOptions) > 0 {
			return true, failf(codeProtocolViolation, "the database server sent an invalid NegotiateProtocolVersion message")
		}
		s.protocol.version = m.NewestMinorProtocol
		s.protocol.lowered = true
	}
	if !s.protocol.lowered && s.protocol.declined == nil {
		return false, nil
	}
	return kind == 'v', s.down.encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: s.protocol.version, UnrecognizedOptions: s.protocol.declined})
}

// Lengths of the secret key of BackendKeyData and CancelRequest; before protocol
// 3.2 it is always the shortest.
const (
	minCancelKey = 4
	maxCancelKey = 256
)

// validKey says whether the body of BackendKeyData can be one.
func (pr protocol) validKey(body []byte) bool {
	n := len(body) - 4
	return n == minCancelKey || pr.version >= pgproto3.ProtocolVersion32 && n >= minCancelKey && n <= maxCancelKey
}
