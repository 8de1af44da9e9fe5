// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"errors"

	"github.com/miekg/pkcs11"
)

var (
	// ErrPIN means that the token does not accept the PIN. It is sticky: real
	// tokens lock after a few wrong PINs, so a [Token] that has seen it never
	// logs in again and fails every call at once.
	ErrPIN = errors.New("hsm: the PIN is not accepted")

	// ErrNoToken means that no token, or more than one, matches the URI.
	ErrNoToken = errors.New("hsm: token not found")

	// ErrModule means that the PKCS#11 module cannot be loaded or initialized.
	ErrModule = errors.New("hsm: module unusable")
)

var (
	errClosed    = errors.New("hsm: closed")
	errAbandoned = errors.New("the call was abandoned")
	errHung      = errors.New("too many calls hang in the module")
)

// kind is what an error asks of us.
type kind int

const (
	kindOther     kind = iota
	kindLost           // login, sessions or handles are gone: build a new conn
	kindSession        // this session is unusable: try another
	kindExhausted      // the token has no more sessions to give
	kindFull           // the token has no room for another object
	kindAmbiguous      // a broken token or just bad input: ask the canary
	kindPIN
)

func kindOf(err error) kind {
	var ill canaryError
	if errors.As(err, &ill) {
		return kindLost
	}
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return kindOther
	}
	switch code {
	case pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED,
		pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_KEY_HANDLE_INVALID,
		pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID, pkcs11.CKR_UNWRAPPING_KEY_HANDLE_INVALID,
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
		pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_DEVICE_ERROR,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED,
		pkcs11.CKR_SLOT_ID_INVALID:
		return kindLost
	case pkcs11.CKR_OPERATION_ACTIVE, pkcs11.CKR_OPERATION_NOT_INITIALIZED:
		return kindSession
	case pkcs11.CKR_SESSION_COUNT:
		return kindExhausted
	case pkcs11.CKR_DEVICE_MEMORY:
		return kindFull
	case pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED:
		return kindAmbiguous
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE,
		pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return kindPIN
	}
	return kindOther
}

// refusesData reports whether err is one that tokens give for a GCM tag that
// does not match. SoftHSM gives CKR_GENERAL_ERROR, as it does when it is broken.
func refusesData(err error) bool {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	const aeadDecryptFailed = 0x42 // CKR_AEAD_DECRYPT_FAILED of PKCS#11 3.0
	switch code {
	case pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED,
		pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE,
		pkcs11.CKR_DATA_INVALID, pkcs11.CKR_DATA_LEN_RANGE,
		pkcs11.CKR_SIGNATURE_INVALID, aeadDecryptFailed:
		return true
	}
	return false
}

func isCode(err error, code pkcs11.Error) bool {
	var got pkcs11.Error
	return errors.As(err, &got) && got == code
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
