// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

// principal is a configured caller.
type principal struct {
	arn    string
	secret string
	allow  []policy.Allow
}

func (s *Service) secret(accessKeyID string) (string, bool) {
	p, ok := s.principals[accessKeyID]
	if !ok {
		return "", false
	}
	return p.secret, true
}

// authenticate finds out who signed the request, and for which region.
// Temporary credentials and presigned requests are none of ours.
func (s *Service) authenticate(hr *http.Request, r *request, body []byte) error {
	v, err := s.verifier.VerifyBody(hr, body)
	if err != nil {
		return err
	}
	p, ok := s.principals[v.AccessKeyID]
	if !ok || hr.Header.Get("X-Amz-Security-Token") != "" {
		return apiError(codeUnrecognized, "The security token included in the request is invalid.")
	}
	if v.Presigned {
		return apiError(codeMissingAuth, "Missing Authentication Token")
	}
	if _, ok := s.prefixes[v.Region]; !ok {
		return apiError(codeBadSignature, "Credential should be scoped to a valid region, not '%s'.", bounded(v.Region))
	}
	r.principal, r.region = p, v.Region
	return nil
}

// allowed decides about an operation that has no key.
func (s *Service) allowed(ctx context.Context, r *request, action string) error {
	return s.decide(ctx, r, action, policy.Any(), "*")
}

// cryptoKey decides about the key that a cryptographic operation, or another
// that takes aliases, names. A grant may allow it.
func (s *Service) cryptoKey(ctx context.Context, r *request, action, keyID string, context map[string]string) (*store.Key, error) {
	name, err := s.parseKeyName(r.region, keyID)
	if err != nil {
		return nil, err
	}
	return s.key(ctx, r, action, name, context)
}

// controlKey decides about the key that a control operation names: by its ID
// or ARN, not by an alias.
func (s *Service) controlKey(ctx context.Context, r *request, action, keyID string) (*store.Key, error) {
	name, err := s.parseKeyID(r.region, keyID)
	if err != nil {
		return nil, err
	}
	return s.key(ctx, r, action, name, nil)
}

// key decides about an action on the key that the caller names and returns the
// key. The decision comes first: who is not allowed the action on a key by
// that name is not told whether it exists, nor what an alias points to.
func (s *Service) key(ctx context.Context, r *request, action string, name keyName, context map[string]string) (*store.Key, error) {
	k, err := s.find(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	arn := s.arnOf(name)
	if k != nil {
		r.about(s.keyARN(k.Ref))
	} else {
		r.about(arn)
	}
	if k != nil && !policy.Decide(r.principal.allow, action, s.resource(name, k)) {
		granted, err := s.granted(ctx, r, k, strings.TrimPrefix(action, "kms:"), context)
		if err != nil {
			return nil, err
		}
		if granted {
			return k, s.intend(ctx, r)
		}
	}
	if err := s.decide(ctx, r, action, s.resource(name, k), arn); err != nil {
		return nil, err
	}
	if k == nil {
		return nil, s.noSuchKey(name)
	}
	return k, nil
}

// decide is, with granted, the one place where an action is allowed or not.
// When it returns nil for an operation that changes the store, the intent is
// on disk.
func (s *Service) decide(ctx context.Context, r *request, action string, res policy.Resource, arn string) error {
	if !policy.Decide(r.principal.allow, action, res) {
		return apiError(codeAccessDenied,
			"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
			r.principal.arn, action, arn, action)
	}
	return s.intend(ctx, r)
}

// intend has the intent of an operation that changes the store on disk.
func (s *Service) intend(ctx context.Context, r *request) error {
	if r.op.mutating {
		return r.audit.Durable(ctx)
	}
	return nil
}

// resource lists the names that a policy can know the key by. A key that does
// not exist goes by the name the caller used.
func (s *Service) resource(name keyName, k *store.Key) policy.Resource {
	if k == nil {
		if name.alias != "" {
			return policy.Resource{Names: []string{name.alias, s.aliasARN(name.Region, name.alias)}}
		}
		return policy.Resource{Names: []string{formatID(name.ID), s.keyARN(name.Ref)}}
	}
	names := make([]string, 0, 2+2*len(k.Aliases))
	names = append(names, formatID(k.ID), s.keyARN(k.Ref))
	for _, alias := range k.Aliases {
		names = append(names, alias, s.aliasARN(k.Region, alias))
	}
	return policy.Resource{Names: names}
}

// find returns nil and store.ErrNotFound for a key or alias that is not there.
func (s *Service) find(ctx context.Context, name keyName) (*store.Key, error) {
	ref := name.Ref
	if name.alias != "" {
		var err error
		if ref, err = s.store.Alias(ctx, name.Region, name.alias); err != nil {
			return nil, err
		}
	}
	return s.store.Key(ctx, ref)
}

func (s *Service) noSuchKey(name keyName) error {
	if name.alias != "" {
		return notFoundError("Alias %s is not found.", s.arnOf(name))
	}
	return notFoundError("Key '%s' does not exist", s.arnOf(name))
}

// update changes a key that was decided about, on disk before it returns. What
// is held of a key that can no longer be used is dropped. An error of do is
// returned as it is.
func (s *Service) update(ctx context.Context, k *store.Key, do func(*store.Tx, *store.Key) error) (*store.Key, error) {
	changed, err := s.store.Update(ctx, k.Ref, do)
	if errors.Is(err, store.ErrNotFound) {
		return nil, s.noSuchKey(keyName{Ref: k.Ref})
	}
	if err != nil {
		return nil, err
	}
	if changed.State != store.Enabled {
		s.forget(changed.ID)
	}
	return changed, nil
}
