// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/proxy/envelope"
)

const arn = "arn:aws:kms:eu-central-1:000123456789:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

func TestHeaderSize(t *testing.T) {
	checksums := map[string]string{"x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
	for wrapped, most := range map[int]int{110: 400, 140: 400, 185: 450} { // the last is AWS KMS
		h := envelope.NewHeader(envelope.PlainSuite, arn, random(wrapped), nil)
		if _, err := h.Seal(random(32), "bucket", "key", checksums); err != nil {
			t.Fatal(err)
		}
		if n := len(h.String()); n > most {
			t.Errorf("a wrapped key of %d bytes gives a header of %d, want at most %d", wrapped, n, most)
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	for name, h := range map[string]*envelope.Header{
		"context":     envelope.NewHeader(envelope.PlainSuite, arn, random(100), map[string]string{"k": strings.Repeat("v", 2000)}),
		"long value":  envelope.NewHeader(envelope.PlainSuite, arn, random(100), map[string]string{"k": strings.Repeat("v", 70_000)}),
		"wrapped key": envelope.NewHeader(envelope.PlainSuite, arn, random(2000), nil),
		"ARN":         envelope.NewHeader(envelope.PlainSuite, strings.Repeat("a", 255), random(100), nil),
		"no key":      envelope.NewHeader(envelope.PlainSuite, arn, nil, nil),
	} {
		if _, err := h.Seal(random(32), "b", "k", nil); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	h := envelope.NewHeader(envelope.PlainSuite, arn, random(100), nil)
	if _, err := h.Seal(random(32), "b", "k", map[string]string{"x": strings.Repeat("!", 256)}); err == nil {
		t.Error("a checksum of 256 bytes was sealed")
	}
}

// [H3]: object ID and salt are fresh.
func TestHeadersAreFresh(t *testing.T) {
	a, b := envelope.NewHeader(envelope.PlainSuite, arn, nil, nil), envelope.NewHeader(envelope.PlainSuite, arn, nil, nil)
	if a.ObjectID == b.ObjectID || a.Salt == b.Salt {
		t.Error("two headers share randomness")
	}
}

// What a parsed header's context is does not depend on map order.
func TestContextIsCanonical(t *testing.T) {
	context := map[string]string{}
	for _, k := range strings.Split("zyxwvutsrqponmlkjihgfedcba", "") {
		context[k] = k + k
	}
	h := envelope.NewHeader(envelope.PlainSuite, arn, random(100), context)
	key := random(32)
	if _, err := h.Seal(key, "b", "k", nil); err != nil {
		t.Fatal(err)
	}
	want := h.String()
	for range 20 {
		h.Context = maps.Clone(context)
		if h.String() != want {
			t.Fatal("two orders")
		}
	}
	parsed, err := envelope.ParseHeader(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(context, parsed.Context); diff != "" {
		t.Error(diff)
	}
}
