// SPDX-License-Identifier: Apache-2.0

// Package proxy is what the gateways share: the rules that say what is encrypted
// under which key, the Cipher, which is the one door to encryption, the client
// of the key service, and listeners.
//
// Every use of a data key is recorded as a datakey.use child of the audit
// operation in the context (audit.FromContext); making the record durable before
// plaintext or an acknowledgement leaves is then the gateway's part. Without an
// operation the Cipher records the use by itself before it returns.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"

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

// NewCipher returns a cipher for valid rules. The log takes the uses of data keys
// outside any operation.
func NewCipher(rules Rules, keys *datakey.Cache, log *audit.Log) *Cipher {
	return &Cipher{rules: rules, keys: keys, log: log}
}

// recordUse puts one use of a data key on the record: of ctx's operation, or, when
// there is none, as an operation of its own, durable on return. It returns err, or
// why there is no record, in which case the use must come to nothing.
func (c *Cipher) recordUse(ctx context.Context, start time.Time, use datakey.Use, keyID string, err error) error {
	code, attrs := outcome(err), []attribute.KeyValue{audit.KeyARN.String(keyID)}
	if err == nil {
		attrs = []attribute.KeyValue{audit.KeyARN.String(use.KeyARN), audit.DataKeyID.String(use.ID), audit.Cache.String(use.State)}
	}
	if op := audit.FromContext(ctx); op != nil {
		op.Child(ctx, audit.SpanDataKeyUse, start, code, attrs...)
		return err
	}
	if c.log == nil {
		return err
	}
	_, op := c.log.Begin(ctx, audit.SpanDataKeyUse)
	if failed := op.End(code, attrs...); err == nil && failed != nil {
		return fmt.Errorf("recording the use of a data key: %w", failed)
	}
	return err
}

// outcome is the code of err on the record.
func outcome(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, envelope.ErrOpen):
		return "AuthenticationFailed"
	case errors.Is(err, envelope.ErrFormat):
		return "Malformed"
	}
	return datakey.Code(err)
}
