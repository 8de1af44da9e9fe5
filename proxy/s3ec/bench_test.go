// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"io"
	"testing"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

const benchSize = 32 << 20

// BenchmarkVerify is the first pass, BenchmarkRead the second.
func BenchmarkVerify(b *testing.B) {
	o := sealV3(b, random(32), random(60), content(benchSize), nil)
	opener := opener(b, o)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := opener.Verify(b.Context(), o.source()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	o := sealV3(b, random(32), random(60), content(benchSize), nil)
	v := verify(b, o)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		body, err := v.Open(b.Context(), o.source(), 0, v.Size())
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, body); n != benchSize || err != nil {
			b.Fatal(n, err)
		}
		body.Close()
	}
}

// BenchmarkWhole is the largest object that is opened in memory.
func BenchmarkWhole(b *testing.B) {
	o := sealV3(b, random(32), random(60), content(s3ec.MaxWhole), nil)
	opener := opener(b, o)
	b.SetBytes(s3ec.MaxWhole)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := opener.Verify(b.Context(), o.source()); err != nil {
			b.Fatal(err)
		}
	}
}
