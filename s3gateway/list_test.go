// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/s3gateway"
)

// TestListingBytes wants a listing unchanged but for the sizes of objects.
func TestListingBytes(t *testing.T) {
	const listing = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>docs</Name><Size>136</Size><!-- <Size>136</Size> -->
 <Contents><Key>a&amp;&lt;Size&gt;136&lt;/Size&gt;</Key><Size>136</Size><StorageClass>STANDARD</StorageClass></Contents>
 <Contents  x='"'><Key><![CDATA[<Size>136</Size>]]></Key><Size>1000</Size><Owner><Size>136</Size></Owner><New/></Contents>
 <Contents><Key>foreign</Key><Size>5</Size><Size/><Size>x</Size></Contents>
 <Version><Size>16536</Size></Version><DeleteMarker><Size>136</Size></DeleteMarker><CommonPrefixes><Prefix>&#x20AC;/</Prefix></CommonPrefixes>
</ListBucketResult>
`
	want := strings.NewReplacer(
		"&lt;/Size&gt;</Key><Size>136</Size>", "&lt;/Size&gt;</Key><Size>0</Size>",
		"<Size>1000</Size>", "<Size>864</Size>",
		"<Size>16536</Size>", "<Size>16384</Size>",
	).Replace(listing)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/xml")
			io.WriteString(w, listing)
		}
	}))
	t.Cleanup(store.Close)
	s := newStack(t, store.URL)
	for _, target := range []string{"/docs?list-type=2", "/docs", "/docs?versions"} {
		answer, err := http.DefaultClient.Do(s.rawRequest(t, "GET", target, "", nil))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, got:\n%s", target, err, got)
		}
	}
}

// TestBrokenListing has the store send half of one: the client must not take
// it for whole.
func TestBrokenListing(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			io.WriteString(w, "<ListBucketResult><Contents><Size>136</Si")
		}
	}))
	t.Cleanup(store.Close)
	s := newStack(t, store.URL)
	if status, e := s.do(t, s.rawRequest(t, "GET", "/docs", "", nil)); status != 500 || e.Code != "InternalError" {
		t.Errorf("half a listing: got %d %+v", status, e)
	}
}

// TestStoreErrors are shown without what they say of the store.
func TestStoreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
		shown  int
	}{
		"theirs":      {404, "<Error><Code>NoSuchBucket</Code><Message>gone</Message><Resource>/secret</Resource></Error>", "NoSuchBucket", 404},
		"ours":        {403, "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIDSTORE</AWSAccessKeyId></Error>", "InternalError", 500},
		"redirect":    {307, "<Error><Code>TemporaryRedirect</Code><Endpoint>store.example</Endpoint></Error>", "InternalError", 500},
		"no XML":      {503, "busy", "SlowDown", 503},
		"unavailable": {503, "<Error><Code>SlowDown</Code></Error>", "SlowDown", 503},
	} {
		t.Run(name, func(t *testing.T) {
			store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					w.Header().Set("Location", "http://store.example/")
					w.WriteHeader(c.status)
					io.WriteString(w, c.body)
				}
			}))
			t.Cleanup(store.Close)
			s := newStack(t, store.URL)
			answer, err := http.DefaultClient.Do(s.rawRequest(t, "GET", "/docs/k", "", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			if answer.StatusCode != c.shown || !strings.Contains(string(text), "<Code>"+c.want+"</Code>") {
				t.Errorf("got %d %s", answer.StatusCode, text)
			}
			if answer.Header.Get("Location") != "" || strings.Contains(string(text), "secret") || strings.Contains(string(text), storeID) || strings.Contains(string(text), "store.example") {
				t.Errorf("the answer tells of the store: %v %s", answer.Header, text)
			}
		})
	}
}

// BenchmarkListing is the gateway's part of a page of 1000 objects.
func BenchmarkListing(b *testing.B) {
	var page strings.Builder
	page.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><KeyCount>1000</KeyCount>`)
	for i := range 1000 {
		fmt.Fprintf(&page, `<Contents><Key>some/name/of/an-object-%04d</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>`+
			`<ETag>&#34;9b2cf535f27731c974343645a3985328&#34;</ETag><Size>%d</Size><Owner><ID>id</ID><DisplayName>minio</DisplayName></Owner>`+
			`<StorageClass>STANDARD</StorageClass></Contents>`, i, 136+i)
	}
	page.WriteString(`</ListBucketResult>`)
	b.ReportAllocs()
	for b.Loop() {
		if err := s3gateway.RewriteSizes(io.Discard, strings.NewReader(page.String())); err != nil {
			b.Fatal(err)
		}
	}
}
