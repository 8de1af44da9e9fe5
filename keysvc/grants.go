// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	grantPage = 50 // ListGrants and ListRetirableGrants without Limit

	// Of the encryption context in a constraint: AWS's quotas.
	constraintPairs = 8
	constraintSize  = 384 // characters
)

// granted reports whether a grant on the key allows the caller an operation.
// Grants only allow: what a policy allows is not asked for here. To create a
// grant by a grant, the new one must reach no further.
func (s *Service) granted(ctx context.Context, r *request, k *store.Key, operation string, context map[string]string) (bool, error) {
	if k.Grants.Count == 0 {
		return false, nil
	}
	grants, err := s.store.Grants(ctx, k.Ref)
	if err != nil {
		return false, err
	}
	for _, g := range grants {
		p := policyGrant(g)
		if !p.Allows(r.principal.arn, operation, context) {
			continue
		}
		if operation != "CreateGrant" || r.newGrant != nil && p.Covers(r.newGrant) {
			r.audit.Set(audit.GrantID.String(g.ID))
			return true, nil
		}
	}
	return false, nil
}

func policyGrant(g *store.Grant) policy.Grant {
	return policy.Grant{
		Grantee: g.Grantee, Operations: g.Operations,
		Constraint: policy.Constraint{Context: g.Constraint, Subset: g.Subset},
	}
}

func (s *Service) createGrant(ctx context.Context, r *request, in *kms.CreateGrantInput) (*kms.CreateGrantOutput, error) {
	g, err := newGrant(in)
	if err != nil {
		return nil, err
	}
	asked := policyGrant(g)
	r.newGrant = &asked
	k, err := s.controlKey(ctx, r, "kms:CreateGrant", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := checkGrant(k, g); err != nil {
		return nil, err
	}
	if err := s.usable(k); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	g.Key, g.Issuer = k.Ref, "arn:aws:iam::"+s.cfg.Account+":root"
	var same func(*store.Grant) bool
	if g.Name != "" {
		same = func(have *store.Grant) bool { return sameGrant(have, g) }
	}
	made, err := s.store.EnsureGrant(ctx, *g, same)
	switch {
	case errors.Is(err, store.ErrGrantLimit):
		return nil, &types.LimitExceededException{Message: text("The key has the maximum number of grants.")}
	case errors.Is(err, store.ErrNotFound):
		return nil, s.noSuchKey(keyName{Ref: k.Ref})
	case err != nil:
		return nil, err
	}
	return &kms.CreateGrantOutput{GrantId: &made.ID, GrantToken: s.grantToken(k.Ref, made.ID)}, nil
}

// newGrant is what a request asks for, checked as far as it can be without
// the key.
func newGrant(in *kms.CreateGrantInput) (*store.Grant, error) {
	if in.GranteeServicePrincipal != nil || in.RetiringServicePrincipal != nil || in.Constraints != nil && in.Constraints.SourceArn != nil {
		return nil, unsupported("Grants for service principals are not supported by this key service.")
	}
	if in.GranteePrincipal == nil {
		return nil, validationError("You must specify either GranteePrincipal or GranteeServicePrincipal.")
	}
	for _, principal := range []*string{in.GranteePrincipal, in.RetiringPrincipal} {
		if err := checkGrantPrincipal(principal); err != nil {
			return nil, err
		}
	}
	var id [32]byte
	rand.Read(id[:])
	g := &store.Grant{
		ID: hex.EncodeToString(id[:]), Name: value(in.Name),
		Grantee: *in.GranteePrincipal, Retiring: value(in.RetiringPrincipal), Created: time.Now(),
	}
	for _, operation := range in.Operations {
		if !slices.Contains(g.Operations, string(operation)) {
			g.Operations = append(g.Operations, string(operation))
		}
	}
	switch {
	case len(g.Operations) == 0:
		return nil, validationError("Grants must contain at least one operation.")
	case slices.Equal(g.Operations, []string{"CreateGrant"}):
		return nil, validationError("Grants must not contain only the CreateGrant operation.")
	}
	return g, constrain(g, in.Constraints)
}

func checkGrantPrincipal(arn *string) error {
	if arn != nil && !policy.IsPrincipal(*arn) {
		return &types.InvalidArnException{Message: text("ARN does not refer to a valid principal: %s", *arn)}
	}
	return nil
}

// constrain takes over the constraint of a request.
func constrain(g *store.Grant, c *types.GrantConstraints) error {
	if c == nil || c.EncryptionContextEquals == nil && c.EncryptionContextSubset == nil {
		return nil
	}
	if c.EncryptionContextEquals != nil && c.EncryptionContextSubset != nil {
		return validationError("Grant constraints must contain only one of EncryptionContextEquals and EncryptionContextSubset.")
	}
	g.Constraint = c.EncryptionContextEquals
	if g.Constraint == nil {
		g.Constraint, g.Subset = c.EncryptionContextSubset, true
	}
	size := 0
	for name, value := range g.Constraint {
		size += utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
	}
	if len(g.Constraint) > constraintPairs || size > constraintSize {
		return validationError("Grant constraints must contain at most %d encryption context pairs of %d characters together.", constraintPairs, constraintSize)
	}
	return nil
}

// grantOperations are those that a grant can allow on keys of a kind.
func grantOperations(k *store.Key) []string {
	operations := []string{"CreateGrant", "RetireGrant", "DescribeKey"}
	switch types.KeyUsageType(k.Usage) {
	case types.KeyUsageTypeEncryptDecrypt:
		operations = append(operations, "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo")
		if k.Spec != specSymmetric {
			return append(operations, "GetPublicKey")
		}
		return append(operations, "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")
	case types.KeyUsageTypeSignVerify:
		return append(operations, "Sign", "Verify", "GetPublicKey")
	case types.KeyUsageTypeGenerateVerifyMac:
		return append(operations, "GenerateMac", "VerifyMac")
	case types.KeyUsageTypeKeyAgreement:
		return append(operations, "DeriveSharedSecret", "GetPublicKey")
	}
	return operations
}

// checkGrant refuses a grant that makes no sense for the kind of key.
func checkGrant(k *store.Key, g *store.Grant) error {
	can := grantOperations(k)
	cannot := slices.DeleteFunc(slices.Clone(g.Operations), func(operation string) bool { return slices.Contains(can, operation) })
	if len(cannot) > 0 {
		return validationError("Grant operations [%s] are not supported for keys of KeySpec %s and KeyUsage %s.", strings.Join(cannot, ", "), k.Spec, k.Usage)
	}
	if g.Constraint != nil && k.Spec != specSymmetric {
		return validationError("Grant constraints are not supported for keys of KeySpec %s and KeyUsage %s.", k.Spec, k.Usage)
	}
	return nil
}

// sameGrant reports whether a grant is what a request with a name asks for
// once more.
func sameGrant(have, asked *store.Grant) bool {
	return have.Name == asked.Name && have.Grantee == asked.Grantee && have.Retiring == asked.Retiring &&
		slices.Equal(slices.Sorted(slices.Values(have.Operations)), slices.Sorted(slices.Values(asked.Operations))) &&
		have.Subset == asked.Subset && (have.Constraint == nil) == (asked.Constraint == nil) && maps.Equal(have.Constraint, asked.Constraint)
}

var grantIDForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

func checkGrantID(id *string) error {
	if id != nil && !grantIDForm.MatchString(*id) {
		return &types.InvalidGrantIdException{Message: text("The grant ID %s is invalid.", *id)}
	}
	return nil
}

// findGrant returns nil for a grant that is not there.
func (s *Service) findGrant(ctx context.Context, ref store.Ref, id string) (*store.Grant, error) {
	grants, err := s.store.Grants(ctx, ref)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		if g.ID == id {
			return g, nil
		}
	}
	return nil, nil
}

func (s *Service) listGrants(ctx context.Context, r *request, in *kms.ListGrantsInput) (*kms.ListGrantsOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:ListGrants", *in.KeyId)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkGrantID(in.GrantId), checkGrantPrincipal(in.GranteePrincipal)); err != nil {
		return nil, err
	}
	after, err := grantMarker(markGrants, in.Marker)
	if err != nil {
		return nil, err
	}
	all, err := s.store.Grants(ctx, k.Ref)
	if err != nil {
		return nil, err
	}
	out, n := &kms.ListGrantsOutput{Grants: []types.GrantListEntry{}}, limit(in.Limit, grantPage)
	for _, g := range all {
		if g.ID <= after || in.GrantId != nil && *in.GrantId != g.ID || in.GranteePrincipal != nil && *in.GranteePrincipal != g.Grantee || in.GranteeServicePrincipal != nil {
			continue
		}
		if len(out.Grants) == n {
			out.Truncated, out.NextMarker = true, marker(markGrants, []byte(*out.Grants[n-1].GrantId))
			break
		}
		out.Grants = append(out.Grants, s.describeGrant(g))
	}
	return out, nil
}

// grantMarker is the ID of the last grant of a page before, or "".
func grantMarker(kind byte, marker *string) (string, error) {
	if marker == nil {
		return "", nil
	}
	after, err := parseMarker(kind, *marker)
	if err != nil || !grantIDForm.Match(after) {
		return "", invalidMarker()
	}
	return string(after), nil
}

func (s *Service) describeGrant(g *store.Grant) types.GrantListEntry {
	e := types.GrantListEntry{
		CreationDate: &g.Created, GrantId: &g.ID, GranteePrincipal: &g.Grantee, IssuingAccount: &g.Issuer,
		KeyId: text("%s", s.keyARN(g.Key)), Name: &g.Name, // AWS gives the empty name, too
	}
	for _, operation := range g.Operations {
		e.Operations = append(e.Operations, types.GrantOperation(operation))
	}
	if g.Retiring != "" {
		e.RetiringPrincipal = &g.Retiring
	}
	switch {
	case g.Constraint == nil:
	case g.Subset:
		e.Constraints = &types.GrantConstraints{EncryptionContextSubset: g.Constraint}
	default:
		e.Constraints = &types.GrantConstraints{EncryptionContextEquals: g.Constraint}
	}
	return e
}

func (s *Service) listRetirableGrants(ctx context.Context, r *request, in *kms.ListRetirableGrantsInput) (*kms.ListRetirableGrantsOutput, error) {
	if err := s.allowed(ctx, r, "kms:ListRetirableGrants"); err != nil {
		return nil, err
	}
	if in.RetiringPrincipal == nil {
		return nil, validationError("You must specify either RetiringPrincipal or RetiringServicePrincipal.")
	}
	if err := checkGrantPrincipal(in.RetiringPrincipal); err != nil {
		return nil, err
	}
	after, err := grantMarker(markRetirable, in.Marker)
	if err != nil {
		return nil, err
	}
	list, more, err := s.store.RetirableGrants(ctx, r.region, *in.RetiringPrincipal, after, limit(in.Limit, grantPage))
	if err != nil {
		return nil, err
	}
	out := &kms.ListRetirableGrantsOutput{Grants: []types.GrantListEntry{}, Truncated: more}
	for _, g := range list {
		out.Grants = append(out.Grants, s.describeGrant(g))
	}
	if more {
		out.NextMarker = marker(markRetirable, []byte(list[len(list)-1].ID))
	}
	return out, nil
}

func (s *Service) retireGrant(ctx context.Context, r *request, in *kms.RetireGrantInput) error {
	name, id, err := s.grantToRetire(r, in)
	if err != nil {
		return err
	}
	k, err := s.find(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	r.about(s.arnOf(name))
	var g *store.Grant
	if k != nil {
		if g, err = s.findGrant(ctx, k.Ref, id); err != nil {
			return err
		}
	}
	if err := s.mayRetire(ctx, r, name, k, g); err != nil {
		return err
	}
	if k == nil {
		return s.noSuchKey(name)
	}
	return s.deleteGrant(ctx, k.Ref, g, id, in.DryRun)
}

// grantToRetire is the grant that a request names by its token, or by its key
// and ID.
func (s *Service) grantToRetire(r *request, in *kms.RetireGrantInput) (keyName, string, error) {
	switch {
	case in.GrantToken == nil && in.KeyId != nil && in.GrantId != nil:
		name, err := s.parseKeyID(r.region, *in.KeyId)
		return name, *in.GrantId, errors.Join(err, checkGrantID(in.GrantId))
	case in.GrantToken == nil || in.KeyId != nil || in.GrantId != nil:
		return keyName{}, "", validationError("You must specify a grant token, or a key ARN and a grant ID.")
	}
	ref, id, err := s.parseGrantToken(*in.GrantToken)
	if err == nil && ref.Region != r.region {
		err = invalidGrantToken()
	}
	return keyName{Ref: ref}, id, err
}

// mayRetire decides: the grant itself says who may retire it, and others may
// be allowed to.
func (s *Service) mayRetire(ctx context.Context, r *request, name keyName, k *store.Key, g *store.Grant) error {
	if caller := r.principal.arn; g != nil && (g.Retiring == caller || g.Grantee == caller && slices.Contains(g.Operations, "RetireGrant")) {
		return s.intend(ctx, r)
	}
	return s.decide(ctx, r, "kms:RetireGrant", s.resource(name, k), s.arnOf(name))
}

func (s *Service) revokeGrant(ctx context.Context, r *request, in *kms.RevokeGrantInput) error {
	k, err := s.controlKey(ctx, r, "kms:RevokeGrant", *in.KeyId)
	if err != nil {
		return err
	}
	if err := checkGrantID(in.GrantId); err != nil {
		return err
	}
	g, err := s.findGrant(ctx, k.Ref, *in.GrantId)
	if err != nil {
		return err
	}
	return s.deleteGrant(ctx, k.Ref, g, *in.GrantId, in.DryRun)
}

// deleteGrant removes a grant that was decided about; g is nil if it is not
// there.
func (s *Service) deleteGrant(ctx context.Context, ref store.Ref, g *store.Grant, id string, dry *bool) error {
	if g == nil {
		return notFoundError("Grant ID %s not found", id)
	}
	if err := dryRun(dry); err != nil {
		return err
	}
	err := s.store.DeleteGrant(ctx, ref, id)
	if errors.Is(err, store.ErrNotFound) {
		return notFoundError("Grant ID %s not found", id)
	}
	return err
}
