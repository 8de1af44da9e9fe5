// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"fmt"
	"time"
)

// ErrorCode names a reason for refusing a request. Each protocol edge maps the
// codes to the errors of its own service.
type ErrorCode string

// The reasons for which a request or its body is refused.
const (
	MissingAuthentication        ErrorCode = "MissingAuthentication"        // neither header nor query signature
	UnsupportedAlgorithm         ErrorCode = "UnsupportedAlgorithm"         // signature version 2, SigV4A, anything else
	IncompleteSignature          ErrorCode = "IncompleteSignature"          // a part of the signature is absent or unreadable
	AuthorizationHeaderMalformed ErrorCode = "AuthorizationHeaderMalformed" // the credential scope is not for this service
	AuthorizationQueryMalformed  ErrorCode = "AuthorizationQueryMalformed"  // the same, of a presigned request
	FormMalformed                ErrorCode = "FormMalformed"                // the same, of a browser's form
	WrongRegion                  ErrorCode = "WrongRegion"                  // the credential scope names another region
	UnsignedHeaders              ErrorCode = "UnsignedHeaders"              // x-amz-* not signed, or signed but absent
	InvalidAccessKeyID           ErrorCode = "InvalidAccessKeyID"           // unknown access key
	SignatureDoesNotMatch        ErrorCode = "SignatureDoesNotMatch"
	RequestTimeTooSkewed         ErrorCode = "RequestTimeTooSkewed"
	Expired                      ErrorCode = "Expired"     // presigned request past its life
	NotYetValid                  ErrorCode = "NotYetValid" // presigned request of a time to come
	MalformedURI                 ErrorCode = "MalformedURI"
	InvalidPayloadHash           ErrorCode = "InvalidPayloadHash"    // X-Amz-Content-Sha256 absent or not of a known form
	MissingDecodedLength         ErrorCode = "MissingDecodedLength"  // aws-chunked without X-Amz-Decoded-Content-Length
	InvalidDecodedLength         ErrorCode = "InvalidDecodedLength"  // ... or with an unreadable one
	ContentSHA256Mismatch        ErrorCode = "ContentSHA256Mismatch" // the body is not the one that was signed
	IncompleteBody               ErrorCode = "IncompleteBody"        // the body ended early or is longer than declared
	BadChunk                     ErrorCode = "BadChunk"              // aws-chunked framing
	BadChunkSignature            ErrorCode = "BadChunkSignature"
	BadTrailer                   ErrorCode = "BadTrailer"
)

// Error is the only error type of this package. Message holds no secret and
// may be shown to the peer.
type Error struct {
	Code    ErrorCode
	Message string
	Facts   Facts
}

// Facts are what a service may tell the caller about its own request, so that a
// signer can be put right. They are what the caller sent and what this side made
// of it, and no secret; what does not belong to the error's code is left empty.
type Facts struct {
	AccessKeyID      string // of InvalidAccessKeyID and SignatureDoesNotMatch
	Signature        string // as given, of SignatureDoesNotMatch
	StringToSign     string // of SignatureDoesNotMatch
	CanonicalRequest string // of SignatureDoesNotMatch

	SignedAt time.Time     // of RequestTimeTooSkewed and Expired
	Now      time.Time     // of RequestTimeTooSkewed and Expired
	MaxSkew  time.Duration // of RequestTimeTooSkewed
	Expires  time.Duration // of Expired: the life that was signed
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

func refuse(code ErrorCode, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) with(facts Facts) *Error {
	e.Facts = facts
	return e
}
