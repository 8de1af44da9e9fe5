// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"
)

func tags(pairs map[string]string) []types.Tag {
	var list []types.Tag
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		list = append(list, types.Tag{TagKey: &name, TagValue: ptr(pairs[name])})
	}
	return list
}

// tagsOf lists the tags of a key, two at a time.
func tagsOf(t testing.TB, client *kms.Client, id string) map[string]string {
	t.Helper()
	all := map[string]string{}
	pages := kms.NewListResourceTagsPaginator(client, &kms.ListResourceTagsInput{KeyId: &id, Limit: ptr(int32(2))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, tag := range page.Tags {
			all[*tag.TagKey] = *tag.TagValue
		}
	}
	return all
}

func TestTags(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, arn := s.newKey()
	tag := func(pairs map[string]string) error {
		_, err := client.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: tags(pairs)})
		return err
	}
	must(t, tag(map[string]string{"a": "1", "b": "", "c": "3"}))
	must(t, tag(map[string]string{"a": "2"}))
	_, err := client.UntagResource(ctx, &kms.UntagResourceInput{KeyId: &arn, TagKeys: []string{"c", "not there"}})
	must(t, err)
	if diff := cmp.Diff(map[string]string{"a": "2", "b": ""}, tagsOf(t, client, id)); diff != "" {
		t.Error(diff)
	}
	must(t, tag(map[string]string{"sidekey:protection": "hsm"}))
	wantError(t, tag(map[string]string{"sidekey:protection": "memory"}), "TagException", "The protection of the key is hsm: the tag sidekey:protection cannot have another value")
	wantError(t, tag(map[string]string{"sidekey:certified": "yes"}), "TagException", "Tags beginning with sidekey: are reserved")
	wantError(t, tag(map[string]string{"AWS:x": "y"}), "TagException", "Tags beginning with aws: are reserved")
	_, err = client.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: append(tags(map[string]string{"d": ""}), tags(map[string]string{"d": ""})...)})
	wantError(t, err, "TagException", "Duplicate tag keys")
	_, err = client.UntagResource(ctx, &kms.UntagResourceInput{KeyId: &id, TagKeys: []string{"aws:x"}})
	wantError(t, err, "TagException", "Tags beginning with aws: are reserved")
	many := map[string]string{}
	for i := range 47 {
		many[fmt.Sprintf("many %d", i)] = ""
	}
	must(t, tag(many))
	must(t, tag(map[string]string{"a": "50 tags, and still changed"}))
	wantError(t, tag(map[string]string{"51": ""}), "TagException", "Too many tags")
}

func TestUpdateKeyDescription(t *testing.T) {
	s := newServer(t)
	ctx, client := t.Context(), s.admin()
	id, arn := s.newKey()
	for _, description := range []string{"a key", ""} {
		_, err := client.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &id, Description: &description})
		must(t, err)
		out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
		must(t, err)
		if *out.KeyMetadata.Description != description {
			t.Errorf("got %q", *out.KeyMetadata.Description)
		}
	}
	_, err := client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id})
	must(t, err)
	pending := arn + " is pending deletion."
	_, err = client.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &id, Description: ptr("x")})
	wantError(t, err, "KMSInvalidStateException", pending)
	_, err = client.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: tags(map[string]string{"a": "b"})})
	wantError(t, err, "KMSInvalidStateException", pending)
	_, err = client.UntagResource(ctx, &kms.UntagResourceInput{KeyId: &id, TagKeys: []string{"a"}})
	wantError(t, err, "KMSInvalidStateException", pending)
}
