// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

// aliasForm is that of the names that aliases can have.
var aliasForm = regexp.MustCompile(`^alias/[a-zA-Z0-9:/_-]+$`)

const errNotAuthorized = "NotAuthorizedException"

// checkAliasName refuses names that an alias cannot have.
func checkAliasName(name string) error {
	rest, ok := strings.CutPrefix(name, aliasPrefix)
	switch {
	case !ok:
		return validationError(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	case rest == "aws" || strings.HasPrefix(rest, "aws/"):
		return apiError(errNotAuthorized, "The alias prefix alias/aws/ is reserved")
	case rest == "":
		return validationError("Invalid identifier")
	case strings.Contains(rest, ":"):
		return validationError("%s contains invalid characters for an alias", name)
	}
	return nil
}

// decideAlias decides about an action on the alias itself, which is a resource
// of its own beside its key.
func (s *Service) decideAlias(ctx context.Context, r *request, action, alias string) error {
	arn := s.aliasARN(r.region, alias)
	r.about(arn)
	return s.decide(ctx, r, action, policy.Resource{Names: []string{alias, arn}}, arn)
}

func (s *Service) createAlias(ctx context.Context, r *request, in *kms.CreateAliasInput) error {
	k, err := s.aliasTarget(ctx, r, "kms:CreateAlias", *in.AliasName, *in.TargetKeyId)
	if err != nil {
		return err
	}
	return s.aliasError(s.store.CreateAlias(ctx, k.Ref, *in.AliasName, time.Now()), r.region, *in.AliasName)
}

func (s *Service) updateAlias(ctx context.Context, r *request, in *kms.UpdateAliasInput) error {
	k, err := s.aliasTarget(ctx, r, "kms:UpdateAlias", *in.AliasName, *in.TargetKeyId)
	if err != nil {
		return err
	}
	from, err := s.key(ctx, r, "kms:UpdateAlias", aliasName(r, *in.AliasName), nil)
	if err != nil {
		return err
	}
	if !alike(from, k) {
		return validationError("Alias %s cannot be moved from a key of KeySpec %s and KeyUsage %s to one of KeySpec %s and KeyUsage %s: both must be symmetric, asymmetric or HMAC keys of the same usage.",
			s.aliasARN(r.region, *in.AliasName), from.Spec, from.Usage, k.Spec, k.Usage)
	}
	return s.aliasError(s.store.UpdateAlias(ctx, *in.AliasName, from.Ref, k.Ref, time.Now()), r.region, *in.AliasName)
}

// alike reports whether an alias can be moved between two keys, of which
// neither the spec nor the usage ever changes. Only asymmetric and symmetric
// encryption keys are of different types and have the same usage.
func alike(from, to *store.Key) bool {
	return from.Usage == to.Usage && (from.Spec == specSymmetric) == (to.Spec == specSymmetric)
}

// aliasTarget checks the name, decides about the alias and the key it is to
// point to, and returns the key.
func (s *Service) aliasTarget(ctx context.Context, r *request, action, alias, target string) (*store.Key, error) {
	if err := checkAliasName(alias); err != nil {
		return nil, err
	}
	name, err := s.parseKeyName(r.region, target)
	if err != nil {
		return nil, err
	}
	if name.alias != "" {
		return nil, validationError("Aliases must refer to keys. Not aliases")
	}
	r.about(s.arnOf(name))
	if err := s.decideAlias(ctx, r, action, alias); err != nil {
		return nil, err
	}
	k, err := s.key(ctx, r, action, name, nil)
	if err != nil {
		return nil, err
	}
	return k, s.notPending(k)
}

func (s *Service) deleteAlias(ctx context.Context, r *request, in *kms.DeleteAliasInput) error {
	if err := checkAliasName(*in.AliasName); err != nil {
		return err
	}
	if err := s.decideAlias(ctx, r, "kms:DeleteAlias", *in.AliasName); err != nil {
		return err
	}
	k, err := s.key(ctx, r, "kms:DeleteAlias", aliasName(r, *in.AliasName), nil)
	if err != nil {
		return err
	}
	return s.aliasError(s.store.DeleteAlias(ctx, k.Ref, *in.AliasName), r.region, *in.AliasName)
}

func aliasName(r *request, alias string) keyName {
	return keyName{Ref: store.Ref{Region: r.region}, alias: alias}
}

func (s *Service) aliasError(err error, region, alias string) error {
	switch {
	case errors.Is(err, store.ErrAliasExists):
		return &types.AlreadyExistsException{Message: text("An alias with the name %s already exists", s.aliasARN(region, alias))}
	case errors.Is(err, store.ErrAliasLimit):
		return &types.LimitExceededException{Message: text("The key has the maximum number of aliases.")}
	case errors.Is(err, store.ErrNotFound):
		return s.noSuchKey(keyName{Ref: store.Ref{Region: region}, alias: alias})
	}
	return err
}

func (s *Service) listAliases(ctx context.Context, r *request, in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	if err := s.allowed(ctx, r, "kms:ListAliases"); err != nil {
		return nil, err
	}
	id, err := s.aliasFilter(ctx, r, in.KeyId)
	if err != nil {
		return nil, err
	}
	var after []byte
	if in.Marker != nil {
		if after, err = parseMarker(markAliases, *in.Marker); err != nil || !aliasForm.Match(after) {
			return nil, invalidMarker()
		}
	}
	list, more, err := s.store.ListAliases(ctx, r.region, id, string(after), limit(in.Limit, aliasPage))
	if err != nil {
		return nil, err
	}
	out := &kms.ListAliasesOutput{Aliases: make([]types.AliasListEntry, len(list)), Truncated: more}
	for i, a := range list {
		out.Aliases[i] = types.AliasListEntry{
			AliasName: &list[i].Name, AliasArn: text("%s", s.aliasARN(r.region, a.Name)), TargetKeyId: text("%s", formatID(a.ID)),
			CreationDate: &list[i].Created, LastUpdatedDate: &list[i].Updated,
		}
	}
	if more {
		out.NextMarker = marker(markAliases, []byte(list[len(list)-1].Name))
	}
	return out, nil
}

// aliasFilter is the key whose aliases are listed, or uuid.Nil for all.
func (s *Service) aliasFilter(ctx context.Context, r *request, keyID *string) (uuid.UUID, error) {
	if keyID == nil {
		return uuid.Nil, nil
	}
	name, err := s.parseKeyID(r.region, *keyID)
	if err != nil {
		return uuid.Nil, err
	}
	if _, err := s.find(ctx, name); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = s.noSuchKey(name)
		}
		return uuid.Nil, err
	}
	return name.ID, nil
}
