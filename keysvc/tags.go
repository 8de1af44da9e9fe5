// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	maxTags = 50

	// servicePrefix begins the names of tags that are about this service.
	servicePrefix = "sidekey:"
)

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
		if strings.HasPrefix(name, servicePrefix) && name != protectionTag {
			return nil, &types.TagException{Message: text("Tags beginning with %s are reserved", servicePrefix)}
		}
		if _, ok := tags[name]; ok {
			return nil, &types.TagException{Message: text("Duplicate tag keys")}
		}
		tags[name] = value(t.TagValue)
	}
	return tags, nil
}

// tagKey adds tags to a key. What protection it has was decided when it was
// made: the tag that asked for it cannot become untrue.
func tagKey(k *store.Key, tags map[string]string) error {
	if asked, ok := tags[protectionTag]; ok && asked != k.Protection {
		return &types.TagException{Message: text("The protection of the key is %s: the tag %s cannot have another value", k.Protection, protectionTag)}
	}
	all := maps.Clone(tags)
	for name, have := range k.Tags {
		if _, ok := all[name]; !ok {
			all[name] = have
		}
	}
	if len(all) > maxTags {
		return &types.TagException{Message: text("Too many tags")}
	}
	k.Tags = all
	return nil
}

func (s *Service) tagResource(ctx context.Context, r *request, in *kms.TagResourceInput) error {
	tags, err := checkTags(in.Tags)
	if err != nil {
		return err
	}
	return s.changeKey(ctx, r, "kms:TagResource", *in.KeyId, func(k *store.Key) error { return tagKey(k, tags) })
}

func (s *Service) untagResource(ctx context.Context, r *request, in *kms.UntagResourceInput) error {
	for _, name := range in.TagKeys {
		if strings.HasPrefix(strings.ToLower(name), "aws:") {
			return &types.TagException{Message: text("Tags beginning with aws: are reserved")}
		}
	}
	return s.changeKey(ctx, r, "kms:UntagResource", *in.KeyId, func(k *store.Key) error {
		left := maps.Clone(k.Tags)
		for _, name := range in.TagKeys {
			delete(left, name)
		}
		k.Tags = left
		return nil
	})
}

func (s *Service) updateKeyDescription(ctx context.Context, r *request, in *kms.UpdateKeyDescriptionInput) error {
	return s.changeKey(ctx, r, "kms:UpdateKeyDescription", *in.KeyId, func(k *store.Key) error {
		k.Description = *in.Description
		return nil
	})
}

// changeKey changes what a key is called and labelled, unless it waits for its
// deletion.
func (s *Service) changeKey(ctx context.Context, r *request, action, keyID string, do func(*store.Key) error) error {
	k, err := s.controlKey(ctx, r, action, keyID)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, k, func(_ *store.Tx, k *store.Key) error {
		if err := s.notPending(k); err != nil {
			return err
		}
		return do(k)
	})
	return err
}

func (s *Service) listResourceTags(ctx context.Context, r *request, in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	k, err := s.controlKey(ctx, r, "kms:ListResourceTags", *in.KeyId)
	if err != nil {
		return nil, err
	}
	all := tagsOf(k)
	names := slices.Sorted(maps.Keys(all))
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
		out.Tags = append(out.Tags, types.Tag{TagKey: text("%s", name), TagValue: text("%s", all[name])})
	}
	return out, nil
}

// tagList is sorted, and never nil.
func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{TagKey: &name, TagValue: text("%s", tags[name])})
	}
	return list
}

// tagsOf are the tags that a key is listed with: those it was given, and one of
// the service itself on keys that are used in its memory. Names that begin with
// aws: are the service's, and Terraform leaves them alone.
func tagsOf(k *store.Key) map[string]string {
	if k.Protection != protectionMemory {
		return k.Tags
	}
	all := maps.Clone(k.Tags)
	if all == nil {
		all = map[string]string{}
	}
	all[systemProtectionTag] = protectionMemory
	return all
}
