// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/datakey"
)

// SQLSTATEs that the proxy itself answers with.
const (
	codeProtocolViolation  = "08P01"
	codeConnection         = "08006"
	codeNotSupported       = "0A000"
	codeTruncation         = "22001"
	codeOutOfRange         = "22003"
	codeBadDatetime        = "22007"
	codeDatetimeOverflow   = "22008"
	codeBadEncoding        = "22021"
	codeBadParameter       = "22023"
	codeBadText            = "22P02"
	codeBadBinary          = "22P03"
	codeBadCopy            = "22P04"
	codeBadJSON            = "22P05"
	codeInTransaction      = "25P02"
	codeAuthorization      = "28000"
	codePrivilege          = "42501"
	codeAmbiguous          = "42702"
	codeTypeMismatch       = "42804"
	codeOutOfMemory        = "53200"
	codeTooManyConnections = "53300"
	codeTooLarge           = "54000"
	codeShutdown           = "57P01"
	codeCannotConnect      = "57P03"
	codeIO                 = "58030"
	codeInternal           = "XX000"
	codeCorrupted          = "XX001"
)

// pgError is an error for the client, in PostgreSQL's fields. Its message may
// echo a value that the client sent, as PostgreSQL's do, and so is never logged.
type pgError struct {
	Code, Message, Detail, Hint string
	Position                    int
	Where                       string // CONTEXT
}

func (e *pgError) Error() string { return "SQLSTATE " + e.Code }

// late says that the server finds the error when it stores a value, not when
// it reads it: then it names neither a position nor a parameter.
func (e *pgError) late() bool {
	return e.Code == codeTruncation || e.Code == codeOutOfRange && (e.Message == numericOverflow || strings.HasSuffix(e.Message, " out of range"))
}

func failf(code, format string, args ...any) *pgError {
	return &pgError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// response is the message that tells the client.
func (e *pgError) response(severity string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.Code,
		Message: e.Message, Detail: e.Detail, Hint: e.Hint, Position: int32(e.Position), Where: e.Where,
	}
}

// asPgError maps every error to what the client is told.
func asPgError(err error) *pgError {
	var own *pgError
	var refusal *plan.Refusal
	var key *datakey.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refusal):
		return &pgError{Code: refusal.Code, Message: refusal.Message, Detail: refusal.Detail, Hint: refusal.Hint, Position: refusal.Position}
	case errors.As(err, &key):
		return keyError(key)
	case errors.Is(err, errAway), errors.Is(err, context.DeadlineExceeded):
		return failf(codeCannotConnect, "the database cannot be reached by the encrypting proxy")
	case errors.Is(err, audit.ErrUnavailable):
		return failf(codeIO, "could not write the audit log")
	case errors.Is(err, proxy.ErrTokens):
		return &pgError{Code: codeTooLarge, Message: "value too long for a protected column that can be searched", Detail: "It has more than 65535 characters, or different parts that can be searched for."}
	case errors.Is(err, proxy.ErrOpen), errors.Is(err, proxy.ErrFormat), errors.Is(err, proxy.ErrColumnKey):
		return failf(codeCorrupted, "a value of a protected column cannot be authenticated")
	}
	return failf(codeInternal, "internal error of the encrypting proxy")
}

func keyError(e *datakey.Error) *pgError {
	switch e.Kind {
	case datakey.Denied:
		return failf(codePrivilege, "the key of a protected column may not be used: %s", e.Message)
	case datakey.Disabled:
		return failf(codePrivilege, "the key of a protected column is disabled: %s", e.Message)
	case datakey.NotFound:
		return failf(codePrivilege, "the key of a protected column does not exist: %s", e.Message)
	case datakey.Unavailable:
		return failf(codeCannotConnect, "the key service is not available")
	case datakey.Corrupt:
		return failf(codeCorrupted, "the data key of a protected column cannot be opened")
	}
	return failf(codeInternal, "the key service failed")
}
