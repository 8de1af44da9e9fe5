// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/sidekey/sidekey/keysvc/sigv4"
)

const (
	codeInternal      = "KMSInternalException"
	codeValidation    = "ValidationException"
	codeSerialization = "SerializationException"
	codeAccessDenied  = "AccessDeniedException"
	codeUnknown       = "UnknownOperationException"
	codeMissingAuth   = "MissingAuthenticationTokenException"
	codeIncomplete    = "IncompleteSignatureException"
	codeBadSignature  = "InvalidSignatureException"
	codeUnrecognized  = "UnrecognizedClientException"
	codeThrottling    = "ThrottlingException"
)

const internalMessage = "The request was rejected because an internal exception occurred. The request can be retried."

// errTooLarge is a body past the limit.
var errTooLarge = apiError(codeValidation, "The request body is larger than %d bytes", maxBody)

// apiError is an error of the API that the SDK has no type for.
func apiError(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...)}
}

func validationError(format string, args ...any) error {
	return apiError(codeValidation, format, args...)
}

func notFoundError(format string, args ...any) error {
	return &types.NotFoundException{Message: text(format, args...)}
}

func unsupported(format string, args ...any) error {
	return &types.UnsupportedOperationException{Message: text(format, args...)}
}

// invalidCiphertext never says why: callers must not be able to tell wrong
// bytes, a wrong context and a missing key version apart.
func invalidCiphertext() error { return &types.InvalidCiphertextException{} }

func text(format string, args ...any) *string {
	s := fmt.Sprintf(format, args...)
	return &s
}

// answer is an error as the peer sees it.
type answer struct {
	status  int
	code    string
	message string // "" leaves the member out
}

// answerTo maps an error to what the peer is told. Errors that are not of the
// API are internal; the second result is true for them, so that they are
// logged.
func answerTo(err error) (answer, bool) {
	var refused *sigv4.Error
	if errors.As(err, &refused) {
		code, message := signatureError(refused)
		return answer{http.StatusBadRequest, code, message}, false
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return answer{http.StatusInternalServerError, codeInternal, internalMessage}, true
	}
	a := answer{http.StatusBadRequest, api.ErrorCode(), api.ErrorMessage()}
	switch {
	case errors.Is(err, errTooLarge):
		a.status = http.StatusRequestEntityTooLarge
	case a.code == codeInternal || a.code == "KeyUnavailableException":
		a.status = http.StatusInternalServerError
	case a.code == "DependencyTimeoutException":
		a.status = http.StatusServiceUnavailable
	}
	return a, false
}

// signatureError maps a refused signature to the words of AWS.
func signatureError(e *sigv4.Error) (code, message string) {
	switch e.Code {
	case sigv4.MissingAuthentication:
		return codeMissingAuth, "Missing Authentication Token"
	case sigv4.InvalidAccessKeyID:
		return codeUnrecognized, "The security token included in the request is invalid."
	case sigv4.IncompleteSignature, sigv4.AuthorizationHeaderMalformed, sigv4.AuthorizationQueryMalformed,
		sigv4.UnsupportedAlgorithm, sigv4.MalformedURI, sigv4.InvalidPayloadHash:
		return codeIncomplete, e.Message
	case sigv4.SignatureDoesNotMatch, sigv4.ContentSHA256Mismatch:
		return codeBadSignature, "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	default:
		return codeBadSignature, e.Message
	}
}
