// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// Protections of a key's material.
const (
	protectionHSM    = "hsm"    // used inside the token
	protectionMemory = "memory" // sealed by the token, used in locked memory
)

const specSymmetric = "SYMMETRIC_DEFAULT"

// This file is the one door to key material. Whoever comes through it has been
// allowed to and has found the key in a state to be used; each use is a span
// of the request's record.

// keyInUse is a version of a key's material while it is used.
type keyInUse struct {
	spec    string
	token   Token  // that wraps the material, and uses it if protection is hsm
	wrapped []byte // protection hsm
	plain   []byte // protection memory: valid during the use
}

// use calls do with a version of a key's material, and puts it on the record
// as a call of that name. do reports whether what it was given is authentic.
func (s *Service) use(ctx context.Context, r *request, k *store.Key, version uint32, call string, do func(*keyInUse) (authentic bool, err error)) error {
	if err := s.allowedProtection(k); err != nil {
		return err
	}
	token, err := s.tokenOf(ctx, k)
	if err != nil {
		return err
	}
	m, err := s.stored(ctx, k, version)
	if err != nil {
		return err
	}
	defer s.forgetAgain(r, k, token, m)
	start, span, authentic := time.Now(), audit.SpanHSM(call), true
	u := &keyInUse{spec: k.Spec, token: token, wrapped: m.Wrapped}
	if k.Protection == protectionMemory {
		span = audit.SpanMemory(call)
		err = s.held.use(heldName{k.Ref, version},
			func() ([]byte, error) { return openOnce(ctx, token, memoryAAD(k, version), m.Wrapped) },
			func(plain []byte) (err error) {
				u.wrapped, u.plain = nil, plain
				authentic, err = do(u)
				return err
			})
	} else {
		s.inToken.note(k.Ref, token, m.Wrapped)
		authentic, err = do(u)
	}
	r.audit.Child(ctx, span, start, hsmCode(err, authentic), audit.KeyARN.String(s.keyARN(k.Ref)), audit.KeyVersion.Int64(int64(version)))
	r.audit.Set(audit.KeyVersion.Int64(int64(version)))
	if err != nil {
		return fmt.Errorf("%s with %s: %w", call, s.keyARN(k.Ref), err)
	}
	r.use(k)
	return nil
}

// stored is a version of the wrapped material of a key that was usable. If it is
// not there, the key may have been stopped meanwhile, and imported material have
// gone and come back: only what is missing of a key that is still usable, at a
// second and a third look, was taken away by somebody else.
func (s *Service) stored(ctx context.Context, k *store.Key, version uint32) (*store.Material, error) {
	for range 3 {
		m, err := s.store.Material(ctx, k.Ref, version)
		if !errors.Is(err, store.ErrNotFound) || version > k.Versions {
			return m, err
		}
		now, err := s.store.Key(ctx, k.Ref)
		if errors.Is(err, store.ErrNotFound) {
			return nil, s.noSuchKey(keyName{Ref: k.Ref})
		}
		if err != nil {
			return nil, err
		}
		if err := s.usable(now); err != nil {
			return nil, err
		}
	}
	if version == k.Version {
		return nil, fmt.Errorf("%w: version %d of key %s is gone", store.ErrTampered, version, k.ID)
	}
	return nil, store.ErrNotFound
}

// hsmCode is the outcome of a use of material as the record has it.
func hsmCode(err error, authentic bool) string {
	switch {
	case err != nil:
		return "Failed"
	case !authentic:
		return "NotAuthentic"
	}
	return ""
}

// memoryAAD binds sealed material to its key. The related keys of a
// multi-Region key have one ID and the same material.
func memoryAAD(k *store.Key, version uint32) []byte {
	aad := appendSized(nil, "sidekey key material")
	aad = append(appendSized(aad, k.Spec), k.ID[:]...)
	return append(aad, byte(version>>24), byte(version>>16), byte(version>>8), byte(version))
}

// seal encrypts under the current version of a symmetric key and returns the
// ciphertext blob.
func (s *Service) seal(ctx context.Context, r *request, k *store.Key, plaintext []byte, context map[string]string) ([]byte, uint32, error) {
	b := &blob{keyID: k.ID, version: k.Version, epoch: s.epochs.take(k.ID, k.Version)}
	rand.Read(b.nonce[:])
	err := s.use(ctx, r, k, k.Version, "encrypt", func(u *keyInUse) (_ bool, err error) {
		if u.plain != nil {
			b.sealed, err = memkey.Seal(u.plain, b.epoch, b.nonce, plaintext, b.aad(context))
		} else {
			b.nonce, b.sealed, err = u.token.Encrypt(ctx, u.wrapped, b.epoch, b.nonce, plaintext, b.aad(context))
		}
		return true, err
	})
	if err != nil {
		return nil, 0, err
	}
	return b.append(nil), k.Version, nil
}

// open decrypts a ciphertext blob of a symmetric key. The plaintext is zeroed
// after the answer.
func (s *Service) open(ctx context.Context, r *request, k *store.Key, b *blob, context map[string]string) ([]byte, error) {
	var plaintext []byte
	opened := false
	err := s.use(ctx, r, k, b.version, "decrypt", func(u *keyInUse) (bool, error) {
		var err error
		if u.plain != nil {
			plaintext, opened = memkey.Open(u.plain, b.epoch, b.nonce, b.sealed, b.aad(context))
		} else {
			plaintext, opened, err = u.token.Decrypt(ctx, u.wrapped, b.epoch, b.nonce, b.sealed, b.aad(context))
		}
		r.wipe(plaintext)
		return opened, err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !opened {
		return nil, invalidCiphertext()
	}
	return plaintext, err
}

// signDigest signs as hsm.Token.Sign and memkey.Sign do.
func (s *Service) signDigest(ctx context.Context, r *request, k *store.Key, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = s.use(ctx, r, k, k.Version, "sign", func(u *keyInUse) (_ bool, err error) {
		if u.plain != nil {
			signature, err = memkey.Sign(u.spec, u.plain, digest, opts)
		} else {
			signature, err = u.token.Sign(ctx, u.spec, u.wrapped, digest, opts)
		}
		return true, err
	})
	return signature, err
}

// decryptOAEP decrypts RSAES-OAEP. ok is false for a ciphertext that does not
// open. The plaintext is zeroed after the answer.
func (s *Service) decryptOAEP(ctx context.Context, r *request, k *store.Key, hash crypto.Hash, ciphertext []byte) (plaintext []byte, ok bool, err error) {
	err = s.use(ctx, r, k, k.Version, "decrypt", func(u *keyInUse) (_ bool, err error) {
		if u.plain != nil {
			plaintext, ok, err = memkey.DecryptOAEP(u.spec, u.plain, hash, ciphertext)
		} else {
			plaintext, ok, err = u.token.DecryptOAEP(ctx, u.spec, u.wrapped, hash, ciphertext)
		}
		r.wipe(plaintext)
		return ok, err
	})
	return plaintext, ok, err
}

// authenticateMessage is the HMAC of a message, in full length.
func (s *Service) authenticateMessage(ctx context.Context, r *request, k *store.Key, message []byte) (mac []byte, err error) {
	err = s.use(ctx, r, k, k.Version, "mac", func(u *keyInUse) (_ bool, err error) {
		if u.plain != nil {
			mac, err = memkey.MAC(u.spec, u.plain, message)
		} else {
			mac, err = u.token.MAC(ctx, u.spec, u.wrapped, message)
		}
		return true, err
	})
	return mac, err
}

// agree is ECDH with the public key of a peer, which the caller has checked to
// be one of the curve. The secret is zeroed after the answer.
func (s *Service) agree(ctx context.Context, r *request, k *store.Key, peer []byte) (secret []byte, err error) {
	err = s.use(ctx, r, k, k.Version, "agree", func(u *keyInUse) (_ bool, err error) {
		if u.plain != nil {
			secret, err = memkey.Agree(u.spec, u.plain, peer)
		} else {
			secret, err = u.token.Agree(ctx, u.spec, u.wrapped, peer)
		}
		r.wipe(secret)
		return true, err
	})
	return secret, err
}

// newMaterial makes the next version of a key's material. public is nil for a
// secret key.
func (s *Service) newMaterial(ctx context.Context, r *request, k *store.Key) (wrapped, public []byte, err error) {
	return s.bring(ctx, r, k, "generate_key", func(token Token) (wrapped, public []byte, err error) {
		switch {
		case k.Protection == protectionMemory:
			var plain []byte
			if plain, public, err = memkey.Generate(k.Spec); err == nil {
				wrapped, err = s.sealMaterial(ctx, token, k, k.Versions+1, plain)
			}
		case k.Spec == specSymmetric:
			wrapped, err = token.GenerateKey(ctx)
		default:
			wrapped, public, err = token.GenerateKeyFor(ctx, k.Spec)
		}
		return wrapped, public, err
	})
}

// importMaterial makes given material a version of a key's, and clears it. The
// material has been checked by memkey.Canonical.
func (s *Service) importMaterial(ctx context.Context, r *request, k *store.Key, version uint32, material []byte) (wrapped, public []byte, err error) {
	defer clear(material)
	return s.bring(ctx, r, k, "import_key", func(token Token) (wrapped, public []byte, err error) {
		if k.Protection != protectionMemory {
			return token.ImportKey(ctx, k.Spec, material)
		}
		if public, err = memkey.Public(k.Spec, material); err == nil {
			wrapped, err = s.sealMaterial(ctx, token, k, version, material)
		}
		return wrapped, public, err
	})
}

func (s *Service) bring(ctx context.Context, r *request, k *store.Key, call string, do func(Token) (wrapped, public []byte, err error)) (wrapped, public []byte, err error) {
	token, err := s.tokenOf(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	start, span := time.Now(), audit.SpanHSM(call)
	if k.Protection == protectionMemory {
		span = audit.SpanMemory(call)
	}
	wrapped, public, err = do(token)
	r.audit.Child(ctx, span, start, hsmCode(err, true), audit.KeyARN.String(s.keyARN(k.Ref)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s of %s: %w", call, s.keyARN(k.Ref), err)
	}
	return wrapped, public, nil
}

// sealMaterial seals material and clears it. What was sealed has been opened
// again, and is the same.
func (s *Service) sealMaterial(ctx context.Context, token Token, k *store.Key, version uint32, material []byte) ([]byte, error) {
	defer clear(material)
	sealed, err := sealOnce(ctx, token, memoryAAD(k, version), material)
	if err != nil {
		return nil, err
	}
	opened, err := openOnce(ctx, token, memoryAAD(k, version), sealed)
	defer clear(opened)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(opened, material) {
		return nil, errors.New("the material that was sealed is not the one that was opened")
	}
	return sealed, nil
}

// verifyStored proves that a version of the material that was written can be
// read back and used. A wrapped key that is lost or damaged is customer data
// lost, so a version counts as made only then.
func (s *Service) verifyStored(ctx context.Context, k *store.Key, version uint32, wrapped []byte) error {
	stored, err := s.store.StoredMaterial(ctx, k.Ref, version)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored.Wrapped, wrapped) {
		return errors.New("the wrapped key read back is not the one written")
	}
	return s.probe(ctx, k, stored.Wrapped)
}

// probe proves that the token opens what it seals under new material. That of
// other specs was proven when it was wrapped.
func (s *Service) probe(ctx context.Context, k *store.Key, wrapped []byte) error {
	if k.Spec != specSymmetric || k.Protection == protectionMemory {
		return nil
	}
	token, err := s.tokenOf(ctx, k)
	if err != nil {
		return err
	}
	probe, aad := []byte("probe of a new backing key"), k.ID[:]
	nonce, sealed, err := token.Encrypt(ctx, wrapped, onceEpoch, [nonceSize]byte{}, probe, aad)
	if err != nil {
		return err
	}
	opened, ok, err := token.Decrypt(ctx, wrapped, onceEpoch, nonce, sealed, aad)
	if err != nil {
		return err
	}
	if !ok || !bytes.Equal(opened, probe) {
		return errors.New("the HSM does not open what it sealed under the new key")
	}
	return nil
}

// random draws n bytes from the HSM. They are zeroed after the answer.
func (s *Service) random(ctx context.Context, r *request, token Token, n int) ([]byte, error) {
	start := time.Now()
	b, err := token.Random(ctx, n)
	r.wipe(b)
	if err == nil && len(b) != n {
		err = fmt.Errorf("got %d bytes", len(b))
	}
	r.audit.Child(ctx, audit.SpanHSMRandom, start, hsmCode(err, true), audit.Bytes.Int(n))
	if err != nil {
		return nil, fmt.Errorf("drawing %d random bytes: %w", n, err)
	}
	return b, nil
}

// forget drops what tokens and memory hold of a key, here, in all regions.
func (s *Service) forget(id uuid.UUID) {
	s.forgotten.Add(1)
	s.drop(id)
}

func (s *Service) drop(id uuid.UUID) {
	s.inToken.forget(id)
	s.held.forget(id)
	s.epochs.forget(id)
}

// forgetAgain drops what a use of a key has brought back if a key, perhaps this
// one, was forgotten after the request had begun.
func (s *Service) forgetAgain(r *request, k *store.Key, token Token, m *store.Material) {
	if s.forgotten.Load() != r.forgotten {
		s.drop(k.ID)
		token.Forget(m.Wrapped)
	}
}

// forgetStopped drops what is held of keys that another replica of the service
// has disabled, let wait for their deletion or erased.
func (s *Service) forgetStopped(ctx context.Context) error {
	for _, ref := range append(s.held.refs(), s.inToken.refs()...) {
		k, err := s.store.Key(ctx, ref)
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && s.usable(k) != nil:
			s.forget(ref.ID)
		case err != nil:
			return fmt.Errorf("looking for keys to forget: %w", err)
		}
	}
	return nil
}

// maxInToken bounds the memory of which wrapped keys tokens have seen. A token
// itself keeps fewer of them.
const maxInToken = 4096

// inToken is which wrapped keys were used in a token, so that it can be told
// to forget them.
type inToken struct {
	mu   sync.Mutex
	all  map[store.Ref]map[string]Token // by wrapped key; guarded by mu
	size int                            // guarded by mu
}

func (i *inToken) note(ref store.Ref, token Token, wrapped []byte) {
	forgetAll(i.add(ref, token, wrapped))
}

// add returns what is to be forgotten to make room.
func (i *inToken) add(ref store.Ref, token Token, wrapped []byte) (old map[string]Token) {
	i.mu.Lock()
	defer i.mu.Unlock()
	have, ok := i.all[ref][string(wrapped)]
	if ok && have == token { // not so once a custom key store was connected again
		return nil
	}
	if !ok && i.size >= maxInToken {
		old = i.takeAny()
	}
	if i.all == nil {
		i.all = map[store.Ref]map[string]Token{}
	}
	if i.all[ref] == nil {
		i.all[ref] = map[string]Token{}
	}
	i.all[ref][string(wrapped)] = token
	if !ok {
		i.size++
	}
	return old
}

// takeAny takes out some key. The caller holds mu.
func (i *inToken) takeAny() map[string]Token {
	for ref := range i.all {
		return i.take(ref)
	}
	return nil
}

// take takes out a key. The caller holds mu.
func (i *inToken) take(ref store.Ref) map[string]Token {
	wrapped := i.all[ref]
	delete(i.all, ref)
	i.size -= len(wrapped)
	return wrapped
}

func (i *inToken) forget(id uuid.UUID) {
	var wrapped []map[string]Token
	i.mu.Lock()
	for ref := range i.all {
		if ref.ID == id {
			wrapped = append(wrapped, i.take(ref))
		}
	}
	i.mu.Unlock()
	for _, w := range wrapped {
		forgetAll(w)
	}
}

func forgetAll(wrapped map[string]Token) {
	for w, token := range wrapped {
		token.Forget([]byte(w))
	}
}

// refs are the keys that tokens may hold.
func (i *inToken) refs() []store.Ref {
	i.mu.Lock()
	defer i.mu.Unlock()
	refs := make([]store.Ref, 0, len(i.all))
	for ref := range i.all {
		refs = append(refs, ref)
	}
	return refs
}
