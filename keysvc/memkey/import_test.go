// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// oneAsymmetricKey is RFC 5958, to make imports of.
type oneAsymmetricKey struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	PrivateKey []byte
	Attributes []asn1.RawValue `asn1:"optional,set,tag:0"`
	PublicKey  asn1.BitString  `asn1:"optional,tag:1"`
}

type ecKey struct { // RFC 5915
	Version    int
	PrivateKey []byte
	Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

func der(t testing.TB, value any) []byte {
	t.Helper()
	b, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read[T any](t testing.TB, b []byte) (value T) {
	t.Helper()
	if rest, err := asn1.Unmarshal(b, &value); err != nil || len(rest) > 0 {
		t.Fatalf("%x: %v", b, err)
	}
	return value
}

// with is the material after a change of its outer structure.
func with(t testing.TB, material []byte, change func(k *oneAsymmetricKey)) []byte {
	t.Helper()
	k := read[oneAsymmetricKey](t, material)
	change(&k)
	return der(t, k)
}

// withEC is the material after a change of its inner structure.
func withEC(t testing.TB, material []byte, change func(k *ecKey)) []byte {
	t.Helper()
	return with(t, material, func(k *oneAsymmetricKey) {
		inner := read[ecKey](t, k.PrivateKey)
		change(&inner)
		k.PrivateKey = der(t, inner)
	})
}

// withinSequence appends to what the outermost SEQUENCE holds.
func withinSequence(t testing.TB, b []byte, more ...byte) []byte {
	t.Helper()
	raw := read[asn1.RawValue](t, b)
	return der(t, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(bytes.Clone(raw.Bytes), more...)})
}

func refused(t *testing.T, spec, what string, material []byte) {
	t.Helper()
	if public, err := memkey.Public(spec, material); !errors.Is(err, memkey.ErrMaterial) {
		t.Errorf("%s, %s: got %x, %v, want %v", spec, what, public, err, memkey.ErrMaterial)
	}
}

func accepted(t *testing.T, spec, what string, material []byte) {
	t.Helper()
	key := keyOf(t, spec)
	public, err := memkey.Public(spec, material)
	if err != nil || !bytes.Equal(public, key.public) {
		t.Errorf("%s, %s: got %x, %v", spec, what, public, err)
	}
	if canonical, err := memkey.Canonical(spec, material); err != nil || !bytes.Equal(canonical, key.material) {
		t.Errorf("%s, %s: canonical form %x, %v", spec, what, canonical, err)
	}
}

// What holds for PKCS #8 of every kind of key.
func TestImportPKCS8(t *testing.T) {
	for spec := range signingOptions() {
		key := keyOf(t, spec)
		m := key.material
		point := read[struct {
			A asn1.RawValue
			B asn1.BitString
		}](t, key.public).B
		attribute := asn1.RawValue{FullBytes: []byte{0x30, 0x05, 0x06, 0x01, 0x2a, 0x31, 0x00}}

		accepted(t, spec, "as made", m)
		accepted(t, spec, "with an attribute", with(t, m, func(k *oneAsymmetricKey) { k.Attributes = []asn1.RawValue{attribute} }))
		accepted(t, spec, "version 1", with(t, m, func(k *oneAsymmetricKey) { k.Version = 1 }))
		accepted(t, spec, "version 1 with its public key", with(t, m, func(k *oneAsymmetricKey) { k.Version, k.PublicKey = 1, point }))

		refused(t, spec, "version 0 with a public key", with(t, m, func(k *oneAsymmetricKey) { k.PublicKey = point }))
		refused(t, spec, "version 2", with(t, m, func(k *oneAsymmetricKey) { k.Version = 2 }))
		refused(t, spec, "version 1 with another public key", with(t, m, func(k *oneAsymmetricKey) {
			other := bytes.Clone(point.Bytes)
			other[len(other)-1] ^= 1
			k.Version, k.PublicKey = 1, asn1.BitString{Bytes: other, BitLength: point.BitLength}
		}))
		refused(t, spec, "nothing", nil)
		refused(t, spec, "trailing byte", append(bytes.Clone(m), 0))
		refused(t, spec, "truncated", m[:len(m)-1])
		refused(t, spec, "trailing byte in the sequence", withinSequence(t, m, 0))
		refused(t, spec, "trailing NULL in the sequence", withinSequence(t, m, 5, 0))
		refused(t, spec, "trailing byte in the key", with(t, m, func(k *oneAsymmetricKey) { k.PrivateKey = append(k.PrivateKey, 0) }))
		refused(t, spec, "indefinite length", append(append([]byte{0x30, 0x80}, read[asn1.RawValue](t, m).Bytes...), 0, 0))
		refused(t, spec, "no key", with(t, m, func(k *oneAsymmetricKey) { k.PrivateKey = nil }))
		refused(t, spec, "the public key", key.public)
		refused(t, spec, "the inner key alone", read[oneAsymmetricKey](t, m).PrivateKey)
		refused(t, spec, "9 KiB", append(bytes.Clone(m), make([]byte, 9<<10)...))
		refused(t, spec, "other parameters", with(t, m, func(k *oneAsymmetricKey) {
			k.Algorithm.Parameters = asn1.RawValue{FullBytes: []byte{0x06, 0x01, 0x2a}}
		}))
		if spec[:3] != "RSA" {
			refused(t, spec, "NULL parameters", with(t, m, func(k *oneAsymmetricKey) { k.Algorithm.Parameters = asn1.NullRawValue }))
		}
		for other := range signingOptions() {
			if other != spec {
				refused(t, other, "a key of "+spec, m)
			}
		}
	}
}

func TestImportEC(t *testing.T) {
	oids := map[string]asn1.ObjectIdentifier{
		"ECC_NIST_P256": {1, 2, 840, 10045, 3, 1, 7}, "ECC_NIST_P384": {1, 3, 132, 0, 34},
		"ECC_NIST_P521": {1, 3, 132, 0, 35}, "ECC_SECG_P256K1": {1, 3, 132, 0, 10},
	}
	orders := map[string]*big.Int{"ECC_NIST_P256": elliptic.P256().Params().N, "ECC_NIST_P384": elliptic.P384().Params().N, "ECC_NIST_P521": elliptic.P521().Params().N}
	orders["ECC_SECG_P256K1"], _ = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	for spec, n := range orders {
		m := keyOf(t, spec).material
		accepted(t, spec, "without the public key", withEC(t, m, func(k *ecKey) { k.PublicKey = asn1.BitString{} }))
		accepted(t, spec, "with the curve", withEC(t, m, func(k *ecKey) { k.Curve = oids[spec] }))

		refused(t, spec, "version 0", withEC(t, m, func(k *ecKey) { k.Version = 0 }))
		refused(t, spec, "a public key that is another's", withEC(t, m, func(k *ecKey) { k.PublicKey.Bytes[9] ^= 1 }))
		refused(t, spec, "a compressed public key", withEC(t, m, func(k *ecKey) {
			b := k.PublicKey.Bytes[:(len(k.PublicKey.Bytes)+1)/2]
			b[0] = 2
			k.PublicKey = asn1.BitString{Bytes: b, BitLength: 8 * len(b)}
		}))
		scalar := func(d *big.Int, size int) []byte {
			return withEC(t, m, func(k *ecKey) { k.PrivateKey, k.PublicKey = d.FillBytes(make([]byte, size)), asn1.BitString{} })
		}
		size := (n.BitLen() + 7) / 8
		refused(t, spec, "0", scalar(new(big.Int), size))
		refused(t, spec, "the order", scalar(n, size))
		refused(t, spec, "more than the order", scalar(new(big.Int).Add(n, big.NewInt(1)), size))
		refused(t, spec, "a scalar that is short", scalar(big.NewInt(1), size-1))
		refused(t, spec, "a scalar that is long", scalar(big.NewInt(1), size+1))
		for _, d := range []*big.Int{big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1))} {
			if _, err := memkey.Public(spec, scalar(d, size)); err != nil {
				t.Errorf("%s, scalar %v: %v", spec, d, err)
			}
		}
		for other, oid := range oids {
			if other != spec {
				refused(t, spec, "the curve of "+other, withEC(t, m, func(k *ecKey) { k.Curve = oid }))
			}
		}
	}
}

// rsaMaterial is PKCS #8 of numbers that need not fit each other.
func rsaMaterial(t testing.TB, n, e, d, p, q *big.Int) []byte {
	t.Helper()
	one := big.NewInt(1)
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil {
		inverse = one
	}
	reduced := func(prime *big.Int) *big.Int {
		if prime.Cmp(one) == 0 {
			return one
		}
		return new(big.Int).Mod(d, new(big.Int).Sub(prime, one))
	}
	inner := der(t, struct {
		Version                       int
		N, E, D, P, Q, Dp, Dq, QInver *big.Int
	}{0, n, e, d, p, q, reduced(p), reduced(q), inverse})
	return der(t, oneAsymmetricKey{Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}, PrivateKey: inner})
}

// rsaOf is what belongs to two primes and an exponent; d is nil if there is none.
func rsaOf(e int64, p, q *big.Int) (n, exponent, d *big.Int) {
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	return new(big.Int).Mul(p, q), big.NewInt(e), new(big.Int).ModInverse(big.NewInt(e), phi)
}

func primeOf(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestImportRSA(t *testing.T) {
	const spec = "RSA_2048"
	p, q := primeOf(t, 1024), primeOf(t, 1024)
	n, e, d := rsaOf(65537, p, q)
	_, _, d17 := rsaOf(17, p, q)
	for d == nil || d17 == nil || n.BitLen() != 2048 { // p-1 or q-1 is a multiple of e
		p, q = primeOf(t, 1024), primeOf(t, 1024)
		n, e, d = rsaOf(65537, p, q)
		_, _, d17 = rsaOf(17, p, q)
	}
	good := rsaMaterial(t, n, e, d, p, q)
	if _, err := memkey.Public(spec, good); err != nil {
		t.Fatalf("the unchanged one: %v", err)
	}
	for name, exponent := range map[string]int64{"65539": 65539, "2^31-1": 1<<31 - 1} {
		if n, e, d := rsaOf(exponent, p, q); d != nil {
			if _, err := memkey.Public(spec, rsaMaterial(t, n, e, d, p, q)); err != nil {
				t.Errorf("e = %s: %v", name, err)
			}
		}
	}
	for _, exponent := range []int64{1, 2, 3, 17, 65535, 65536, 1 << 31, 1<<32 + 1} {
		_, e, d := rsaOf(exponent, p, q)
		if d == nil {
			d = big.NewInt(3)
		}
		refused(t, spec, "e = "+e.String(), rsaMaterial(t, n, e, d, p, q))
	}
	one, two := big.NewInt(1), big.NewInt(2)
	refused(t, spec, "another n", rsaMaterial(t, new(big.Int).Add(n, two), e, d, p, q))
	refused(t, spec, "another d", rsaMaterial(t, n, e, new(big.Int).Add(d, two), p, q))
	refused(t, spec, "another p", rsaMaterial(t, n, e, d, new(big.Int).Add(p, two), q))
	refused(t, spec, "p = 1", rsaMaterial(t, n, e, d, one, n))
	refused(t, spec, "p negative", rsaMaterial(t, n, e, d, new(big.Int).Neg(p), new(big.Int).Neg(q)))
	refused(t, spec, "p = q", rsaMaterial(t, new(big.Int).Mul(p, p), e, d, p, p))

	for n, d = nil, nil; d == nil || n.BitLen() != 2048; {
		p, q = primeOf(t, 1248), primeOf(t, 800)
		n, e, d = rsaOf(65537, p, q)
	}
	refused(t, spec, "primes of 1248 and 800 bits", rsaMaterial(t, n, e, d, p, q))
	small := keyOfBits(t, 2047)
	refused(t, spec, "2047 bits", small)
	raw, err := x509.ParsePKCS8PrivateKey(keyOf(t, spec).material)
	if err != nil {
		t.Fatal(err)
	}
	inner := x509.MarshalPKCS1PrivateKey(raw.(*rsa.PrivateKey))
	refused(t, spec, "trailing number", with(t, good, func(k *oneAsymmetricKey) { k.PrivateKey = withinSequence(t, inner, 2, 1, 0) }))
}

func keyOfBits(t testing.TB, bits int) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	material, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return material
}

// A product of two primes in the place of one passes every equation that the
// parts of a key must fulfil, if d is made for it; but it is no RSA key.
func TestImportRefusesCompositeFactor(t *testing.T) {
	one := big.NewInt(1)
	var p, q, d *big.Int
	for d == nil || p.BitLen() != 1024 || new(big.Int).Mul(p, q).BitLen() != 2048 {
		p, q = new(big.Int).Mul(primeOf(t, 512), primeOf(t, 512)), primeOf(t, 1024)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d = new(big.Int).ModInverse(big.NewInt(65537), phi)
	}
	material := rsaMaterial(t, new(big.Int).Mul(p, q), big.NewInt(65537), d, p, q)
	if _, err := x509.ParsePKCS8PrivateKey(material); err != nil {
		t.Fatalf("crypto/x509 refuses it: this test looks at the wrong thing: %v", err)
	}
	refused(t, "RSA_2048", "a composite factor", material)
}

// The expanded keys of the seed 00 01 ... 1f: their SHA-256, as another
// implementation (CIRCL 1.6.5) makes them.
var expandedSums = map[string]struct {
	size int
	sum  string
}{
	"ML_DSA_44": {2560, "04bf6b9f579166a627961dfc5c3bf9717df868db88863856356c4668c8b56b0b"},
	"ML_DSA_65": {4032, "9f1e24f47795fe50040384e3d6183988047170fa2d866406b70fe0a3f8216063"},
	"ML_DSA_87": {4896, "764d3e223ed90c07bc91a0ab6ecd170e5c66ffe39f7039298596039a36005435"},
}

func TestImportMLDSA(t *testing.T) {
	type both struct{ Seed, Expanded []byte }
	for _, spec := range mldsaSpecs {
		m := keyOf(t, spec).material
		seed := read[oneAsymmetricKey](t, m).PrivateKey[2:]
		expanded := memkey.Expand(spec, seed)
		inner := func(b []byte) []byte { return with(t, m, func(k *oneAsymmetricKey) { k.PrivateKey = b }) }

		accepted(t, spec, "seed and expanded key", inner(der(t, both{seed, expanded})))
		refused(t, spec, "expanded key only", inner(der(t, expanded)))
		refused(t, spec, "a seed of 31 bytes", inner(append([]byte{0x80, 31}, seed[1:]...)))
		refused(t, spec, "a seed of 33 bytes", inner(append([]byte{0x80, 33, 0}, seed...)))
		refused(t, spec, "a seed with a long length", inner(append([]byte{0x80, 0x81, 32}, seed...)))
		refused(t, spec, "an OCTET STRING", inner(append([]byte{0x04, 32}, seed...)))
		refused(t, spec, "an expanded key that is short", inner(der(t, both{seed, expanded[:len(expanded)-1]})))
		for _, at := range []int{0, 40, 70, 130, len(expanded) - 1} {
			bad := bytes.Clone(expanded)
			bad[at] ^= 1
			refused(t, spec, "an expanded key that is not the seed's", inner(der(t, both{seed, bad})))
		}
		for i := range seed {
			seed[i] = byte(i)
		}
		known := memkey.Expand(spec, seed)
		sum := sha256.Sum256(known)
		if want := expandedSums[spec]; len(known) != want.size || hex.EncodeToString(sum[:]) != want.sum {
			t.Errorf("%s: expanded key of %d bytes, %x; want %v", spec, len(known), sum, want)
		}
	}
}

// Public keys are taken as strictly.
func TestPublicKeysAreStrict(t *testing.T) {
	for spec, options := range signingOptions() {
		key, digest := keyOf(t, spec), digestFor(options[0])
		signature, err := memkey.Sign(spec, key.material, digest, options[0])
		if err != nil {
			t.Fatal(err)
		}
		p := key.public
		for name, bad := range map[string][]byte{
			"empty": nil, "trailing byte": append(bytes.Clone(p), 0), "truncated": p[:len(p)-1],
			"trailing in the sequence": withinSequence(t, p, 5, 0),
			"indefinite length":        append(append([]byte{0x30, 0x80}, read[asn1.RawValue](t, p).Bytes...), 0, 0),
		} {
			if memkey.Verify(spec, bad, digest, options[0], signature) {
				t.Errorf("%s: verified with a public key that is %s", spec, name)
			}
		}
	}
	p256 := keyOf(t, "ECC_NIST_P256")
	parsed, err := x509.ParsePKIXPublicKey(p256.public)
	if err != nil {
		t.Fatal(err)
	}
	k := parsed.(*ecdsa.PublicKey)
	point := elliptic.MarshalCompressed(k.Curve, k.X, k.Y)
	compressed := der(t, struct {
		A asn1.RawValue
		B asn1.BitString
	}{read[struct {
		A asn1.RawValue
		B asn1.BitString
	}](t, p256.public).A, asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if _, err := memkey.Agree("ECC_NIST_P256", p256.material, compressed); !errors.Is(err, memkey.ErrPeer) {
		t.Errorf("a compressed peer: got %v, want %v", err, memkey.ErrPeer)
	}

	k1 := keyOf(t, "ECC_SECG_P256K1")
	digest := digestFor(crypto.SHA256)
	signature, err := memkey.Sign("ECC_SECG_P256K1", k1.material, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	hybrid := bytes.Clone(k1.public) // the point is the last 65 bytes
	hybrid[len(hybrid)-65] = 6 | hybrid[len(hybrid)-1]&1
	if memkey.Verify("ECC_SECG_P256K1", hybrid, digest, crypto.SHA256, signature) {
		t.Error("verified with a hybrid point")
	}
}
