// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"sync"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// Bounds of a plan cache: plans in each of two generations, and the longest
// text that is kept.
const (
	cachedPlans = 4096
	cachedText  = 16 << 10
)

type planKey struct{ path, sql string }

// planCache keeps the plans that were used lately: two generations, of which
// the older is dropped when the younger is full. A plan with literals of
// protected columns is not kept, so that no plaintext stays in memory.
type planCache struct {
	mu         sync.RWMutex
	young, old map[planKey]*plan.Plan // guarded by mu
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

func (c *planCache) put(path, sql string, p *plan.Plan) {
	if len(sql) > cachedText || len(p.Literals) > 0 || p.Need != plan.NeedNothing || p.Refusal != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= cachedPlans {
		c.young, c.old = make(map[planKey]*plan.Plan), c.young
	}
	c.young[planKey{path, sql}] = p
}
