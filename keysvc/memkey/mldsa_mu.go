// SPDX-License-Identifier: Apache-2.0

package memkey

import (
	"bytes"
	"crypto/sha3"
)

// verifyMu is ML-DSA.Verify_internal (FIPS 204, algorithm 8) from mu on. The
// library verifies whole messages only. There are no secrets in it.
func (p *mldsaParameters) verifyMu(public, mu, signature []byte) bool {
	if len(signature) != p.set.SignatureSize() || len(public) != p.set.PublicKeySize() {
		return false
	}
	challenge, rest := signature[:p.strong], signature[p.strong:]
	z, rest, ok := p.decodeZ(rest)
	if !ok {
		return false
	}
	hints, ok := p.decodeHints(rest)
	if !ok {
		return false
	}
	h := sha3.NewSHAKE256()
	h.Write(mu)
	for i, w := range p.commitment(public, challenge, z) {
		h.Write(pack(nil, p.highBits(), p.useHint(&w, &hints[i])))
	}
	again := make([]byte, p.strong)
	h.Read(again)
	return bytes.Equal(again, challenge)
}

// commitment is w' approx = A·z - c·t1·2^d.
func (p *mldsaParameters) commitment(public, challenge []byte, z []poly) []poly {
	rho, rest := public[:32], public[32:]
	for i := range z {
		z[i].ntt()
	}
	w := p.timesA(rho, z)
	c := p.sampleInBall(challenge)
	c.ntt()
	for i := range w {
		var t1 poly
		t1, rest = unpack(rest, 10)
		for j := range t1 {
			t1[j] = ringQ - t1[j]<<dropD // below q, as t1 is below 2^10; 0 is q
			t1[j] %= ringQ
		}
		w[i].addProduct(&c, t1.ntt())
		w[i].invert()
	}
	return w
}

// decodeZ takes z, of which every coefficient is small: below gamma1 - beta.
func (p *mldsaParameters) decodeZ(in []byte) (z []poly, rest []byte, ok bool) {
	gamma1 := uint32(1) << p.maskLen
	bound := gamma1 - uint32(p.tau*p.eta)
	z = make([]poly, p.l)
	for i := range z {
		z[i], in = unpack(in, p.maskLen+1)
		for j, c := range z[i] {
			if c <= gamma1-bound || c >= gamma1+bound {
				return nil, nil, false
			}
			z[i][j] = subQ(gamma1, c)
		}
	}
	return z, in, true
}

// decodeHints is HintBitUnpack (algorithm 21): one encoding only.
func (p *mldsaParameters) decodeHints(in []byte) (hints []poly, ok bool) {
	positions, ends := in[:p.omega], in[p.omega:]
	hints = make([]poly, p.k)
	at := 0
	for i := range hints {
		first, end := at, int(ends[i])
		if end < at || end > p.omega {
			return nil, false
		}
		for ; at < end; at++ {
			if at > first && positions[at-1] >= positions[at] {
				return nil, false
			}
			hints[i][positions[at]] = 1
		}
	}
	return hints, bytes.Equal(positions[at:], make([]byte, p.omega-at))
}

// sampleInBall is algorithm 29: tau coefficients are 1 or -1.
func (p *mldsaParameters) sampleInBall(seed []byte) (c poly) {
	h := sha3.NewSHAKE256()
	h.Write(seed)
	var signs [8]byte
	h.Read(signs[:])
	var j [1]byte
	for i := ringN - p.tau; i < ringN; i++ {
		for h.Read(j[:]); int(j[0]) > i; {
			h.Read(j[:])
		}
		c[i] = c[j[0]]
		c[j[0]] = 1
		if bit := i + p.tau - ringN; signs[bit/8]>>(bit%8)&1 == 1 {
			c[j[0]] = ringQ - 1
		}
	}
	return c
}

// highBits is the length of a coefficient of w1.
func (p *mldsaParameters) highBits() int {
	if p.gamma2 == (ringQ-1)/88 {
		return 6
	}
	return 4
}

// useHint is algorithm 40 for each coefficient.
func (p *mldsaParameters) useHint(w, hint *poly) *poly {
	m := (ringQ - 1) / (2 * p.gamma2)
	var w1 poly
	for i, r := range w {
		high, low := p.decompose(r)
		switch {
		case hint[i] == 0:
		case low > 0:
			high = (high + 1) % m
		default:
			high = (high + m - 1) % m
		}
		w1[i] = high
	}
	return &w1
}

// decompose is algorithm 36: r = high·2·gamma2 + low, low in (-gamma2, gamma2].
func (p *mldsaParameters) decompose(r uint32) (high uint32, low int32) {
	low = int32(r % (2 * p.gamma2))
	if low > int32(p.gamma2) {
		low -= int32(2 * p.gamma2)
	}
	if int32(r)-low == ringQ-1 {
		return 0, low - 1
	}
	return uint32(int32(r)-low) / (2 * p.gamma2), low
}
