// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// conn is one life of a login: everything that dies with it. It is built whole
// and dropped whole.
type conn struct {
	t     *Token
	mod   *module
	epoch uint64 // of the module's handles
	slot  uint
	info  pkcs11.TokenInfo
	home  *session // keeps the login alive; never lent, closed last
	root  pkcs11.ObjectHandle

	pool    *pool
	objects *objects
	closed  atomic.Int64 // sessions that have been closed
}

func (c *conn) newSession() *session {
	return &session{mod: c.mod, slot: c.slot, epoch: c.epoch, closed: &c.closed}
}

// mayClose reports whether a session that the token could not give now may come
// from another call of ours, be it one that hangs.
func (c *conn) mayClose() bool {
	return c.pool.others() || c.objects.closing() || c.t.hung.Load() > 0
}

func (c *conn) enter(ctx context.Context) error {
	return c.mod.gate.enterAt(ctx, c.epoch)
}

// connect finds the token and the root key. It runs in the goroutine of an
// attempt; the gate keeps others from initializing the module meanwhile.
func (t *Token) connect(ctx context.Context) (*conn, error) {
	epoch, err := t.mod.ensure(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{t: t, mod: t.mod, epoch: epoch}
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	err = c.login()
	t.mod.gate.leave()
	if err != nil {
		return nil, err
	}
	c.pool = newPool(c, c.poolSize())
	c.objects = newObjects(c, maxObjects)
	return c, nil
}

func (c *conn) login() (err error) {
	if c.slot, c.info, err = findToken(c.mod.p11, c.t.addr); err != nil {
		return err
	}
	c.home = c.newSession()
	if err := c.home.open(0); err != nil {
		return err
	}
	if err = c.authenticate(); err == nil {
		c.root, err = c.findRoot()
	}
	if err != nil {
		c.home.close()
	}
	return err
}

// poolSize leaves room for the home and the keeper where a token says how many
// sessions it has.
func (c *conn) poolSize() int {
	const unavailable = ^uint(0) // CK_UNAVAILABLE_INFORMATION; 0 is CK_EFFECTIVELY_INFINITE
	most := c.info.MaxSessionCount
	if most == 0 || most == unavailable {
		return c.t.sessions
	}
	return max(1, min(c.t.sessions, int(min(most, 1<<16))-2))
}

// retire closes what is idle; the rest closes itself as it comes back.
func (c *conn) retire() {
	c.pool.retire()
	c.objects.retire()
	c.home.closeLate()
}

func findToken(p *pkcs11.Ctx, a *address) (uint, pkcs11.TokenInfo, error) {
	slots, err := p.GetSlotList(true)
	if err != nil {
		return 0, pkcs11.TokenInfo{}, fmt.Errorf("%w: C_GetSlotList of %s: %w", ErrNoToken, a.module, err)
	}
	var found []uint
	var info pkcs11.TokenInfo
	var seen []string
	for _, slot := range slots {
		ti, err := p.GetTokenInfo(slot)
		if err != nil || ti.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // absent or empty: a missing token is reported below
		}
		seen = append(seen, fmt.Sprintf("%q (serial %s, slot-id %d)", ti.Label, ti.SerialNumber, slot))
		if a.matches(slot, ti) {
			found, info = append(found, slot), ti
		}
	}
	switch len(found) {
	case 1:
		return found[0], info, nil
	case 0:
		return 0, info, fmt.Errorf("%w: no %s; it has %s", ErrNoToken, a, orNone(seen))
	default:
		return 0, info, fmt.Errorf("%w: %d tokens match %s: add serial=; it has %s", ErrNoToken, len(found), a, orNone(seen))
	}
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "no initialized token"
	}
	return strings.Join(s, ", ")
}

// authenticate logs in once. The login is the process's, not the session's:
// when another user of the module has logged in, CKR_USER_ALREADY_LOGGED_IN is
// as good, although it does not prove our PIN.
func (c *conn) authenticate() error {
	switch {
	case c.info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return fmt.Errorf("%w: the user PIN of token %q is locked", ErrPIN, c.info.Label)
	case c.info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return fmt.Errorf("%w: token %q locks at the next wrong PIN: log in once by other means to prove the PIN", ErrPIN, c.info.Label)
	}
	pin, err := c.t.readPIN()
	if err != nil {
		return err
	}
	defer clear(pin)
	// The binding copies the string for the call only, so it may share memory
	// that is cleared afterwards.
	err = c.mod.p11.Login(c.home.handle, pkcs11.CKU_USER, unsafe.String(unsafe.SliceData(pin), len(pin)))
	switch {
	case isCode(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case kindOf(err) == kindPIN:
		return fmt.Errorf("%w by token %q (PIN from %s): %w", ErrPIN, c.info.Label, c.t.pinSource(), err)
	case err != nil:
		return fmt.Errorf("logging in to token %q: %w", c.info.Label, err)
	}
	return nil
}

// backing returns the unwrapped backing key. The wrapped form is looked at even
// if its object is there already: that may be of another spec.
func (c *conn) backing(ctx context.Context, sum [32]byte, wrapped []byte) (*object, error) {
	mech, blob, err := parseWrapped(bytes.Clone(wrapped)) // the call may outlive the caller
	if err != nil {
		return nil, err
	}
	return c.objects.get(ctx, objectKey{sum: sum}, func() (recipe, error) {
		return recipe{
			create: func(s *session) (pkcs11.ObjectHandle, error) { return s.unwrap(mech, c.root, blob, unwrapTemplate()) },
			after:  func() {},
		}, nil
	})
}

// subkey returns the subkey of an epoch.
func (c *conn) subkey(ctx context.Context, wrapped []byte, epoch [16]byte) (*object, error) {
	sum := sha256.Sum256(wrapped)
	return c.objects.get(ctx, objectKey{sum: sum, derived: true, epoch: epoch}, func() (recipe, error) {
		base, err := c.backing(ctx, sum, wrapped)
		if err != nil {
			return recipe{}, err
		}
		return recipe{
			create: func(s *session) (pkcs11.ObjectHandle, error) { return s.derive(base.handle, epoch) },
			after:  func() { c.objects.release(base) },
		}, nil
	})
}
