// SPDX-License-Identifier: Apache-2.0

package datakey

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// KMS is the part of the AWS KMS client that data keys need.
type KMS interface {
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// callTimeout bounds one call with its retries.
const callTimeout = 3 * time.Second

// source calls the key service and records each call under the operation of ctx.
type source struct{ kms KMS }

// generate returns a new data key. The caller clears plaintext.
func (s source) generate(ctx context.Context, scope Scope) (plaintext []byte, ref Ref, err error) {
	start := time.Now()
	out, err := s.kms.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId:             aws.String(scope.KeyID),
		EncryptionContext: scope.Context,
		KeySpec:           types.DataKeySpecAes256,
	})
	if err == nil && len(out.Plaintext) != Size {
		err = &Error{Kind: Internal, Message: fmt.Sprintf("the key service returned a data key of %d bytes", len(out.Plaintext))}
	}
	if err != nil {
		err = mapError(err)
		record(ctx, audit.SpanDataKeyGenerate, start, err, audit.KeyARN.String(scope.KeyID))
		return nil, Ref{}, err
	}
	ref = Ref{KeyARN: aws.ToString(out.KeyId), Wrapped: out.CiphertextBlob, Context: scope.Context}
	record(ctx, audit.SpanDataKeyGenerate, start, nil, audit.KeyARN.String(ref.KeyARN), audit.DataKeyID.String(idOf(ref).String()))
	return out.Plaintext, ref, nil
}

// decrypt opens a data key and returns the ARN of the key that wrapped it. The
// caller clears plaintext.
func (s source) decrypt(ctx context.Context, ref Ref) (plaintext []byte, arn string, err error) {
	start := time.Now()
	in := &kms.DecryptInput{CiphertextBlob: ref.Wrapped, EncryptionContext: ref.Context}
	if ref.KeyARN != "" {
		in.KeyId = aws.String(ref.KeyARN)
	}
	out, err := s.kms.Decrypt(ctx, in)
	if err == nil && len(out.Plaintext) != Size {
		clear(out.Plaintext)
		err = &Error{Kind: Corrupt, Message: "the wrapped key does not hold a data key"}
	}
	id := audit.DataKeyID.String(idOf(ref).String())
	if err != nil {
		err = mapError(err)
		record(ctx, audit.SpanDataKeyDecrypt, start, err, audit.KeyARN.String(ref.KeyARN), id)
		return nil, "", err
	}
	arn = aws.ToString(out.KeyId)
	record(ctx, audit.SpanDataKeyDecrypt, start, nil, audit.KeyARN.String(arn), id)
	return out.Plaintext, arn, nil
}

// record adds a child to the operation of ctx, if there is one.
func record(ctx context.Context, span string, start time.Time, err error, attrs ...attribute.KeyValue) {
	op := audit.FromContext(ctx)
	if op == nil {
		return
	}
	op.Child(ctx, span, start, Code(err), attrs...)
}

// Code is the outcome of err in audit records: "" for none, else the key
// service's error code or the kind.
func Code(err error) string {
	if err == nil {
		return ""
	}
	e, ok := mapError(err).(*Error)
	if ok && e.KMSCode != "" {
		return e.KMSCode
	}
	return e.Kind.String()
}
