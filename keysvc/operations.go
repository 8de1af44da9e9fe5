// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"reflect"
	"sort"
)

// An operation is one entry of the table of operations.
type operation struct {
	name string

	// mutating operations change the store, which cannot be undone by not
	// answering: their intent is on disk before the work begins.
	mutating bool

	// serve decodes the body, does the work and appends the answer to dst.
	serve func(ctx context.Context, s *Service, r *request, body, dst []byte) ([]byte, error)
}

// define makes an operation of a function from the SDK's input to its output.
// What its members must be is in constraints.go.
func define[In, Out any](name string, do func(*Service, context.Context, *request, *In) (*Out, error)) *operation {
	rules := rulesOf(reflect.TypeFor[In]())
	subject := subjectOf(reflect.TypeFor[In]())
	tokens := grantTokensOf(reflect.TypeFor[In]())
	encode := encoderOf(reflect.TypeFor[Out]())
	return &operation{name: name, serve: func(ctx context.Context, s *Service, r *request, body, dst []byte) ([]byte, error) {
		in := new(In)
		malformed := decodeInput(body, in)
		ctx = s.begin(ctx, r, subject(s, r.region, reflect.ValueOf(in).Elem()))
		r.tokens = tokens(reflect.ValueOf(in).Elem())
		if malformed != nil {
			return dst, malformed
		}
		if err := validate(rules, reflect.ValueOf(in).Elem()); err != nil {
			return dst, err
		}
		if err := s.checkGrantTokens(r.tokens); err != nil {
			return dst, err
		}
		out, err := do(s, ctx, r, in)
		if err != nil {
			return dst, err
		}
		return encode(dst, reflect.ValueOf(out).Elem()), nil
	}}
}

// command makes a mutating operation whose answer has no body.
func command[In any](name string, do func(*Service, context.Context, *request, *In) error) *operation {
	type none struct{}
	op := define(name, func(s *Service, ctx context.Context, r *request, in *In) (*none, error) {
		return &none{}, do(s, ctx, r, in)
	})
	encoded := op.serve
	op.serve = func(ctx context.Context, s *Service, r *request, body, dst []byte) ([]byte, error) {
		dst, err := encoded(ctx, s, r, body, dst)
		return dst[:0], err
	}
	return mutating(op)
}

func mutating(op *operation) *operation {
	op.mutating = true
	return op
}

// operations is the table of all operations of the AWS KMS API.
func operations() map[string]*operation {
	table := map[string]*operation{}
	for _, op := range []*operation{
		mutating(define("CreateKey", (*Service).createKey)),
		define("DescribeKey", (*Service).describeKey),
		define("ListKeys", (*Service).listKeys),
		command("EnableKey", (*Service).enableKey),
		command("DisableKey", (*Service).disableKey),
		mutating(define("ScheduleKeyDeletion", (*Service).scheduleKeyDeletion)),
		mutating(define("CancelKeyDeletion", (*Service).cancelKeyDeletion)),
		command("CreateAlias", (*Service).createAlias),
		command("UpdateAlias", (*Service).updateAlias),
		command("DeleteAlias", (*Service).deleteAlias),
		define("ListAliases", (*Service).listAliases),
		define("ListResourceTags", (*Service).listResourceTags),
		command("TagResource", (*Service).tagResource),
		command("UntagResource", (*Service).untagResource),
		command("UpdateKeyDescription", (*Service).updateKeyDescription),
		command("PutKeyPolicy", (*Service).putKeyPolicy),
		mutating(define("CreateGrant", (*Service).createGrant)),
		define("ListGrants", (*Service).listGrants),
		define("ListRetirableGrants", (*Service).listRetirableGrants),
		command("RetireGrant", (*Service).retireGrant),
		command("RevokeGrant", (*Service).revokeGrant),
		define("GetKeyPolicy", (*Service).getKeyPolicy),
		define("ListKeyPolicies", (*Service).listKeyPolicies),
		mutating(define("ReplicateKey", (*Service).replicateKey)),
		command("UpdatePrimaryRegion", (*Service).updatePrimaryRegion),
		mutating(define("CreateCustomKeyStore", (*Service).createCustomKeyStore)),
		define("DescribeCustomKeyStores", (*Service).describeCustomKeyStores),
		command("UpdateCustomKeyStore", (*Service).updateCustomKeyStore),
		command("DeleteCustomKeyStore", (*Service).deleteCustomKeyStore),
		mutating(define("ConnectCustomKeyStore", (*Service).connectCustomKeyStore)),
		mutating(define("DisconnectCustomKeyStore", (*Service).disconnectCustomKeyStore)),
		command("EnableKeyRotation", (*Service).enableKeyRotation),
		command("DisableKeyRotation", (*Service).disableKeyRotation),
		define("GetKeyRotationStatus", (*Service).getKeyRotationStatus),
		mutating(define("RotateKeyOnDemand", (*Service).rotateKeyOnDemand)),
		define("ListKeyRotations", (*Service).listKeyRotations),
		define("GetParametersForImport", (*Service).getParametersForImport),
		mutating(define("ImportKeyMaterial", (*Service).importKeyMaterial)),
		mutating(define("DeleteImportedKeyMaterial", (*Service).deleteImportedKeyMaterial)),
		define("GetKeyLastUsage", (*Service).getKeyLastUsage),
		define("Encrypt", (*Service).encrypt),
		define("Decrypt", (*Service).decrypt),
		define("ReEncrypt", (*Service).reEncrypt),
		define("GenerateDataKey", (*Service).generateDataKey),
		define("GenerateDataKeyWithoutPlaintext", (*Service).generateDataKeyWithoutPlaintext),
		define("GenerateDataKeyPair", (*Service).generateDataKeyPair),
		define("GenerateDataKeyPairWithoutPlaintext", (*Service).generateDataKeyPairWithoutPlaintext),
		define("Sign", (*Service).sign),
		define("Verify", (*Service).verify),
		define("GetPublicKey", (*Service).getPublicKey),
		define("GenerateMac", (*Service).generateMac),
		define("VerifyMac", (*Service).verifyMac),
		define("DeriveSharedSecret", (*Service).deriveSharedSecret),
		define("GenerateRandom", (*Service).generateRandom),
	} {
		table[op.name] = op
	}
	return table
}

// actionNames are the actions that a principal can be allowed: one for each
// operation, and two for ReEncrypt.
func actionNames() []string {
	names := []string{"kms:ReEncryptFrom", "kms:ReEncryptTo"}
	for name := range operations() {
		if name != "ReEncrypt" {
			names = append(names, "kms:"+name)
		}
	}
	sort.Strings(names)
	return names
}
