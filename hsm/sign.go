// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// Sign signs a digest, or, of Ed25519 with opts.HashFunc() 0, a message. opts
// is as of [crypto.Signer]: *[rsa.PSSOptions] with a salt of the hash's length,
// a [crypto.Hash] (PKCS #1 v1.5; ECDSA), or *[ed25519.Options]. An ECDSA
// signature is ASN.1 DER.
func (t *Token) Sign(ctx context.Context, spec string, wrapped, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	signature, err = t.sign(ctx, spec, wrapped, digest, opts)
	return signature, wrapError("signing", err)
}

func (t *Token) sign(ctx context.Context, spec string, wrapped, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	ks, err := specFor(spec, familyRSA, familyEC, familyEdwards)
	if err != nil {
		return nil, err
	}
	plan, err := ks.signing(digest, opts)
	if err != nil {
		return nil, err
	}
	raw, err := do(ctx, t, func(ctx context.Context, c *conn) ([]byte, error) {
		return c.sign(ctx, ks, wrapped, plan)
	})
	if err != nil {
		return nil, err
	}
	return ks.signature(raw)
}

// MAC is the HMAC of message with the hash of the spec, in full length.
func (t *Token) MAC(ctx context.Context, spec string, wrapped, message []byte) ([]byte, error) {
	ks, err := specFor(spec, familyMAC)
	if err != nil {
		return nil, wrapError("making a MAC", err)
	}
	plan := signing{mech: ks.mac, data: bytes.Clone(message)}
	mac, err := do(ctx, t, func(ctx context.Context, c *conn) ([]byte, error) {
		return c.sign(ctx, ks, wrapped, plan)
	})
	if err == nil && len(mac) != ks.hash.Size() {
		mac, err = nil, fmt.Errorf("%w: %d bytes of %s", errProof, len(mac), mechanismNames[ks.mac])
	}
	return mac, wrapError("making a MAC", err)
}

// sign is one call; plan's bytes must be nobody else's.
func (c *conn) sign(ctx context.Context, ks *keySpec, wrapped []byte, plan signing) ([]byte, error) {
	key, err := c.key(ctx, ks, wrapped)
	if err != nil {
		return nil, err
	}
	return pooled(ctx, c, func(s *session) ([]byte, error) {
		return s.sign(key.handle, plan.mech, plan.param, plan.data)
	}, wipe, func() { c.objects.release(key) })
}

// signing is what C_SignInit and C_Sign are given.
type signing struct {
	mech  uint
	param []byte
	data  []byte // a copy: the call may outlive the caller
}

var errSigning = errors.New("not a way to sign with this key")

func (ks *keySpec) signing(digest []byte, opts crypto.SignerOpts) (signing, error) {
	hash := opts.HashFunc()
	switch {
	case hash == 0 && ks.family == familyEdwards:
		return signing{mech: ckmEdDSA, data: bytes.Clone(digest)}, nil
	case hash == 0 || !hash.Available() || len(digest) != hash.Size():
		return signing{}, fmt.Errorf("%w: %d bytes for %v", errSigning, len(digest), hash)
	}
	switch ks.family {
	case familyRSA:
		return signingRSA(digest, opts)
	case familyEC:
		// The leftmost bits of the digest, as many as the order has; the
		// orders have whole bytes, or more bits than any digest.
		return signing{mech: pkcs11.CKM_ECDSA, data: bytes.Clone(digest[:min(len(digest), ks.size)])}, nil
	case familyEdwards:
		return signingPrehashed(digest, opts)
	}
	return signing{}, fmt.Errorf("%w: %s", errSigning, ks.name)
}

// rsaHash is what RSA needs to know of a hash: its mechanisms, and the DER that
// comes before the digest in PKCS #1 v1.5 (RFC 8017 section 9.2, note 1).
type rsaHash struct {
	mech, mgf uint
	prefix    []byte
}

var rsaHashes = map[crypto.Hash]rsaHash{
	crypto.SHA256: {pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}},
	crypto.SHA384: {pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, []byte{0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30}},
	crypto.SHA512: {pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512, []byte{0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40}},
}

func signingRSA(digest []byte, opts crypto.SignerOpts) (signing, error) {
	h, ok := rsaHashes[opts.HashFunc()]
	if !ok {
		return signing{}, fmt.Errorf("%w: RSA with %v", errSigning, opts.HashFunc())
	}
	pss, ok := opts.(*rsa.PSSOptions)
	if !ok {
		return signing{mech: pkcs11.CKM_RSA_PKCS, data: slices.Concat(h.prefix, digest)}, nil
	}
	if pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != len(digest) {
		return signing{}, fmt.Errorf("%w: a salt of another length than the hash's", errSigning)
	}
	return signing{
		mech:  pkcs11.CKM_RSA_PKCS_PSS,
		param: pkcs11.NewPSSParams(h.mech, h.mgf, uint(len(digest))),
		data:  bytes.Clone(digest),
	}, nil
}

// signingPrehashed is Ed25519ph. Its parameter is CK_EDDSA_PARAMS of PKCS#11
// 3.0 with phFlag set and no context: a byte, which is aligned to a word, and
// two words.
func signingPrehashed(digest []byte, opts crypto.SignerOpts) (signing, error) {
	if ed, ok := opts.(*ed25519.Options); ok && ed.Context != "" || opts.HashFunc() != crypto.SHA512 {
		return signing{}, fmt.Errorf("%w: Ed25519 with a context or %v", errSigning, opts.HashFunc())
	}
	param := make([]byte, 24)
	param[0] = 1
	return signing{mech: ckmEdDSA, param: param, data: bytes.Clone(digest)}, nil
}

// signature is what Sign returns for what C_Sign gave.
func (ks *keySpec) signature(raw []byte) ([]byte, error) {
	want := ks.size
	if ks.family != familyRSA {
		want = 2 * ks.size
	}
	if len(raw) != want {
		return nil, fmt.Errorf("%w: a signature of %d bytes, not %d", errProof, len(raw), want)
	}
	if ks.family != familyEC {
		return raw, nil
	}
	der := appendInteger(make([]byte, 0, 2*(ks.size+3)), raw[:ks.size])
	der = appendInteger(der, raw[ks.size:])
	if der == nil {
		return nil, fmt.Errorf("%w: an ECDSA signature with a zero", errProof)
	}
	if len(der) < 0x80 {
		return append([]byte{0x30, byte(len(der))}, der...), nil
	}
	return append([]byte{0x30, 0x81, byte(len(der))}, der...), nil
}

// appendInteger appends a big-endian number as a DER INTEGER of less than 128
// bytes, or gives nil if the number, or one before it, is 0.
func appendInteger(der, number []byte) []byte {
	number = bytes.TrimLeft(number, "\x00")
	if der == nil || len(number) == 0 {
		return nil
	}
	if number[0] < 0x80 {
		return append(append(der, 2, byte(len(number))), number...)
	}
	return append(append(der, 2, byte(len(number)+1), 0), number...)
}
