// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"crypto/sha3"
	"math/bits"

	"filippo.io/mldsa"
)

// The ring of FIPS 204: polynomials of degree below n over the integers mod q.
const (
	ringN = 256
	ringQ = 8380417
	dropD = 13 // bits that the public key leaves out
)

// mldsaParameters is a column of FIPS 204, tables 1 and 2.
type mldsaParameters struct {
	set     mldsa.Parameters
	k, l    int // rows and columns of A
	eta     int
	tau     int
	strong  int // bytes of c tilde
	maskLen int // bits of gamma1, less one
	gamma2  uint32
	omega   int
}

var (
	mldsa44 = mldsaParameters{set: mldsa.MLDSA44(), k: 4, l: 4, eta: 2, tau: 39, strong: 32, maskLen: 17, gamma2: (ringQ - 1) / 88, omega: 80}
	mldsa65 = mldsaParameters{set: mldsa.MLDSA65(), k: 6, l: 5, eta: 4, tau: 49, strong: 48, maskLen: 19, gamma2: (ringQ - 1) / 32, omega: 55}
	mldsa87 = mldsaParameters{set: mldsa.MLDSA87(), k: 8, l: 7, eta: 2, tau: 60, strong: 64, maskLen: 19, gamma2: (ringQ - 1) / 32, omega: 75}
)

// poly has coefficients below q, in either domain of the number-theoretic
// transform (NTT).
type poly [ringN]uint32

func mulQ(a, b uint32) uint32 { return uint32(uint64(a) * uint64(b) % ringQ) }
func addQ(a, b uint32) uint32 { return (a + b) % ringQ }
func subQ(a, b uint32) uint32 { return (a + ringQ - b) % ringQ }

// zetas are the powers of the 512th root of unity 1753 in bit-reversed order
// (appendix B).
var zetas = func() (z [ringN]uint32) {
	power := uint32(1)
	for i := range ringN {
		z[bits.Reverse8(uint8(i))] = power
		power = mulQ(power, 1753)
	}
	return z
}()

// ntt is algorithm 41, in place.
func (f *poly) ntt() *poly {
	m := 0
	for length := ringN / 2; length > 0; length /= 2 {
		for start := 0; start < ringN; start += 2 * length {
			m++
			for j := start; j < start+length; j++ {
				t := mulQ(zetas[m], f[j+length])
				f[j], f[j+length] = addQ(f[j], t), subQ(f[j], t)
			}
		}
	}
	return f
}

// invert is algorithm 42, the inverse of ntt.
func (f *poly) invert() *poly {
	m := ringN
	for length := 1; length < ringN; length *= 2 {
		for start := 0; start < ringN; start += 2 * length {
			m--
			for j := start; j < start+length; j++ {
				t := f[j]
				f[j] = addQ(t, f[j+length])
				f[j+length] = mulQ(ringQ-zetas[m], subQ(t, f[j+length]))
			}
		}
	}
	for j := range f {
		f[j] = mulQ(f[j], 8347681) // 256^-1
	}
	return f
}

// addProduct adds a·b, all in the NTT domain.
func (f *poly) addProduct(a, b *poly) {
	for i := range f {
		f[i] = addQ(f[i], mulQ(a[i], b[i]))
	}
}

// sampleA is an entry of A in the NTT domain (algorithms 30 and 32).
func sampleA(rho []byte, row, column int) (f poly) {
	h := sha3.NewSHAKE128()
	h.Write(rho)
	h.Write([]byte{byte(column), byte(row)})
	var b [3]byte
	for i := 0; i < ringN; {
		h.Read(b[:])
		if c := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2]&0x7f)<<16; c < ringQ {
			f[i] = c
			i++
		}
	}
	return f
}

// timesA is A·v in the NTT domain, as polynomials.
func (p *mldsaParameters) timesA(rho []byte, v []poly) []poly {
	w := make([]poly, p.k)
	for row := range w {
		for column := range v {
			a := sampleA(rho, row, column)
			w[row].addProduct(&a, &v[column])
		}
	}
	return w
}

// pack appends numbers of so many bits, least significant first (SimpleBitPack,
// algorithm 16).
func pack(out []byte, width int, f *poly) []byte {
	var window uint64
	have := 0
	for _, c := range f {
		window |= uint64(c) << have
		for have += width; have >= 8; have -= 8 {
			out = append(out, byte(window))
			window >>= 8
		}
	}
	return out
}

// unpack is the inverse, and returns what follows.
func unpack(in []byte, width int) (f poly, rest []byte) {
	var window uint64
	have := 0
	for i := range f {
		for ; have < width; have += 8 {
			window |= uint64(in[0]) << have
			in = in[1:]
		}
		f[i] = uint32(window & (1<<width - 1))
		window >>= width
		have -= width
	}
	return f, in
}
