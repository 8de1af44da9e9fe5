// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// rude is what clients need that do not behave.
type rude struct {
	*fixture
	t      *testing.T
	secure *tls.Config
}

// arrive connects and says something, which is not answered.
func (r *rude) arrive(first string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, first); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

// encrypted asks for TLS and gets it.
func (r *rude) encrypted() net.Conn {
	r.t.Helper()
	conn := r.arrive(sslRequest)
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		r.t.Fatalf("SSLRequest: got %q, %v", answer, err)
	}
	return conn
}

func (r *rude) login() string {
	return string(startup(pgproto3.ProtocolVersion30, "user", "postgres", "database", r.database, "application_name", "rude"))
}

// session logs in, in TLS or not.
func (r *rude) session(secure bool) *wire {
	r.t.Helper()
	conn := net.Conn(nil)
	if secure {
		inner := tls.Client(r.encrypted(), r.secure)
		inner.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(inner, r.login())
		conn = inner
	} else {
		conn = r.arrive(r.login())
	}
	w := &wire{r.t, conn, pgproto3.NewFrontend(conn, conn)}
	w.want("Z")
	return w
}

// promised begins a message and sends so much of it.
func (w *wire) promised(kind byte, length int, body string, sent int) *wire {
	w.t.Helper()
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(length+4))
	if _, err := w.conn.Write(append(head, body+strings.Repeat("x", sent-len(body))...)); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// kill has the server end the sessions of such clients.
func (r *rude) kill() {
	r.t.Helper()
	conn := r.direct(r.t)
	defer conn.Close(r.t.Context())
	exec1(r.t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rude' AND datname = current_database()")
}

// misbehaviours are clients that end in the middle of something; what they return is
// closed, in one way or another.
var misbehaviours = map[string]func(r *rude, secure bool) net.Conn{
	"says nothing":             func(r *rude, _ bool) net.Conn { return r.arrive("") },
	"half a startup message":   func(r *rude, _ bool) net.Conn { return r.arrive(r.login()[:20]) },
	"does not read the answer": func(r *rude, _ bool) net.Conn { return r.arrive(r.login()) },
	"asks for TLS only":        func(r *rude, _ bool) net.Conn { return r.encrypted() },
	"half a handshake": func(r *rude, _ bool) net.Conn {
		conn := r.encrypted()
		io.WriteString(conn, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half")
		return conn
	},
	"half a startup message in TLS": func(r *rude, _ bool) net.Conn {
		conn := tls.Client(r.encrypted(), r.secure)
		io.WriteString(conn, r.login()[:20])
		return conn
	},
	"half a request to cancel": func(r *rude, _ bool) net.Conn { return r.arrive(cancelRequest[:12]) },
	"a request to cancel":      func(r *rude, _ bool) net.Conn { return r.arrive(cancelRequest) },
	"half of a small message": func(r *rude, secure bool) net.Conn {
		return r.session(secure).promised('Q', 1000, "SELECT sealed FROM large ", 500).conn
	},
	"half of a text": func(r *rude, secure bool) net.Conn {
		return r.session(secure).promised('Q', 5*mib, "SELECT sealed FROM large ", 2*mib).conn
	},
	"half of a protected value": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Parse{Query: "INSERT INTO large (sealed) VALUES ($1)"}).Flush()
		return w.promised('B', 5*mib, "\x00\x00\x00\x00\x00\x01", 2*mib).conn
	},
	"half of another value": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Parse{Query: "SELECT $1::text"}).Flush()
		return w.promised('B', 5*mib, "\x00\x00\x00\x00\x00\x01", 2*mib).conn
	},
	"half of a row of COPY": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "COPY large (sealed) FROM STDIN"}).want("G")
		w.send(&pgproto3.CopyData{Data: []byte("whole\n" + strings.Repeat("x", 3*mib))}).Flush()
		return w.promised('d', 5*mib, "", mib).conn
	},
	"half of a COPY of others": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "COPY large (pin) FROM STDIN"}).want("G")
		return w.promised('d', 5*mib, "1\n", 4).conn
	},
	"does not read rows": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "SELECT sealed FROM large, generate_series(1, 12) WHERE pin = 1"}).Flush()
		return w.conn
	},
	"does not read small rows": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "SELECT sealed FROM large, generate_series(1, 100000) WHERE pin = 2"}).Flush()
		return w.conn
	},
	"does not read COPY": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "COPY (SELECT sealed FROM large, generate_series(1, 12) WHERE pin = 1) TO STDOUT"}).Flush()
		return w.conn
	},
	"keeps large texts": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Parse{Name: "s", Query: "SELECT sealed FROM large /*" + strings.Repeat("x", 2*mib) + "*/"}, &pgproto3.Sync{}).want("1 Z")
		return w.conn
	},
	"a cursor in a transaction": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "BEGIN; DECLARE c CURSOR FOR SELECT sealed FROM large; FETCH c"})
		w.send(&pgproto3.Parse{Query: "SELECT sealed FROM large"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 1}).Flush()
		return w.conn
	},
	"a statement that runs": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "SELECT sealed, pg_sleep(1000) FROM large"}).Flush()
		return w.conn
	},
	"a failed batch without an end": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Parse{Query: "SELECT lower(sealed) FROM large"}, &pgproto3.Bind{Parameters: [][]byte{[]byte(strings.Repeat("x", 3*mib))}}, &pgproto3.Execute{}).Flush()
		return w.conn
	},
	"no such message": func(r *rude, secure bool) net.Conn { return r.session(secure).promised('?', 100, "", 50).conn },
	"waits for room": func(r *rude, secure bool) net.Conn {
		holder := promise(r.t, r.fixture, 8*mib-100)
		waitFor(r.t, func() bool { return r.proxy.Waiting() > 0 || r.full() })
		w := r.session(secure)
		w.send(&pgproto3.Parse{Query: "INSERT INTO large (sealed) VALUES ($1)"}).Flush()
		w.promised('B', 5*mib, "\x00\x00\x00\x00\x00\x01", 1000)
		waitFor(r.t, func() bool { return r.proxy.Waiting() > 0 })
		w.conn.Close()
		return holder.conn
	},
	"loses its server": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		r.kill()
		return w.conn
	},
	"loses its server within a value": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Parse{Query: "INSERT INTO large (sealed) VALUES ($1)"}).Flush()
		w.promised('B', 5*mib, "\x00\x00\x00\x00\x00\x01", 2*mib)
		r.kill()
		return w.conn
	},
	"loses its server within COPY": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "COPY large (sealed) FROM STDIN"}).want("G")
		w.send(&pgproto3.CopyData{Data: []byte(strings.Repeat("x", 3*mib))}).Flush()
		r.kill()
		return w.conn
	},
	"loses its server within rows": func(r *rude, secure bool) net.Conn {
		w := r.session(secure)
		w.send(&pgproto3.Query{String: "SELECT sealed FROM large, generate_series(1, 12) WHERE pin = 1"}).Flush()
		r.kill()
		return w.conn
	},
	"loses its server while it waits for room": func(r *rude, secure bool) net.Conn {
		holder := promise(r.t, r.fixture, 8*mib-100)
		waitFor(r.t, func() bool { return r.proxy.Waiting() > 0 || r.full() })
		w := r.session(secure)
		w.send(&pgproto3.Parse{Query: "INSERT INTO large (sealed) VALUES ($1)"}).Flush()
		w.promised('B', 5*mib, "\x00\x00\x00\x00\x00\x01", 1000)
		waitFor(r.t, func() bool { return r.proxy.Waiting() > 0 })
		r.kill()
		return holder.conn
	},
}

// full says that clients have all the room there is.
func (r *rude) full() bool {
	clients, _ := r.proxy.MessagesHeld()
	return clients == 8*mib
}

// leave ends a connection: as it should be, with what was not read thrown away, or
// half of it first.
func leave(conn net.Conn, how int) {
	below := conn
	if secure, ok := conn.(*tls.Conn); ok {
		below = secure.NetConn()
	}
	switch tcp := below.(*net.TCPConn); how % 3 {
	case 1:
		tcp.SetLinger(0)
		tcp.Close()
	case 2:
		tcp.CloseWrite()
	}
	conn.Close()
}

// TestNothingLeaks: of clients that end in the middle of something nothing stays.
func TestNothingLeaks(t *testing.T) {
	ca, cert, key := certificate(t, t.TempDir())
	f := start(t, shared, []proxy.ColumnRule{column("large", "sealed", "text", "random")}, func(cfg *dbproxy.Config, _ *datakey.Config) {
		cfg.MessageMemory = 16 * mib
		cfg.TLS = dbproxy.TLSConfig{CertFile: cert, KeyFile: key}
	})
	r := &rude{f, t, trust(t, ca)}
	w := r.session(false)
	w.send(&pgproto3.Query{String: "CREATE TABLE large (id serial, pin int, sealed text)"}).want("C Z")
	for pin, n := range map[string]int{"1": 2 * mib, "2": 10} {
		w.send(&pgproto3.Query{String: "INSERT INTO large (pin, sealed) VALUES (" + pin + ", '" + strings.Repeat("x", n) + "')"}).want("C Z")
	}
	w.conn.Close()
	misbehave := func(n int) {
		for what, client := range misbehaviours {
			for i := range n {
				leave(client(r, i%2 == 1), i)
			}
			if t.Failed() {
				t.Fatal(what)
			}
		}
	}
	gone := func() bool {
		starting, sessions, keys := f.proxy.Clients()
		clients, servers := f.proxy.MessagesHeld()
		return starting+sessions+keys == 0 && clients+servers == 0
	}
	misbehave(1) // what there is once for all
	settle(t, f, gone)
	before := runtime.NumGoroutine()
	const times = 4
	misbehave(times)
	settle(t, f, func() bool { return gone() && runtime.NumGoroutine() < before+times && dbproxy.BuffersInUse() == 0 })
	w = r.session(true)
	w.send(&pgproto3.Query{String: "SELECT sealed FROM large WHERE pin = 2"}).want("T25 D:xxxxxxxxxx C Z")
	w.conn.Close()
	// The server itself does not see that a client has left while a statement runs.
	exec1(t, f.direct(t), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1000)%' AND pid <> pg_backend_pid()")
}

// settle waits until it is as it should be, and says how it is if that does not come.
func settle(t *testing.T, f *fixture, done func() bool) {
	t.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	starting, sessions, keys := f.proxy.Clients()
	clients, servers := f.proxy.MessagesHeld()
	var stacks strings.Builder
	pprof.Lookup("goroutine").WriteTo(&stacks, 1)
	t.Fatalf("there are %d clients that log in, %d sessions, %d keys, %d and %d bytes of messages, %d goroutines, %d buffers in use\n%s",
		starting, sessions, keys, clients, servers, runtime.NumGoroutine(), dbproxy.BuffersInUse(), &stacks)
}
