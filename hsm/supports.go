// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/miekg/pkcs11"
	"golang.org/x/sync/singleflight"
)

// features remembers which specs the token has been found to support or not.
type features struct {
	flight singleflight.Group
	mu     sync.Mutex
	known  map[string]bool // by spec; guarded by mu
}

func (f *features) get(spec string) (supported, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	supported, known = f.known[spec]
	return supported, known
}

func (f *features) set(spec string, supported bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[string]bool{}
	}
	f.known[spec] = supported
}

// Supports reports whether the token itself makes and uses keys of a spec. The
// first question makes one, wraps, unwraps and uses it in every way; the answer
// is remembered, unless it is no because the token was ill.
func (t *Token) Supports(spec string) bool {
	if spec == symmetricDefault {
		return true // Open has proven it
	}
	ks, err := specOf(spec)
	if err != nil {
		return false
	}
	if supported, known := t.features.get(spec); known {
		return supported
	}
	if ks.family == familyRSA && spec != cheapestRSA && !t.Supports(cheapestRSA) {
		return false
	}
	supported, _, _ := t.features.flight.Do(spec, func() (any, error) { return t.probeSpec(ks), nil })
	return supported.(bool)
}

func (t *Token) probeSpec(ks *keySpec) bool {
	ctx := context.Background()
	_, err := doWithin(ctx, t, t.generateTimeout(ks), func(ctx context.Context, c *conn) (struct{}, error) {
		return struct{}{}, c.probeSpec(ctx, ks)
	})
	switch {
	case err == nil:
		t.features.set(ks.name, true)
	case definite(err) && t.Check(ctx) == nil:
		t.log.Info("token does not do keys of a spec", "spec", ks.name, "reason", err)
		t.features.set(ks.name, false)
	default:
		t.log.Warn("token not asked for keys of a spec", "spec", ks.name, "error", err)
	}
	return err == nil
}

// definite reports whether a probe failed because of what the token is, rather
// than of how it is at the time.
func definite(err error) bool {
	if errors.Is(err, errProof) || errors.Is(err, errAttribute) || errors.Is(err, errWrapped) {
		return true
	}
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	const curveNotSupported = 0x140 // CKR_CURVE_NOT_SUPPORTED of PKCS#11 2.40
	switch code {
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_FUNCTION_NOT_SUPPORTED,
		pkcs11.CKR_ARGUMENTS_BAD, pkcs11.CKR_KEY_SIZE_RANGE, pkcs11.CKR_KEY_TYPE_INCONSISTENT,
		pkcs11.CKR_KEY_NOT_WRAPPABLE, pkcs11.CKR_KEY_UNEXTRACTABLE, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED,
		pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_SENSITIVE,
		pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKR_TEMPLATE_INCONSISTENT,
		pkcs11.CKR_DOMAIN_PARAMS_INVALID, curveNotSupported:
		return true
	}
	return false
}

// cheapestRSA stands for the longer keys, which take seconds to make, if the
// token says that it makes them.
const cheapestRSA = "RSA_2048"

// probeSpec does with a new key all that its spec is for.
func (c *conn) probeSpec(ctx context.Context, ks *keySpec) error {
	if ks.family == familyRSA && ks.name != cheapestRSA {
		return c.coversRSA(ctx, ks)
	}
	b, err := c.bring(ctx, ks, generated(ks), func() {})
	if err != nil {
		return err
	}
	defer c.objects.forget(sha256.Sum256(b.wrapped))
	switch ks.family {
	case familyRSA:
		return c.probeRSA(ctx, ks, b)
	case familyEC:
		if ks.curve.agree != nil {
			return c.probeAgree(ctx, ks, b)
		}
	case familyEdwards:
		return c.probeSigning(ctx, ks, b, &ed25519.Options{Hash: crypto.SHA512})
	}
	return nil // bring has used it already
}

func (c *conn) coversRSA(ctx context.Context, ks *keySpec) error {
	return c.inPool(ctx, func(s *session) error {
		p, err := s.p11()
		if err != nil {
			return err
		}
		const mech = pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
		info, err := p.GetMechanismInfo(s.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(mech, nil)})
		if err != nil {
			return callError("C_GetMechanismInfo", mech, err)
		}
		if info.MaxKeySize < uint(ks.size*8) {
			return fmt.Errorf("%w: %s makes keys of %d bits at most", errProof, mechanismNames[mech], info.MaxKeySize)
		}
		return nil
	})
}

func (c *conn) inPool(ctx context.Context, f func(*session) error) error {
	_, err := pooled(ctx, c, func(s *session) (struct{}, error) { return struct{}{}, f(s) }, func(struct{}) {}, func() {})
	return err
}

func (c *conn) probeSigning(ctx context.Context, ks *keySpec, b both, opts crypto.SignerOpts) error {
	h := opts.HashFunc().New()
	h.Write(probeText)
	digest := h.Sum(nil)
	plan, err := ks.signing(digest, opts)
	if err != nil {
		return err
	}
	raw, err := c.sign(ctx, ks, b.wrapped, plan)
	if err != nil {
		return err
	}
	signature, err := ks.signature(raw)
	if err == nil && !ks.verify(b.public, digest, opts, signature) {
		err = fmt.Errorf("%w: a signature with %v does not verify", errProof, opts.HashFunc())
	}
	return err
}

func (c *conn) probeRSA(ctx context.Context, ks *keySpec, b both) error {
	for hash := range rsaHashes {
		pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		for _, opts := range []crypto.SignerOpts{hash, pss} {
			if err := c.probeSigning(ctx, ks, b, opts); err != nil {
				return err
			}
		}
	}
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		if err := c.knownOAEP(ctx, ks, b.wrapped, hash); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) probeAgree(ctx context.Context, ks *keySpec, b both) error {
	other, err := ks.curve.agree.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(other.PublicKey())
	if err != nil {
		return err
	}
	point, err := ks.parsePeer(der)
	if err != nil {
		return err
	}
	got, err := c.agree(ctx, ks, b.wrapped, point)
	if err != nil {
		return err
	}
	mine, err := ks.parsePeer(b.public)
	if err != nil {
		return err
	}
	public, err := ks.curve.agree.NewPublicKey(mine)
	if err != nil {
		return err
	}
	want, err := other.ECDH(public)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%w: CKM_ECDH1_DERIVE", errProof)
	}
	return err
}
