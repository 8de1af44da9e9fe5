// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// tables keeps part tables of objects that were read lately, so that a range of a
// multipart object costs one request. A table is found only by who has opened the
// object's header, and its key is all that identifies the stored object.
type tables struct {
	mu    sync.Mutex
	cache *lru.Cache[tableKey, *envelope.Table]
	parts int // of all tables; guarded by mu
}

type tableKey struct {
	header, etag string
	stored       int64
}

// maxCachedParts bounds the memory of the tables: a part takes about 120 bytes.
const maxCachedParts = 100_000

func newTables() (*tables, error) {
	t := &tables{}
	var err error
	t.cache, err = lru.NewWithEvict(1024, func(_ tableKey, table *envelope.Table) { t.parts -= len(table.Parts) })
	return t, err
}

func (t *tables) get(key tableKey) *envelope.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	table, _ := t.cache.Get(key)
	return table
}

func (t *tables) put(key tableKey, table *envelope.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cache.Contains(key) {
		return
	}
	t.parts += len(table.Parts)
	t.cache.Add(key, table)
	for t.parts > maxCachedParts && t.cache.Len() > 1 {
		t.cache.RemoveOldest()
	}
}

// openTable gives the opener of a multipart object its part table.
func (x *exchange) openTable(ctx context.Context, f *found) error {
	if !f.opener.Multipart() || f.opener.Table() != nil {
		return nil
	}
	key := tableKey{header: f.header, etag: f.resp.Header.Get("Etag"), stored: f.at.total}
	if table := x.g.tables.get(key); table != nil {
		f.opener.WithTable(table)
		return nil
	}
	n := envelope.TableTail(f.at.total)
	tail, err := x.piece(ctx, f, f.at.total-n, n)
	if err != nil {
		return err
	}
	if err := f.opener.OpenTable(tail, f.at.total); err != nil {
		return err
	}
	x.g.tables.put(key, f.opener.Table())
	return nil
}

// checksumsOf returns the checksums of the whole plaintext, wherever they are.
func (x *exchange) checksumsOf(ctx context.Context, f *found) (checksums, error) {
	if f.opener.Multipart() {
		if err := x.openTable(ctx, f); err != nil {
			return checksums{}, err
		}
		return tableChecksums(f.opener.Table()), nil
	}
	entries, err := x.entriesOf(ctx, f)
	return objectChecksums(entries), err
}

// entriesOf returns what was kept with an object that is one message, from its header
// or its footer.
func (x *exchange) entriesOf(ctx context.Context, f *found) (map[string]string, error) {
	if !f.opener.LateChecksums() {
		return f.opener.Checksums(), nil
	}
	if f.entries != nil {
		return f.entries, nil
	}
	off, n := f.opener.Footer(f.size)
	sealed, err := x.piece(ctx, f, off, n)
	if err != nil {
		return nil, err
	}
	f.entries, err = f.opener.ReadFooter(bytes.NewReader(sealed), f.size)
	return f.entries, err
}
