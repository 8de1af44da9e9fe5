// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// inPlaceRotation says that values of two data keys may stand side by side in the
// column. Values that are compared may not: equal ones would differ. Nor may those
// that are searched: a proxy that does not know the new key yet would not find them.
func (c *columnMove) inPlaceRotation() bool {
	return c.m.o.Action == Rotate && !c.rule.Equality && c.rule.Search == nil
}

// rotationSides finds the data key that an interrupted rotation was to bring, or
// makes a new one, under the KMS key of the rule.
func (c *columnMove) rotationSides(ctx context.Context) error {
	if other := c.sharesKey(c.m.p.rules); other != "" {
		return fmt.Errorf("its data key is also that of %s, in the same domain: keys of a domain are not rotated", other)
	}
	v, err := c.readMove(ctx)
	if err != nil {
		return err
	}
	if v != nil && !v.finished {
		c.key = uint32(*v.key)
	} else {
		arn, wrapped, err := c.m.p.cipher.NewColumnKey(ctx, c.config())
		if err != nil {
			return err
		}
		if err := c.newKey(ctx, arn, wrapped); err != nil {
			return err
		}
	}
	if c.to, err = c.keySide(ctx); err != nil {
		return err
	}
	keys, err := readKeys(ctx, c.conn, c.rule.Binding, true)
	if err != nil {
		return err
	}
	before, err := c.m.p.cipher.Column(c.config(), keys)
	c.from = &valueSide{rule: c.rule, col: before}
	return err
}

// sharesKey names another column whose values are under the same data key.
func (c *columnMove) sharesKey(rules []*plan.Rule) string {
	for _, r := range rules {
		if r.Name() != c.rule.Name() && r.Binding == c.rule.Binding {
			return r.Name()
		}
	}
	return ""
}

// keySide seals with the data key that the values move to.
func (c *columnMove) keySide(ctx context.Context) (*valueSide, error) {
	keys, err := readKeys(ctx, c.conn, c.rule.Binding, true)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(keys, func(k proxy.ColumnKey) bool { return k.ID == c.key })
	if at < 0 {
		return nil, fmt.Errorf("data key %d, to which it is being moved, is not there", c.key)
	}
	col, err := c.m.p.cipher.Column(c.config(), keys[at:at+1])
	return &valueSide{rule: c.rule, cfg: c.config(), col: col}, err
}

// sealingSide seals under the KMS key of the rule. A data key that the column had
// before may be under another, and is replaced.
func (c *columnMove) sealingSide(ctx context.Context) (*valueSide, error) {
	shared, err := c.keptKey()
	if err != nil || shared {
		return c.orOwnSide(ctx, err)
	}
	v, err := c.readMove(ctx)
	if err != nil {
		return nil, err
	}
	if v != nil && !v.finished {
		if v.key == nil {
			return c.ownSide(ctx, true)
		}
		c.key = uint32(*v.key)
		return c.keySide(ctx)
	}
	keys, err := readKeys(ctx, c.conn, c.rule.Binding, false)
	if err != nil || len(keys) == 0 {
		return c.orOwnSide(ctx, err)
	}
	arn, wrapped, err := c.m.p.cipher.NewColumnKey(ctx, c.config())
	if err != nil {
		return nil, err
	}
	if arn == keys[len(keys)-1].KeyARN {
		return c.ownSide(ctx, true)
	}
	if err := c.newKey(ctx, arn, wrapped); err != nil {
		return nil, err
	}
	return c.keySide(ctx)
}

func (c *columnMove) orOwnSide(ctx context.Context, err error) (*valueSide, error) {
	if err != nil {
		return nil, err
	}
	return c.ownSide(ctx, true)
}

// keptKey says that the data keys there are stay: those of tenants, and of a domain.
// To bring the values under another KMS key is refused for them.
func (c *columnMove) keptKey() (bool, error) {
	other := c.sharesKey(c.m.p.rules)
	if c.m.o.Action == Reencrypt {
		from, cfg, err := c.source()
		if err != nil {
			return false, err
		}
		before, err := planRules(c.m.o.From, c.m.p.cfg.tenantSetting())
		if err != nil {
			return false, err
		}
		if same := from.Binding == c.rule.Binding; other == "" && same {
			other = c.sharesKey(before)
		} else if !same {
			cfg.KeyID = c.config().KeyID // the values get other data keys in any case
		}
		switch {
		case cfg.KeyID == c.config().KeyID:
		case other != "":
			return false, fmt.Errorf("its data key is also that of %s, in the same domain, and stays under its KMS key: name another domain in the rules of both, and move both", other)
		case c.rule.TenantSetting != "" && from.TenantSetting != "":
			return false, errors.New("its tenants have data keys, which stay under their KMS keys: name a domain in the rule, or another, and they get new ones")
		}
	}
	return other != "" || c.rule.TenantSetting != "", nil
}

// newKey keeps a data key. In place, proxies seal with it as soon as they have
// read the keys anew; otherwise the swap has them do so.
func (c *columnMove) newKey(ctx context.Context, arn string, wrapped []byte) error {
	state := keyNext
	if c.inPlace {
		state = ""
	}
	return c.inTransaction(ctx, func(tx pgx.Tx) error {
		for _, sql := range []string{keyTable, moveTable} {
			if _, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
				return err
			}
		}
		// No move to it is under way: no value names it.
		if _, err := tx.Exec(ctx, "DELETE FROM sidekey.data_keys WHERE binding = $1 AND state = $2", c.rule.Binding, keyNext); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `INSERT INTO sidekey.data_keys (binding, version, key_arn, wrapped, state)
SELECT $1, 1 + max(version), $2, $3, $4 FROM sidekey.data_keys WHERE binding = $1 RETURNING id`, c.rule.Binding, arn, wrapped, state).Scan(&c.key)
		if err != nil || !c.inPlace {
			return err // otherwise prepare notes it
		}
		return c.begin(ctx, tx)
	})
}

// promote makes the next key the one in use, in the transaction of the swap.
func (c *columnMove) promote(ctx context.Context, tx pgx.Tx) error {
	if c.key == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, "UPDATE sidekey.data_keys SET state = CASE WHEN id = $2 THEN '' ELSE $3 END WHERE binding = $1", c.rule.Binding, int32(c.key), keyRetired)
	return err
}

// rotate seals the values of a random column anew, where they are. Other keys are
// retired once no value is left of them and no proxy can seal with them any more.
func (c *columnMove) rotate(ctx context.Context) error {
	if err := c.allPasses(ctx); err != nil || c.run.Err() != nil {
		return err
	}
	c.said("filled")
	var wait time.Duration
	err := c.conn.QueryRow(ctx, "SELECT GREATEST('0'::interval, created + $2 * '1 second'::interval - now()) FROM sidekey.data_keys WHERE id = $1", int32(c.key), c.m.settle.Seconds()).Scan(&wait)
	if err != nil {
		return err
	}
	if wait > 0 {
		c.m.tally.printf("%s: waiting %s until every sidecar seals with the new key.", c.rule.Name(), wait.Round(time.Second))
		sleep(c.run, wait)
	}
	if err := c.awaitWriters(ctx); err != nil {
		return err
	}
	if err := c.allPasses(ctx); err != nil || c.run.Err() != nil {
		return err
	}
	err = c.inTransaction(ctx, func(tx pgx.Tx) error {
		now, err := inspectTable(ctx, tx.Conn(), c.rule) // partitions may have been attached
		if err != nil {
			return err
		}
		some, err := c.somePending(ctx, tx, now)
		if err == nil && some {
			err = errors.New("values of older keys are still written; start it again to go on")
		}
		if err == nil {
			err = c.promote(ctx, tx)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE sidekey.moves SET finished = now() WHERE table_name = $1 AND column_name = $2", c.tableName(), c.rule.Column)
		return err
	})
	if err == nil {
		c.m.tally.printf("%s: all values are sealed with data key %d; the others are retired.", c.rule.Name(), c.key)
	}
	return err
}

// awaitWriters waits for the end of the transactions that use the table: they may have
// stored values of older keys, which nobody sees yet.
func (c *columnMove) awaitWriters(ctx context.Context) error {
	writing, err := c.using(ctx)
	for told := false; err == nil && c.run.Err() == nil; told = true {
		err = c.awaitEnd(ctx, writing, quietPatience, "transactions that use the table")
		var busy busyError
		if !errors.As(err, &busy) {
			return err
		}
		if err = nil; !told {
			c.m.tally.printf("%s: waiting for %v.", c.rule.Name(), busy)
		}
		c.said("busy")
	}
	return err
}

// allPasses goes through the table until nothing is left to do.
func (c *columnMove) allPasses(ctx context.Context) error {
	for c.run.Err() == nil {
		var err error
		if c.t, err = inspectTable(ctx, c.conn, c.rule); err != nil { // partitions may have been attached
			return err
		}
		for _, l := range c.t.leaves() {
			pages, err := c.pages(ctx, l)
			if err != nil {
				return err
			}
			for block := int64(0); block < pages && c.run.Err() == nil; block += window {
				if err := c.pass(ctx, l, block); err != nil {
					return err
				}
				c.m.tally.pages(block+window, pages)
			}
		}
		if some, err := c.somePending(ctx, c.conn, c.t); err != nil || !some {
			return err
		}
		sleep(c.run, c.m.pause/10)
	}
	return nil
}
