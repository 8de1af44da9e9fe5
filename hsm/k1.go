// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"
)

// k1 is secp256k1 (SEC 2), which Go does not have: y² = x³ + 7. It takes as
// long as its numbers make it, so it is for public ones only: to prove what the
// token signs, and to learn the public half of an imported key from that.
type k1 struct {
	p, n *big.Int // of the field, and the order
	g    k1Point
}

// k1Point is at infinity if x is nil.
type k1Point struct{ x, y *big.Int }

func newK1() *k1 {
	number := func(hex string) *big.Int {
		n, _ := new(big.Int).SetString(hex, 16)
		return n
	}
	return &k1{
		p: number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
		n: number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
		g: k1Point{
			number("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
			number("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"),
		},
	}
}

// parse takes an uncompressed point of the curve.
func (c *k1) parse(point []byte) (q k1Point, ok bool) {
	if len(point) != 65 || point[0] != 4 {
		return k1Point{}, false
	}
	q = k1Point{new(big.Int).SetBytes(point[1:33]), new(big.Int).SetBytes(point[33:])}
	if q.x.Cmp(c.p) >= 0 || q.y.Cmp(c.p) >= 0 {
		return k1Point{}, false
	}
	square := new(big.Int).Mul(q.y, q.y)
	return q, square.Mod(square, c.p).Cmp(c.right(q.x)) == 0
}

// right is the right side of the equation.
func (c *k1) right(x *big.Int) *big.Int {
	cube := new(big.Int).Exp(x, big.NewInt(3), c.p)
	cube.Add(cube, big.NewInt(7))
	return cube.Mod(cube, c.p)
}

func (q k1Point) bytes() []byte {
	b := make([]byte, 65)
	b[0] = 4
	q.x.FillBytes(b[1:33])
	q.y.FillBytes(b[33:])
	return b
}

func (c *k1) add(a, b k1Point) k1Point {
	if a.x == nil {
		return b
	}
	if b.x == nil {
		return a
	}
	up, down := new(big.Int).Sub(b.y, a.y), new(big.Int).Sub(b.x, a.x)
	if down.Sign() == 0 {
		if up.Sign() != 0 || a.y.Sign() == 0 {
			return k1Point{}
		}
		up.Mul(a.x, a.x).Mul(up, big.NewInt(3))
		down.Lsh(a.y, 1)
	}
	slope := up.Mul(up, down.ModInverse(down.Mod(down, c.p), c.p))
	slope.Mod(slope, c.p)
	x := new(big.Int).Mul(slope, slope)
	x.Sub(x, a.x).Sub(x, b.x).Mod(x, c.p)
	y := new(big.Int).Sub(a.x, x)
	y.Mul(y, slope).Sub(y, a.y).Mod(y, c.p)
	return k1Point{x, y}
}

// sum is u·a + v·b.
func (c *k1) sum(u *big.Int, a k1Point, v *big.Int, b k1Point) (r k1Point) {
	for i := c.n.BitLen() - 1; i >= 0; i-- {
		r = c.add(r, r)
		if u.Bit(i) == 1 {
			r = c.add(r, a)
		}
		if v.Bit(i) == 1 {
			r = c.add(r, b)
		}
	}
	return r
}

type ecdsaSignature struct{ R, S *big.Int }

func (c *k1) parseSignature(der []byte) (sig ecdsaSignature, ok bool) {
	rest, err := asn1.Unmarshal(der, &sig)
	inside := func(n *big.Int) bool { return n.Sign() > 0 && n.Cmp(c.n) < 0 }
	return sig, err == nil && len(rest) == 0 && inside(sig.R) && inside(sig.S)
}

// verify is ECDSA with a digest of 32 bytes (SEC 1 section 4.1.4).
func (c *k1) verify(q k1Point, digest, signature []byte) bool {
	sig, ok := c.parseSignature(signature)
	if !ok || len(digest) != 32 {
		return false
	}
	w := new(big.Int).ModInverse(sig.S, c.n)
	u := new(big.Int).Mul(new(big.Int).SetBytes(digest), w)
	v := new(big.Int).Mul(sig.R, w)
	sum := c.sum(u.Mod(u, c.n), c.g, v.Mod(v, c.n), q)
	return sum.x != nil && new(big.Int).Mod(sum.x, c.n).Cmp(sig.R) == 0
}

// recover gives the two public keys that a signature may be of (SEC 1 section
// 4.1.6). It passes over the two that there are for one signature in 2^127.
func (c *k1) recover(digest, signature []byte) []k1Point {
	sig, ok := c.parseSignature(signature)
	if !ok || len(digest) != 32 {
		return nil
	}
	y := new(big.Int).ModSqrt(c.right(sig.R), c.p)
	if y == nil {
		return nil
	}
	w := new(big.Int).ModInverse(sig.R, c.n)
	u := new(big.Int).Mul(new(big.Int).SetBytes(digest), w)
	u.Mod(u.Neg(u), c.n)
	v := new(big.Int).Mul(sig.S, w)
	v.Mod(v, c.n)
	var found []k1Point
	for _, y := range []*big.Int{y, new(big.Int).Sub(c.p, y)} {
		if q := c.sum(u, c.g, v, k1Point{sig.R, y}); q.x != nil {
			found = append(found, q)
		}
	}
	return found
}

// publicK1 learns the public key of a private key in the token from two of its
// signatures.
func (s *session) publicK1(ks *keySpec, key pkcs11.ObjectHandle) ([]byte, error) {
	c := newK1()
	first, err := s.signK1(ks, key, probeText)
	if err != nil {
		return nil, err
	}
	second, err := s.signK1(ks, key, probeText[1:])
	if err != nil {
		return nil, err
	}
	for _, q := range c.recover(first.digest, first.signature) {
		if c.verify(q, second.digest, second.signature) {
			return q.bytes(), nil
		}
	}
	return nil, fmt.Errorf("%w: two signatures are of no one key", errProof)
}

type signed struct{ digest, signature []byte }

func (s *session) signK1(ks *keySpec, key pkcs11.ObjectHandle, text []byte) (signed, error) {
	h := ks.hash.New()
	h.Write(text)
	digest := h.Sum(nil)
	raw, err := s.sign(key, pkcs11.CKM_ECDSA, nil, digest)
	if err != nil {
		return signed{}, err
	}
	signature, err := ks.signature(raw)
	return signed{digest, signature}, err
}

// sameK1 compares a public key with one of a PKCS #8, in either form.
func sameK1(point, given []byte) bool {
	if len(given) == 33 {
		return given[0] == 2+point[64]&1 && bytes.Equal(given[1:], point[1:33])
	}
	return bytes.Equal(point, given)
}
