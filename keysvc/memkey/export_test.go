// SPDX-License-Identifier: Apache-2.0

package memkey

// Expand is for tests.
func Expand(spec string, seed []byte) []byte {
	ks, err := specOf(spec, familyMLDSA)
	if err != nil {
		panic(err)
	}
	return ks.mldsa.expand(seed)
}

// Bound is gamma1 - beta of a spec, and whether a signature may have a
// coefficient z.
func Bound(spec string, z int) (bound int, ok bool) {
	ks, err := specOf(spec, familyMLDSA)
	if err != nil {
		panic(err)
	}
	p := ks.mldsa
	var f poly
	for i := range f {
		f[i] = 1 << p.maskLen // 0
	}
	f[7] = uint32(1<<p.maskLen - z)
	var encoded []byte
	for range p.l {
		encoded = pack(encoded, p.maskLen+1, &f)
	}
	_, _, ok = p.decodeZ(encoded)
	return 1<<p.maskLen - p.tau*p.eta, ok
}

// UseHint is algorithm 40 of FIPS 204, and gamma2.
func UseHint(spec string, r uint32, hint bool) (high, gamma2 uint32) {
	ks, err := specOf(spec, familyMLDSA)
	if err != nil {
		panic(err)
	}
	var w, h poly
	w[3] = r
	if hint {
		h[3] = 1
	}
	return ks.mldsa.useHint(&w, &h)[3], ks.mldsa.gamma2
}
