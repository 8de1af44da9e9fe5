// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"crypto/sha256"
	"errors"
	"io"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// errProof is a sealed body that does not open as what was sealed.
var errProof = errors.New("what was sealed does not open: the object stays as it is")

// proof is a sealed body that is opened while it passes. Its end is held back until
// all of it has opened as the plaintext that went in: without its end it replaces
// nothing. In a bucket without versions the plaintext is gone with the last byte, and
// reading back comes too late for it.
type proof struct {
	sealed io.Reader
	want   func() piece // what was sealed, once the body has ended
	pipe   *io.PipeWriter
	opened chan opening

	ready, held, spare []byte
	err                error
}

type opening struct {
	piece piece
	err   error
}

// newProof opens with open what it passes on. close ends it.
func newProof(sealed io.Reader, open func(io.Reader) io.Reader, want func() piece) *proof {
	r, w := io.Pipe()
	p := &proof{sealed: sealed, want: want, pipe: w, opened: make(chan opening, 1), spare: make([]byte, readBurst)}
	go func() {
		sum := sha256.New()
		n, err := io.Copy(sum, open(r))
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		r.CloseWithError(errors.Join(errProof, err))
		p.opened <- opening{piece{n, [sha256.Size]byte(sum.Sum(nil))}, err}
	}()
	return p
}

func (p *proof) close() { p.pipe.CloseWithError(io.ErrClosedPipe) }

func (p *proof) Read(b []byte) (int, error) {
	for len(p.ready) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.advance()
	}
	n := copy(b, p.ready)
	p.ready = p.ready[n:]
	return n, nil
}

// advance reads on. What was read before may then go, but not what is read now.
func (p *proof) advance() {
	n, err := p.sealed.Read(p.spare)
	if n > 0 {
		if _, err := p.pipe.Write(p.spare[:n]); err != nil {
			p.err = err
			return
		}
		next := p.held
		p.ready, p.held = p.held, p.spare[:n]
		if p.spare = next[:cap(next)]; next == nil {
			p.spare = make([]byte, readBurst)
		}
	}
	switch {
	case err == io.EOF:
		p.err = p.end()
		if p.err == io.EOF {
			p.ready = append(p.ready[:len(p.ready):len(p.ready)], p.held...)
		}
	case err != nil:
		p.err = err
	}
}

func (p *proof) end() error {
	p.pipe.Close()
	if got := <-p.opened; got.err != nil || got.piece != p.want() {
		return errors.Join(errProof, got.err)
	}
	return io.EOF
}

// openWhole opens the body of an object that is one message.
func openWhole(o *proxy.ObjectOpener, size int64) func(io.Reader) io.Reader {
	return func(body io.Reader) io.Reader { return o.Reader(body, size) }
}

// openPart opens a part, by a part table of it alone.
func openPart(o *proxy.ObjectOpener, number int, size int64, salt [24]byte) func(io.Reader) io.Reader {
	return func(body io.Reader) io.Reader {
		o.WithTable(&envelope.Table{Parts: []envelope.TablePart{{Number: number, Size: size, Salt: salt}}})
		off, _ := o.Range(0, size, size)
		if _, err := io.CopyN(io.Discard, body, off); err != nil {
			return failing{err}
		}
		return o.RangeReader(body, 0, size, size)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
