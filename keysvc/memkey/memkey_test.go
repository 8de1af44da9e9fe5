// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha3"
	"encoding/asn1"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

var secretSpecs = map[string]int{"SYMMETRIC_DEFAULT": 32, "HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}

var rsaSpecs = []string{"RSA_2048", "RSA_3072", "RSA_4096"}

var ecdsaHashes = map[string]crypto.Hash{
	"ECC_NIST_P256": crypto.SHA256, "ECC_NIST_P384": crypto.SHA384, "ECC_NIST_P521": crypto.SHA512, "ECC_SECG_P256K1": crypto.SHA256,
}

var mldsaSpecs = []string{"ML_DSA_44", "ML_DSA_65", "ML_DSA_87"}

const edwards = "ECC_NIST_EDWARDS25519"

type pair struct{ material, public []byte }

var (
	pairsMu sync.Mutex
	pairs   = map[string]pair{}
)

// keyOf is a key of a spec, made once for all tests.
func keyOf(t testing.TB, spec string) pair {
	t.Helper()
	pairsMu.Lock()
	defer pairsMu.Unlock()
	if _, ok := pairs[spec]; !ok {
		material, public, err := memkey.Generate(spec)
		if err != nil {
			t.Fatalf("generating %s: %v", spec, err)
		}
		pairs[spec] = pair{material, public}
	}
	return pairs[spec]
}

func pss(hash crypto.Hash) *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
}

// signingOptions are all that AWS KMS has for each spec.
func signingOptions() map[string][]crypto.SignerOpts {
	all := map[string][]crypto.SignerOpts{edwards: {crypto.Hash(0), &ed25519.Options{}, crypto.SHA512, &ed25519.Options{Hash: crypto.SHA512}}}
	for _, spec := range rsaSpecs {
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			all[spec] = append(all[spec], hash, pss(hash), &rsa.PSSOptions{SaltLength: hash.Size(), Hash: hash})
		}
	}
	for spec, hash := range ecdsaHashes {
		all[spec] = []crypto.SignerOpts{hash}
	}
	for _, spec := range mldsaSpecs {
		all[spec] = []crypto.SignerOpts{memkey.Pure, memkey.ExternalMu}
	}
	return all
}

// digestFor is random and of the length that the options ask for.
func digestFor(opts crypto.SignerOpts) []byte {
	size := 100
	if opts == memkey.ExternalMu {
		size = 64
	} else if hash := opts.HashFunc(); hash != 0 {
		size = hash.Size()
	}
	b := make([]byte, size)
	rand.Read(b)
	return b
}

func TestGenerate(t *testing.T) {
	for spec, size := range secretSpecs {
		a, public, err := memkey.Generate(spec)
		b, _, _ := memkey.Generate(spec)
		if err != nil || public != nil || len(a) != size || bytes.Equal(a, b) {
			t.Errorf("%s: %d bytes, public %v, error %v", spec, len(a), public, err)
		}
	}
	for spec := range signingOptions() {
		key := keyOf(t, spec)
		public, err := memkey.Public(spec, key.material)
		if err != nil || !bytes.Equal(public, key.public) {
			t.Errorf("%s: Public: %x, %v; Generate gave %x", spec, public, err, key.public)
		}
		if canonical, err := memkey.Canonical(spec, key.material); err != nil || !bytes.Equal(canonical, key.material) {
			t.Errorf("%s: what Generate makes is not canonical: %v", spec, err)
		}
	}
	if _, _, err := memkey.Generate("SM2"); !errors.Is(err, memkey.ErrSpec) {
		t.Errorf("SM2: got %v, want %v", err, memkey.ErrSpec)
	}
}

// A signature verifies with what it was made for, and with nothing else.
func TestSignVerify(t *testing.T) {
	all := signingOptions()
	for spec, options := range all {
		key := keyOf(t, spec)
		for _, opts := range options {
			digest := digestFor(opts)
			signature, err := memkey.Sign(spec, key.material, digest, opts)
			if err != nil {
				t.Fatalf("%s %v: %v", spec, opts, err)
			}
			if !memkey.Verify(spec, key.public, digest, opts, signature) {
				t.Errorf("%s %v: a good signature is refused", spec, opts)
			}
			for _, at := range []int{0, len(signature) / 2, len(signature) - 1} {
				bad := bytes.Clone(signature)
				bad[at] ^= 1
				if memkey.Verify(spec, key.public, digest, opts, bad) {
					t.Errorf("%s %v: verified with byte %d changed", spec, opts, at)
				}
			}
			digest[0] ^= 1
			if memkey.Verify(spec, key.public, digest, opts, signature) {
				t.Errorf("%s %v: verified another digest", spec, opts)
			}
			for other := range all {
				if other != spec && memkey.Verify(other, key.public, digest, opts, signature) {
					t.Errorf("%s %v: verified as %s", spec, opts, other)
				}
			}
		}
	}
}

// mu is what External Mu is of a message with the empty context (FIPS 204,
// algorithm 7; RFC 9881 appendix D).
func mu(t testing.TB, public, message []byte) []byte {
	t.Helper()
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(public, &info); err != nil {
		t.Fatal(err)
	}
	h := sha3.NewSHAKE256()
	h.Write(sha3.SumSHAKE256(info.Key.Bytes, 64))
	h.Write([]byte{0, 0})
	h.Write(message)
	sum := make([]byte, 64)
	h.Read(sum)
	return sum
}

// The library verifies whole messages and this package mu: they agree on good
// signatures of either kind and on changed ones.
func TestExternalMuIsPure(t *testing.T) {
	for _, spec := range mldsaSpecs {
		key := keyOf(t, spec)
		for i := range 10 {
			message := digestFor(memkey.Pure)
			sum := mu(t, key.public, message)
			pure, err := memkey.Sign(spec, key.material, message, memkey.Pure)
			external, err2 := memkey.Sign(spec, key.material, sum, memkey.ExternalMu)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			bad := bytes.Clone(pure)
			bad[(i*997+i)%len(bad)] ^= 1 << (i % 8)
			for name, signature := range map[string][]byte{"pure": pure, "external": external, "changed": bad} {
				asPure := memkey.Verify(spec, key.public, message, memkey.Pure, signature)
				asMu := memkey.Verify(spec, key.public, sum, memkey.ExternalMu, signature)
				if want := name != "changed"; asPure != want || asMu != want {
					t.Errorf("%s %s: pure %v, mu %v, want %v", spec, name, asPure, asMu, want)
				}
			}
		}
	}
}

// FIPS 204, algorithm 8, step 13: the norm of z is below gamma1 - beta.
func TestBoundOfZ(t *testing.T) {
	for spec, want := range map[string]int{"ML_DSA_44": 1<<17 - 78, "ML_DSA_65": 1<<19 - 196, "ML_DSA_87": 1<<19 - 120} {
		for z, fits := range map[int]bool{0: true, want - 1: true, 1 - want: true, want: false, -want: false} {
			if bound, ok := memkey.Bound(spec, z); bound != want || ok != fits {
				t.Errorf("%s, z = %d: bound %d, %v; want %d, %v", spec, z, bound, ok, want, fits)
			}
		}
	}
}

// FIPS 204, algorithms 36 and 40, where they turn.
func TestUseHint(t *testing.T) {
	const q = 8380417
	for spec, m := range map[string]uint32{"ML_DSA_44": 44, "ML_DSA_65": 16, "ML_DSA_87": 16} {
		_, gamma2 := memkey.UseHint(spec, 0, false)
		for _, test := range []struct{ r, plain, hinted uint32 }{
			{0, 0, m - 1}, {1, 0, 1}, {gamma2, 0, 1}, {gamma2 + 1, 1, 0}, {2 * gamma2, 1, 0}, {2*gamma2 + 1, 1, 2},
			{q - 1, 0, m - 1}, {q - 2, 0, m - 1}, {q - 1 - gamma2, m - 1, 0}, {q - gamma2, 0, m - 1},
		} {
			plain, _ := memkey.UseHint(spec, test.r, false)
			hinted, _ := memkey.UseHint(spec, test.r, true)
			if plain != test.plain || hinted != test.hinted {
				t.Errorf("%s, r = %d: %d, with hint %d; want %d, %d", spec, test.r, plain, hinted, test.plain, test.hinted)
			}
		}
	}
}

func TestOptionsAreRefused(t *testing.T) {
	for _, test := range []struct {
		spec string
		opts crypto.SignerOpts
		size int
		want error
	}{
		{"RSA_2048", nil, 32, memkey.ErrOptions},
		{"RSA_2048", (*rsa.PSSOptions)(nil), 32, memkey.ErrOptions},
		{"RSA_2048", crypto.SHA1, 20, memkey.ErrOptions},
		{"RSA_2048", crypto.SHA224, 28, memkey.ErrOptions},
		{"RSA_2048", crypto.Hash(0), 32, memkey.ErrOptions},
		{"RSA_2048", crypto.Hash(99), 32, memkey.ErrOptions},
		{"RSA_2048", memkey.Pure, 32, memkey.ErrOptions},
		{"RSA_2048", &rsa.PSSOptions{Hash: crypto.SHA256}, 32, memkey.ErrOptions},
		{"RSA_2048", &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 20}, 32, memkey.ErrOptions},
		{"RSA_2048", &rsa.PSSOptions{SaltLength: 32}, 32, memkey.ErrOptions},
		{"ECC_NIST_P256", pss(crypto.SHA256), 32, memkey.ErrOptions},
		{"ECC_NIST_P256", crypto.SHA384, 48, memkey.ErrOptions},
		{"ECC_NIST_P521", crypto.Hash(0), 64, memkey.ErrOptions},
		{"ECC_SECG_P256K1", crypto.SHA512, 64, memkey.ErrOptions},
		{edwards, (*ed25519.Options)(nil), 5, memkey.ErrOptions},
		{edwards, &ed25519.Options{Context: "x"}, 5, memkey.ErrOptions},
		{edwards, crypto.SHA256, 32, memkey.ErrOptions},
		{"ML_DSA_44", crypto.Hash(0), 5, memkey.ErrOptions},
		{"ML_DSA_44", crypto.SHA512, 64, memkey.ErrOptions},
		{"ML_DSA_44", memkey.Mode(3), 64, memkey.ErrOptions},
		{"SYMMETRIC_DEFAULT", crypto.SHA256, 32, memkey.ErrSpec},
		{"HMAC_256", crypto.SHA256, 32, memkey.ErrSpec},
		{"", crypto.SHA256, 32, memkey.ErrSpec},
	} {
		if _, err := memkey.Sign(test.spec, nil, make([]byte, test.size), test.opts); !errors.Is(err, test.want) {
			t.Errorf("%s %v: got %v, want %v", test.spec, test.opts, err, test.want)
		}
	}
}

func TestDigestLength(t *testing.T) {
	for _, test := range []struct {
		spec string
		opts crypto.SignerOpts
		want memkey.LengthError
	}{
		{"RSA_2048", crypto.SHA256, memkey.LengthError{Got: 31, Want: 32}},
		{"RSA_2048", pss(crypto.SHA512), memkey.LengthError{Got: 65, Want: 64}},
		{"ECC_NIST_P384", crypto.SHA384, memkey.LengthError{Got: 32, Want: 48}},
		{"ECC_SECG_P256K1", crypto.SHA256, memkey.LengthError{Got: 0, Want: 32}},
		{edwards, crypto.SHA512, memkey.LengthError{Got: 63, Want: 64}},
		{"ML_DSA_87", memkey.ExternalMu, memkey.LengthError{Got: 32, Want: 64}},
	} {
		_, err := memkey.Sign(test.spec, keyOf(t, test.spec).material, make([]byte, test.want.Got), test.opts)
		var got *memkey.LengthError
		if !errors.As(err, &got) || *got != test.want {
			t.Errorf("%s %v: got %v, want %v", test.spec, test.opts, err, &test.want)
		}
	}
}

func TestOAEP(t *testing.T) {
	for spec, limits := range map[string]map[crypto.Hash]int{ // of AWS KMS
		"RSA_2048": {crypto.SHA1: 214, crypto.SHA256: 190},
		"RSA_3072": {crypto.SHA1: 342, crypto.SHA256: 318},
		"RSA_4096": {crypto.SHA1: 470, crypto.SHA256: 446},
	} {
		key := keyOf(t, spec)
		for hash, limit := range limits {
			plaintext := bytes.Repeat([]byte{1}, limit)
			ciphertext, err := memkey.EncryptOAEP(spec, key.public, hash, plaintext)
			if err != nil {
				t.Fatalf("%s %v: %v", spec, hash, err)
			}
			got, ok, err := memkey.DecryptOAEP(spec, key.material, hash, ciphertext)
			if err != nil || !ok || !bytes.Equal(got, plaintext) {
				t.Errorf("%s %v: got %x, %v, %v", spec, hash, got, ok, err)
			}
			if _, err := memkey.EncryptOAEP(spec, key.public, hash, append(plaintext, 1)); !errors.Is(err, memkey.ErrTooLong) {
				t.Errorf("%s %v: %d bytes: got %v, want %v", spec, hash, limit+1, err, memkey.ErrTooLong)
			}
			other := crypto.SHA1 + crypto.SHA256 - hash
			for name, c := range map[string][]byte{"short": ciphertext[1:], "long": append([]byte{0}, ciphertext...), "empty": nil} {
				if _, ok, err := memkey.DecryptOAEP(spec, key.material, hash, c); ok || err != nil {
					t.Errorf("%s %v, %s: got %v, %v", spec, hash, name, ok, err)
				}
			}
			if _, ok, err := memkey.DecryptOAEP(spec, key.material, other, ciphertext); ok || err != nil {
				t.Errorf("%s %v opened with %v: %v, %v", spec, hash, other, ok, err)
			}
		}
		if _, _, err := memkey.DecryptOAEP(spec, key.material, crypto.SHA512, nil); !errors.Is(err, memkey.ErrOptions) {
			t.Errorf("%s SHA-512: got %v, want %v", spec, err, memkey.ErrOptions)
		}
	}
}

// A ciphertext that begins with a zero is not the one without it.
func TestOAEPKeepsLeadingZeros(t *testing.T) {
	key := keyOf(t, "RSA_2048")
	ciphertext := []byte{1}
	for ciphertext[0] != 0 {
		var err error
		if ciphertext, err = memkey.EncryptOAEP("RSA_2048", key.public, crypto.SHA256, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := memkey.DecryptOAEP("RSA_2048", key.material, crypto.SHA256, ciphertext); !ok || err != nil {
		t.Errorf("whole: %v, %v", ok, err)
	}
	if _, ok, err := memkey.DecryptOAEP("RSA_2048", key.material, crypto.SHA256, ciphertext[1:]); ok || err != nil {
		t.Errorf("without its zero: %v, %v", ok, err)
	}
}

func TestAgree(t *testing.T) {
	for _, spec := range []string{"ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"} {
		a := keyOf(t, spec)
		material, public, err := memkey.Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		ab, err := memkey.Agree(spec, a.material, public)
		ba, err2 := memkey.Agree(spec, material, a.public)
		if err != nil || err2 != nil || !bytes.Equal(ab, ba) {
			t.Errorf("%s: %x, %v; %x, %v", spec, ab, err, ba, err2)
		}
		for other := range signingOptions() {
			if _, err := memkey.Agree(spec, a.material, keyOf(t, other).public); other != spec && !errors.Is(err, memkey.ErrPeer) {
				t.Errorf("%s with %s: got %v, want %v", spec, other, err, memkey.ErrPeer)
			}
		}
	}
	k1 := keyOf(t, "ECC_SECG_P256K1")
	if _, err := memkey.Agree("ECC_SECG_P256K1", k1.material, k1.public); !errors.Is(err, memkey.ErrSpec) {
		t.Errorf("secp256k1: got %v, want %v", err, memkey.ErrSpec)
	}
}

func TestMAC(t *testing.T) {
	for spec, size := range secretSpecs {
		if spec == "SYMMETRIC_DEFAULT" {
			continue
		}
		mac, err := memkey.MAC(spec, make([]byte, size), []byte("message"))
		if err != nil || len(mac) != size {
			t.Errorf("%s: %d bytes, %v", spec, len(mac), err)
		}
		for _, bad := range []int{0, size - 1, size + 1} {
			if _, err := memkey.MAC(spec, make([]byte, bad), nil); !errors.Is(err, memkey.ErrMaterial) {
				t.Errorf("%s, %d bytes: got %v, want %v", spec, bad, err, memkey.ErrMaterial)
			}
			if _, err := memkey.Public(spec, make([]byte, bad)); !errors.Is(err, memkey.ErrMaterial) {
				t.Errorf("%s, importing %d bytes: got %v, want %v", spec, bad, err, memkey.ErrMaterial)
			}
		}
	}
}

// What is given is not changed.
func TestArgumentsStay(t *testing.T) {
	for spec, options := range signingOptions() {
		key := keyOf(t, spec)
		material, digest := bytes.Clone(key.material), digestFor(options[0])
		before := bytes.Clone(digest)
		if _, err := memkey.Sign(spec, material, digest, options[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := memkey.Canonical(spec, material); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]byte{key.material, before}, [][]byte{material, digest}); diff != "" {
			t.Errorf("%s: arguments changed: %s", spec, diff)
		}
	}
}
