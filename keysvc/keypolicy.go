// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

// defaultPolicy is the name of the one policy that a key has.
const defaultPolicy = "default"

// newPolicy is the policy of a new key: the given one, checked, or "" for the
// default.
func (s *Service) newPolicy(r *request, ref store.Ref, document *string, bypass bool) (string, error) {
	if document == nil {
		return "", nil
	}
	return *document, s.checkPolicy(r, ref, *document, bypass)
}

// checkPolicy refuses what is no key policy, and a policy under which the
// caller could not put another, unless told to bypass that check.
func (s *Service) checkPolicy(r *request, ref store.Ref, document string, bypass bool) error {
	if len(document) > policy.MaxDocument {
		return &types.LimitExceededException{Message: text("The key policy exceeds the maximum length of %d bytes.", policy.MaxDocument)}
	}
	d, err := policy.ParseDocument(document)
	var malformed policy.Malformed
	if errors.As(err, &malformed) {
		return &types.MalformedPolicyDocumentException{Message: text("%s", malformed)}
	}
	if err != nil || bypass || d.Allows(s.putPolicyRequest(r, ref)) {
		return err
	}
	return &types.MalformedPolicyDocumentException{Message: text("The new key policy will not allow you to update the key policy in the future.")}
}

// putPolicyRequest is a PutKeyPolicy of the caller, as a key policy sees it.
func (s *Service) putPolicyRequest(r *request, ref store.Ref) policy.Request {
	return policy.Request{
		Principal: r.principal.arn, Account: s.cfg.Account, Action: "kms:PutKeyPolicy", Key: s.keyARN(ref),
		Context: map[string][]string{
			"aws:PrincipalArn": {r.principal.arn}, "aws:PrincipalAccount": {s.cfg.Account},
			"aws:PrincipalType": {"User"}, "kms:CallerAccount": {s.cfg.Account},
		},
	}
}

// policyOf is the text of a key's policy.
func (s *Service) policyOf(k *store.Key) string {
	if k.Policy == "" {
		return policy.Default(s.cfg.Account)
	}
	return k.Policy
}

func checkPolicyName(name *string) error {
	if name != nil && *name != defaultPolicy {
		return notFoundError("No such policy exists")
	}
	return nil
}

func (s *Service) putKeyPolicy(ctx context.Context, r *request, in *kms.PutKeyPolicyInput) error {
	k, err := s.controlKey(ctx, r, "kms:PutKeyPolicy", *in.KeyId)
	if err != nil {
		return err
	}
	if err := checkPolicyName(in.PolicyName); err != nil {
		return err
	}
	if err := s.checkPolicy(r, k.Ref, *in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
		return err
	}
	_, err = s.update(ctx, k, func(_ *store.Tx, k *store.Key) error {
		k.Policy = *in.Policy
		return nil
	})
	return err
}

func (s *Service) getKeyPolicy(ctx context.Context, r *request, in *kms.GetKeyPolicyInput) (*kms.GetKeyPolicyOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:GetKeyPolicy", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := checkPolicyName(in.PolicyName); err != nil {
		return nil, err
	}
	return &kms.GetKeyPolicyOutput{Policy: text("%s", s.policyOf(k)), PolicyName: text(defaultPolicy)}, nil
}

func (s *Service) listKeyPolicies(ctx context.Context, r *request, in *kms.ListKeyPoliciesInput) (*kms.ListKeyPoliciesOutput, error) {
	if _, err := s.controlKey(ctx, r, "kms:ListKeyPolicies", *in.KeyId); err != nil {
		return nil, err
	}
	if in.Marker != nil {
		return nil, invalidMarker() // there is no second page
	}
	return &kms.ListKeyPoliciesOutput{PolicyNames: []string{defaultPolicy}}, nil
}
