// SPDX-License-Identifier: Apache-2.0

package datakey

import (
	"errors"

	"github.com/aws/smithy-go"

	"github.com/sidekey/sidekey/keysvc/locked"
)

// Kind says what a caller can do about an Error.
type Kind int

// Kinds of errors.
const (
	Internal    Kind = iota // our bug or the key service's, or it speaks another language
	Denied                  // policy or credentials refuse
	Disabled                // the key is disabled or pending deletion
	NotFound                // no such key
	Unavailable             // no answer, or try again later
	Corrupt                 // the wrapped key or its encryption context was changed
)

// String names the kind for logs.
func (k Kind) String() string {
	return [...]string{"internal", "denied", "disabled", "not found", "unavailable", "corrupt"}[k]
}

// Error is a failure to get or to use a data key.
type Error struct {
	Kind    Kind
	KMSCode string // error code of the key service, "" if it gave none
	Message string
	cause   error
}

func (e *Error) Error() string {
	if e.KMSCode != "" {
		return "data key: " + e.Kind.String() + ": " + e.KMSCode + ": " + e.Message
	}
	return "data key: " + e.Kind.String() + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// revokes says that the key service decided against the key: cached copies must
// go at once.
func revokes(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Kind {
	case Denied, Disabled, NotFound, Corrupt:
		return true
	}
	return false
}

// mapError gives an error of the SDK its kind.
func mapError(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return &Error{Kind: Unavailable, Message: "calling the key service: " + err.Error(), cause: err}
	}
	return &Error{Kind: kindOf(api.ErrorCode()), KMSCode: api.ErrorCode(), Message: api.ErrorMessage(), cause: err}
}

// arenaError is about the memory for secrets.
func arenaError(err error) error {
	message := err.Error()
	if errors.Is(err, locked.ErrClosed) {
		message = "the cache is closed"
	}
	return &Error{Kind: Internal, Message: message, cause: err}
}

func kindOf(code string) Kind {
	switch code {
	case "AccessDeniedException", "AccessDenied",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
		"SignatureDoesNotMatch", "ExpiredTokenException", "MissingAuthenticationTokenException",
		"IncompleteSignatureException", "InvalidGrantTokenException":
		return Denied
	case "DisabledException", "KMSInvalidStateException":
		return Disabled
	case "NotFoundException":
		return NotFound
	case "InvalidCiphertextException", "IncorrectKeyException":
		return Corrupt
	case "KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException",
		"ThrottlingException", "LimitExceededException", "ServiceUnavailableException", "InternalFailure":
		return Unavailable
	}
	return Internal
}
