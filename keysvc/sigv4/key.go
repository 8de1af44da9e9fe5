// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
)

// maxKeys bounds the cache of signing keys: a key lives for one day and region,
// so a few per client are in use at a time.
const maxKeys = 1024

type keyID struct{ secret, date, region string }

// keyCache holds derived signing keys. The zero value is ready for use.
type keyCache struct {
	mu   sync.RWMutex
	keys map[keyID][]byte // guarded by mu
}

func (c *keyCache) get(id keyID) ([]byte, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	key, ok := c.keys[id]
	return key, ok
}

func (c *keyCache) put(id keyID, key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= maxKeys {
		c.keys = make(map[keyID][]byte)
	}
	c.keys[id] = key
}

func deriveKey(secret, date, region, service string) []byte {
	key := mac([]byte("AWS4"+secret), date)
	key = mac(key, region)
	key = mac(key, service)
	return mac(key, terminator)
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
