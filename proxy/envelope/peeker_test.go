// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// peeker is a bufio.Reader that says what it can do.
type peeker struct {
	*bufio.Reader
	can bool
}

func (p peeker) CanPeek() bool { return p.can }

func peeking(r io.Reader) io.Reader {
	return peeker{bufio.NewReaderSize(iotest.HalfReader(r), 64<<10), true}
}

// What is sealed from where it lies is what is sealed from a copy, for all lengths around those of chunks.
func TestPeekerIsAsAnyReader(t *testing.T) {
	key, salt := bytes.Repeat([]byte{1}, 32), [24]byte{2}
	m, err := envelope.NewMessage(key, salt, nil)
	if err != nil {
		t.Fatal(err)
	}
	const c = envelope.ChunkSize
	for _, size := range []int{0, 1, c - 1, c, c + 1, 3*c - 1, 3 * c, 20*c + 7} {
		plain := bytes.Repeat([]byte("plaintext"), size/9+1)[:size]
		want, err := io.ReadAll(m.Seal(bytes.NewReader(plain)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(m.Seal(peeking(bytes.NewReader(plain))))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes sealed from a Peeker differ (%v)", size, err)
		}
	}
}

// Content that fails seals no final chunk.
func TestPeekerFails(t *testing.T) {
	m, err := envelope.NewMessage(bytes.Repeat([]byte{1}, 32), [24]byte{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, 5*envelope.ChunkSize+100)
	sealed, err := io.ReadAll(m.Seal(bytes.NewReader(plain)))
	if err != nil {
		t.Fatal(err)
	}
	bad := fmt.Errorf("bad content")
	got, err := io.ReadAll(m.Seal(peeking(io.MultiReader(bytes.NewReader(plain), iotest.ErrReader(bad)))))
	if !errors.Is(err, bad) || len(got) >= len(sealed)-100 {
		t.Errorf("%d of %d bytes and %v, want no final chunk and %v", len(got), len(sealed), err, bad)
	}
	if _, err := io.ReadAll(m.Open(bytes.NewReader(got))); err == nil {
		t.Error("what was sealed of bad content opens")
	}
}
