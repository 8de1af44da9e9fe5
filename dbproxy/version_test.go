// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// beginning sends bytes and gives what answers them, up to a request for a password,
// its absence, an error or the end.
func beginning(t *testing.T, addr string, message []byte) (got []string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	conn.Write(message)
	r := bufio.NewReader(conn)
	for {
		head, err := r.Peek(5)
		switch {
		case err != nil:
			return append(got, "end")
		case string(head) == "EFATA": // of protocol 2
			text, err := r.ReadString(0)
			if err != nil {
				t.Fatal(err)
			}
			return append(got, text)
		}
		body := make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		switch body = body[5:]; head[0] {
		case 'v':
			var m pgproto3.NegotiateProtocolVersion
			if err := m.Decode(body); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("v %d.%d %q", m.NewestMinorProtocol>>16, m.NewestMinorProtocol&0xffff, m.UnrecognizedOptions))
		case 'E':
			var m pgproto3.ErrorResponse
			if err := m.Decode(body); err != nil {
				t.Fatal(err)
			}
			return append(got, "E "+m.Severity+" "+m.Code+" "+m.Message)
		default:
			return append(got, string(head[0]))
		}
	}
}

// supports cuts off which versions a server says that it supports.
func supports(messages []string) []string {
	for i, m := range messages {
		before, _, _ := strings.Cut(m, ": server supports ")
		messages[i] = strings.TrimRight(before, "\n\x00")
	}
	return messages
}

// TestProtocolVersions has the proxy answer what the server behind it answers.
func TestProtocolVersions(t *testing.T) {
	const v30, v32, grease = pgproto3.ProtocolVersion30, pgproto3.ProtocolVersion32, 3<<16 | 9999
	fixtures := []*fixture{start(t, shared, users()), start(t, newestCluster(t), users())}
	login := []string{"user", "postgres", "database", "postgres"}
	options := []string{"_pq_.first", "1", "user", "postgres", "_pq_.second", "", "database", "postgres", "_pq_.", "on"}
	for name, message := range map[string][]byte{
		"3.0":                     startup(v30, login...),
		"3.1":                     startup(v30+1, login...),
		"3.2":                     startup(v32, login...),
		"grease":                  startup(grease, login...),
		"3.0 with options":        startup(v30, options...),
		"3.2 with options":        startup(v32, options...),
		"grease with options":     startup(grease, options...),
		"options and a bad role":  startup(grease, "_pq_.x", "1", "user", "nosuch"),
		"options and no value":    startup(grease, "_pq_.x", "1", "user"),
		"no value":                startup(v30, "user"),
		"no end":                  unended(startup(v30, login...)),
		"more behind the end":     startup(v30, "user", "postgres", "", "_pq_.x", "1"),
		"options, more behind it": startup(v30, "_pq_.y", "1", "user", "postgres", "", "_pq_.x", "1"),
		"no role":                 startup(v30),
		"options, but no role":    startup(v30, "_pq_.y", "1"),
		"0.0":                     startup(0, login...),
		"1.0":                     startup(1<<16, login...),
		"2.0":                     startup(2<<16, login...),
		"4.0":                     startup(4<<16, login...),
		"1234.5681":               startup(1234<<16|5681, login...),
		"65535.65535":             startup(0xffffffff, login...),
	} {
		for i, c := range fixtures {
			if i == 0 && serverVersion(t) < 14 && (name == "2.0" || name == "0.0") {
				continue // which spoke 2.0
			}
			want, got := supports(beginning(t, address(c.cluster), message)), supports(beginning(t, c.addr, message))
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: the server (-) and the proxy (+):\n%s", name, d)
			}
		}
	}
}

// unended takes the last byte off a startup message.
func unended(m []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(m)-1)), m[4:len(m)-1]...)
}

func message(kind byte, body string) string {
	return string(kind) + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
}

// saying is a server that answers a startup message with the same bytes to all.
func saying(t *testing.T, said string) (addr string) {
	t.Helper()
	return accepting(t, func(conn net.Conn) {
		if _, ok := skipPacket(conn); !ok {
			return
		}
		io.WriteString(conn, said)
		io.Copy(io.Discard, conn)
	})
}

// skipPacket reads a message without a type and gives how much of its body came; ok
// says that its length did.
func skipPacket(conn net.Conn) (n int64, ok bool) {
	var length uint32
	if err := binary.Read(conn, binary.BigEndian, &length); err != nil {
		return 0, false
	}
	n, _ = io.CopyN(io.Discard, conn, int64(length)-4)
	return n, true
}

// TestHostileGreeting: what a server says before it is ready is not believed.
func TestHostileGreeting(t *testing.T) {
	const ok, ready = "R\x00\x00\x00\x08\x00\x00\x00\x00", "Z\x00\x00\x00\x05I"
	pid := "\x00\x00\x00\x07"
	key := func(n int) string { return message('K', pid+strings.Repeat("k", n)) }
	version := func(v string, options ...string) string {
		n := string(binary.BigEndian.AppendUint32(nil, uint32(len(options))))
		return message('v', v+n+strings.Join(options, ""))
	}
	for name, c := range map[string]struct {
		version    uint32
		said, want string
	}{
		"key of 0 bytes":             {pgproto3.ProtocolVersion32, ok + key(0) + ready, "08P01"},
		"no process":                 {pgproto3.ProtocolVersion32, ok + message('K', "") + ready, "08P01"},
		"key of 3 bytes":             {pgproto3.ProtocolVersion32, ok + key(3) + ready, "08P01"},
		"key of 4 bytes":             {pgproto3.ProtocolVersion32, ok + key(4) + ready, ""},
		"key of 256 bytes":           {pgproto3.ProtocolVersion32, ok + key(256) + ready, ""},
		"key of 257 bytes":           {pgproto3.ProtocolVersion32, ok + key(257) + ready, "08P01"},
		"key of 64 KiB":              {pgproto3.ProtocolVersion32, ok + key(1<<16) + ready, "08P01"},
		"long key in 3.0":            {pgproto3.ProtocolVersion30, ok + key(32) + ready, "08P01"},
		"long key after lowering":    {pgproto3.ProtocolVersion32, version("\x00\x03\x00\x00") + ok + key(32) + ready, "08P01"},
		"short key after lowering":   {pgproto3.ProtocolVersion32, version("\x00\x03\x00\x00") + ok + key(4) + ready, ""},
		"no key":                     {pgproto3.ProtocolVersion30, ok + ready, ""},
		"raised":                     {pgproto3.ProtocolVersion30, version("\x00\x03\x00\x02") + ok + ready, "08P01"},
		"raised beyond":              {pgproto3.ProtocolVersion32, version("\x00\x03\x27\x0f") + ok + ready, "08P01"},
		"nothing changed":            {pgproto3.ProtocolVersion32, version("\x00\x03\x00\x02") + ok + ready, "08P01"},
		"lowered too far":            {pgproto3.ProtocolVersion32, version("\x00\x02\x00\x00") + ok + ready, "08P01"},
		"option that was not asked":  {pgproto3.ProtocolVersion32, version("\x00\x03\x00\x00", "_pq_.x\x00") + ok + ready, "08P01"},
		"options that are not there": {pgproto3.ProtocolVersion32, message('v', "\x00\x03\x00\x00\xff\xff\xff\xff") + ok + ready, "08P01"},
		"cut version":                {pgproto3.ProtocolVersion32, message('v', "\x00\x03") + ok + ready, "08P01"},
		"version too late":           {pgproto3.ProtocolVersion32, ok + version("\x00\x03\x00\x00") + ready, "08P01"},
		"version twice":              {pgproto3.ProtocolVersion32, version("\x00\x03\x00\x01") + version("\x00\x03\x00\x00") + ok + ready, "08P01"},
		"a row":                      {pgproto3.ProtocolVersion30, ok + message('D', "\x00\x00") + ready, "08P01"},
		"COPY":                       {pgproto3.ProtocolVersion30, ok + message('G', "\x00\x00\x00") + ready, "08P01"},
		"1 GiB of authentication":    {pgproto3.ProtocolVersion30, "R\x40\x00\x00\x00\x00\x00\x00\x03", "08P01"},
		"bad length":                 {pgproto3.ProtocolVersion30, "R\xff\xff\xff\xff\x00\x00\x00\x03", "08006"},
		"length below its own":       {pgproto3.ProtocolVersion30, "R\x00\x00\x00\x03\x00\x00\x00\x03", "08006"},
		"cut authentication":         {pgproto3.ProtocolVersion30, message('R', "\x00\x00"), "08P01"},
		"no mechanism's end":         {pgproto3.ProtocolVersion30, message('R', "\x00\x00\x00\x0aSCRAM"), "08P01"},
		"setting without a value":    {pgproto3.ProtocolVersion30, ok + message('S', "TimeZone\x00") + ready, "08P01"},
		"ready without a state":      {pgproto3.ProtocolVersion30, ok + message('Z', ""), "08P01"},
		"not in this protocol":       {pgproto3.ProtocolVersion30, "SSH-2.0-OpenSSH", "08P01"},
	} {
		f := start(t, shared, nil, func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = saying(t, c.said) })
		_, got := opened(t, f.addr, startup(c.version, "user", "postgres"))
		switch {
		case c.want == "" && got != nil:
			t.Errorf("%s: got %+v", name, got)
		case c.want != "" && (got == nil || got.Code != c.want || got.Severity != "FATAL"):
			t.Errorf("%s: got %+v, want %s", name, got, c.want)
		}
	}
}

// TestCancelOfAnyLength: a request that no server could have given the key for is
// passed to none.
func TestCancelOfAnyLength(t *testing.T) {
	passed := make(chan int, 100)
	addr := accepting(t, func(conn net.Conn) {
		if n, ok := skipPacket(conn); ok {
			passed <- int(n) - 8
		}
	})
	f := start(t, shared, nil, func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = addr })
	var got []int
	for _, n := range []int{0, 3, 4, 32, 256, 257, 9000} {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		request := binary.BigEndian.AppendUint32(nil, uint32(12+n))
		conn.Write(append(request, "\x04\xd2\x16\x2e\x00\x00\x00\x07"+strings.Repeat("k", n)...))
		io.Copy(io.Discard, conn) // until it has been passed on
		conn.Close()
		for len(passed) > 0 {
			got = append(got, <-passed)
		}
	}
	if d := cmp.Diff([]int{4, 32, 256}, got); d != "" {
		t.Errorf("lengths of keys passed on:\n%s", d)
	}
}

// TestStartingHost: a host that says that it is starting up is passed over, also if it
// has negotiated the version before.
func TestStartingHost(t *testing.T) {
	away := message('E', "SFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00")
	for name, said := range map[string]string{"at once": away, "after the version": message('v', "\x00\x03\x00\x00\x00\x00\x00\x00") + away} {
		f := start(t, shared, nil, func(cfg *dbproxy.Config, _ *datakey.Config) {
			cfg.Upstream.Address = saying(t, said) + "," + address(shared)
		})
		if _, got := opened(t, f.addr, startup(pgproto3.ProtocolVersion32, "user", "postgres")); got != nil {
			t.Errorf("%s: got %+v", name, got)
		}
		alone := start(t, shared, nil, func(cfg *dbproxy.Config, _ *datakey.Config) { cfg.Upstream.Address = saying(t, said) })
		if _, got := opened(t, alone.addr, startup(pgproto3.ProtocolVersion32, "user", "postgres")); got == nil || got.Code != "57P03" || got.Message != "the database system is starting up" {
			t.Errorf("%s, no other host: got %+v", name, got)
		}
	}
}
