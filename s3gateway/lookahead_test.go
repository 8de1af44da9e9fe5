// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/sidekey/sidekey/s3gateway"
)

// TestLookahead reads content through all that a reader may do.
func TestLookahead(t *testing.T) {
	want := content(300_001)
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(want), "halves": iotest.HalfReader(bytes.NewReader(want)), "with its end": iotest.DataErrReader(bytes.NewReader(want)),
	} {
		l := s3gateway.NewLookahead(src)
		var got []byte
		for n := 1; ; n = n*3%40_000 + 1 {
			p, err := l.Peek(n)
			got = append(got, p...)
			if m, _ := l.Discard(len(p)); m != len(p) {
				t.Fatalf("%s: discarded %d of %d", name, m, len(p))
			}
			if err != nil {
				if err != io.EOF || len(p) == n {
					t.Errorf("%s: %d of %d bytes and %v", name, len(p), n, err)
				}
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes differ", name, len(got))
		}
	}
}

// A shipment that is closed while it is read gives its buffer back after that read, and
// reads nothing more.
func TestShipmentClosedWhileRead(t *testing.T) {
	reading, goOn := make(chan bool), make(chan bool)
	src := readerFunc(func(p []byte) (int, error) {
		reading <- true
		<-goOn
		return copy(p, "secret"), nil
	})
	s := s3gateway.NewShipment(src)
	type result struct {
		text string
		err  error
	}
	results := make(chan result)
	go func() {
		p := make([]byte, 6)
		n, err := s.Read(p)
		results <- result{string(p[:n]), err}
	}()
	<-reading
	s.Close() // waits for nothing
	goOn <- true
	if r := <-results; r.text != "secret" || r.err != nil {
		t.Errorf("the read that was under way: %+v", r)
	}
	if !s.Released() {
		t.Error("the buffer is not given back")
	}
	if n, err := s.Read(make([]byte, 6)); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a read after that: %d, %v", n, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
