// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy"
)

func TestMasksValidate(t *testing.T) {
	for want, c := range map[string]proxy.ColumnRule{
		"columns[0].masks[0].roles: missing":                           {Masks: []proxy.Mask{{Show: "null"}}},
		`columns[0].masks[0].show: unknown "nul" (did you mean "null"`: {Masks: []proxy.Mask{{Roles: []string{"a"}, Show: "nul"}}},
		"columns[0].masks[0].text: only show: fixed":                   {Masks: []proxy.Mask{{Roles: []string{"a"}, Show: "null", Text: "x"}}},
		"columns[0].masks[0].show: last4 is for text, not for int4":    {Type: "int4", Masks: []proxy.Mask{{Roles: []string{"a"}, Show: "last4"}}},
		"columns[0].per_tenant: mode range would sort":                 {PerTenant: true, Mode: "range"},
		"columns[0].key_id: {tenant} needs per_tenant":                 {KeyID: "alias/{tenant}"},
	} {
		c.Table, c.Column = "t", "c"
		if c.Type == "" {
			c.Type = "text"
		}
		if c.KeyID == "" {
			c.KeyID = "k"
		}
		err := (&proxy.Rules{Columns: []proxy.ColumnRule{c}}).Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestMasksOfADomain(t *testing.T) {
	a := proxy.ColumnRule{Table: "t", Column: "a", Type: "text", Mode: "equality", KeyID: "k", Domain: "d"}
	b := a
	b.Column, b.Masks = "b", []proxy.Mask{{Roles: []string{"analyst"}, Show: "null"}}
	rules := proxy.Rules{Columns: []proxy.ColumnRule{a, b}}
	if got := rules.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "columns[1].masks: differ from those of columns[0]") {
		t.Errorf("got %q", got)
	}
	rules.Columns[0].Masks = b.Masks
	if got := rules.Warnings(); len(got) != 0 {
		t.Errorf("alike: got %q", got)
	}
}

func TestMasked(t *testing.T) {
	for text, want := range map[string]string{"": "****", "1234567": "****", "12345678": "****5678", "äöüßäöüß": "****äöüß"} {
		if got := string(proxy.Masked([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestForTenant(t *testing.T) {
	r := proxy.ColumnRule{PerTenant: true, KeyID: "alias/t-{tenant}"}
	got, err := r.ForTenant("acme")
	if err != nil || got.KeyID != "alias/t-acme" || r.KeyID != "alias/t-{tenant}" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "a/b", "a:b", "ä", "a b", strings.Repeat("a", 129)} {
		if _, err := r.ForTenant(bad); err == nil {
			t.Errorf("tenant %q was accepted", bad)
		}
	}
}
