// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

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
	for _, r := range c.m.p.rules {
		if r != c.rule && r.Binding == c.rule.Binding {
			return fmt.Errorf("its data key is also that of %s, in the same domain: keys of a domain are not rotated", r.Name())
		}
	}
	v, err := c.readMove(ctx)
	if err != nil {
		return err
	}
	if v != nil && !v.finished {
		c.key = uint32(*v.key)
	} else if err := c.newKey(ctx); err != nil {
		return err
	}
	keys, err := readKeys(ctx, c.conn, c.rule.Binding, true)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(keys, func(k proxy.ColumnKey) bool { return k.ID == c.key })
	if at < 0 {
		return fmt.Errorf("data key %d, to which it is being moved, is not there", c.key)
	}
	before, err := c.m.p.cipher.Column(c.config(), keys)
	if err != nil {
		return err
	}
	after, err := c.m.p.cipher.Column(c.config(), keys[at:at+1])
	if err != nil {
		return err
	}
	c.from, c.to = &valueSide{rule: c.rule, col: before}, &valueSide{rule: c.rule, col: after}
	return nil
}

// newKey makes a data key. In place, proxies seal with it as soon as they have
// read the keys anew; otherwise the swap has them do so.
func (c *columnMove) newKey(ctx context.Context) error {
	arn, wrapped, err := c.m.p.cipher.NewColumnKey(ctx, c.config())
	if err != nil {
		return err
	}
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
	if c.m.o.Action != Rotate {
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
