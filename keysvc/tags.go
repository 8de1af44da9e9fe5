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

const maxTags = 50

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
