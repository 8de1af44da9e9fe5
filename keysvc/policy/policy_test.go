// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"path"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/keysvc/policy"
)

const (
	id  = "11111111-2222-4333-8444-555555555555"
	arn = "arn:aws:kms:eu-central-1:111122223333:"
)

var key = policy.Resource{Names: []string{id, arn + "key/" + id, "alias/app/orders", arn + "alias/app/orders"}}

func TestDecide(t *testing.T) {
	for _, tc := range []struct {
		name          string
		actions, keys []string
		action        string
		res           policy.Resource
		want          bool
	}{
		{"nothing", nil, nil, "kms:Decrypt", key, false},
		{"exact", []string{"kms:Decrypt"}, []string{id}, "kms:Decrypt", key, true},
		{"by ARN", []string{"kms:Decrypt"}, []string{arn + "key/" + id}, "kms:Decrypt", key, true},
		{"by alias", []string{"kms:Decrypt"}, []string{"alias/app/orders"}, "kms:Decrypt", key, true},
		{"by alias ARN", []string{"kms:Decrypt"}, []string{arn + "alias/app/*"}, "kms:Decrypt", key, true},
		{"all", []string{"kms:*"}, []string{"*"}, "kms:Decrypt", key, true},
		{"all actions", []string{"*"}, []string{"*"}, "kms:Decrypt", key, true},
		{"action case", []string{"KMS:decrypt"}, []string{"*"}, "kms:Decrypt", key, true},
		{"key case", []string{"kms:*"}, []string{"alias/App/*"}, "kms:Decrypt", key, false},
		{"other action", []string{"kms:Encrypt"}, []string{"*"}, "kms:Decrypt", key, false},
		{"action prefix is no match", []string{"kms:Decr"}, []string{"*"}, "kms:Decrypt", key, false},
		{"pattern", []string{"kms:GenerateDataKey*"}, []string{"*"}, "kms:GenerateDataKeyWithoutPlaintext", key, true},
		{"question mark", []string{"kms:?ncrypt"}, []string{"*"}, "kms:Encrypt", key, true},
		{"other key", []string{"kms:*"}, []string{strings.Replace(id, "1", "2", 1)}, "kms:Decrypt", key, false},
		{"other alias", []string{"kms:*"}, []string{"alias/app"}, "kms:Decrypt", key, false},
		{"all keys of an account", []string{"kms:*"}, []string{arn + "key/*"}, "kms:Decrypt", key, true},
		{"keys of another account", []string{"kms:*"}, []string{strings.Replace(arn, "1111", "9999", 1) + "key/*"}, "kms:Decrypt", key, false},
		{"no key needs a star", []string{"kms:*"}, []string{id, "alias/*", arn + "*"}, "kms:CreateKey", policy.Any(), false},
		{"star for no key", []string{"kms:CreateKey"}, []string{"*"}, "kms:CreateKey", policy.Any(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			allow := []policy.Allow{{Actions: []string{"kms:Nothing"}, Keys: []string{"*"}}, {Actions: tc.actions, Keys: tc.keys}}
			if got := policy.Decide(allow, tc.action, tc.res); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestEntriesAreNotMixed: actions of one entry do not go with keys of another.
func TestEntriesAreNotMixed(t *testing.T) {
	allow := []policy.Allow{{Actions: []string{"kms:Decrypt"}, Keys: []string{"alias/other"}}, {Actions: []string{"kms:Encrypt"}, Keys: []string{id}}}
	if policy.Decide(allow, "kms:Decrypt", key) {
		t.Error("allowed")
	}
}

// FuzzMatch compares with path.Match, which means the same by * and ? where
// there is no slash, bracket or backslash.
func FuzzMatch(f *testing.F) {
	f.Add("kms:*", "kms:Decrypt")
	f.Add("a*b?c*", "axxbyc")
	f.Add("***a", strings.Repeat("a", 30)+"b")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		for _, r := range pattern + s {
			if r > 126 || r < ' ' || strings.ContainsRune(`/[]\`, r) {
				return
			}
		}
		pattern, s = strings.ToLower(pattern), strings.ToLower(s)
		want, err := path.Match(pattern, s)
		if err != nil || len(pattern) > 40 || len(s) > 40 {
			return
		}
		if got := policy.MatchAction(pattern, s); got != want {
			t.Errorf("match(%q, %q) = %v", pattern, s, got)
		}
	})
}
