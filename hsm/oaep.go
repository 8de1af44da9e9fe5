// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // OAEP with SHA-1 and MGF1 is one of the two that KMS has
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// DecryptOAEP decrypts RSAES-OAEP with SHA-1 or SHA-256, MGF1 with the same
// hash and no label. ok is false, with a nil error, if the ciphertext does not
// open; the token has then been proven healthy with a known ciphertext. It is
// not told, by content or effort, why a ciphertext does not open.
func (t *Token) DecryptOAEP(ctx context.Context, spec string, wrapped []byte, hash crypto.Hash, ciphertext []byte) (plaintext []byte, ok bool, err error) {
	ks, err := specFor(spec, familyRSA)
	if err == nil {
		_, err = oaepOf(hash)
	}
	if err != nil {
		return nil, false, wrapError("decrypting", err)
	}
	if len(ciphertext) != ks.size {
		return nil, false, nil
	}
	o, err := do(ctx, t, func(ctx context.Context, c *conn) (opened, error) {
		return c.decryptOAEP(ctx, ks, wrapped, hash, ciphertext)
	})
	return o.plaintext, o.ok, wrapError("decrypting", err)
}

// oaep is a hash as CKM_RSA_PKCS_OAEP has it.
type oaep struct {
	index     int // in Token.rawOAEP
	mech, mgf uint
}

func oaepOf(hash crypto.Hash) (oaep, error) {
	switch hash {
	case crypto.SHA1:
		return oaep{0, pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1}, nil
	case crypto.SHA256:
		return oaep{1, pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256}, nil
	}
	return oaep{}, fmt.Errorf("no OAEP with %v", hash)
}

// decryptOAEP tells a ciphertext that does not open from a token that is ill,
// as decrypt does.
func (c *conn) decryptOAEP(ctx context.Context, ks *keySpec, wrapped []byte, hash crypto.Hash, ciphertext []byte) (opened, error) {
	plaintext, err := c.openOAEP(ctx, ks, wrapped, hash, ciphertext)
	if err == nil {
		return opened{plaintext, true}, nil
	}
	if !refusedTag(err) {
		return opened{}, err
	}
	if err := c.knownOAEP(ctx, ks, wrapped, hash); err != nil {
		return opened{}, err
	}
	plaintext, err = c.openOAEP(ctx, ks, wrapped, hash, ciphertext)
	switch {
	case err == nil:
		return opened{plaintext, true}, nil
	case refusedTag(err):
		return opened{}, nil
	}
	return opened{}, err
}

// openOAEP has the token undo the padding if it does so for the hash, which is
// found out by doing and remembered.
func (c *conn) openOAEP(ctx context.Context, ks *keySpec, wrapped []byte, hash crypto.Hash, ciphertext []byte) ([]byte, error) {
	h, err := oaepOf(hash)
	if err != nil {
		return nil, err
	}
	if !c.t.rawOAEP[h.index].Load() {
		mech := pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_OAEP, pkcs11.NewOAEPParams(h.mech, h.mgf, pkcs11.CKZ_DATA_SPECIFIED, nil))
		plaintext, err := c.decryptRSA(ctx, ks, wrapped, mech, ciphertext)
		if !refusesMechanism(err) {
			return plaintext, err
		}
		c.t.rawOAEP[h.index].Store(true)
	}
	number, err := c.decryptRSA(ctx, ks, wrapped, pkcs11.NewMechanism(pkcs11.CKM_RSA_X_509, nil), ciphertext)
	if err != nil {
		return nil, err
	}
	padded, err := leftPad(number, ks.size)
	if err != nil {
		return nil, err
	}
	defer clear(padded)
	return unpadOAEP(hash, padded)
}

// refusesMechanism is about the mechanism or its parameter, never about data.
func refusesMechanism(err error) bool {
	return isCode(err, pkcs11.CKR_ARGUMENTS_BAD) || isCode(err, pkcs11.CKR_MECHANISM_INVALID) ||
		isCode(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
}

func (c *conn) decryptRSA(ctx context.Context, ks *keySpec, wrapped []byte, mech *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	key, err := c.key(ctx, ks, wrapped)
	if err != nil {
		return nil, err
	}
	ciphertext = bytes.Clone(ciphertext)
	return pooled(ctx, c, func(s *session) ([]byte, error) {
		return s.decrypt(key.handle, mech, ciphertext)
	}, wipe, func() { c.objects.release(key) })
}

// errPadding takes the same path as a token's refusal of data.
var errPadding = openError{fmt.Errorf("the padding is wrong: %w", pkcs11.Error(pkcs11.CKR_ENCRYPTED_DATA_INVALID))}

// unpadOAEP is EME-OAEP decoding (RFC 8017 section 7.1.2 step 3) with an empty
// label. All that can be wrong is looked at together and without branches on
// secret data: who learns which it was can decrypt (Manger, CRYPTO 2001).
func unpadOAEP(hash crypto.Hash, padded []byte) ([]byte, error) {
	size := hash.Size()
	if len(padded) < 2*size+2 {
		return nil, errPadding
	}
	seed, block := padded[1:1+size], padded[1+size:]
	maskMGF1(hash, seed, block)
	maskMGF1(hash, block, seed)
	label := hash.New().Sum(nil)
	good := subtle.ConstantTimeByteEq(padded[0], 0) & subtle.ConstantTimeCompare(block[:size], label)
	rest := block[size:]
	looking, index := 1, 0
	for i, b := range rest {
		one, zero := subtle.ConstantTimeByteEq(b, 1), subtle.ConstantTimeByteEq(b, 0)
		index = subtle.ConstantTimeSelect(looking&one, i, index)
		good &= subtle.ConstantTimeSelect(looking, one|zero, 1)
		looking = subtle.ConstantTimeSelect(one, 0, looking)
	}
	if good&^looking != 1 {
		return nil, errPadding
	}
	return bytes.Clone(rest[index+1:]), nil
}

// maskMGF1 adds MGF1 of seed to out (RFC 8017 appendix B.2.1).
func maskMGF1(hash crypto.Hash, out, seed []byte) {
	h := hash.New()
	for counter := uint32(0); len(out) > 0; counter++ {
		h.Reset()
		h.Write(seed)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		mask := h.Sum(nil)
		n := subtle.XORBytes(out, out, mask)
		clear(mask)
		out = out[n:]
	}
}

// knownOAEP encrypts to the key and has the token decrypt it: a canary of the
// very key and mechanism.
func (c *conn) knownOAEP(ctx context.Context, ks *keySpec, wrapped []byte, hash crypto.Hash) error {
	public, err := c.rsaPublicKey(ctx, ks, wrapped)
	if err != nil {
		return err
	}
	ciphertext, err := rsa.EncryptOAEP(hash.New(), rand.Reader, public, probeText, nil)
	if err != nil {
		return fmt.Errorf("encrypting a known plaintext: %w", err)
	}
	plaintext, err := c.openOAEP(ctx, ks, wrapped, hash, ciphertext)
	switch {
	case kindOf(err) == kindAmbiguous || refusedTag(err):
		return canaryError{fmt.Errorf("decrypting a known ciphertext: %w", err)}
	case err != nil:
		return fmt.Errorf("decrypting a known ciphertext: %w", err)
	case !bytes.Equal(plaintext, probeText):
		return canaryError{errors.New("a known ciphertext decrypted to other bytes")}
	}
	return nil
}

func (c *conn) rsaPublicKey(ctx context.Context, ks *keySpec, wrapped []byte) (*rsa.PublicKey, error) {
	key, err := c.key(ctx, ks, wrapped)
	if err != nil {
		return nil, err
	}
	return pooled(ctx, c, func(s *session) (*rsa.PublicKey, error) {
		return s.rsaPublicKey(key.handle)
	}, func(*rsa.PublicKey) {}, func() { c.objects.release(key) })
}
