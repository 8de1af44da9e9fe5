// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// signing is how an algorithm signs one type of message.
type signing struct {
	opts    crypto.SignerOpts // as of hsm.Token.Sign and memkey.Sign
	prehash crypto.Hash       // that the service applies to the message, or 0
	length  int               // that the message must have, or 0
}

// muSize is the length of mu of FIPS 204, algorithm 7.
const muSize = 64

// signingOf says how a key signs a message of the given type.
func signingOf(spec string, algorithm types.SigningAlgorithmSpec, message types.MessageType) (signing, error) {
	if message == "" {
		message = types.MessageTypeRaw
	}
	var raw, digest, mu signing // those that the algorithm has
	hash, with := hashOf(string(algorithm)), "key spec "+spec
	switch {
	case algorithm == types.SigningAlgorithmSpecMlDsaShake256:
		raw.opts = memkey.Pure
		mu = signing{opts: memkey.ExternalMu, length: muSize}
	case algorithm == types.SigningAlgorithmSpecEd25519Sha512:
		raw.opts, with = crypto.Hash(0), "algorithm "+string(algorithm)
	case algorithm == types.SigningAlgorithmSpecEd25519PhSha512:
		digest = signing{opts: &ed25519.Options{Hash: hash}, length: hash.Size()}
		with = "algorithm " + string(algorithm)
	case strings.HasPrefix(string(algorithm), "RSASSA_PSS_"):
		raw = signing{opts: &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}, prehash: hash}
		digest = signing{opts: raw.opts, length: hash.Size()}
	default: // RSASSA_PKCS1_V1_5 and ECDSA
		raw = signing{opts: hash, prehash: hash}
		digest = signing{opts: hash, length: hash.Size()}
	}
	how := raw
	switch message {
	case types.MessageTypeDigest:
		how = digest
	case types.MessageTypeExternalMu:
		how = mu
	}
	if how.opts == nil {
		return how, validationError("Message type %s is incompatible with %s.", message, with)
	}
	return how, nil
}

// hashOf is the hash that the name of an algorithm ends in.
func hashOf(algorithm string) crypto.Hash {
	switch {
	case strings.HasSuffix(algorithm, "SHA_1"):
		return crypto.SHA1
	case strings.HasSuffix(algorithm, "SHA_384"):
		return crypto.SHA384
	case strings.HasSuffix(algorithm, "SHA_512"):
		return crypto.SHA512
	}
	return crypto.SHA256
}

// signed is what Sign and Verify are asked about.
type signed struct {
	keyID     string
	message   []byte
	kind      types.MessageType
	algorithm types.SigningAlgorithmSpec
	dryRun    *bool
}

// digest checks the request in AWS's order and returns what the algorithm
// signs: a digest, a mu, or the message itself.
func (s *Service) digest(ctx context.Context, r *request, action string, in signed) (*store.Key, []byte, crypto.SignerOpts, error) {
	r.wipe(in.message)
	k, err := s.cryptoKey(ctx, r, action, in.keyID, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := s.ready(r, k, types.KeyUsageTypeSignVerify); err != nil {
		return nil, nil, nil, err
	}
	if err := does(k, algorithmsOf(k.Spec, k.Usage).signing, in.algorithm); err != nil {
		return nil, nil, nil, err
	}
	how, err := signingOf(k.Spec, in.algorithm, in.kind)
	if err != nil {
		return nil, nil, nil, err
	}
	if how.length != 0 && len(in.message) != how.length {
		return nil, nil, nil, validationError("Digest is invalid length for algorithm %s.", in.algorithm)
	}
	if err := dryRun(in.dryRun); err != nil {
		return nil, nil, nil, err
	}
	digest := in.message
	if how.prehash != 0 {
		h := how.prehash.New()
		h.Write(in.message)
		digest = h.Sum(nil)
	}
	return k, digest, how.opts, nil
}

func (s *Service) sign(ctx context.Context, r *request, in *kms.SignInput) (*kms.SignOutput, error) {
	k, digest, opts, err := s.digest(ctx, r, "kms:Sign", signed{*in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.DryRun})
	if err != nil {
		return nil, err
	}
	signature, err := s.signDigest(ctx, r, k, digest, opts)
	if err != nil {
		return nil, err
	}
	return &kms.SignOutput{KeyId: text("%s", s.keyARN(k.Ref)), Signature: signature, SigningAlgorithm: in.SigningAlgorithm}, nil
}

func (s *Service) verify(ctx context.Context, r *request, in *kms.VerifyInput) (*kms.VerifyOutput, error) {
	k, digest, opts, err := s.digest(ctx, r, "kms:Verify", signed{*in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.DryRun})
	if err != nil {
		return nil, err
	}
	if !memkey.Verify(k.Spec, k.Public, digest, opts, in.Signature) {
		return nil, &types.KMSInvalidSignatureException{}
	}
	s.usePublic(r, k)
	return &kms.VerifyOutput{KeyId: text("%s", s.keyARN(k.Ref)), SignatureValid: true, SigningAlgorithm: in.SigningAlgorithm}, nil
}

// usePublic puts the use of a public key on the record: it does not come
// through the door to key material.
func (s *Service) usePublic(r *request, k *store.Key) {
	r.audit.Set(audit.KeyVersion.Int64(int64(k.Version)))
	r.use(k)
}
