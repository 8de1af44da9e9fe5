// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// A sparing server has sessions without a server process each: a few connections to
// PostgreSQL answer for all. It is for thousands of idle clients that keep no state; the
// sidecar, which refuses to share processes, is told of one for each.
type sparing struct {
	real     chan net.Conn
	sessions atomic.Uint32
}

// startSparing gives its address.
func startSparing(t *testing.T, connections int) string {
	t.Helper()
	s := &sparing{real: make(chan net.Conn, connections)}
	for range connections {
		config, err := pgconn.ParseConfig(shared.env["UPSTREAM_DATABASE_URL"] + "?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		config.Password = shared.secret(t, "app")
		conn, err := pgconn.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		hijacked, err := conn.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hijacked.Conn.Close() })
		s.real <- hijacked.Conn
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Logf("a session without a process of its own: %v", err)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func (s *sparing) serve(conn net.Conn) error {
	backend := pgproto3.NewBackend(conn, conn)
	startup, err := backend.ReceiveStartupMessage()
	if err != nil {
		return err
	}
	if _, ok := startup.(*pgproto3.StartupMessage); !ok {
		return fmt.Errorf("got %T, want a startup message", startup)
	}
	pid := 1<<20 + s.sessions.Add(1)
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on", "DateStyle": "ISO, MDY",
		"IntervalStyle": "postgres", "TimeZone": "UTC", "server_version": "15.0"} {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: pid, SecretKey: []byte{1, 2, 3, 4}})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := backend.Flush(); err != nil {
		return err
	}
	for {
		batch, err := readBatch(conn)
		if err != nil {
			return err
		}
		if bytes.Contains(batch, []byte("pg_backend_pid()")) {
			number := strconv.FormatUint(uint64(pid), 10)
			backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{
				{Name: []byte("pg_backend_pid"), DataTypeOID: 23, DataTypeSize: 4, TypeModifier: -1},
				{Name: []byte("to_char"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
			backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(number), []byte("20260101000000000000")}})
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			err = backend.Flush()
		} else {
			err = s.answer(conn, batch)
		}
		if err != nil {
			return err
		}
	}
}

// answer has a real server answer.
func (s *sparing) answer(conn net.Conn, batch []byte) error {
	real := <-s.real
	defer func() { s.real <- real }()
	if _, err := real.Write(batch); err != nil {
		return err
	}
	var answer []byte
	for {
		message, err := readMessage(real)
		if err != nil {
			return err
		}
		if answer = append(answer, message...); message[0] == 'Z' {
			_, err := conn.Write(answer)
			return err
		}
	}
}

// readBatch reads messages up to one after which the server is ready.
func readBatch(from io.Reader) (batch []byte, err error) {
	for {
		message, err := readMessage(from)
		if err != nil {
			return nil, err
		}
		switch batch = append(batch, message...); message[0] {
		case 'Q', 'S':
			return batch, nil
		case 'X':
			return nil, io.EOF
		}
	}
}

func readMessage(from io.Reader) ([]byte, error) {
	message := make([]byte, 5)
	if _, err := io.ReadFull(from, message); err != nil {
		return nil, err
	}
	message = append(message, make([]byte, binary.BigEndian.Uint32(message[1:])-4)...)
	_, err := io.ReadFull(from, message[5:])
	return message, err
}
