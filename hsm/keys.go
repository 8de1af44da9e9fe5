// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/pkcs11"
)

// GenerateKeyFor makes a key of a spec in the token and returns it wrapped
// under the root key, with its public half as a SubjectPublicKeyInfo, which is
// nil of secret keys. The wrapped form has been proven to hold the key.
func (t *Token) GenerateKeyFor(ctx context.Context, spec string) (wrapped, public []byte, err error) {
	if spec == symmetricDefault {
		wrapped, err = t.GenerateKey(ctx)
		return wrapped, nil, err
	}
	ks, err := specOf(spec)
	if err != nil {
		return nil, nil, wrapError("generating a key", err)
	}
	b, err := doWithin(ctx, t, t.generateTimeout(ks), func(ctx context.Context, c *conn) (both, error) {
		return c.bring(ctx, ks, generated(ks), func() {})
	})
	return b.wrapped, b.public, wrapError("generating a key", err)
}

// generateTimeout is longer for RSA: the search for primes takes seconds on a
// slow token, and now and then several times the mean.
func (t *Token) generateTimeout(ks *keySpec) time.Duration {
	if ks.family == familyRSA {
		return 6 * t.timeout
	}
	return t.timeout
}

func (c *conn) bring(ctx context.Context, ks *keySpec, from source, after func()) (both, error) {
	return pooled(ctx, c, func(s *session) (both, error) { return bring(s, c.root, ks, from) }, func(both) {}, after)
}

// key returns the unwrapped key. The wrapped form is looked at even if its
// object is there already: that may be of another spec.
func (c *conn) key(ctx context.Context, ks *keySpec, wrapped []byte) (*object, error) {
	if _, _, err := parseKind(ks, wrapped); err != nil {
		return nil, err
	}
	return c.objects.get(ctx, objectKey{sum: sha256.Sum256(wrapped)}, func() (recipe, error) {
		own := bytes.Clone(wrapped)
		return recipe{
			create: func(s *session) (pkcs11.ObjectHandle, error) { return s.unwrapSpec(ks, c.root, own) },
			after:  func() {},
		}, nil
	})
}

// ImportKey brings material into the token and returns it wrapped under the
// root key, with its public half. Material is 32 bytes for SYMMETRIC_DEFAULT,
// which then encrypts and decrypts as a generated key does, the bytes of a
// secret key, or a PKCS #8 private key.
func (t *Token) ImportKey(ctx context.Context, spec string, material []byte) (wrapped, public []byte, err error) {
	b, err := t.importKey(ctx, spec, material)
	return b.wrapped, b.public, wrapError("importing a key", err)
}

func (t *Token) importKey(ctx context.Context, spec string, material []byte) (both, error) {
	ks, err := specOf(spec)
	if err != nil {
		return both{}, err
	}
	parts, err := ks.parse(material)
	if err != nil {
		return both{}, err
	}
	defer parts.wipe()
	return do(ctx, t, func(ctx context.Context, c *conn) (both, error) {
		own := parts.clone() // the call may outlive its caller, and be made twice
		if ks.family != familyAES {
			return c.bring(ctx, ks, own.source(ks), own.wipe)
		}
		return pooled(ctx, c, func(s *session) (both, error) {
			wrapped, err := bringKey(s, c.root, t.form, func() (pkcs11.ObjectHandle, error) {
				return s.create(importTemplate(own.value(pkcs11.CKA_VALUE)))
			})
			return both{wrapped: wrapped}, err
		}, func(both) {}, own.wipe)
	})
}

// errMaterial says of material no more than this.
var errMaterial = errors.New("not key material of the spec")

func (ks *keySpec) badMaterial() error { return fmt.Errorf("%w: %s", errMaterial, ks.name) }
