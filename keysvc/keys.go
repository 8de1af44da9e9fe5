// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	keyPage   = 100 // ListKeys without Limit
	aliasPage = 50  // ListAliases and ListResourceTags without Limit
	maxTags   = 50
)

func (s *Service) createKey(ctx context.Context, r *request, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("making a key ID: %w", err)
	}
	tags, err := checkTags(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := s.allowed(ctx, r, "kms:CreateKey"); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := s.decide(ctx, r, "kms:TagResource", policy.Resource{Names: []string{s.keyARN(id)}}, s.keyARN(id)); err != nil {
			return nil, err
		}
	}
	if err := checkKeyRequest(in); err != nil {
		return nil, err
	}
	r.about(s.keyARN(id))
	k := store.Key{
		ID: id, Spec: string(types.KeySpecSymmetricDefault), Usage: string(types.KeyUsageTypeEncryptDecrypt),
		Description: value(in.Description), Created: time.Now(), Tags: tags,
	}
	if err := s.makeKey(ctx, r, k); err != nil {
		return nil, err
	}
	created, err := s.store.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	return &kms.CreateKeyOutput{KeyMetadata: s.metadata(created)}, nil
}

// checkKeyRequest refuses what would be a key of another kind, by name.
func checkKeyRequest(in *kms.CreateKeyInput) error {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return validationError("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	spec := string(in.KeySpec) + string(in.CustomerMasterKeySpec)
	if spec == "" {
		spec = string(types.KeySpecSymmetricDefault)
	}
	switch {
	case spec != string(types.KeySpecSymmetricDefault):
		return unsupported("KeySpec %s is not supported by this key service.", spec)
	case in.KeyUsage != "" && in.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return validationError("KeyUsage %s is not compatible with KeySpec %s", in.KeyUsage, spec)
	case in.Origin != "" && in.Origin != types.OriginTypeAwsKms:
		return unsupported("Origin %s is not supported by this key service.", in.Origin)
	case in.MultiRegion != nil && *in.MultiRegion:
		return unsupported("MultiRegion keys are not supported by this key service.")
	case in.CustomKeyStoreId != nil:
		return unsupported("CustomKeyStoreId is not supported by this key service.")
	case in.XksKeyId != nil:
		return unsupported("XksKeyId is not supported by this key service.")
	case in.Policy != nil:
		return unsupported("Policy is not supported by this key service: key policies are not enforced.")
	}
	return nil
}

func checkTags(list []types.Tag) (map[string]string, error) {
	if len(list) > maxTags {
		return nil, &types.TagException{Message: text("Too many tags")}
	}
	tags := make(map[string]string, len(list))
	for _, t := range list {
		name := value(t.TagKey)
		if strings.HasPrefix(strings.ToLower(name), "aws:") {
			return nil, &types.TagException{Message: text("Tags beginning with aws: are reserved")}
		}
		if _, ok := tags[name]; ok {
			return nil, &types.TagException{Message: text("Duplicate tag keys")}
		}
		tags[name] = value(t.TagValue)
	}
	return tags, nil
}

// makeKey makes the material and stores it. A wrapped key that is lost or
// damaged is customer data lost, so the key counts as made only when what was
// read back from the file is what the HSM gave, and the HSM can use it.
func (s *Service) makeKey(ctx context.Context, r *request, k store.Key) error {
	start := time.Now()
	wrapped, err := s.token.GenerateKey(ctx)
	r.audit.Child(ctx, audit.SpanHSMGenerateKey, start, hsmCode(err, true), audit.KeyARN.String(s.keyARN(k.ID)))
	if err != nil {
		return fmt.Errorf("generating a backing key: %w", err)
	}
	if err := s.store.CreateKey(ctx, k, wrapped); err != nil {
		return err
	}
	if err := s.verifyStored(ctx, k.ID, wrapped); err != nil {
		discarded := s.store.Discard(context.WithoutCancel(ctx), k.ID)
		return errors.Join(fmt.Errorf("verifying new key %s: %w", k.ID, err), discarded)
	}
	return nil
}

func (s *Service) verifyStored(ctx context.Context, id uuid.UUID, wrapped []byte) error {
	stored, err := s.store.StoredBackingKey(ctx, id, 1)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, wrapped) {
		return errors.New("the wrapped key read back is not the one written")
	}
	probe, aad := []byte("probe of a new backing key"), id[:]
	var epoch [epochSize]byte
	nonce, sealed, err := s.token.Encrypt(ctx, stored, epoch, [nonceSize]byte{}, probe, aad)
	if err != nil {
		return err
	}
	opened, ok, err := s.token.Decrypt(ctx, stored, epoch, nonce, sealed, aad)
	if err != nil {
		return err
	}
	if !ok || !bytes.Equal(opened, probe) {
		return errors.New("the HSM does not open what it sealed under the new key")
	}
	return nil
}

func (s *Service) describeKey(ctx context.Context, r *request, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	name, err := s.parseKeyName(*in.KeyId)
	if err != nil {
		return nil, err
	}
	k, err := s.key(ctx, r, "kms:DescribeKey", name)
	if err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: s.metadata(k)}, nil
}

func (s *Service) metadata(k *store.Key) *types.KeyMetadata {
	multiRegion := false
	m := &types.KeyMetadata{
		AWSAccountId:          &s.cfg.Account,
		KeyId:                 text("%s", k.ID),
		Arn:                   text("%s", s.keyARN(k.ID)),
		CreationDate:          &k.Created,
		CurrentKeyMaterialId:  materialID(k.ID, k.Current().Version),
		CustomerMasterKeySpec: types.CustomerMasterKeySpec(k.Spec),
		KeySpec:               types.KeySpec(k.Spec),
		KeyUsage:              types.KeyUsageType(k.Usage),
		Description:           &k.Description,
		Enabled:               k.State == store.Enabled,
		EncryptionAlgorithms:  []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault},
		KeyManager:            types.KeyManagerTypeCustomer,
		KeyState:              types.KeyState(k.State),
		MultiRegion:           &multiRegion,
		Origin:                types.OriginTypeAwsKms,
	}
	if !k.DeletionDate.IsZero() {
		m.DeletionDate = &k.DeletionDate
	}
	return m
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
	ids, more, err := s.store.ListKeys(ctx, after, limit(in.Limit, keyPage))
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeysOutput{Keys: make([]types.KeyListEntry, len(ids)), Truncated: more}
	for i, id := range ids {
		out.Keys[i] = types.KeyListEntry{KeyId: text("%s", id), KeyArn: text("%s", s.keyARN(id))}
	}
	if more {
		out.NextMarker = marker(markKeys, ids[len(ids)-1][:])
	}
	return out, nil
}

func (s *Service) listResourceTags(ctx context.Context, r *request, in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	name, err := s.parseKeyID(*in.KeyId)
	if err != nil {
		return nil, err
	}
	k, err := s.key(ctx, r, "kms:ListResourceTags", name)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(k.Tags))
	if in.Marker != nil {
		after, err := parseMarker(markTags, *in.Marker)
		if err != nil {
			return nil, invalidMarker()
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name <= string(after) })
	}
	out := &kms.ListResourceTagsOutput{Tags: []types.Tag{}}
	if n := limit(in.Limit, aliasPage); len(names) > n {
		names = names[:n]
		out.Truncated, out.NextMarker = true, marker(markTags, []byte(names[n-1]))
	}
	for _, name := range names {
		out.Tags = append(out.Tags, types.Tag{TagKey: text("%s", name), TagValue: text("%s", k.Tags[name])})
	}
	return out, nil
}

// A marker is the last item of a page, tagged with the kind of list, base64.
const (
	markKeys    = 'k'
	markAliases = 'a'
	markTags    = 't'
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
	return text("%s", hex.EncodeToString(sum[:]))
}
