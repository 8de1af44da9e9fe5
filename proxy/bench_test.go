// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
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
