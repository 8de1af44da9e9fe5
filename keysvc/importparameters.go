// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// importWindow is for how long import parameters are good.
const importWindow = 24 * time.Hour

// An importToken is all that ImportKeyMaterial needs to know of an earlier
// GetParametersForImport, so that any replica of the service can serve it and
// none remembers anything. The private key in it is wrapped by the HSM; the
// token is a MAC of 32 bytes, and then this in JSON.
type importToken struct {
	Key       store.Ref
	Algorithm types.AlgorithmSpec
	Spec      types.WrappingKeySpec
	Memory    bool   // the wrapping key is sealed, not wrapped, by the HSM
	Wrapped   []byte // private key
	ValidTo   time.Time
}

// importTokenAAD separates sealed wrapping keys from other sealed secrets.
var importTokenAAD = appendSized(nil, "sidekey import wrapping key")

func (s *Service) tokenMAC(label string, body []byte) []byte {
	h := hmac.New(sha256.New, s.storeKeys.tokens)
	h.Write(appendSized(nil, label))
	h.Write(body)
	return h.Sum(nil)
}

func (s *Service) issueImportToken(t importToken) ([]byte, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return append(s.tokenMAC("import token", body), body...), nil
}

// redeemImportToken checks a token that was issued for a key.
func (s *Service) redeemImportToken(k *store.Key, raw []byte) (*importToken, error) {
	var t importToken
	if len(raw) < sha256.Size || !hmac.Equal(raw[:sha256.Size], s.tokenMAC("import token", raw[sha256.Size:])) {
		return nil, &types.InvalidImportTokenException{}
	}
	if err := json.Unmarshal(raw[sha256.Size:], &t); err != nil || t.Key != k.Ref {
		return nil, &types.InvalidImportTokenException{}
	}
	if time.Now().After(t.ValidTo) {
		return nil, &types.ExpiredImportTokenException{}
	}
	return &t, nil
}

func (s *Service) getParametersForImport(ctx context.Context, r *request, in *kms.GetParametersForImportInput) (*kms.GetParametersForImportOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:GetParametersForImport", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := s.imports(k); err != nil {
		return nil, err
	}
	switch {
	case in.WrappingAlgorithm == types.AlgorithmSpecRsaesPkcs1V15, in.WrappingAlgorithm == types.AlgorithmSpecSm2pke:
		return nil, unsupported("WrappingAlgorithm %s is not supported.", in.WrappingAlgorithm)
	case in.WrappingKeySpec == types.WrappingKeySpecSm2:
		return nil, unsupported("WrappingKeySpec %s is not supported.", in.WrappingKeySpec)
	}
	t := importToken{Key: k.Ref, Algorithm: in.WrappingAlgorithm, Spec: in.WrappingKeySpec,
		ValidTo: time.Now().Add(importWindow).UTC().Truncate(time.Millisecond)}
	public, err := s.newWrappingKey(ctx, r, k, &t)
	if err != nil {
		return nil, err
	}
	issued, err := s.issueImportToken(t)
	if err != nil {
		return nil, err
	}
	return &kms.GetParametersForImportOutput{
		KeyId: text("%s", s.keyARN(k.Ref)), ImportToken: issued, PublicKey: public, ParametersValidTo: &t.ValidTo,
	}, nil
}

// newWrappingKey makes the RSA key that material is to be wrapped under, in the
// HSM if it can. It returns the public key.
func (s *Service) newWrappingKey(ctx context.Context, r *request, k *store.Key, t *importToken) (public []byte, err error) {
	start, spec := time.Now(), string(t.Spec)
	t.Memory = !s.token.Supports(spec)
	span := audit.SpanHSM("generate_key")
	if t.Memory {
		span = audit.SpanMemory("generate_key")
		var private []byte
		if private, public, err = memkey.Generate(spec); err == nil {
			t.Wrapped, err = sealOnce(ctx, s.token, importTokenAAD, private)
			clear(private)
		}
	} else {
		t.Wrapped, public, err = s.token.GenerateKeyFor(ctx, spec)
	}
	r.audit.Child(ctx, span, start, hsmCode(err, true), audit.KeyARN.String(s.keyARN(k.Ref)))
	if err != nil {
		return nil, fmt.Errorf("making a key to import under: %w", err)
	}
	return public, nil
}

// unwrap opens what a caller has wrapped under the key of a token. The result
// is zeroed after the answer. ok is false for what does not open.
func (s *Service) unwrap(ctx context.Context, r *request, t *importToken, wrapped []byte) (material []byte, ok bool, err error) {
	hash, sealed := crypto.SHA256, []byte(nil)
	switch t.Algorithm {
	case types.AlgorithmSpecRsaesOaepSha1, types.AlgorithmSpecRsaAesKeyWrapSha1:
		hash = crypto.SHA1
	}
	if t.Algorithm == types.AlgorithmSpecRsaAesKeyWrapSha1 || t.Algorithm == types.AlgorithmSpecRsaAesKeyWrapSha256 {
		size := map[types.WrappingKeySpec]int{types.WrappingKeySpecRsa2048: 256, types.WrappingKeySpecRsa3072: 384, types.WrappingKeySpecRsa4096: 512}[t.Spec]
		if len(wrapped) <= size {
			return nil, false, nil
		}
		wrapped, sealed = wrapped[:size], wrapped[size:]
	}
	opened, ok, err := s.unwrapOAEP(ctx, r, t, hash, wrapped)
	if err != nil || !ok || sealed == nil {
		return opened, ok, err
	}
	if len(opened) != 32 {
		return nil, false, nil
	}
	material, err = memkey.UnwrapAESKWP(opened, sealed)
	r.wipe(material)
	return material, err == nil, nil
}

func (s *Service) unwrapOAEP(ctx context.Context, r *request, t *importToken, hash crypto.Hash, ciphertext []byte) (opened []byte, ok bool, err error) {
	start, span := time.Now(), audit.SpanHSM("decrypt")
	if t.Memory {
		span = audit.SpanMemory("decrypt")
		var private []byte
		if private, err = openOnce(ctx, s.token, importTokenAAD, t.Wrapped); err == nil {
			opened, ok, err = memkey.DecryptOAEP(string(t.Spec), private, hash, ciphertext)
			clear(private)
		}
	} else {
		opened, ok, err = s.token.DecryptOAEP(ctx, string(t.Spec), t.Wrapped, hash, ciphertext)
		s.token.Forget(t.Wrapped)
	}
	r.wipe(opened)
	r.audit.Child(ctx, span, start, hsmCode(err, ok), audit.KeyARN.String(s.keyARN(t.Key)))
	if err != nil {
		return nil, false, fmt.Errorf("opening wrapped key material: %w", err)
	}
	return opened, ok, nil
}
