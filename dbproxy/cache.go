// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"sync"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Bounds of a plan cache: plans and bytes of text in each of two generations,
// and the longest text that is kept.
const (
	cachedPlans = 4096
	cachedText  = 16 << 10
	cachedBytes = 16 << 20
)

type planKey struct{ path, sql string }

// planCache keeps the plans that were used lately: two generations, of which
// the older is dropped when the younger is full. A plan with literals of
// protected columns is not kept, so that no plaintext stays in memory.
type planCache struct {
	mu         sync.RWMutex
	young, old map[planKey]*plan.Plan // guarded by mu
	size       int                    // guarded by mu; of the texts in young
}

func newPlanCache() *planCache {
	return &planCache{young: make(map[planKey]*plan.Plan)}
}

func (c *planCache) get(path, sql string) *plan.Plan {
	c.mu.RLock()
	p := c.young[planKey{path, sql}]
	old := p == nil
	if old {
		p = c.old[planKey{path, sql}]
	}
	c.mu.RUnlock()
	if p != nil && old {
		c.put(path, sql, p)
	}
	return p
}

// getBytes is get without a copy of the text.
func (c *planCache) getBytes(path string, sql []byte) *plan.Plan {
	c.mu.RLock()
	p := c.young[planKey{path, string(sql)}]
	c.mu.RUnlock()
	if p != nil {
		return p
	}
	return c.get(path, string(sql))
}

func (c *planCache) put(path, sql string, p *plan.Plan) {
	if len(sql) > cachedText || len(p.Literals) > 0 || p.Private() || p.Need != plan.NeedNothing || p.Refusal != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= cachedPlans || c.size > cachedBytes {
		c.young, c.old, c.size = make(map[planKey]*plan.Plan), c.young, 0
	}
	c.size += len(sql)
	c.young[planKey{path, sql}] = p
}
