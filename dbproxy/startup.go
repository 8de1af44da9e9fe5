// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"go.opentelemetry.io/otel/attribute"
)

// Codes that stand where a startup message has its protocol version.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSS    = 80877104
)

const (
	maxStartup     = 10000 // MAX_STARTUP_PACKET_LENGTH
	startupTimeout = 60 * time.Second
	// maxStarting bounds the clients that have not been authenticated.
	maxStarting = 1000
	mechanism   = "SCRAM-SHA-256"
	plus        = "-PLUS" // ends the name of a mechanism with channel binding
	maxToken    = 65535   // PG_MAX_AUTH_TOKEN_LENGTH
	// maxGreeting bounds what the server sends before it is ready.
	maxGreeting = 1 << 20
	maxName     = 63 // NAMEDATALEN - 1
)

// buffered is a connection whose first bytes have been looked at.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// unbuffered is the connection that a buffered one is made of, and what has been read
// ahead of it.
func unbuffered(conn net.Conn) (net.Conn, *bufio.Reader) {
	if b, ok := conn.(*buffered); ok {
		return b.Conn, b.r
	}
	return conn, nil
}

func (b *buffered) CloseWrite() error {
	if half, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// serveConn serves one client from its first byte.
func (p *Proxy) serveConn(ctx context.Context, conn net.Conn) {
	defer func() { conn.Close() }() // TLS too, if it has come to that
	conn.SetDeadline(time.Now().Add(startupTimeout))
	defer p.starting.Add(-1)
	if p.starting.Add(1) > maxStarting {
		p.refuseStart(conn, failf(codeTooManyConnections, "too many connections are being opened at the encrypting proxy"))
		return
	}
	conn, secure, startup, err := p.negotiate(conn)
	if err != nil {
		p.refuseStart(conn, err)
		return
	}
	if startup == nil {
		return
	}
	version := binary.BigEndian.Uint32(startup)
	if version == codeCancel {
		p.cancel(ctx, startup)
		return
	}
	if e := supported(version); e != nil {
		p.refuseVersion(conn, version, e)
		return
	}
	if err := p.serveSession(ctx, conn, secure, startup); err != nil {
		p.refuseStart(conn, err)
	}
}

// refuseStart tells the client why there is no session.
func (p *Proxy) refuseStart(conn net.Conn, err error) {
	var network net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network) {
		return
	}
	e := asPgError(err)
	if e.Code == codeInternal {
		p.log.Warn("starting a session", "client", conn.RemoteAddr(), "error", err)
	}
	if b, err := e.response("FATAL").Encode(nil); err == nil {
		conn.SetDeadline(time.Now().Add(time.Second))
		conn.Write(b)
		letRead(conn)
	}
}

// letRead waits until the client has read what was written, or a second at
// most: to close a connection on which unread bytes have arrived resets it, and
// takes from the client what it has not read yet.
func letRead(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(conn, maxStartup))
	}
}

// alpn is the protocol that clients of PostgreSQL 17 name in TLS.
const alpn = "postgresql"

// negotiate answers requests for encryption, each of which can be made once, and
// reads the startup message, from its version on. It is nil if the client went away.
func (p *Proxy) negotiate(conn net.Conn) (net.Conn, bool, []byte, error) {
	r := bufio.NewReaderSize(conn, 16)
	conn = &buffered{conn, r}
	first, err := r.Peek(1)
	if err != nil {
		return conn, false, nil, nil
	}
	if first[0] == 0x16 && p.clientTLS != nil {
		// A TLS handshake without asking.
		return p.secure(conn, func(st tls.ConnectionState) bool { return st.NegotiatedProtocol == alpn })
	}
	for asked := make(map[uint32]bool); ; {
		startup, err := readStartup(conn)
		if err != nil {
			return conn, false, nil, err
		}
		code := binary.BigEndian.Uint32(startup)
		if code != codeSSL && code != codeGSS || asked[code] {
			return conn, false, startup, p.permitPlain(code)
		}
		asked[code] = true
		if r.Buffered() > 0 {
			// Bytes behind the request could be somebody else's (CVE-2021-23214).
			return conn, false, nil, &pgError{Code: codeProtocolViolation, Message: "received unencrypted data after " + map[uint32]string{codeSSL: "SSL", codeGSS: "GSSAPI encryption"}[code] + " request",
				Detail: "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."}
		}
		if code == codeSSL && p.clientTLS != nil {
			if _, err := conn.Write([]byte{'S'}); err != nil {
				return conn, false, nil, err
			}
			return p.secure(conn, func(tls.ConnectionState) bool { return true })
		}
		if _, err := conn.Write([]byte{'N'}); err != nil {
			return conn, false, nil, err
		}
	}
}

// permitPlain refuses a session that is not encrypted where it has to be. Requests
// to cancel are not sessions: libpq before 17 sends all of them in the clear.
func (p *Proxy) permitPlain(code uint32) error {
	if !p.cfg.TLS.Require || code == codeCancel || supported(code) != nil {
		return nil
	}
	return &pgError{Code: codeAuthorization, Message: "the encrypting proxy requires TLS", Hint: "Use sslmode=require or better."}
}

// secure does the TLS handshake and reads the startup message, behind which there
// is no other layer.
func (p *Proxy) secure(conn net.Conn, permit func(tls.ConnectionState) bool) (net.Conn, bool, []byte, error) {
	secure := tls.Server(conn, p.clientTLS)
	if err := secure.Handshake(); err != nil || !permit(secure.ConnectionState()) {
		return conn, false, nil, io.EOF
	}
	startup, err := readStartup(secure)
	return secure, true, startup, err
}

func readStartup(conn net.Conn) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, io.EOF
	}
	n := int(binary.BigEndian.Uint32(head[:])) - 4
	if n < 4 || n > maxStartup {
		return nil, failf(codeProtocolViolation, "invalid length of startup packet")
	}
	body := make([]byte, n)
	_, err := io.ReadFull(conn, body)
	return body, err
}

// startupParameters reads the names and values of a startup message, in order.
func startupParameters(startup []byte) (out [][2]string, err error) {
	rest := string(startup[4:])
	for {
		name, after, ok := strings.Cut(rest, "\x00")
		if ok && name == "" && after == "" {
			return out, nil
		}
		value, after, ok := strings.Cut(after, "\x00")
		if !ok || name == "" {
			return nil, failf(codeProtocolViolation, "invalid startup packet layout: expected terminator as last byte")
		}
		out, rest = append(out, [2]string{name, value}), after
	}
}

// identity is what a startup message says of the session that it asks for.
type identity struct {
	user, database string
	replication    string // the kind of replication connection; "" for none
}

// identityOf reads it as the server does: of a parameter that comes twice the
// last one counts.
func identityOf(parameters [][2]string) (id identity, err error) {
	var replication []string
	for _, p := range parameters {
		switch p[0] {
		case "user":
			id.user = p[1]
		case "database":
			id.database = p[1]
		case "replication":
			replication = append(replication, p[1])
		}
	}
	if id.database == "" {
		id.database = id.user
	}
	if len(id.user) > maxName || len(id.database) > maxName {
		// Servers before PostgreSQL 17 cut it, and so would know the session by
		// another name than rules and masks do.
		return id, failf(codeAuthorization, "the name of a role or database has at most %d bytes", maxName)
	}
	if id.replication, err = replicationOf(replication); id.replication == replicationPhysical {
		id.database = "" // the server does not look at it
	}
	return id, err
}

// serveSession logs the client in and serves it. As in run, its frame is kept small.
func (p *Proxy) serveSession(ctx context.Context, conn net.Conn, secure bool, startup []byte) error {
	s, database, err := p.newSession(ctx, conn, startup)
	if err != nil {
		return err
	}
	defer s.server.Close()
	defer s.giveBack()
	defer s.die()
	defer s.uncancelable()
	ok, err := s.authenticate(secure && s.host.tls != nil)
	if err != nil || !ok {
		return err
	}
	p.starting.Add(-1)
	defer p.starting.Add(1) // serveConn takes it off again
	s.db = p.database(database)
	if s.masks, err = p.masksFor(s.user); err != nil {
		return err
	}
	s.client.SetDeadline(time.Time{})
	s.server.SetDeadline(time.Time{})
	return s.run(ctx)
}

// newSession connects to the server for the session that a startup message asks for,
// and gives the name of its database.
func (p *Proxy) newSession(ctx context.Context, conn net.Conn, startup []byte) (s *session, database string, err error) {
	parameters, err := startupParameters(startup)
	if err != nil {
		return nil, "", err
	}
	id, err := identityOf(parameters)
	if err != nil {
		return nil, "", err
	}
	if err := p.permitReplication(id.replication, id.user); err != nil {
		return nil, "", err
	}
	startup, protocol := offer(startup, parameters)
	up, err := p.open(ctx, startup)
	if err != nil {
		p.log.Warn("connecting to the server", "error", err)
		return nil, "", failf(codeCannotConnect, "the database server cannot be reached by the encrypting proxy")
	}
	below, ahead := unbuffered(conn)
	s = &session{proxy: p, user: id.user, client: conn, server: up.conn,
		fromC: newFrames(newReader(below, ahead)), fromS: up.frames, host: up.host, replication: id.replication, protocol: protocol,
		up: &outbox{w: newWriter(up.conn)}, down: &outbox{w: newWriter(below)}, settled: make(chan struct{}, 1),
		attrs:      make(map[*plan.Statement][]attribute.KeyValue),
		statements: make(map[string]*statement), portals: make(map[string]*portal),
		newStatements: make(map[string]*entry), newPortals: make(map[string]*entry)}
	s.life, s.die = context.WithCancel(ctx)
	s.fromC.room, s.fromS.room = s.share(p.clientMessages), s.share(p.serverMessages)
	s.copyRoom, s.rowRoom = *s.share(p.clientMessages), *s.share(p.serverMessages)
	s.texts = share{of: p.clientMessages, life: s.life}
	s.up.shares, s.down.shares = []*share{s.fromC.room, &s.copyRoom}, []*share{s.fromS.room, &s.rowRoom}
	s.settings = settings{isoDates: true, plainIntervals: true, conforming: true, utf8: true}
	s.reported = s.settings
	s.up.before, s.down.before = s.intended, s.recorded
	return s, id.database, nil
}

// authenticate passes the authentication on, until the server is ready. The
// first ReadyForQuery is kept back: run sends it. ok is false if the server
// refused, which the client has been told.
func (s *session) authenticate(terminate bool) (ok bool, err error) {
	for first := true; ; first = false {
		if s.fromS.empty() {
			if err := s.down.flush(); err != nil {
				return false, err
			}
		}
		kind, body, err := s.greeting()
		if err != nil {
			return false, err
		}
		if first {
			answered, err := s.negotiate(kind, body)
			if err != nil {
				return false, err
			}
			if answered {
				continue
			}
		}
		switch kind {
		case 'Z':
			if string(body) != "I" {
				return false, failf(codeProtocolViolation, "the database server sent an invalid ReadyForQuery message")
			}
			s.status = 'I'
			return true, s.confirm()
		case 'E':
			s.down.message(kind, body)
			return false, s.down.flush()
		case 'R':
			if err := s.authentication(body, terminate); err != nil {
				return false, err
			}
			continue
		case 'S':
			var m pgproto3.ParameterStatus
			if err := m.Decode(body); err != nil {
				return false, failf(codeProtocolViolation, "the database server sent an invalid ParameterStatus message")
			}
			s.setting(m.Name, m.Value)
			s.report(m.Name, m.Value)
		case 'K':
			if !s.protocol.validKey(body) {
				return false, failf(codeProtocolViolation, "the database server sent an invalid BackendKeyData message")
			}
			s.cancelable(body)
			s.process.pid = keyProcess(body)
		case 'N':
		default:
			return false, unasked()
		}
		if err := s.down.message(kind, body); err != nil {
			return false, err
		}
	}
}

// greeting reads a message of the server before it is ready. None of them is long.
func (s *session) greeting() (kind byte, body []byte, err error) {
	kind, length, err := s.fromS.next()
	if err != nil {
		return 0, nil, failf(codeConnection, "the database server closed the connection")
	}
	if length > maxGreeting {
		return 0, nil, failf(codeProtocolViolation, "the database server sent a message of %d bytes before it was ready", length)
	}
	if body, err = s.fromS.whole(length); err != nil {
		return 0, nil, failf(codeConnection, "the database server closed the connection")
	}
	return kind, body, nil
}

func unasked() *pgError {
	return failf(codeProtocolViolation, "the database server sent a message that nobody asked for")
}

// Kinds of authentication requests.
const (
	authOK           = 0
	authSASL         = 10
	authSASLFinal    = 12
	authSASLContinue = 11
)

func (s *session) authentication(body []byte, terminate bool) error {
	if len(body) < 4 {
		return failf(codeProtocolViolation, "invalid authentication request")
	}
	code := binary.BigEndian.Uint32(body)
	if code == authSASL {
		var m pgproto3.AuthenticationSASL
		if err := m.Decode(body); err != nil {
			return failf(codeProtocolViolation, "invalid authentication request")
		}
		if terminate && slices.Contains(m.AuthMechanisms, mechanism) {
			return s.terminateSASL(bindingTo(s.server, m.AuthMechanisms))
		}
		// Channel binding is to the certificate that a side sees: the client
		// does not see the server's.
		m.AuthMechanisms = slices.DeleteFunc(m.AuthMechanisms, func(name string) bool { return strings.HasSuffix(name, plus) })
		if err := s.down.encode(&m); err != nil {
			return err
		}
	} else if err := s.down.message('R', body); err != nil {
		return err
	}
	if code == authOK || code == authSASLFinal {
		return nil
	}
	if err := s.down.flush(); err != nil {
		return err
	}
	length, err := s.token()
	if err != nil {
		return err
	}
	if err := s.up.relay('p', length, s.fromC); err != nil {
		return err
	}
	return s.up.flush()
}

// token reads the header of the client's answer to a request for authentication.
func (s *session) token() (length int, err error) {
	kind, length, err := s.fromC.next()
	var own *pgError
	switch {
	case errors.As(err, &own):
		return 0, own
	case err != nil:
		return 0, io.EOF
	case kind != 'p' || length > maxToken:
		return 0, failf(codeProtocolViolation, "expected a password response")
	}
	return length, nil
}

// run serves the session from the first ReadyForQuery on. An idle session stays
// within it: its frames are kept small, so that stacks can shrink.
func (s *session) run(ctx context.Context) error {
	p := s.proxy
	passes := len(p.rules) == 0 || p.raw(s.user)
	if !passes {
		// The server answers while the record is written.
		if err := s.askProcess(); err != nil {
			return err
		}
	}
	op, err := s.record(ctx)
	if err != nil {
		return err
	}
	defer op.End("")
	if err := s.welcome(passes); err != nil {
		return err
	}
	p.enter(s)
	defer p.leave(s)
	if passes {
		s.relayAll()
		return nil
	}
	defer s.leaveGate()
	defer s.freeTexts()
	s.relay()
	return nil
}

// record begins the record of the session.
func (s *session) record(ctx context.Context) (*audit.Op, error) {
	attrs := []attribute.KeyValue{audit.DBSystem.String("postgresql"), audit.DBUser.String(s.user), audit.ClientAddress.String(s.client.RemoteAddr().String())}
	if s.db.name != "" {
		attrs = append(attrs, audit.DBNamespace.String(s.db.name))
	}
	if s.replication != "" {
		attrs = append(attrs, audit.Replication.String(s.replication))
	}
	ctx, op := s.proxy.audit.Begin(ctx, audit.SpanPostgresSession, attrs...)
	s.ctx = ctx
	return op, op.Durable(ctx)
}

// welcome reads the catalog, unless the session passes everything, and tells the client
// that it may begin.
func (s *session) welcome(passes bool) error {
	if !passes {
		if err := s.ownProcess(); err != nil {
			return err
		}
		snap, err := s.db.load(s.ctx)
		if err != nil {
			s.proxy.log.Error("reading the catalog", "database", s.db.name, "error", err)
			return failf(codeCannotConnect, "the encrypting proxy cannot read the catalog")
		}
		s.catalog.Store(snap)
	}
	if err := s.down.message('Z', []byte{'I'}); err != nil {
		return err
	}
	return s.down.flush()
}

func (p *Proxy) enter(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s] = struct{}{}
}

func (p *Proxy) leave(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
}

// relay runs both directions until one ends.
func (s *session) relay() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.settled)
		defer s.proxy.survive(s)
		s.over(s.fromServer())
	}()
	err := s.fromClient()
	if errors.Is(err, io.EOF) {
		// What the server still has to say to a client that has said its last
		// is of no use; it sees the connection end.
		err = nil
	}
	s.over(err)
	<-done
	s.closeRecords()
}

// closeRecords ends the records of all that was not answered.
func (s *session) closeRecords() {
	s.recorded()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.queue {
		s.closeRecord(e)
	}
	for _, p := range s.portals {
		s.closeRecord(&entry{portal: p})
	}
}

// closeRecord ends the record of what was not answered when the session ended.
func (s *session) closeRecord(e *entry) {
	if e.portal != nil && e.portal.op != nil {
		e.portal.op.op.End(codeConnection)
	}
	if e.query != nil {
		for _, o := range e.query.ops {
			if o != nil {
				o.op.End(codeConnection)
			}
		}
	}
}

// over ends the session for a reason. A reason that is the proxy's own is told.
func (s *session) over(err error) {
	var own *pgError
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errSessionOver):
		s.flushLast(err)
		s.fatal(nil)
	case errors.As(err, &own), errors.Is(err, audit.ErrUnavailable):
		s.fatal(asPgError(err))
	default:
		var network net.Error
		if !errors.As(err, &network) {
			s.proxy.log.Warn("ending a session", "database", s.db.name, "user", s.user, "error", err)
		}
		s.fatal(nil)
	}
}

// flushLast sends what the server said before it closed the connection.
func (s *session) flushLast(err error) {
	if errors.Is(err, io.EOF) {
		s.down.flush()
	}
}

// relayAll passes everything both ways: there is no rule, or none for the role.
// It looks at frames
// only to know when the session is idle.
func (s *session) relayAll() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.proxy.survive(s)
		s.passAll(s.fromS, s.down, 'Z')
		s.fatal(nil)
	}()
	s.passAll(s.fromC, s.up, 'Q')
	s.fatal(nil)
	<-done
}

// passAll passes one direction until it ends. What the server owes is counted
// by ReadyForQuery.
func (s *session) passAll(from *frames, to *outbox, direction byte) {
	for {
		if from.empty() && to.flush() != nil {
			return
		}
		kind, length, err := from.next()
		if err != nil {
			to.flush()
			return
		}
		if direction == 'Q' {
			if kind == 'Q' || kind == 'S' || kind == 'F' {
				s.owed.Add(1)
			}
		} else if status, err := from.r.Peek(min(length, 1)); kind == 'Z' && err == nil && length == 1 {
			s.mu.Lock()
			s.status = status[0]
			s.mu.Unlock()
			s.owed.Add(-1)
		}
		if to.relay(kind, length, from) != nil {
			return
		}
	}
}
