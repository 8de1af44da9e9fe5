// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"go.opentelemetry.io/otel/attribute"
)

// session is one client and its connection to the server. Two goroutines work
// on it: fromClient and fromServer. What they share is guarded by mu.
type session struct {
	proxy  *Proxy
	db     *database
	user   string
	client net.Conn
	server net.Conn
	host   *host // where server leads
	// What the server reported at the start, "on" or "off"; "" if it did not.
	standby, readOnly string
	replication       string // the kind of replication connection; "" for none
	protocol          protocol
	cancelKey         string  // BackendKeyData; "" if there is none or it is not kept
	process           process // of the server, on which the session is
	fromC             *frames
	fromS             *frames
	up                *outbox // to the server; of fromClient
	down              *outbox // to the client; of fromServer

	masks   []*mask         // of the client's role, by rule; nil: none
	ctx     context.Context // carries the session's span
	ending  sync.Once
	life    context.Context // ends when the session has to
	die     context.CancelFunc
	settled chan struct{} // wakes fromClient when the queue may be empty

	// Of fromClient only.
	private *snapshot // the catalog as this session's open transaction sees it
	dirty   bool      // the catalog may have changed in this session
	hidden  bool      // likewise, by a text that was not seen
	own     bool      // it may have, in the transaction that is open
	// finishes counts statements that finish a transaction; how many were sent when
	// own and private were set.
	finishes, ownSince, privateSince int64
	ownBatch, privateBatch           int  // likewise: which batch of messages was open
	asked                            bool // something, within the batch that is open

	unseen    int64 // counts statements that may have declared or closed cursors, unseen
	unsettled bool  // settings may have changed that were not reported yet
	changed   bool  // settings have been changed in this session
	called    bool  // functions have been called that may have changed some, of which nothing was reported yet
	everCalls bool  // likewise, ever: the end of a transaction may take that back
	path      *plan.Path
	tenant    tenant
	batchOpen bool        // messages other than Query were sent since the last Sync
	refused   bool        // one of them was refused: the server skips until Sync
	batch     int         // counts Sync messages
	writes    []*audit.Op // to be on disk before what is buffered leaves
	unused    []entry     // entries that are made and not used yet
	copying   bool        // the last message was CopyData
	copyTo    *copyIn     // whose data it was; nil if no such COPY was awaited
	copyRoom  share       // for the row of it that is not complete
	shape     []byte      // of the text that is being planned
	attrs     map[*plan.Statement][]attribute.KeyValue

	// Of fromServer only.
	waits         []func() error // what has to be on disk before rows leave
	unended       []*operation   // likewise their intents, unless they end before
	swallow       *entry         // its rows failed: nothing passes until ReadyForQuery
	swallowedMore bool           // more than that was done
	skipping      bool           // the server skips until Sync
	tablesChanged bool           // tables that matter have changed since the last commit
	value         []byte
	copyFrom      *copyOut // the COPY TO that is being answered; nil if not of protected columns
	rowRoom       share    // for the row of it that is not complete

	catalog atomic.Pointer[snapshot] // against which results are checked
	owed    atomic.Int64             // answers to a client without rules
	done    atomic.Int64             // the last statement that has finished a transaction

	mu            sync.Mutex
	queue         []*entry              // guarded by mu; replies that are owed, oldest first
	room          []*entry              // guarded by mu; where an empty queue begins again
	copyIn        bool                  // guarded by mu; the server reads CopyData
	failing       bool                  // guarded by mu; it skips until Sync
	awaited       bool                  // guarded by mu; fromClient waits for each answer
	status        byte                  // guarded by mu; of the last ReadyForQuery
	statements    map[string]*statement // guarded by mu
	portals       map[string]*portal    // guarded by mu
	newStatements map[string]*entry     // guarded by mu; the last Parse or Close without an answer yet
	newPortals    map[string]*entry     // guarded by mu; Bind and Close likewise
	using         bool                  // guarded by mu; the session has entered the gate of moving columns
	entering      bool                  // guarded by mu; likewise, for a message that is still to be sent
	settings      settings              // guarded by mu
	reported      settings              // guarded by mu; as the server has reported them
	learned       bool                  // guarded by mu; settings are others, which were asked for
	texts         share                 // guarded by mu; for large texts that are kept
}

// settings are what the server reports of the session and plans depend on.
type settings struct {
	zone     *time.Location // nil if it is not known
	isoDates bool
	// plainIntervals says that IntervalStyle is postgres.
	plainIntervals bool
	conforming     bool // standard_conforming_strings
	utf8           bool // client_encoding is UTF8 or SQL_ASCII
	version        int  // the server's major version; 0 if it is not known
}

// locale is what the text of a value means besides its type.
type locale struct {
	zone    *time.Location // that of the session; nil if it is not known
	version int            // the server's major version; 0 if it is not known
}

func (s settings) locale() locale { return locale{zone: s.zone, version: s.version} }

// statement is a prepared statement.
type statement struct {
	sql       string     // as the client sent it, without comments that hold a trace
	lead      string     // such a comment before it
	tail      string     // such a comment behind it
	plan      *plan.Plan // nil for one that is not known here: nothing in it is protected
	snap      *snapshot  // against which it was planned
	path      *plan.Path // likewise; nil if it was not known
	tenant    string     // whose constants it holds
	rewritten *plan.Rewritten
	trace     string   // traceparent of its comment
	declared  []uint32 // types the client gave its parameters
	// columns are the protected ones of its result columns; set by fromServer before
	// any row of it arrives.
	columns []*plan.Output
	bad     *pgError     // its result columns are not those of the plan
	base    *plan.Plan   // before names in it were resolved; nil if there is none
	inner   []*statement // what PREPARE and DECLARE in it make, by statement
	named   []*statement // what EXECUTE in it means, likewise
	made    *plan.Inner  // how SQL made it, if it did
	seen    int64        // unseen of the session then
	// sealedWith are the data keys of its constants, if columns may move.
	sealedWith map[*plan.Rule]uint32
	// gone says that DEALLOCATE may have ended it; guarded by the session's mu.
	gone bool
	// passing is every portal of it, if it touches nothing that is protected.
	passing portal
}

// unknown is every portal of a statement that is not known here.
var unknown portal

// passed is the portal of a statement that touches nothing that is protected. Nothing
// tells one from another.
func (st *statement) passed() *portal {
	if st == nil {
		return &unknown
	}
	if st.passing.statement == nil { // fromServer reads it
		st.passing.statement = st
	}
	return &st.passing
}

// mentions says that the plan depends on the catalog.
func (st *statement) mentions() bool { return st != nil && st.plan != nil && st.plan.Mentions }

// bindsAsItIs says that Bind needs no change, whatever its parameters are.
func (st *statement) bindsAsItIs() bool { return !st.mentions() && (st == nil || st.base == nil) }

func (st *statement) touched() bool { return st != nil && st.plan != nil && st.plan.Touched() }

// only is the plan's one statement.
func (st *statement) only() *plan.Statement {
	if st == nil || st.plan == nil || len(st.plan.Statements) == 0 {
		return nil
	}
	return &st.plan.Statements[0]
}

func (st *statement) outputs() []plan.Output {
	if o := st.only(); o != nil {
		return o.Outputs
	}
	return nil
}

// portal is a bound statement.
type portal struct {
	statement *statement
	formats   []int16
	op        *operation // nil unless the statement touches protected columns
	cursor    bool       // SQL declared it
	hold      bool       // it outlives the transaction
	// declared is the text by which SQL declared it. Of fromClient only: created says
	// when, "" if that was not asked; other that it was another cursor at unseen seen.
	declared string
	created  string
	other    bool
	seen     int64
	// described says that columns and bad are those of the portal, and not
	// those of its statement; of fromServer only.
	described bool
	columns   []*plan.Output
	bad       *pgError
}

// operation is one execution on the record.
type operation struct {
	ctx    context.Context
	op     *audit.Op
	tenant string // whose values it reads and writes
	// Of fromServer only: some of its rows are in the outbox; it has ended.
	rows, ended bool
}

// entry is one message of the client that the server owes an answer.
type entry struct {
	kind      byte // of the message; 'd' and 'c' mark data and end of COPY FROM
	target    byte // of Describe and Close: 'S' or 'P'
	name      string
	statement *statement
	portal    *portal
	refusal   *pgError // what the client gets for the error the server makes of it
	own       *question
	copies    bool // a COPY FROM in it has begun; guarded by the session's mu
	// copyRefusal is what the client gets for the error that the server makes
	// of CopyFail; guarded by the session's mu.
	copyRefusal *pgError
	copyMissing string // column for which the server may fail before CopyFail; likewise
	query       *query
	batch       int // how many Sync messages were sent before it
	// finishes is how many statements that finish a transaction were sent before a
	// Query, or up to an Execute.
	finishes int64
}

// query is a simple query that is being answered.
type query struct {
	statement *statement // its text and plan
	ops       []*operation
	at        int            // statement that is being answered
	formats   []int16        // of its rows
	columns   []*plan.Output // of its rows; nil if none is protected
}

// current is the plan's statement that is being answered.
func (q *query) current() *plan.Statement {
	if q.statement.plan == nil || q.at >= len(q.statement.plan.Statements) {
		return nil
	}
	return &q.statement.plan.Statements[q.at]
}

func (q *query) operation() *operation {
	if q.at < len(q.ops) {
		return q.ops[q.at]
	}
	return nil
}

// question is what the session itself asks the server on the client's
// connection: its answers are not passed on.
type question struct {
	rows [][]string
	err  *pgError
	done chan struct{}
	// within says that it is asked within the client's batch; last ends it there.
	within bool
	last   *entry
}

// owe is a new entry. Four are made at a time: most are of messages that touch
// nothing that is protected, which come by the ten thousand in a second.
func (s *session) owe(e entry) *entry {
	if len(s.unused) == 0 {
		s.unused = make([]entry, 4)
	}
	made := &s.unused[0]
	s.unused = s.unused[1:]
	*made = e
	return made
}

// push notes that the server owes an answer. It is called before the message
// can reach the server.
func (s *session) push(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entering = false
	if len(s.queue) == 0 {
		s.queue = s.room[:0]
	}
	s.queue = append(s.queue, e)
	if cap(s.queue) > cap(s.room) && cap(s.queue) <= 64 {
		s.room = s.queue // it has just been made
	}
	if e.batch = s.batch; e.kind == 'S' {
		s.batch++
	}
	switch {
	case e.kind == 'P', e.kind == 'C' && e.target == 'S':
		s.newStatements[e.name] = e
	case e.kind == 'B', e.kind == 'C' && e.target == 'P':
		s.newPortals[e.name] = e
	case e.kind == 'Q':
		// A simple query ends the unnamed statement and portal.
		s.newStatements[""], s.newPortals[""] = e, e
	}
	if s.fromC.room.held > 0 {
		s.keepText(e)
	}
}

// pop takes the oldest entry off the queue. The caller holds mu.
func (s *session) pop() *entry {
	e := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	if len(s.newStatements) > 0 && s.newStatements[e.name] == e {
		delete(s.newStatements, e.name)
	}
	if len(s.newPortals) > 0 && s.newPortals[e.name] == e {
		delete(s.newPortals, e.name)
	}
	if s.awaited {
		s.wake()
	}
	return e
}

// head is the entry whose answer comes next. Marks of COPY data that lie before
// it are done with. The caller holds mu.
func (s *session) head() *entry {
	for len(s.queue) > 0 && (s.queue[0].kind == 'd' || s.queue[0].kind == 'c') {
		s.pop()
	}
	if len(s.queue) == 0 {
		return nil
	}
	return s.queue[0]
}

// resolve waits until it is known what a name means, in newStatements or
// newPortals: whether the server has done or skipped a message of an earlier
// batch only its answer tells. One of the same batch is skipped only together
// with the message that is being read.
func (s *session) resolve(pending map[string]*entry, name string) error {
	for {
		s.mu.Lock()
		last := pending[name]
		known := last == nil || last.batch == s.batch
		copying := s.copyIn
		s.mu.Unlock()
		if known {
			return nil
		}
		if copying {
			return failf(codeProtocolViolation, "a statement was sent during COPY")
		}
		if err := s.up.flush(); err != nil {
			return err
		}
		if _, open := <-s.settled; !open {
			return errSessionOver
		}
	}
}

// statementNamed finds a prepared statement as it will be when the server gets
// to the message that is being read. known is false if it was not made here.
func (s *session) statementNamed(name string) (st *statement, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.newStatements[name]; e != nil {
		return e.statement, e.kind == 'P' && e.statement != nil
	}
	st, known = s.statements[name]
	return st, known
}

// exists says whether the server will refuse to prepare a statement under the
// name because there is one.
func (s *session) exists(name string) bool {
	st, known := s.statementNamed(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return known && name != "" && !st.gone
}

// deallocate marks statements that an SQL statement may end: all if name is "".
// They are kept, since it may also fail.
func (s *session) deallocate(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, st := range s.statements {
		if name == "" || n == name {
			st.gone = true
		}
	}
}

func (s *session) portalNamed(name string) *portal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.newPortals[name]; e != nil {
		if e.kind == 'B' {
			return e.portal
		}
		return nil
	}
	return s.portals[name]
}

func (s *session) transaction() byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *session) current() settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// idle says that the client is owed nothing and has no transaction open.
func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replication != "" || len(s.queue) == 0 && s.status == 'I' && s.owed.Load() <= 0
}

// setting takes a ParameterStatus.
func (s *session) setting(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported.take(name, value)
	s.settings.take(name, value)
}

// learn takes settings that were asked for, until the server reports what becomes of
// them: it reports none that it takes back at the end of the batch.
func (s *session) learn(rows [][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		s.settings.take(row[0], row[1])
	}
	s.learned = true
}

// take sets what values depend on.
func (s *settings) take(name, value string) {
	switch name {
	case "TimeZone":
		s.zone, _ = parseZone(value)
	case "DateStyle":
		s.isoDates = strings.HasPrefix(value, "ISO")
	case "IntervalStyle":
		s.plainIntervals = value == "postgres"
	case "standard_conforming_strings":
		s.conforming = value == "on"
	case "server_version":
		s.version = majorVersion(value)
	case "client_encoding":
		s.utf8 = value == "UTF8" || value == "SQL_ASCII"
	}
}

// begin puts an execution on the record.
func (s *session) begin(st *statement, i int) *operation {
	one := &st.plan.Statements[i]
	ctx := s.ctx
	if st.trace != "" {
		ctx = audit.WithTraceparent(ctx, st.trace)
	}
	ctx, op := s.proxy.audit.Begin(ctx, audit.SpanPostgresQuery, s.attributesOf(st, one)...)
	if one.Writes || len(one.Creates) > 0 {
		s.writes = append(s.writes, op)
	}
	return &operation{ctx: ctx, op: op, tenant: s.tenant.name}
}

// attributesOf is what the record of every execution of a statement says. It is kept
// for texts whose plans are: a statement may keep all of its text.
func (s *session) attributesOf(st *statement, one *plan.Statement) []attribute.KeyValue {
	if attrs := s.attrs[one]; attrs != nil {
		return attrs
	}
	attrs := []attribute.KeyValue{
		audit.DBSystem.String("postgresql"), audit.DBNamespace.String(s.db.name), audit.DBUser.String(s.user),
		audit.DBOperation.String(one.Command), audit.DBQueryFingerprint.String(st.plan.Fingerprint),
		audit.Columns.StringSlice(columnNames(one)),
	}
	if len(st.sql) <= cachedText {
		if len(s.attrs) >= 256 {
			clear(s.attrs)
		}
		s.attrs[one] = attrs
	}
	return attrs
}

func columnNames(one *plan.Statement) []string {
	out := make([]string, 0, len(one.Touched)+len(one.Creates))
	for _, r := range one.Touched {
		out = append(out, r.Name())
	}
	for _, r := range one.Creates {
		out = append(out, r.Name())
	}
	return out
}

// end closes the record. What the client is told waits for it, together with
// all else that is told in the same write.
func (s *session) end(o *operation, code string, attrs ...attribute.KeyValue) {
	if o == nil || o.ended {
		return
	}
	o.ended = true
	s.waits = append(s.waits, func() error { return o.op.End(code, attrs...) })
}

// recorded waits until everything that is about to be told is on the record:
// all at once, so that one write to the disk does.
func (s *session) recorded() error {
	for _, o := range s.unended {
		o.rows = false
		if !o.ended { // the end waits for the intent too
			s.waits = append(s.waits, func() error { return o.op.Durable(o.ctx) })
		}
	}
	clear(s.unended)
	s.unended = s.unended[:0]
	if len(s.waits) == 0 {
		return nil
	}
	if len(s.waits) == 1 {
		err := s.waits[0]()
		s.waits[0] = nil
		s.waits = s.waits[:0]
		return err
	}
	errs := make([]error, len(s.waits))
	var all sync.WaitGroup
	for i, wait := range s.waits {
		all.Go(func() { errs[i] = wait() })
	}
	all.Wait()
	clear(s.waits)
	s.waits = s.waits[:0]
	return errors.Join(errs...)
}

// intended waits until every write that is about to be sent is on the record.
func (s *session) intended() error {
	for _, op := range s.writes {
		if err := op.Durable(s.ctx); err != nil {
			return err
		}
	}
	s.writes = s.writes[:0]
	return nil
}

// fatal tells the client why and ends the session.
func (s *session) fatal(e *pgError) {
	s.ending.Do(func() {
		if e != nil {
			s.down.last(e.response("FATAL"))
		}
		s.giveBack()
		s.die()
		s.client.Close()
		s.server.Close()
	})
}
