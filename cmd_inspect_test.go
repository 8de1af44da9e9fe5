// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func TestInspect(t *testing.T) {
	codec, err := envelope.NewCodec(envelope.Equality, make([]byte, envelope.DataKeySize), 7, envelope.Binding{Table: "t", Column: "c", Type: "text"})
	if err != nil {
		t.Fatal(err)
	}
	value, err := codec.Seal(nil, []byte("12345"))
	if err != nil {
		t.Fatal(err)
	}
	header := envelope.NewHeader(envelope.WholeSuite, "arn:aws:kms:eu-1:1:key/k", []byte("wrapped"), map[string]string{"team": "red"})
	if _, err := header.Seal(make([]byte, envelope.DataKeySize), "bucket", "key", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want []string
	}{
		{fmt.Sprintf(`\x%x`, value), []string{"equality", "data key     7", "5 bytes"}},
		{header.String(), []string{"arn:aws:kms:eu-1:1:key/k", "7 bytes", "team=red"}},
	} {
		var out bytes.Buffer
		if err := inspect(&out, c.text); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("got %s, want %q in it", out.String(), want)
			}
		}
	}
	for _, text := range []string{"", `\x`, `\xzz`, `\xf84b03`, "plaintext"} {
		if err := inspect(&bytes.Buffer{}, text); err == nil {
			t.Errorf("%q was explained", text)
		}
	}
}
