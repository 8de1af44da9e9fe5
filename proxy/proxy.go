// SPDX-License-Identifier: Apache-2.0

// Package proxy is what the gateways share: the rules that say what is encrypted
// under which key, the Cipher, which is the one door to encryption, the client
// of the key service, and listeners.
//
// Every use of a data key is recorded as a datakey.use child of the audit
// operation in the context (audit.FromContext). Making the record durable
// before plaintext or an acknowledgement leaves is the gateway's part.
package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy/datakey"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// ErrNoRule says that no rule covers an object.
var ErrNoRule = errors.New("no encryption rule covers this object")

// ErrOpen is envelope.ErrOpen: a header, body or value that does not
// authenticate where it was found.
var ErrOpen = envelope.ErrOpen

// ErrFormat is envelope.ErrFormat: bytes that sidekey did not write.
var ErrFormat = envelope.ErrFormat

// Cipher seals and opens objects and column values. It is safe for concurrent use.
type Cipher struct {
	rules Rules
	keys  *datakey.Cache
	log   *audit.Log
}

// NewCipher returns a cipher for valid rules. The log is that of the operations
// that callers put into their contexts.
func NewCipher(rules Rules, keys *datakey.Cache, log *audit.Log) *Cipher {
	return &Cipher{rules: rules, keys: keys, log: log}
}

// recordUse puts one use of a data key on the record of ctx's operation.
func recordUse(ctx context.Context, start time.Time, use datakey.Use, keyID string, err error) {
	op := audit.FromContext(ctx)
	if op == nil {
		return
	}
	if err != nil {
		op.Child(ctx, audit.SpanDataKeyUse, start, outcome(err), audit.KeyARN.String(keyID))
		return
	}
	op.Child(ctx, audit.SpanDataKeyUse, start, "",
		audit.KeyARN.String(use.KeyARN), audit.DataKeyID.String(use.ID), audit.Cache.String(use.State))
}

// outcome is the code of err on the record.
func outcome(err error) string {
	switch {
	case errors.Is(err, envelope.ErrOpen):
		return "AuthenticationFailed"
	case errors.Is(err, envelope.ErrFormat):
		return "Malformed"
	}
	return datakey.Code(err)
}
