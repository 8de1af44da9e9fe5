// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	keyPage   = 100 // ListKeys without Limit
	aliasPage = 50  // ListAliases and ListResourceTags without Limit
)

func (s *Service) describeKey(ctx context.Context, r *request, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	k, err := s.cryptoKey(ctx, r, "kms:DescribeKey", *in.KeyId, nil)
	if err != nil {
		return nil, err
	}
	m, err := s.metadata(ctx, k)
	return &kms.DescribeKeyOutput{KeyMetadata: m}, err
}

func (s *Service) metadata(ctx context.Context, k *store.Key) (*types.KeyMetadata, error) {
	multi, state := k.MultiRegion(), stateOf(k)
	m := &types.KeyMetadata{
		AWSAccountId:          &s.cfg.Account,
		KeyId:                 text("%s", formatID(k.ID)),
		Arn:                   text("%s", s.keyARN(k.Ref)),
		CreationDate:          &k.Created,
		CustomerMasterKeySpec: types.CustomerMasterKeySpec(k.Spec),
		KeySpec:               types.KeySpec(k.Spec),
		KeyUsage:              types.KeyUsageType(k.Usage),
		Description:           &k.Description,
		Enabled:               state == store.Enabled,
		KeyManager:            types.KeyManagerTypeCustomer,
		KeyState:              types.KeyState(state),
		MultiRegion:           &multi,
		Origin:                types.OriginType(k.Origin),
	}
	describeAlgorithms(m, k.Spec, k.Usage)
	if k.Spec == specSymmetric && k.Version != 0 && k.KeyStore == "" {
		m.CurrentKeyMaterialId = materialIDOf(k, k.Version)
	}
	if !k.DeletionDate.IsZero() {
		m.DeletionDate = &k.DeletionDate
	}
	if k.State == store.PendingReplicaDeletion {
		m.PendingDeletionWindowInDays = &k.PendingWindow
	}
	s.describeImport(m, k)
	if err := s.describeKeyStore(ctx, m, k); err != nil {
		return nil, err
	}
	return m, s.describeRegions(ctx, m, k)
}

func (s *Service) listKeys(ctx context.Context, r *request, in *kms.ListKeysInput) (*kms.ListKeysOutput, error) {
	if err := s.allowed(ctx, r, "kms:ListKeys"); err != nil {
		return nil, err
	}
	var after uuid.UUID
	if in.Marker != nil {
		raw, err := parseMarker(markKeys, *in.Marker)
		if err != nil || len(raw) != len(after) {
			return nil, invalidMarker()
		}
		after = uuid.UUID(raw)
	}
	ids, more, err := s.store.ListKeys(ctx, r.region, after, limit(in.Limit, keyPage))
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeysOutput{Keys: make([]types.KeyListEntry, len(ids)), Truncated: more}
	for i, id := range ids {
		out.Keys[i] = types.KeyListEntry{KeyId: text("%s", formatID(id)), KeyArn: text("%s", s.keyARN(store.Ref{Region: r.region, ID: id}))}
	}
	if more {
		out.NextMarker = marker(markKeys, ids[len(ids)-1][:])
	}
	return out, nil
}

// A marker is the last item of a page, tagged with the kind of list, base64.
const (
	markKeys      = 'k'
	markAliases   = 'a'
	markTags      = 't'
	markGrants    = 'g'
	markRetirable = 'G'
	markKeyStores = 's'
)

func marker(kind byte, last []byte) *string {
	return text("%s", base64.RawURLEncoding.EncodeToString(append([]byte{kind}, last...)))
}

func parseMarker(kind byte, marker string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(marker)
	if err != nil || len(raw) < 2 || raw[0] != kind {
		return nil, invalidMarker()
	}
	return raw[1:], nil
}

func invalidMarker() error {
	return &types.InvalidMarkerException{Message: text("The marker is invalid.")}
}

func limit(asked *int32, otherwise int) int {
	if asked == nil {
		return otherwise
	}
	return int(*asked)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func hexSum(b []byte) *string {
	sum := sha256.Sum256(b)
	return new(hex.EncodeToString(sum[:]))
}
