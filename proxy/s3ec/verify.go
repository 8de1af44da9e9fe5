// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

const (
	// chunkSize is what is held back until it is known to be unchanged.
	chunkSize = 64 << 10

	// MaxWhole is the longest plaintext that is opened in memory and in one pass.
	MaxWhole = 1 << 20
)

// Source opens the sealed bytes [offset, offset+length) of one object in the
// store. All of its readers must be of the same version of the object, by
// version ID or If-Match: if they are not, what is read fails with ErrOpen. A
// reader that ends early is an error; one that goes on is too where length ends
// the object.
type Source func(ctx context.Context, offset, length int64) (io.ReadCloser, error)

// Verified is an object that was authenticated. Plaintext of an object of up to
// MaxWhole is in memory. Of a longer one there is a SHA-256 for every 64 KiB of
// ciphertext, 512 KiB for a GiB, and Open reads its ciphertext again: what is
// not the very bytes that were authenticated is not released. It may be kept
// and used by several goroutines; it holds the key of the content.
type Verified struct {
	opener *Opener
	whole  []byte // plaintext, if it is no longer than MaxWhole
	sums   [][sha256.Size]byte
}

// Verify reads the whole object, and its end, and authenticates it. An error is
// the source's, or ErrOpen.
func (o *Opener) Verify(ctx context.Context, source Source) (*Verified, error) {
	sealed, err := source(ctx, 0, o.size+tagSize)
	if err != nil {
		return nil, fmt.Errorf("s3ec: opening the object: %w", err)
	}
	defer sealed.Close()
	v := &Verified{opener: o}
	if o.size <= MaxWhole {
		err = v.openWhole(sealed)
	} else {
		err = v.checkTag(sealed)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Verified) openWhole(sealed io.Reader) error {
	o := v.opener
	message := make([]byte, o.size+tagSize)
	if err := readAll(sealed, message, true); err != nil {
		return err
	}
	plain, err := o.aead.Open(message[:0], o.nonce, message, []byte(o.additional))
	if err != nil {
		return ErrOpen
	}
	v.whole = plain
	return nil
}

// checkTag is the first pass over an object that is longer than MaxWhole.
func (v *Verified) checkTag(sealed io.Reader) error {
	o := v.opener
	tagger := newTagger(o.aead, o.nonce, o.additional, chunkSize)
	buffer := make([]byte, chunkSize+tagSize)
	left := o.size
	for ; left > chunkSize; left -= chunkSize {
		chunk := buffer[:chunkSize]
		if err := readAll(sealed, chunk, false); err != nil {
			return err
		}
		v.sums = append(v.sums, sha256.Sum256(chunk))
		tagger.write(chunk)
	}
	last := buffer[:left+tagSize]
	if err := readAll(sealed, last, true); err != nil {
		return err
	}
	v.sums = append(v.sums, sha256.Sum256(last[:left]))
	if !tagger.valid(last[:left], last[left:]) {
		return ErrOpen
	}
	return nil
}

// readAll fills b, and at the end of an object looks that nothing follows.
func readAll(r io.Reader, b []byte, end bool) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && end {
		err = atEnd(r)
	}
	if err != nil && !errors.Is(err, ErrOpen) {
		err = fmt.Errorf("s3ec: reading the object: %w", err)
	}
	return err
}

func atEnd(r io.Reader) error {
	var more [1]byte
	n, err := io.ReadFull(r, more[:])
	if n != 0 {
		return ErrOpen
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Size is the length of the plaintext.
func (v *Verified) Size() int64 { return v.opener.size }
