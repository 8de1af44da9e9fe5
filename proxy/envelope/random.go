// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// epochMessages is how many values are sealed under one epoch salt.
//
// A (key, nonce) pair repeats when two values share epoch and nonce. An epoch
// of 2^20 values has 2^39 pairs, each with the same 96-bit nonce with chance
// 2^-96: 2^-57 per epoch. 2^40 values of one column are 2^20 epochs: 2^-37, and
// the 2^39 pairs of epochs that share a 96-bit salt by chance (2^-57 in all)
// would still have to share a nonce. 2^40 values so stay under 2^-32, and 2^45
// reach it. A value has at most 1 GiB (PostgreSQL's limit), so that an epoch
// encrypts at most 2^46 blocks, below AES-GCM's wear-out of 2^48.5.
const epochMessages = 1 << 20

// The opener keeps this many epochs' keys per binding, about 1 KiB each.
const (
	epochSets = 128
	epochWays = 2
)

// epoch is the key of one salt.
type epoch struct {
	salt [epochSize]byte
	aead cipher.AEAD
	left atomic.Int64 // values it may still seal; only the sealer's own epochs count
}

// randomKeys derives epoch keys and keeps some of them. prk is the HKDF secret
// of the binding; epoch keys come from it and a salt ([V6]).
type randomKeys struct {
	prk     []byte
	sealing atomic.Pointer[epoch]
	opening [epochSets][epochWays]atomic.Pointer[epoch]
}

func newRandomKeys(dataKey []byte, bind Binding) (*randomKeys, error) {
	prk, err := expand(dataKey, string(bind.append([]byte(labelRandom))), DataKeySize)
	if err != nil {
		return nil, err
	}
	return &randomKeys{prk: prk}, nil
}

func (r *randomKeys) newEpoch(salt [epochSize]byte) (*epoch, error) {
	key, err := hkdf.Key(sha512.New, r.prk, salt[:], "", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving an epoch key: %w", err)
	}
	defer clear(key)
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return &epoch{salt: salt, aead: aead}, nil
}

// sealer returns an epoch with room for one more value.
func (r *randomKeys) sealer() (*epoch, error) {
	for {
		e := r.sealing.Load()
		if e != nil && e.left.Add(-1) >= 0 {
			return e, nil
		}
		var salt [epochSize]byte
		rand.Read(salt[:])
		fresh, err := r.newEpoch(salt)
		if err != nil {
			return nil, err
		}
		fresh.left.Store(epochMessages)
		if r.sealing.CompareAndSwap(e, fresh) {
			r.keep(fresh)
		}
	}
}

func (r *randomKeys) seal(dst, plaintext, aad []byte) ([]byte, error) {
	e, err := r.sealer()
	if err != nil {
		return nil, err
	}
	dst = append(dst, e.salt[:]...)
	at := len(dst)
	dst = append(dst, make([]byte, nonceSize)...)
	nonce := dst[at : at+nonceSize]
	rand.Read(nonce)
	return e.aead.Seal(dst, nonce, plaintext, aad), nil
}

func (r *randomKeys) open(dst, body, aad []byte) ([]byte, error) {
	e := r.find(body)
	if e == nil {
		var err error
		if e, err = r.newEpoch([epochSize]byte(body)); err != nil {
			return nil, err
		}
	}
	out, err := e.aead.Open(dst, body[epochSize:epochSize+nonceSize], body[epochSize+nonceSize:], aad)
	if err != nil {
		return nil, ErrOpen
	}
	r.keep(e) // only a salt that opened something earns a place
	return out, nil
}

func (r *randomKeys) set(salt []byte) *[epochWays]atomic.Pointer[epoch] {
	return &r.opening[binary.LittleEndian.Uint32(salt)%epochSets]
}

func (r *randomKeys) find(body []byte) *epoch {
	set := r.set(body)
	for i := range set {
		if e := set[i].Load(); e != nil && string(e.salt[:]) == string(body[:epochSize]) {
			return e
		}
	}
	return nil
}

// keep puts an epoch first in its set and lets the last one go.
func (r *randomKeys) keep(e *epoch) {
	set := r.set(e.salt[:])
	first := set[0].Load()
	if first == e {
		return
	}
	for i := 1; i < epochWays; i++ {
		if set[i].Load() == e {
			return
		}
	}
	set[epochWays-1].Store(first)
	set[0].Store(e)
}
