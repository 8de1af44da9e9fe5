// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"crypto/sha3"
	"math/bits"
)

// expand is the private key of FIPS 204 (algorithms 6 and 24) that a seed makes:
// to compare with one that came with it, at import. The library keeps its own to
// itself.
func (p *mldsaParameters) expand(seed []byte) []byte {
	h := sha3.NewSHAKE256()
	h.Write(seed)
	h.Write([]byte{byte(p.k), byte(p.l)})
	var split [128]byte
	defer clear(split[:])
	h.Read(split[:])
	rho, secret, k := split[:32], split[32:96], split[96:]

	s := make([]poly, p.l+p.k)
	v := make([]poly, p.l)
	defer clear(s)
	defer clear(v)
	for i := range s {
		s[i] = p.sampleSmall(secret, i)
	}
	copy(v, s)
	for i := range v {
		v[i].ntt()
	}
	t := p.timesA(rho, v)
	defer clear(t)
	public := append(make([]byte, 0, p.set.PublicKeySize()), rho...)
	for i := range t {
		high := t[i].invert().round(&s[p.l+i])
		public = pack(public, 10, high)
	}
	return p.encode(rho, k, sha3.SumSHAKE256(public, 64), s, t)
}

// round adds s2, leaves t0 in t and returns t1 (Power2Round, algorithm 35).
func (t *poly) round(s2 *poly) *poly {
	var high poly
	for i := range t {
		r := addQ(t[i], s2[i])
		high[i] = (r + 1<<(dropD-1) - 1) >> dropD
		t[i] = subQ(r, high[i]<<dropD%ringQ)
	}
	return &high
}

// encode is skEncode (algorithm 24).
func (p *mldsaParameters) encode(rho, k, tr []byte, s, t0 []poly) []byte {
	size := 128 + 32*(bits.Len(uint(2*p.eta))*len(s)+dropD*p.k)
	out := append(append(append(make([]byte, 0, size), rho...), k...), tr...)
	for i := range s {
		out = packSigned(out, bits.Len(uint(2*p.eta)), uint32(p.eta), &s[i])
	}
	for i := range t0 {
		out = packSigned(out, dropD, 1<<(dropD-1), &t0[i])
	}
	return out
}

// packSigned is BitPack (algorithm 17): top less the coefficient.
func packSigned(out []byte, width int, top uint32, f *poly) []byte {
	var g poly
	defer clear(g[:])
	for i, c := range f {
		g[i] = subQ(top, c)
	}
	return pack(out, width, &g)
}

// sampleSmall is algorithms 31 and 33: coefficients from -eta to eta.
func (p *mldsaParameters) sampleSmall(seed []byte, index int) (f poly) {
	h := sha3.NewSHAKE256()
	h.Write(seed)
	h.Write([]byte{byte(index), byte(index >> 8)})
	var b [1]byte
	for i := 0; i < ringN; {
		h.Read(b[:])
		for _, half := range [2]uint32{uint32(b[0] & 15), uint32(b[0] >> 4)} {
			c, ok := p.small(half)
			if ok && i < ringN {
				f[i] = c
				i++
			}
		}
	}
	return f
}

// small is CoeffFromHalfByte (algorithm 15).
func (p *mldsaParameters) small(half uint32) (c uint32, ok bool) {
	if p.eta == 2 {
		return subQ(2, half%5), half < 15
	}
	return subQ(4, half%9), half < 9
}
