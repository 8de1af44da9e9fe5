// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
	"github.com/sidekey/sidekey/s3gateway"
)

// FuzzListing rewrites arbitrary documents: what is accepted differs from its
// original in nothing but numbers.
func FuzzListing(f *testing.F) {
	f.Add("<ListBucketResult><Contents><Key>a</Key><Size>72</Size></Contents></ListBucketResult>")
	f.Add("<?xml version='1.0'?><R><Version><Size> 1000 </Size></Version><!-- c --><![CDATA[x]]></R>")
	f.Add("<a><Contents><Size>&#55;2</Size></Contents></a></a>")
	f.Fuzz(func(t *testing.T, document string) {
		var out bytes.Buffer
		if s3gateway.RewriteSizes(&out, strings.NewReader(document)) != nil {
			return
		}
		want, err := skeleton(document)
		if err != nil {
			return // not XML, and no listing with sizes to compare
		}
		got, err := skeleton(out.String())
		if err != nil {
			t.Fatalf("rewritten into what does not parse: %v", err)
		}
		if want != got {
			t.Fatalf("got %q from %q", out.String(), document)
		}
	})
}

// skeleton is a document's bytes without the text of Size elements.
func skeleton(document string) (string, error) {
	var b strings.Builder
	decoder := xml.NewDecoder(strings.NewReader(document))
	in, start := "", int64(0)
	for {
		token, err := decoder.RawToken()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		end := decoder.InputOffset()
		switch e := token.(type) {
		case xml.StartElement:
			in = e.Name.Local
		case xml.CharData:
			if in == "Size" {
				start = end
				continue
			}
		case xml.EndElement:
			in = ""
		}
		b.WriteString(document[start:end])
		start = end
	}
}

// FuzzRange wants every range inside the object, and inside what is asked of
// the upstream for it before the size is known.
func FuzzRange(f *testing.F) {
	for _, header := range []string{"bytes=0-0", "bytes=5-", "bytes=-5", "bytes=16383-16384", "bytes=-16384", "bytes=9-3", "bytes=18446744073709551616-", "bytes=-9223372036854775807"} {
		f.Add(header, int64(32768))
		f.Add(header, int64(0))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 || size > 5<<40 {
			return
		}
		off, n, ok, ignored, upstream := s3gateway.ResolveRange(header, size)
		if ignored || !ok {
			return
		}
		if off < 0 || n <= 0 || off+n > size {
			t.Fatalf("%q of %d: %d bytes from %d", header, size, n, off)
		}
		sealedOff, sealedLen := envelope.SealedRange(off, n, size)
		first, last := interval(t, upstream, proxy.SealedSize(size))
		if first > sealedOff || last+1 < sealedOff+sealedLen {
			t.Fatalf("%q of %d: asked for %s, needs %d from %d", header, size, upstream, sealedLen, sealedOff)
		}
	})
}

func interval(t *testing.T, header string, size int64) (first, last int64) {
	t.Helper()
	var n int64
	if c, _ := fmt.Sscanf(header, "bytes=-%d", &n); c == 1 {
		return max(size-n, 0), size - 1
	}
	switch c, _ := fmt.Sscanf(header, "bytes=%d-%d", &first, &last); c {
	case 1:
		return first, size - 1
	case 2:
		return first, min(last, size-1)
	}
	t.Fatalf("asked for %q", header)
	return 0, 0
}
