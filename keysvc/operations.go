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
// required names the members that must be there.
func define[In, Out any](name string, do func(*Service, context.Context, *request, *In) (*Out, error), required ...string) *operation {
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
func command[In any](name string, do func(*Service, context.Context, *request, *In) error, required ...string) *operation {
	type none struct{}
	op := define(name, func(s *Service, ctx context.Context, r *request, in *In) (*none, error) {
		return &none{}, do(s, ctx, r, in)
	}, required...)
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
		define("DescribeKey", (*Service).describeKey, "KeyId"),
		define("ListKeys", (*Service).listKeys),
		command("EnableKey", (*Service).enableKey, "KeyId"),
		command("DisableKey", (*Service).disableKey, "KeyId"),
		mutating(define("ScheduleKeyDeletion", (*Service).scheduleKeyDeletion, "KeyId")),
		mutating(define("CancelKeyDeletion", (*Service).cancelKeyDeletion, "KeyId")),
		command("CreateAlias", (*Service).createAlias, "AliasName", "TargetKeyId"),
		command("UpdateAlias", (*Service).updateAlias, "AliasName", "TargetKeyId"),
		command("DeleteAlias", (*Service).deleteAlias, "AliasName"),
		define("ListAliases", (*Service).listAliases),
		define("ListResourceTags", (*Service).listResourceTags, "KeyId"),
		command("TagResource", (*Service).tagResource, "KeyId", "Tags"),
		command("UntagResource", (*Service).untagResource, "KeyId", "TagKeys"),
		command("UpdateKeyDescription", (*Service).updateKeyDescription, "KeyId", "Description"),
		command("PutKeyPolicy", (*Service).putKeyPolicy, "KeyId", "Policy"),
		mutating(define("CreateGrant", (*Service).createGrant, "KeyId", "Operations")),
		define("ListGrants", (*Service).listGrants, "KeyId"),
		define("ListRetirableGrants", (*Service).listRetirableGrants),
		command("RetireGrant", (*Service).retireGrant),
		command("RevokeGrant", (*Service).revokeGrant, "KeyId", "GrantId"),
		define("GetKeyPolicy", (*Service).getKeyPolicy, "KeyId"),
		define("ListKeyPolicies", (*Service).listKeyPolicies, "KeyId"),
		mutating(define("ReplicateKey", (*Service).replicateKey, "KeyId", "ReplicaRegion")),
		command("UpdatePrimaryRegion", (*Service).updatePrimaryRegion, "KeyId", "PrimaryRegion"),
		mutating(define("CreateCustomKeyStore", (*Service).createCustomKeyStore, "CustomKeyStoreName")),
		define("DescribeCustomKeyStores", (*Service).describeCustomKeyStores),
		command("UpdateCustomKeyStore", (*Service).updateCustomKeyStore, "CustomKeyStoreId"),
		command("DeleteCustomKeyStore", (*Service).deleteCustomKeyStore, "CustomKeyStoreId"),
		mutating(define("ConnectCustomKeyStore", (*Service).connectCustomKeyStore, "CustomKeyStoreId")),
		mutating(define("DisconnectCustomKeyStore", (*Service).disconnectCustomKeyStore, "CustomKeyStoreId")),
		command("EnableKeyRotation", (*Service).enableKeyRotation, "KeyId"),
		command("DisableKeyRotation", (*Service).disableKeyRotation, "KeyId"),
		define("GetKeyRotationStatus", (*Service).getKeyRotationStatus, "KeyId"),
		mutating(define("RotateKeyOnDemand", (*Service).rotateKeyOnDemand, "KeyId")),
		define("ListKeyRotations", (*Service).listKeyRotations, "KeyId"),
		define("GetParametersForImport", (*Service).getParametersForImport, "KeyId", "WrappingAlgorithm", "WrappingKeySpec"),
		mutating(define("ImportKeyMaterial", (*Service).importKeyMaterial, "KeyId", "ImportToken", "EncryptedKeyMaterial")),
		mutating(define("DeleteImportedKeyMaterial", (*Service).deleteImportedKeyMaterial, "KeyId")),
		define("GetKeyLastUsage", (*Service).getKeyLastUsage, "KeyId"),
		define("Encrypt", (*Service).encrypt, "KeyId", "Plaintext"),
		define("Decrypt", (*Service).decrypt),
		define("ReEncrypt", (*Service).reEncrypt, "DestinationKeyId"),
		define("GenerateDataKey", (*Service).generateDataKey, "KeyId"),
		define("GenerateDataKeyWithoutPlaintext", (*Service).generateDataKeyWithoutPlaintext, "KeyId"),
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
