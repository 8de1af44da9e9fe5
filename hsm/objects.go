// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/miekg/pkcs11"
)

// maxObjects bounds the key objects kept in the token.
const maxObjects = 1024

// objectKey names a backing key by the hash of its wrapped form, or a subkey
// of it by its epoch too.
type objectKey struct {
	sum     [32]byte
	derived bool
	epoch   [16]byte
}

// objects keeps session objects of one conn: the least recently used go first,
// none while in use.
//
// A session object is visible to all sessions of the process but dies with the
// session that made it, so all are made in one session that does nothing else,
// the keeper. If a call hangs there, the keeper is retired with its objects
// and another takes over; its session is closed when the last user is done.
type objects struct {
	c   *conn
	max int

	mu      sync.Mutex
	byKey   map[objectKey]*list.Element // of *object
	lru     *list.List                  // front is the latest
	keeper  *keeper                     // nil until needed
	ending  int                         // keepers that are retired but not closed
	retired bool
}

// object is guarded by objects.mu, but for handle, which is fixed once ready is
// closed.
type object struct {
	key     objectKey
	refs    int
	dropped bool // no longer in byKey: destroy it when refs is 0
	keeper  *keeper
	handle  pkcs11.ObjectHandle
	ready   chan struct{}
	err     error
}

// keeper is guarded by objects.mu, but for s, which belongs to the holder of
// turn.
type keeper struct {
	s     *session
	turn  chan struct{} // one token: the right to use s
	gone  chan struct{} // closed when retired
	refs  int           // uses of its objects, the call in it, and 1 until retired
	grave []pkcs11.ObjectHandle
}

func newObjects(c *conn, max int) *objects {
	return &objects{c: c, max: max, byKey: map[objectKey]*list.Element{}, lru: list.New()}
}

// recipe makes an object: create in the keeper's session, then after, which
// runs whether or not create did.
type recipe struct {
	create func(*session) (pkcs11.ObjectHandle, error)
	after  func()
}

// get returns the object of key, made as prepare says if it is not there, with
// a reference that the caller gives back with release.
func (o *objects) get(ctx context.Context, key objectKey, prepare func() (recipe, error)) (*object, error) {
	for {
		e, found := o.lookup(key)
		if !found {
			o.fill(ctx, e, prepare)
		} else {
			select {
			case <-e.ready:
			case <-ctx.Done():
				o.release(e)
				return nil, ctx.Err()
			}
		}
		if e.err == nil {
			return e, nil
		}
		o.release(e)
		if found && isContext(e.err) && ctx.Err() == nil {
			continue // the one who was making it has given up; we have not
		}
		return nil, e.err
	}
}

func (o *objects) lookup(key objectKey) (e *object, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if el := o.byKey[key]; el != nil {
		e = el.Value.(*object)
		e.refs++
		if e.keeper != nil {
			e.keeper.refs++
		}
		o.lru.MoveToFront(el)
		return e, true
	}
	e = &object{key: key, refs: 1, ready: make(chan struct{})}
	o.byKey[key] = o.lru.PushFront(e)
	o.shrink(o.max)
	return e, false
}

// fill makes the object in the keeper's session.
func (o *objects) fill(ctx context.Context, e *object, prepare func() (recipe, error)) {
	r, err := prepare()
	if err != nil {
		o.finish(e, nil, 0, err)
		return
	}
	l, err := o.lend(ctx)
	if err != nil {
		r.after()
		o.finish(e, nil, 0, err)
		return
	}
	h, err := run(ctx, o.c, l, func(s *session) (pkcs11.ObjectHandle, error) {
		return o.create(l.k, s, r.create)
	}, func(pkcs11.ObjectHandle) {}, r.after)
	o.finish(e, l.k, h, err)
}

// create makes room first if the token has no memory left.
func (o *objects) create(k *keeper, s *session, f func(*session) (pkcs11.ObjectHandle, error)) (pkcs11.ObjectHandle, error) {
	if err := o.bury(k, s); err != nil {
		return 0, err
	}
	h, err := f(s)
	if kindOf(err) != kindFull {
		return h, err
	}
	o.mu.Lock()
	o.shrink(o.lru.Len() / 2)
	o.mu.Unlock()
	if err := o.bury(k, s); err != nil {
		return 0, err
	}
	return f(s)
}

func (o *objects) finish(e *object, k *keeper, h pkcs11.ObjectHandle, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil && k.refs == 0 {
		err = pkcs11.Error(pkcs11.CKR_SESSION_CLOSED) // retired before we were back
	}
	e.handle, e.err = h, err
	if err != nil {
		o.drop(e)
	} else {
		e.keeper = k
		k.refs += e.refs
		if k.retired() {
			o.drop(e) // good for those who wait for it, and for nobody after
		}
	}
	close(e.ready)
}

// release gives back a reference, and destroys an object that was dropped
// while in use.
func (o *objects) release(e *object) {
	o.mu.Lock()
	e.refs--
	k := e.keeper
	if k == nil {
		o.mu.Unlock()
		return
	}
	last := e.refs == 0 && e.dropped && !k.retired()
	if last {
		k.grave = append(k.grave, e.handle)
	}
	end := o.unref(k)
	o.mu.Unlock()
	if end {
		o.c.t.work.start(func() { o.close(k) })
	}
	if last {
		o.c.t.work.start(func() { o.flush(context.Background()) })
	}
}

// drop takes e out of the cache. o.mu is held.
func (o *objects) drop(e *object) {
	if e.dropped {
		return
	}
	e.dropped = true
	if el := o.byKey[e.key]; el != nil && el.Value == any(e) {
		delete(o.byKey, e.key)
		o.lru.Remove(el)
	}
	if e.refs == 0 && e.keeper != nil && !e.keeper.retired() {
		e.keeper.grave = append(e.keeper.grave, e.handle)
	}
}

// shrink drops unused objects from the old end until at most max are left, or
// all that are left are in use. o.mu is held.
func (o *objects) shrink(max int) {
	for el := o.lru.Back(); el != nil && o.lru.Len() > max; {
		e, prev := el.Value.(*object), el.Prev()
		if e.refs == 0 {
			o.drop(e)
		}
		el = prev
	}
}

// halve makes room in the token for an object that is not kept.
func (o *objects) halve(ctx context.Context) {
	o.mu.Lock()
	o.shrink(o.lru.Len() / 2)
	o.mu.Unlock()
	o.flush(ctx)
}

// forget drops a backing key and its subkeys and destroys those not in use.
func (o *objects) forget(sum [32]byte) {
	o.mu.Lock()
	for key, el := range o.byKey {
		if key.sum == sum {
			o.drop(el.Value.(*object))
		}
	}
	o.mu.Unlock()
	o.flush(context.Background())
}

// flush destroys what was dropped. If it cannot, the next call in the keeper's
// session will meet the same error or do it.
func (o *objects) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, o.c.t.timeout)
	defer cancel()
	o.mu.Lock()
	idle := o.keeper == nil || len(o.keeper.grave) == 0
	o.mu.Unlock()
	if idle {
		return
	}
	l, err := o.lend(ctx)
	if err != nil {
		return
	}
	_, err = run(ctx, o.c, l, func(s *session) (struct{}, error) {
		return struct{}{}, o.bury(l.k, s)
	}, func(struct{}) {}, func() {})
	if kindOf(err) == kindLost {
		o.c.t.lost(o.c, err)
	}
}

// bury destroys what was dropped. s is the keeper's session.
func (o *objects) bury(k *keeper, s *session) error {
	o.mu.Lock()
	grave := k.grave
	k.grave = nil
	o.mu.Unlock()
	for _, h := range grave {
		if err := s.destroy(h); err != nil {
			return err
		}
	}
	return nil
}

// lend waits for the turn in the keeper's session.
func (o *objects) lend(ctx context.Context) (*keeperLease, error) {
	for {
		k, err := o.current()
		if err != nil {
			return nil, err
		}
		select {
		case <-k.turn:
		case <-k.gone:
			continue
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		o.mu.Lock()
		retired := k.retired()
		if !retired {
			k.refs++
		}
		o.mu.Unlock()
		if !retired {
			return &keeperLease{o: o, k: k}, nil
		}
	}
}

func (o *objects) current() (*keeper, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.retired {
		return nil, pkcs11.Error(pkcs11.CKR_SESSION_CLOSED)
	}
	if o.keeper == nil {
		o.keeper = &keeper{s: o.c.newSession(), turn: make(chan struct{}, 1), gone: make(chan struct{}), refs: 1}
		o.keeper.turn <- struct{}{}
	}
	return o.keeper, nil
}

func (k *keeper) retired() bool {
	select {
	case <-k.gone:
		return true
	default:
		return false
	}
}

// unref gives back one of k.refs and reports whether to close its session.
// o.mu is held.
func (o *objects) unref(k *keeper) (end bool) {
	k.refs--
	return k.refs == 0
}

// retireKeeper drops the keeper and all its objects. o.mu is held.
func (o *objects) retireKeeper(k *keeper) (end bool) {
	if k.retired() {
		return false
	}
	close(k.gone)
	o.ending++
	if o.keeper == k {
		o.keeper = nil
	}
	for _, el := range o.byKey {
		if e := el.Value.(*object); e.keeper == k {
			o.drop(e)
		}
	}
	return o.unref(k)
}

func (o *objects) retire() {
	o.mu.Lock()
	o.retired = true
	k := o.keeper
	end := k != nil && o.retireKeeper(k)
	o.mu.Unlock()
	if end {
		o.close(k)
	}
}

// close is the end of a keeper.
func (o *objects) close(k *keeper) {
	k.s.closeLate()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ending--
}

// closing reports whether there are keepers whose end is to come.
func (o *objects) closing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ending > 0
}

// keeperLease is the turn in the keeper's session. Few errors spoil it: making
// and destroying objects leaves no operation active in a session, but the check
// of a secret key may, and then another keeper takes over.
type keeperLease struct {
	o *objects
	k *keeper
}

func (l *keeperLease) session() *session { return l.k.s }

// spoil has the pool make room for the keeper: without it no key is made ready.
func (l *keeperLease) spoil(err error) {
	if kindOf(err) == kindExhausted {
		l.o.c.pool.makeRoom()
	}
}

func (l *keeperLease) done(err error) {
	var active activeError
	if errors.As(err, &active) || kindOf(err) == kindSession {
		l.overrun()
	} else {
		l.k.turn <- struct{}{}
	}
	l.giveBack()
}

func (l *keeperLease) overrun() {
	l.o.mu.Lock()
	defer l.o.mu.Unlock()
	l.o.retireKeeper(l.k) // not the end: the call still counts
}

func (l *keeperLease) late() { l.giveBack() }

func (l *keeperLease) giveBack() {
	l.o.mu.Lock()
	end := l.o.unref(l.k)
	l.o.mu.Unlock()
	if end {
		l.o.close(l.k)
	}
}
