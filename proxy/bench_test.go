// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"fmt"
	"testing"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
)

func BenchmarkColumn32(b *testing.B) {
	f := newFixture(b)
	rule := f.rules.Columns[0]
	col := f.column(b, rule, f.columnKey(b, rule, 1))
	ctx, op := f.log.Begin(b.Context(), audit.SpanPostgresQuery)
	defer op.End("")
	l, err := col.Acquire(ctx)
	if err != nil {
		b.Fatal(err)
	}
	v, _ := l.Seal(nil, randomBytes(32))
	l.Release()
	dst := make([]byte, 0, 128)
	b.Run("acquire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l, err := col.Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			l.Release()
		}
	})
	b.Run("acquire and open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l, err := col.Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := l.Open(dst, v); err != nil {
				b.Fatal(err)
			}
			l.Release()
		}
	})
}

// BenchmarkModes seals and opens 8 bytes, as of an int8, and 32, as of a text.
func BenchmarkModes(b *testing.B) {
	f := newFixture(b)
	for _, mode := range []string{proxy.ModeRandom, proxy.ModeEquality, proxy.ModeRange} {
		rule := proxy.ColumnRule{Table: "t", Column: mode, Type: "bytea", Mode: mode, KeyID: f.rules.Columns[0].KeyID}
		col := f.column(b, rule, f.columnKey(b, rule, 1))
		ctx, op := f.log.Begin(b.Context(), audit.SpanPostgresQuery)
		defer op.End("")
		l, err := col.Acquire(ctx)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Release()
		for _, n := range []int{8, 32} {
			plain, dst := randomBytes(n), make([]byte, 0, 1024)
			v, err := l.Seal(nil, plain)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/%d/seal", mode, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Seal(dst, plain); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(v)), "B/value")
			})
			b.Run(fmt.Sprintf("%s/%d/open", mode, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Open(dst, v); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkObjectHeader(b *testing.B) {
	f := newFixture(b)
	ctx, op := f.log.Begin(b.Context(), audit.SpanS3("PutObject"))
	defer op.End("")
	b.ReportAllocs()
	for b.Loop() {
		s, err := f.cipher.SealObject(ctx, proxy.Object{Bucket: "data", Key: "k"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.cipher.OpenObject(ctx, "data", "k", s.Header(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
