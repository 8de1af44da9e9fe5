// SPDX-License-Identifier: Apache-2.0

// Package datakey gets data keys from a key service and keeps them for a
// bounded time.
//
// Source calls the AWS KMS API. Cache sits over it: secrets lie in a locked,
// dump-excluded arena and are zeroed when their last use ends; ristretto keeps
// an index of handles to them and never owns one. A data key may be used for
// Config.Lease after the key service last confirmed it, for Config.MaxAge after
// it was loaded, and for so many uses and bytes; every use checks all four.
// When the key service refuses a key, it is zeroed at once.
//
// A lease is renewed by Decrypt. Withdrawing only kms:GenerateDataKey from a sidecar
// therefore stops its sealing within MaxAge; disabling the key, or withdrawing
// kms:Decrypt too, within Lease.
//
// What callers derive from a data key (AES key schedules) lives on the Go heap,
// which cannot be locked or zeroed. Pin drops its references to them when the
// data key goes, and the garbage collector may then reuse the memory; until it
// does, a reader of the process's memory can find them.
package datakey

import (
	"fmt"
	"time"
)

// maxKeys keeps the arena within what can be locked.
const maxKeys = 16384

// Config bounds the use of cached data keys. Every zero field means its default.
type Config struct {
	// MaxAge is how long a data key seals, and how long an opened one stays in
	// memory before it is asked for anew. Default 5m.
	MaxAge time.Duration `yaml:"max_age"`

	// Lease is how long a data key may be used after the key service last
	// confirmed it: a disabled key stops within this time, also when the key
	// service cannot be reached. Past half of it a use renews the lease in the
	// background. Default 5s, at most MaxAge.
	Lease time.Duration `yaml:"lease"`

	// MaxUses is how many objects, or operations on columns, one data key serves
	// before it is rotated or asked for anew. Default 2^20.
	MaxUses uint64 `yaml:"max_uses"`

	// MaxBytes is how many plaintext bytes one data key seals before it is
	// rotated. Default 2^38 (256 GiB).
	MaxBytes uint64 `yaml:"max_bytes"`

	// MaxKeys is how many opened data keys the cache keeps, besides the ones
	// columns hold. Default 1024.
	MaxKeys int `yaml:"max_keys"`
}

// Validate reports the first setting that cannot work.
func (c *Config) Validate() error {
	d := c.withDefaults()
	switch {
	case c.MaxAge < 0:
		return fmt.Errorf("max_age: %v is negative", c.MaxAge)
	case c.Lease < 0:
		return fmt.Errorf("lease: %v is negative", c.Lease)
	case d.Lease > d.MaxAge:
		return fmt.Errorf("lease: %v is longer than max_age %v", d.Lease, d.MaxAge)
	case c.MaxKeys < 0 || c.MaxKeys > maxKeys:
		return fmt.Errorf("max_keys: %d is not in 0..%d", c.MaxKeys, maxKeys)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.MaxAge == 0 {
		c.MaxAge = 5 * time.Minute
	}
	if c.Lease == 0 {
		c.Lease = min(5*time.Second, c.MaxAge)
	}
	if c.MaxUses == 0 {
		c.MaxUses = 1 << 20
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 38
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1024
	}
	return c
}

// Size is the length of a data key in bytes.
const Size = 32

// Ref names a data key by what the key service needs to open it.
type Ref struct {
	KeyARN  string // informative; sent as KeyId when not empty
	Wrapped []byte // KMS ciphertext blob
	Context map[string]string
}

// Scope is what seals with one data key at a time.
type Scope struct {
	KeyID   string // ID, ARN or alias
	Context map[string]string
	Purpose string // keeps uses apart that share key and context
}

// How a use was answered: from the cache, after a first call to the key
// service, or after renewing the lease.
const (
	Hit   = "hit"
	Miss  = "miss"
	Renew = "renew"
)

// Use describes one use of a data key.
type Use struct {
	ID      string // first bytes of a hash of the wrapped key; no secret
	KeyARN  string
	Wrapped []byte
	State   string // Hit, Miss or Renew
}
