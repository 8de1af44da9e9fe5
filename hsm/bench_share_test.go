// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"crypto"
	"syscall"
	"testing"
	"time"
)

// BenchmarkShare is the HSM's own share of what the key service does: its calls
// by 16 callers at a time, and nothing else. cpu-us/op counts all threads.
func BenchmarkShare(b *testing.B) {
	tok, wrapped, ciphertext := benchToken(b)
	calls := map[string]func() error{
		"Encrypt": func() error {
			_, _, err := tok.Encrypt(ctx, wrapped, epoch1, nonce1, text1, aad1)
			return err
		},
		"Decrypt": func() error {
			_, _, err := tok.Decrypt(ctx, wrapped, epoch1, nonce1, ciphertext, aad1)
			return err
		},
		"GenerateDataKey": func() error {
			key, err := tok.Random(ctx, 32)
			if err == nil {
				_, _, err = tok.Encrypt(ctx, wrapped, epoch1, nonce1, key, aad1)
			}
			return err
		},
	}
	for name, spec := range map[string]string{"Sign P-256": "ECC_NIST_P256", "Sign RSA-2048": "RSA_2048"} {
		key, _ := generateFor(b, tok, spec)
		digest := make([]byte, 32)
		calls[name] = func() error {
			_, err := tok.Sign(ctx, spec, key, digest, crypto.SHA256)
			return err
		}
	}
	for _, name := range []string{"Encrypt", "Decrypt", "GenerateDataKey", "Sign P-256", "Sign RSA-2048"} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(8) // times two cores
			before := processTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := calls[name](); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64((processTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
		})
	}
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
