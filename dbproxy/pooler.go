// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Values of UpstreamConfig.Pooler.
const (
	PoolerNone    = "none"
	PoolerSession = "session"
)

// What the proxy knows of a session (prepared statements, search_path, settings, the
// tenant) is true of one server process. A pooler behind the proxy that shares
// processes between sessions makes it that of another session: values would be
// sealed for another tenant, or bound to another statement. So each session asks
// which process it is on. One that BackendKeyData does not name is behind a pooler,
// which the configuration has to vouch for. Of such a pooler, a process that another
// session is on as well is proof to the contrary; numbers of processes are unique on
// one server only, which the instant of its start tells from others behind the same
// address. Where no pooler is meant to be, that is not asked: to write an instant takes
// a new process longer than all else here.
const (
	directQuery = "SELECT pg_catalog.pg_backend_pid(), ''"
	pooledQuery = "SELECT pg_catalog.pg_backend_pid(), " +
		"pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.pg_postmaster_start_time()), 'YYYYMMDDHH24MISSUS')"
)

// sharedPatience is how long a session that has a process another session was on
// waits for that to be known as ended. The pooler may have ended it while its client
// does not read: then the wait is in vain, and only the next session goes on.
const sharedPatience = time.Second

// errPooled refuses a pooler that nobody has vouched for.
var errPooled = &pgError{Code: codeNotSupported, Message: "a connection pooler is between the encrypting proxy and the database server",
	Detail: "The server process that answers is not the one that BackendKeyData names.",
	Hint:   "Connect the proxy to the server itself. If the pooler gives every session a server connection of its own, set postgres.upstream.pooler to session."}

// errShared refuses one that shares processes.
var errShared = &pgError{Code: codeNotSupported, Message: "the connection pooler behind the encrypting proxy shares server connections between sessions",
	Detail: "Prepared statements, settings and the tenant of one session would be those of another.",
	Hint:   "Have the pooler pool sessions, or connect the proxy to the server itself."}

func validatePooler(pooler string) error {
	switch pooler {
	case "", PoolerNone, PoolerSession:
		return nil
	}
	return fmt.Errorf("postgres.upstream.pooler: %q is not none or session", pooler)
}

// process is a server process: its number, and when its server has started.
type process struct {
	pid     uint32
	started string
}

// askProcess asks on which process the session is, before anything else is asked. The
// answer has until ownProcess to arrive.
func (s *session) askProcess() error {
	s.server.SetDeadline(time.Now().Add(startupTimeout))
	query := directQuery
	if s.proxy.cfg.Upstream.Pooler == PoolerSession {
		query = pooledQuery
	}
	if err := s.up.encode(&pgproto3.Query{String: query}); err != nil {
		return err
	}
	if err := s.up.flush(); err != nil {
		return failf(codeConnection, "the database server closed the connection")
	}
	return nil
}

// ownProcess takes the answer, and refuses a process that is not the session's own. It
// is called before the client may send anything.
func (s *session) ownProcess() error {
	named := s.process.pid
	var err error
	if s.process, err = s.readProcess(); err != nil {
		return err
	}
	s.server.SetDeadline(time.Time{})
	if s.proxy.cfg.Upstream.Pooler == PoolerSession {
		return s.takeProcess()
	}
	if s.process.pid != named {
		return errPooled
	}
	return nil
}

// takeProcess waits until no other session is on the process. One that stays ends too.
func (s *session) takeProcess() error {
	other := s.proxy.on.take(s)
	for deadline := time.Now().Add(sharedPatience); other != nil && time.Now().Before(deadline); other = s.proxy.on.take(s) {
		time.Sleep(20 * time.Millisecond)
	}
	if other == nil {
		return nil
	}
	s.proxy.log.Error("the pooler behind the proxy shares server connections between sessions", "server", s.host.address)
	other.fatal(errShared)
	return errShared
}

// processes are those of the server on which sessions are.
type processes struct {
	mu sync.Mutex
	of map[process]*session // guarded by mu
}

// take notes that the session is on its process, unless another one is.
func (p *processes) take(s *session) (other *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other = p.of[s.process]; other != nil {
		return other
	}
	if p.of == nil {
		p.of = make(map[process]*session)
	}
	p.of[s.process] = s
	return nil
}

// giveBack notes that the session is on its process no longer. It is called before a
// pooler can know.
func (s *session) giveBack() {
	p := &s.proxy.on
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[s.process] == s {
		delete(p.of, s.process)
	}
}

// readProcess reads the answer, and ReadyForQuery behind it.
func (s *session) readProcess() (on process, err error) {
	for {
		kind, body, err := s.greeting()
		if err != nil {
			return on, err
		}
		switch kind {
		case 'D':
			on, err = processOf(body)
		case 'Z':
			if on.pid == 0 || string(body) != "I" {
				return on, unasked()
			}
			return on, nil
		case 'T', 'C', 'A':
		case 'S':
			err = s.serverParameter(body)
		case 'E':
			// A pooler may connect to the server only now.
			s.down.message(kind, body)
			s.down.flush()
			return on, io.EOF
		case 'N':
			err = s.down.message(kind, body)
		default:
			err = unasked()
		}
		if err != nil {
			return on, err
		}
	}
}

func processOf(body []byte) (on process, err error) {
	var m pgproto3.DataRow
	if err := m.Decode(body); err != nil || len(m.Values) != 2 {
		return on, unasked()
	}
	pid, err := strconv.ParseUint(string(m.Values[0]), 10, 32)
	if err != nil {
		return on, unasked()
	}
	return process{uint32(pid), string(m.Values[1])}, nil
}

// keyProcess is the process that BackendKeyData names.
func keyProcess(body []byte) uint32 {
	if len(body) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(body)
}

// permitPooled refuses a connection of the administrative role that is behind a pooler
// which nobody has vouched for: locks that are held on it would be another's.
func (c UpstreamConfig) permitPooled(ctx context.Context, conn *pgx.Conn) error {
	if c.Pooler == PoolerSession {
		return nil
	}
	var pid uint32
	if err := conn.QueryRow(ctx, directQuery, pgx.QueryExecModeSimpleProtocol).Scan(&pid, nil); err != nil {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	if pid != conn.PgConn().PID() {
		return fmt.Errorf("%w: %s. %s", errPooled, errPooled.Message, errPooled.Hint)
	}
	return nil
}
