// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"io"
	"strconv"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

const benchSize = 64 << 20

// The yardstick: AES-256-GCM of one chunk, in place.
func BenchmarkRawGCM(b *testing.B) {
	block, _ := aes.NewCipher(random(32))
	aead, _ := cipher.NewGCM(block)
	buf, nonce := make([]byte, envelope.SealedChunkSize), make([]byte, 12)
	b.SetBytes(envelope.ChunkSize)
	for b.Loop() {
		aead.Seal(buf[:0], nonce, buf[:envelope.ChunkSize], nil)
	}
}

type sink struct{ io.Writer } // hides ReadFrom

func benchStream(b *testing.B, stream func() io.Reader, drain func(io.Reader) error) {
	b.Helper()
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := drain(stream()); err != nil {
			b.Fatal(err)
		}
	}
}

func copyAll(r io.Reader) error {
	_, err := io.Copy(sink{io.Discard}, r)
	return err
}

func read32K(r io.Reader) error {
	buf := make([]byte, 32<<10)
	_, err := io.CopyBuffer(sink{io.Discard}, struct{ io.Reader }{r}, buf)
	return err
}

func BenchmarkSeal(b *testing.B) {
	m, plain := newMessage(b), make([]byte, benchSize)
	src := func() io.Reader { return m.Seal(bytes.NewReader(plain)) }
	b.Run("WriteTo", func(b *testing.B) { benchStream(b, src, copyAll) })
	b.Run("Read32K", func(b *testing.B) { benchStream(b, src, read32K) })
}

func BenchmarkOpen(b *testing.B) {
	m := newMessage(b)
	sealed := seal(b, m, make([]byte, benchSize))
	src := func() io.Reader { return m.Open(bytes.NewReader(sealed)) }
	b.Run("WriteTo", func(b *testing.B) { benchStream(b, src, copyAll) })
	b.Run("Read32K", func(b *testing.B) { benchStream(b, src, read32K) })
}

func BenchmarkHeaderSeal(b *testing.B) {
	key, wrapped := random(32), random(120)
	b.ReportAllocs()
	for b.Loop() {
		h := envelope.NewHeader(envelope.PlainSuite, arn, wrapped, nil)
		if _, err := h.Seal(key, "bucket", "key", nil); err != nil {
			b.Fatal(err)
		}
		_ = h.String()
	}
}

func benchValue(b *testing.B, mode envelope.Mode, open bool) {
	b.Helper()
	c := newCodec(b, mode, random(32))
	plain, dst := random(32), make([]byte, 0, 256)
	v, _ := c.Seal(nil, plain)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if open {
			_, err = c.Open(dst, v)
		} else {
			_, err = c.Seal(dst, plain)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRangeSeal(b *testing.B) {
	for _, n := range []int{4, 8, 16, 32, envelope.MaxRange} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := newCodec(b, envelope.Range, random(32))
			plain, dst := random(n), make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Seal(dst, plain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValue32(b *testing.B) {
	b.Run("random/seal", func(b *testing.B) { benchValue(b, envelope.Random, false) })
	b.Run("random/open", func(b *testing.B) { benchValue(b, envelope.Random, true) })
	b.Run("equality/seal", func(b *testing.B) { benchValue(b, envelope.Equality, false) })
	b.Run("equality/open", func(b *testing.B) { benchValue(b, envelope.Equality, true) })
	b.Run("range/seal", func(b *testing.B) { benchValue(b, envelope.Range, false) })
	b.Run("range/open", func(b *testing.B) { benchValue(b, envelope.Range, true) })
}

func BenchmarkSealSearchable(b *testing.B) {
	for name, spec := range map[string]envelope.Search{"prefix 8": {Prefix: 8}, "substring 3 to 6": {Prefix: 8, Min: 3, Max: 6}} {
		b.Run(name, func(b *testing.B) {
			c := newSearchCodec(b, spec, random(32))
			var value []byte
			for b.Loop() {
				value, _ = c.Seal(value[:0], []byte("alice.liddell@example.com"))
			}
			b.ReportMetric(float64(len(value)), "bytes")
		})
	}
}
