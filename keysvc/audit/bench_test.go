package audit_test

import (
	"testing"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// BenchmarkRecord measures the CPU of one record on the caller's side, with
// the attributes of a KMS operation. Every operation below makes two records.
func BenchmarkRecord(b *testing.B) {
	l := open(b, audit.Config{Dir: b.TempDir()})
	b.ReportAllocs()
	_, op := l.Begin(b.Context(), "bench")
	n := 0
	for b.Loop() {
		op.Child(b.Context(), audit.SpanDataKeyUse, time.Now(), "",
			audit.Principal.String("app"),
			audit.KeyARN.String("arn:aws:kms:eu-west-1:111122223333:key/0d990263-018e-4e65-a703-eff731de951e"),
			audit.DataKeyID.String("5f2b1c0e"), audit.Cache.String("hit"), audit.Uses.Int(1),
			audit.Columns.StringSlice([]string{"public.person.name", "public.person.iban"}))
		if n++; n%1000 == 0 {
			b.StopTimer()
			if err := l.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
}

// BenchmarkOperation is intent, one child and outcome, each on disk.
func BenchmarkOperation(b *testing.B) {
	l := open(b, audit.Config{Dir: b.TempDir()})
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ctx, op := l.Begin(b.Context(), audit.SpanKMS("Decrypt"), audit.Principal.String("app"),
				audit.KeyARN.String("arn:aws:kms:eu-west-1:111122223333:key/0d990263-018e-4e65-a703-eff731de951e"))
			op.Child(ctx, audit.SpanHSMDecrypt, time.Now(), "", audit.Bytes.Int(32))
			if err := op.End("", audit.RequestID.String("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOperationAlone(b *testing.B) {
	l := open(b, audit.Config{Dir: b.TempDir()})
	for b.Loop() {
		_, op := l.Begin(b.Context(), audit.SpanKMS("Decrypt"), audit.Principal.String("app"))
		if err := op.End(""); err != nil {
			b.Fatal(err)
		}
	}
}
