// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"
)

// TestFormOfAnswers: whatever name a caller uses, answers have the key's ARN;
// members that are absent are left out, times are numbers, and every answer,
// refusals too, has a request ID of its own.
func TestFormOfAnswers(t *testing.T) {
	f := newStateFixture(t)
	s := f.s
	quotedTime := regexp.MustCompile(`"[A-Za-z]*(Date|ValidTo|Timestamp)":"`)
	ids := map[string]bool{}
	for _, tc := range stateCases {
		for _, kind := range strings.Fields(tc.kinds) {
			names := []string{"KEY", "ARN"}
			if &tc.want[0] == &inUse[0] && !slices.Contains([]string{"CreateGrant", "ReplicateKey", "UpdatePrimaryRegion", "EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"}, tc.op) {
				names = append(names, "alias/KEY")
			}
			for _, name := range names {
				given := strings.Replace(tc.body, `"KeyId":"KEY"`, `"KeyId":"`+name+`"`, 1)
				body, arn := f.prepare(kind, "Enabled", given)
				got := s.post(tc.op, body)
				id := got.header.Get("X-Amzn-Requestid")
				if _, err := uuid.Parse(id); err != nil || ids[id] {
					t.Errorf("%s: request ID %q", tc.op, id)
				}
				ids[id] = true
				if form := got.header.Get("Content-Type"); form != "application/x-amz-json-1.1" {
					t.Errorf("%s: Content-Type %q", tc.op, form)
				}
				if (got.status == 200) != (tc.want[0] == "") {
					t.Errorf("%s by %s: %d %s", tc.op, name, got.status, got.body)
				}
				if got.status != 200 || got.body == "" {
					continue
				}
				var members map[string]any
				must(t, json.Unmarshal([]byte(got.body), &members))
				other := tc.op == "ReEncrypt" && strings.Contains(tc.body, "OTHER") || tc.op == "UpdateAlias"
				if key, ok := members["KeyId"]; ok && key != arn && !other {
					t.Errorf("%s by %s answers with %v", tc.op, name, key)
				}
				if strings.Contains(got.body, "null") || quotedTime.MatchString(got.body) {
					t.Errorf("%s: %s", tc.op, got.body)
				}
			}
		}
	}
}

// TestDescribeAfterwards: DescribeKey tells at once what has been done.
func TestDescribeAfterwards(t *testing.T) {
	s := newRegions(t)
	c := s.admin()
	id, _ := s.newMultiRegionKey(kms.CreateKeyInput{})
	do := func(op, body string) {
		t.Helper()
		if got := s.post(op, strings.ReplaceAll(body, "KEY", id)); got.status != 200 {
			t.Fatalf("%s: %d %s", op, got.status, got.body)
		}
	}
	want := func(state types.KeyState, enabled, date, window bool) {
		t.Helper()
		m := describe(t, c, id)
		if m.KeyState != state || m.Enabled != enabled || (m.DeletionDate != nil) != date || (m.PendingDeletionWindowInDays != nil) != window {
			t.Errorf("state %s, enabled %t, deletion %v, window %v", m.KeyState, m.Enabled, m.DeletionDate, m.PendingDeletionWindowInDays)
		}
	}
	want("Enabled", true, false, false)
	for range 2 { // both are idempotent
		do("DisableKey", `{"KeyId":"KEY"}`)
		want("Disabled", false, false, false)
	}
	for range 2 {
		do("EnableKey", `{"KeyId":"KEY"}`)
		want("Enabled", true, false, false)
	}
	do("UpdateKeyDescription", `{"KeyId":"KEY","Description":"é"}`)
	if m := describe(t, c, id); *m.Description != "é" {
		t.Errorf("description %q", *m.Description)
	}
	before := *describe(t, c, id).CurrentKeyMaterialId
	do("RotateKeyOnDemand", `{"KeyId":"KEY"}`)
	if after := *describe(t, c, id).CurrentKeyMaterialId; after == before {
		t.Error("a rotation has left the key material ID")
	}
	do("ScheduleKeyDeletion", `{"KeyId":"KEY","PendingWindowInDays":7}`)
	want("PendingDeletion", false, true, false)
	do("CancelKeyDeletion", `{"KeyId":"KEY"}`)
	want("Disabled", false, false, false)
	do("EnableKey", `{"KeyId":"KEY"}`)
	do("ReplicateKey", `{"KeyId":"KEY","ReplicaRegion":"us-east-1"}`)
	do("ScheduleKeyDeletion", `{"KeyId":"KEY","PendingWindowInDays":7}`)
	want("PendingReplicaDeletion", false, false, true)
	do("CancelKeyDeletion", `{"KeyId":"KEY"}`)
	want("Disabled", false, false, false)
	do("TagResource", `{"KeyId":"KEY","Tags":[{"TagKey":"a","TagValue":"1"}]}`)
	do("TagResource", `{"KeyId":"KEY","Tags":[{"TagKey":"a","TagValue":"2"},{"TagKey":"A","TagValue":"3"}]}`)
	if got := tagsOf(t, c, id); got["a"] != "2" || got["A"] != "3" || len(got) != 2 {
		t.Errorf("tags %v", got)
	}
}
