// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/sigv4"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/proxy/envelope"
	"github.com/sidekey/sidekey/proxy/s3ec"
)

// s3Error is an error as a client of S3 sees it.
type s3Error struct {
	code    string
	status  int
	message string
	fields  [][2]string // further elements, such as Region
	header  http.Header // further headers, such as Content-Range
	cause   error       // logged, never shown
}

func (e *s3Error) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.message + ": " + e.cause.Error()
	}
	return e.code + ": " + e.message
}

func (e *s3Error) Unwrap() error { return e.cause }

// hasStatus says that err is an answer with one of these statuses.
func hasStatus(err error, statuses ...int) bool {
	var e *s3Error
	return errors.As(err, &e) && slices.Contains(statuses, e.status)
}

// errAbort tells ServeHTTP to cut the connection.
var errAbort = errors.New("connection aborted")

func invalidArgument(message string) *s3Error {
	return &s3Error{code: "InvalidArgument", status: http.StatusBadRequest, message: message}
}

// argument names what was wrong, as S3 does.
func (e *s3Error) argument(name, value string) *s3Error {
	e.fields = append(e.fields, [2]string{"ArgumentName", name}, [2]string{"ArgumentValue", value})
	return e
}

// conflicting is the answer to two sub-resources at once.
func conflicting(one, other string) *s3Error {
	if other < one {
		one, other = other, one
	}
	return invalidArgument("Conflicting query string parameters: "+one+", "+other).argument("ResourceType", one)
}

// methodNotAllowed is the answer to a method that S3 does not have for what the
// path names.
func methodNotAllowed(r route) *s3Error {
	e := &s3Error{
		code: "MethodNotAllowed", status: http.StatusMethodNotAllowed, message: "The specified method is not allowed against this resource.",
		fields: [][2]string{{"Method", r.method}, {"ResourceType", [...]string{"SERVICE", "BUCKET", "OBJECT"}[r.level]}},
		header: http.Header{},
	}
	if r.sub != "" {
		e.fields[1][1] = strings.ToUpper(r.sub)
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
		if _, ok := operations[route{r.level, method, r.sub}]; ok {
			e.header.Add("Allow", method)
		}
	}
	return e
}

// refusal is the answer to an operation that is not served.
func refusal(op operation) error {
	if op.refuse != nil {
		return op.refuse
	}
	return because(notImplemented(op.name, ""), op.why)
}

func invalidRequest(message string) *s3Error {
	return &s3Error{code: "InvalidRequest", status: http.StatusBadRequest, message: message}
}

func notImplemented(operation, what string) *s3Error {
	e := &s3Error{
		code: "NotImplemented", status: http.StatusNotImplemented,
		message: "The gateway does not implement " + operation + ".",
		fields:  [][2]string{{"Operation", operation}},
	}
	if what != "" {
		e.message = "The gateway does not implement " + what + " of " + operation + "."
		e.fields = append(e.fields, [2]string{"Header", what})
	}
	return e
}

func invalidRange(size int64) *s3Error {
	return &s3Error{
		code: "InvalidRange", status: http.StatusRequestedRangeNotSatisfiable, message: "The requested range is not satisfiable",
		fields: [][2]string{{"ActualObjectSize", strconv.FormatInt(size, 10)}},
		header: http.Header{"Content-Range": {"bytes */" + strconv.FormatInt(size, 10)}},
	}
}

var errNotSealed = &s3Error{
	code: "InvalidObjectState", status: http.StatusForbidden,
	message: "The object was not stored through this gateway and is not readable through it.",
}

// signatureErrors maps the refusals of the verifier. IncompleteBody and the
// like reach the client while its body is read.
var signatureErrors = map[sigv4.ErrorCode]s3Error{
	sigv4.MissingAuthentication:        {code: "AccessDenied", status: http.StatusForbidden},
	sigv4.UnsupportedAlgorithm:         {code: "InvalidRequest", status: http.StatusBadRequest},
	sigv4.IncompleteSignature:          {code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest},
	sigv4.AuthorizationHeaderMalformed: {code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest},
	sigv4.AuthorizationQueryMalformed:  {code: "AuthorizationQueryParametersError", status: http.StatusBadRequest},
	sigv4.FormMalformed:                {code: "InvalidArgument", status: http.StatusBadRequest},
	sigv4.WrongRegion:                  {code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest},
	sigv4.UnsignedHeaders:              {code: "AccessDenied", status: http.StatusForbidden},
	sigv4.InvalidAccessKeyID:           {code: "InvalidAccessKeyId", status: http.StatusForbidden},
	sigv4.SignatureDoesNotMatch:        {code: "SignatureDoesNotMatch", status: http.StatusForbidden},
	sigv4.RequestTimeTooSkewed:         {code: "RequestTimeTooSkewed", status: http.StatusForbidden},
	sigv4.Expired:                      {code: "AccessDenied", status: http.StatusForbidden},
	sigv4.NotYetValid:                  {code: "AccessDenied", status: http.StatusForbidden},
	sigv4.MalformedURI:                 {code: "InvalidURI", status: http.StatusBadRequest},
	sigv4.InvalidPayloadHash:           {code: "InvalidRequest", status: http.StatusBadRequest},
	sigv4.MissingDecodedLength:         {code: "MissingContentLength", status: http.StatusLengthRequired},
	sigv4.InvalidDecodedLength:         {code: "InvalidArgument", status: http.StatusBadRequest},
	sigv4.ContentSHA256Mismatch:        {code: "XAmzContentSHA256Mismatch", status: http.StatusBadRequest},
	sigv4.IncompleteBody:               {code: "IncompleteBody", status: http.StatusBadRequest},
	sigv4.BadChunk:                     {code: "InvalidRequest", status: http.StatusBadRequest},
	sigv4.BadChunkSignature:            {code: "SignatureDoesNotMatch", status: http.StatusForbidden},
	sigv4.BadTrailer:                   {code: "MalformedTrailerError", status: http.StatusBadRequest},
}

// asS3 maps every error of the gateway. What it does not know is an internal
// error, whose cause goes to the log only.
func (x *exchange) asS3(err error) *s3Error {
	var own *s3Error
	if errors.As(err, &own) {
		return own
	}
	var signature *sigv4.Error
	if errors.As(err, &signature) {
		return x.signatureError(signature)
	}
	var key *datakey.Error
	if errors.As(err, &key) {
		return keyError(key)
	}
	switch {
	case errors.Is(err, audit.ErrUnavailable):
		return &s3Error{code: "ServiceUnavailable", status: http.StatusServiceUnavailable, message: "The audit log cannot be written; nothing is answered without a record.", cause: err}
	case errors.Is(err, proxy.ErrNoRule):
		return &s3Error{code: "AccessDenied", status: http.StatusForbidden, message: "No encryption rule covers this object.", cause: err}
	case errors.Is(err, envelope.ErrFormat), errors.Is(err, envelope.ErrOpen), errors.Is(err, s3ec.ErrOpen):
		return &s3Error{code: "InternalError", status: http.StatusInternalServerError, message: "The stored object is damaged or was not written under this name.", cause: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &s3Error{code: "IncompleteBody", status: http.StatusBadRequest, message: "The request body ended before its declared length.", cause: err}
	case errors.Is(err, context.Canceled):
		return &s3Error{code: "RequestTimeout", status: http.StatusBadRequest, message: "The client went away.", cause: err}
	}
	return &s3Error{code: "InternalError", status: http.StatusInternalServerError, message: "We encountered an internal error. Please try again.", cause: err}
}

// signatureError says what S3 says: what was made of the request, which the
// client has sent itself, never anything of the secret.
func (x *exchange) signatureError(err *sigv4.Error) *s3Error {
	e := signatureErrors[err.Code]
	e.message = err.Message
	field := func(name, value string) { e.fields = append(e.fields, [2]string{name, value}) }
	facts := err.Facts
	switch err.Code {
	case sigv4.WrongRegion:
		field("Region", x.g.region)
	case sigv4.InvalidAccessKeyID:
		e.message = "The AWS Access Key Id you provided does not exist in our records."
		field("AWSAccessKeyId", facts.AccessKeyID)
	case sigv4.SignatureDoesNotMatch:
		e.message = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
		field("AWSAccessKeyId", facts.AccessKeyID)
		field("StringToSign", facts.StringToSign)
		field("SignatureProvided", facts.Signature)
		field("CanonicalRequest", facts.CanonicalRequest)
	case sigv4.RequestTimeTooSkewed:
		e.message = "The difference between the request time and the current time is too large."
		field("RequestTime", facts.SignedAt.Format(requestTime))
		field("ServerTime", facts.Now.UTC().Format(time.RFC3339))
		field("MaxAllowedSkewMilliseconds", strconv.FormatInt(facts.MaxSkew.Milliseconds(), 10))
	case sigv4.Expired:
		e.message = "Request has expired"
		field("X-Amz-Expires", strconv.FormatInt(int64(facts.Expires.Seconds()), 10))
		field("Expires", facts.SignedAt.Add(facts.Expires).UTC().Format(time.RFC3339))
		field("ServerTime", facts.Now.UTC().Format(time.RFC3339))
	}
	return &e
}

// requestTime is how X-Amz-Date writes a time.
const requestTime = "20060102T150405Z"

// keyError answers as S3 does when KMS refuses it.
func keyError(err *datakey.Error) *s3Error {
	switch err.Kind {
	case datakey.Denied:
		return &s3Error{code: "AccessDenied", status: http.StatusForbidden, message: "The key service does not allow the use of the key.", cause: err}
	case datakey.Disabled:
		if err.KMSCode == "KMSInvalidStateException" {
			return &s3Error{code: "KMS.KMSInvalidStateException", status: http.StatusBadRequest, message: "The state of the key does not allow its use.", cause: err}
		}
		return &s3Error{code: "KMS.DisabledException", status: http.StatusBadRequest, message: "The key is disabled.", cause: err}
	case datakey.NotFound:
		return &s3Error{code: "KMS.NotFoundException", status: http.StatusBadRequest, message: "The key does not exist.", cause: err}
	case datakey.Unavailable:
		return &s3Error{code: "ServiceUnavailable", status: http.StatusServiceUnavailable, message: "The key service cannot be reached. Please try again.", cause: err}
	}
	return &s3Error{code: "InternalError", status: http.StatusInternalServerError, message: "The data key of the object cannot be used.", cause: err}
}

// fail ends the record and answers with err, or cuts the connection if the
// answer has begun.
func (x *exchange) fail(err error) error {
	e := x.asS3(err)
	if auditErr := x.op.End(e.code, audit.HTTPStatus.Int(e.status), audit.Reason.String(e.message)); auditErr != nil {
		x.g.log.Error("cannot end the audit record", "request_id", x.id, "error", auditErr)
		e = x.asS3(auditErr)
	}
	if e.status >= 500 && e.status != http.StatusNotImplemented {
		x.g.log.LogAttrs(x.r.Context(), slog.LevelError, "s3 request failed",
			slog.String("operation", x.name), slog.String("request_id", x.id),
			slog.String("code", e.code), slog.Any("error", err))
	}
	if x.late {
		x.w.Write(bytes.TrimPrefix(x.errorText(e), []byte(xml.Header)))
		return nil
	}
	if x.started {
		return errAbort
	}
	x.writeError(e)
	return nil
}

// drainTime is how long a refused client may take to send the rest of its body,
// which the server reads so that the client sees the answer.
const drainTime = 5 * time.Second

func (x *exchange) writeError(e *s3Error) {
	if x.r.ContentLength != 0 {
		http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(drainTime))
	}
	header := x.w.Header()
	for name := range header {
		if name != "X-Amz-Request-Id" && name != "Connection" {
			delete(header, name)
		}
	}
	for name, values := range e.header {
		header[name] = values
	}
	if x.r.Method == http.MethodHead {
		x.writeHeader(e.status)
		return
	}
	text := x.errorText(e)
	header.Set("Content-Type", "application/xml")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	x.writeHeader(e.status)
	x.w.Write(text)
}

// errorText is S3's document of an error.
func (x *exchange) errorText(e *s3Error) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<Error>")
	element := func(name, value string) {
		b.WriteString("<" + name + ">")
		xml.EscapeText(&b, []byte(value))
		b.WriteString("</" + name + ">")
	}
	element("Code", e.code)
	element("Message", e.message)
	for _, field := range e.fields {
		element(field[0], field[1])
	}
	if x.bucket != "" {
		element("BucketName", x.bucket)
	}
	if x.key != "" {
		element("Key", x.key)
	}
	element("Resource", x.r.URL.Path)
	element("RequestId", x.id)
	element("HostId", x.id)
	b.WriteString("</Error>")
	return b.Bytes()
}
