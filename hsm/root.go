// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/miekg/pkcs11"
)

// Processes that start at once on an empty token may all create a root key,
// and PKCS#11 has nothing to prevent it. No key may be wrapped under a root
// key that is then taken back, so a root key is used only once it is settled:
//
//   - whoever creates one waits settleTime, and takes it back if it is not the
//     only one by then; else it gives it a CKA_ID, and never destroys it again;
//   - whoever finds one uses it if it has a CKA_ID (any: an operator may have
//     made it), or has been there without one for unsettledTime.
const (
	settleTime    = 100 * time.Millisecond
	unsettledTime = 3 * time.Second
	settledID     = "sidekey"
)

var (
	errNoRoot    = errors.New("no root key")
	errManyRoots = errors.New("the root key must be the only one: rename or delete the others")
	errUnsettled = errors.New("the root key is being created by another process")
)

// findRoot creates the root key only if this Token has never seen one.
func (c *conn) findRoot() (h pkcs11.ObjectHandle, err error) {
	if c.t.opened {
		h, err = c.lookupRoot(c.home)
	} else {
		h, err = c.agreeOnRoot()
	}
	if err != nil {
		return 0, err
	}
	if err := c.home.require(h, rootRequired()); err != nil {
		return 0, fmt.Errorf("key %q of token %q cannot be the root key: %w", c.t.addr.object, c.info.Label, err)
	}
	return h, nil
}

func (c *conn) lookupRoot(s *session) (pkcs11.ObjectHandle, error) {
	found, err := s.find(rootSearch(c.t.addr.object), 8)
	if err != nil {
		return 0, fmt.Errorf("finding root key %q: %w", c.t.addr.object, err)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, fmt.Errorf("%w labelled %q in token %q", errNoRoot, c.t.addr.object, c.info.Label)
	}
	return 0, fmt.Errorf("token %q has %d keys labelled %q: %w", c.info.Label, len(found), c.t.addr.object, errManyRoots)
}

// agreeOnRoot looks until the root key is settled. Tokens may also fail a call
// whose object another process destroys meanwhile.
func (c *conn) agreeOnRoot() (pkcs11.ObjectHandle, error) {
	end := time.Now().Add(unsettledTime)
	for {
		h, err := c.settledRoot()
		late := time.Now().After(end)
		switch {
		case err == nil, errors.Is(err, errUnsettled) && late:
			return h, nil
		case late, !contended(err):
			return 0, err
		}
		time.Sleep(rand.N(settleTime))
	}
}

func contended(err error) bool {
	return errors.Is(err, errUnsettled) || errors.Is(err, errManyRoots) || errors.Is(err, errNoRoot) ||
		isCode(err, pkcs11.CKR_OBJECT_HANDLE_INVALID) || isCode(err, pkcs11.CKR_GENERAL_ERROR)
}

// settledRoot uses a session of its own each time, since it may end in an error.
func (c *conn) settledRoot() (pkcs11.ObjectHandle, error) {
	s := c.newSession()
	if err := s.open(0); err != nil {
		return 0, err
	}
	defer s.close()
	h, err := c.lookupRoot(s)
	if errors.Is(err, errNoRoot) {
		return c.createRoot()
	}
	if err != nil {
		return 0, err
	}
	id, err := s.mod.p11.GetAttributeValue(s.handle, h, []*pkcs11.Attribute{{Type: pkcs11.CKA_ID}})
	if isCode(err, pkcs11.CKR_BUFFER_TOO_SMALL) {
		return h, errUnsettled // it got one between the question for its length and that for itself
	}
	if err != nil {
		return 0, fmt.Errorf("reading CKA_ID of root key %q: %w", c.t.addr.object, err)
	}
	if len(id) != 1 || len(id[0].Value) == 0 {
		return h, errUnsettled
	}
	return h, nil
}

func (c *conn) createRoot() (pkcs11.ObjectHandle, error) {
	s := c.newSession()
	if err := s.open(pkcs11.CKF_RW_SESSION); err != nil {
		return 0, err
	}
	defer s.close()
	own, err := s.generate(rootTemplate(c.t.addr.object))
	if err != nil {
		return 0, fmt.Errorf("creating root key %q: %w", c.t.addr.object, err)
	}
	time.Sleep(settleTime)
	h, err := c.lookupRoot(s)
	if err != nil {
		return 0, errors.Join(err, s.destroy(own))
	}
	if err := s.mod.p11.SetAttributeValue(s.handle, h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, settledID)}); err != nil {
		return 0, fmt.Errorf("setting CKA_ID of root key %q: %w", c.t.addr.object, err)
	}
	c.t.log.Info("root key created", "label", c.t.addr.object, "token", c.info.Label)
	return h, nil
}
