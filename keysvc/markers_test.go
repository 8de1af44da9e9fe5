// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestMarkersAreOfOneList: a list goes on from its own markers to its end, and
// refuses those of every other list.
func TestMarkersAreOfOneList(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	id, _ := s.newKey()
	s.newKey()
	for i := range 3 {
		alias, tag := fmt.Sprintf("alias/a-%d", i), types.Tag{TagKey: ptr(fmt.Sprint("t", i)), TagValue: ptr("")}
		must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}))
		must2(t)(c.TagResource(ctx, &kms.TagResourceInput{KeyId: &id, Tags: []types.Tag{tag}}))
		must2(t)(c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
		s.grant(id, kms.CreateGrantInput{Operations: operations{"Decrypt"}, RetiringPrincipal: ptr(appARN)})
	}
	lists := map[string]string{
		"ListKeys": `{`, "ListAliases": `{`, "ListGrants": `{"KeyId":"` + id + `",`, "ListRetirableGrants": `{"RetiringPrincipal":"` + appARN + `",`,
		"ListResourceTags": `{"KeyId":"` + id + `",`, "ListKeyRotations": `{"KeyId":"` + id + `",`,
	}
	page := func(op, marker string) (got reply, next string) {
		body := lists[op] + `"Limit":1`
		if marker != "" {
			body += `,"Marker":"` + marker + `"`
		}
		got = s.post(op, body+"}")
		var out struct {
			NextMarker string
			Truncated  bool
		}
		must(t, json.Unmarshal([]byte(got.body), &out))
		if got.status == 200 && (out.Truncated != (out.NextMarker != "") || strings.Contains(got.body, "null")) {
			t.Errorf("%s: %s", op, got.body)
		}
		return got, out.NextMarker
	}
	markers := map[string]string{}
	for op := range lists {
		if _, markers[op] = page(op, ""); markers[op] == "" {
			t.Errorf("%s has one page", op)
		}
		seen := map[string]bool{}
		for next := markers[op]; next != ""; _, next = page(op, next) {
			if seen[next] {
				t.Fatalf("%s goes in circles", op)
			}
			seen[next] = true
		}
		if want := 2; op == "ListKeys" && len(seen) != want-1 || op != "ListKeys" && len(seen) != want {
			t.Errorf("%s: %d more pages", op, len(seen))
		}
	}
	lists["ListKeyPolicies"], lists["DescribeCustomKeyStores"] = `{"KeyId":"`+id+`",`, `{`
	for op := range lists {
		for of, marker := range markers {
			if got, _ := page(op, marker); op != of && got.code() != "InvalidMarkerException" {
				t.Errorf("%s after a marker of %s: %d %s", op, of, got.status, got.body)
			}
		}
	}
}
