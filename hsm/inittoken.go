// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// InitToken makes a new token with a user PIN in the first slot of the module
// that holds none, as the softhsm2-util command does. It is for development
// tokens: a real HSM is initialized with its maker's own tools. Both files hold
// a PIN each, as for pin-source.
func InitToken(ctx context.Context, modulePath, label, soPINFile, pinFile string) (err error) {
	soPIN, err := readPIN(soPINFile)
	if err != nil {
		return err
	}
	defer clear(soPIN)
	pin, err := readPIN(pinFile)
	if err != nil {
		return err
	}
	defer clear(pin)
	m, err := loadModule(modulePath, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.release(ctx, nil, false)) }()
	if _, err := m.ensure(ctx); err != nil {
		return err
	}
	slot, err := emptySlot(m.p11)
	if err != nil {
		return err
	}
	if err := m.p11.InitToken(slot, string(soPIN), label); err != nil {
		return fmt.Errorf("initializing token %s: %w", label, err)
	}
	return initPIN(m.p11, slot, string(soPIN), string(pin))
}

// initPIN sets the user PIN, which the security officer does.
func initPIN(p11 *pkcs11.Ctx, slot uint, soPIN, pin string) (err error) {
	session, err := p11.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	defer func() { err = errors.Join(err, p11.CloseSession(session)) }()
	if err := p11.Login(session, pkcs11.CKU_SO, soPIN); err != nil {
		return fmt.Errorf("logging in as security officer: %w", err)
	}
	defer func() { err = errors.Join(err, p11.Logout(session)) }()
	if err := p11.InitPIN(session, pin); err != nil {
		return fmt.Errorf("setting the user PIN: %w", err)
	}
	return nil
}

func emptySlot(p11 *pkcs11.Ctx) (uint, error) {
	slots, err := p11.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("listing slots: %w", err)
	}
	for _, slot := range slots {
		info, err := p11.GetTokenInfo(slot)
		if err == nil && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("%w: no slot without an initialized token", ErrNoToken)
}
