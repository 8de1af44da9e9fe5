// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

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

// authenticate finds out who signed the request. Temporary credentials and
// presigned requests are none of ours.
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
	r.principal = p
	return nil
}

// allowed decides about an operation that has no key.
func (s *Service) allowed(ctx context.Context, r *request, action string) error {
	return s.decide(ctx, r, action, policy.Any(), "*")
}

// key decides about an action on the key that the caller names and returns the
// key. The decision comes first: who is not allowed the action on a key by
// that name is not told whether it exists, nor what an alias points to.
func (s *Service) key(ctx context.Context, r *request, action string, name keyName) (*store.Key, error) {
	k, err := s.find(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	arn := s.arnOf(name)
	if k != nil {
		r.about(s.keyARN(k.ID))
	} else {
		r.about(arn)
	}
	if err := s.decide(ctx, r, action, s.resource(name, k), arn); err != nil {
		return nil, err
	}
	if k == nil {
		return nil, s.noSuchKey(name)
	}
	return k, nil
}

// decide is the one place where an action is allowed or not. When it returns
// nil for an operation that changes the store, the intent is on disk.
func (s *Service) decide(ctx context.Context, r *request, action string, res policy.Resource, arn string) error {
	if !policy.Decide(r.principal.allow, action, res) {
		return apiError(codeAccessDenied,
			"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
			r.principal.arn, action, arn, action)
	}
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
			return policy.Resource{Names: []string{name.alias, s.aliasARN(name.alias)}}
		}
		return policy.Resource{Names: []string{name.id.String(), s.keyARN(name.id)}}
	}
	names := make([]string, 0, 2+2*len(k.Aliases))
	names = append(names, k.ID.String(), s.keyARN(k.ID))
	for _, alias := range k.Aliases {
		names = append(names, alias, s.aliasARN(alias))
	}
	return policy.Resource{Names: names}
}

// find returns nil and store.ErrNotFound for a key or alias that is not there.
func (s *Service) find(ctx context.Context, name keyName) (*store.Key, error) {
	id := name.id
	if name.alias != "" {
		var err error
		if id, err = s.store.Alias(ctx, name.alias); err != nil {
			return nil, err
		}
	}
	return s.store.Key(ctx, id)
}

func (s *Service) noSuchKey(name keyName) error {
	if name.alias != "" {
		return notFoundError("Alias %s is not found.", s.aliasARN(name.alias))
	}
	return notFoundError("Key '%s' does not exist", s.keyARN(name.id))
}

func (s *Service) arnOf(name keyName) string {
	if name.alias != "" {
		return s.aliasARN(name.alias)
	}
	return s.keyARN(name.id)
}

func (s *Service) keyARN(id uuid.UUID) string { return s.arnPrefix + "key/" + id.String() }

func (s *Service) aliasARN(alias string) string { return s.arnPrefix + alias }
