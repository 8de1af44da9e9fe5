// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

type testConfig struct {
	Listen string            `yaml:"listen"`
	Cache  testCache         `yaml:"cache"`
	Extra  *testCache        `yaml:"extra"`
	Items  []testCache       `yaml:"items"`
	Labels map[string]string `yaml:"labels"`
}

func (c *testConfig) Validate() error {
	if c.Listen == "nowhere" {
		return errors.New("listen: nowhere cannot be listened on")
	}
	for i := range c.Items {
		if err := validateGroup(fmt.Sprintf("items[%d]", i), &c.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

type testCache struct {
	MaxAge  time.Duration `yaml:"max_age"`
	MaxUses uint64        `yaml:"max_uses"`
	On      bool          `yaml:"on"`
}

func (c *testCache) Validate() error {
	if c.MaxUses == 13 {
		return errors.New("max_uses: 13 brings bad luck\nmax_age: missing")
	}
	return nil
}

func TestConfigIsDecoded(t *testing.T) {
	var got testConfig
	err := parseConfig([]byte("listen: :80\ncache: {max_age: 5s}\nextra:\nitems:\n- max_uses: 7\nlabels: {a: b}\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	if got.Listen != ":80" || got.Cache.MaxAge != 5*time.Second ||
		len(got.Items) != 1 || got.Items[0].MaxUses != 7 || got.Labels["a"] != "b" {
		t.Errorf("got %+v", got)
	}
}

func TestConfigErrorsNameKeyLineAndNearest(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"lisen: x", "line 1: unknown key lisen; did you mean listen?"},
		{"listen: x\ncache:\n  max_agee: 1s", "line 3: unknown key cache.max_agee; did you mean cache.max_age?"},
		{"items:\n- {zzzzzzzz: 1}", "line 2: unknown key items[0].zzzzzzzz; known here: max_age, max_uses, on"},
		{"cache:\n  max_age: soon", "line 2: cache.max_age: want a duration like 5s or 10m"},
		{"cache:\n  max_uses: -1", "line 2: cache.max_uses: want a whole number"},
		{"cache: 3", "line 1: cache: want a group of settings"},
		{"listen: a\nlisten: b", "line 2: listen is set twice"},
		{"", "the file is empty"},
		{"cache:\nlisten: nowhere", "line 2: listen: nowhere cannot be listened on"},
		{"items:\n- on: true\n- max_age: 1s\n  max_uses: 13", "line 4: items[1].max_uses: 13 brings bad luck\nline 3: items[1].max_age: missing"},
		{"items: {a: b}", "line 1: items: want a list"},
	} {
		var got testConfig
		err := parseConfig([]byte(c.text), &got)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}
