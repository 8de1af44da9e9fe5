// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func (s *stack) options(t *testing.T, target string, header map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodOptions, s.endpoint+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

// TestPreflight asks as a browser does, without a signature.
func TestPreflight(t *testing.T) {
	s := newMinIOStack(t)
	ask := map[string]string{"Origin": "https://app.test", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,x-amz-date"}
	answer := s.options(t, "/docs/k", ask)
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != "https://app.test" || answer.Header.Get("Access-Control-Allow-Methods") == "" {
		t.Errorf("got %s %v", answer.Status, answer.Header)
	}
	if answer.Header.Get("X-Amz-Id-2") != "" || answer.Header.Get("Server") != "" {
		t.Errorf("headers of the store's own went on: %v", answer.Header)
	}
	s.put(t, "k", content(100))
	r := s.rawRequest(t, "GET", "/docs/k", "", map[string]string{"Origin": "https://app.test"})
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != "https://app.test" || !strings.Contains(strings.Join(answer.Header["Vary"], ","), "Origin") {
		t.Errorf("GET with an origin: %s %v", answer.Status, answer.Header)
	}
	r = s.rawRequest(t, "GET", "/docs/absent", "", map[string]string{"Origin": "https://app.test"})
	if answer, err = http.DefaultClient.Do(r); err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound || answer.Header.Get("Access-Control-Allow-Origin") != "https://app.test" {
		t.Errorf("an error with an origin: %s %v", answer.Status, answer.Header)
	}
	for target, header := range map[string]map[string]string{
		"/docs/k":              {"Access-Control-Request-Method": "PUT"},
		"/docs/j":              {"Origin": "https://app.test"},
		"/":                    ask,
		"/minio/admin/v3/info": ask,
		"/docs/%ff":            ask,
		"/docs/" + strings.Repeat("long/key/", 200): ask,
	} {
		if answer := s.options(t, target, header); answer.StatusCode/100 != 4 {
			t.Errorf("%s: got %s", target, answer.Status)
		}
	}
}

// TestPreflightHasNoCredentials looks at what reaches the store of a request that
// nobody has signed.
func TestPreflightHasNoCredentials(t *testing.T) {
	h := newHostile(t)
	status := http.StatusOK
	var seen *http.Request
	h.answers(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Access-Control-Allow-Origin", "https://app.test")
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Location", "http://elsewhere")
		w.WriteHeader(status)
		if status < 500 {
			io.WriteString(w, "<Error><Code>AccessForbidden</Code><Message>of "+r.Host+"</Message></Error>")
		}
	})
	ask := map[string]string{
		"Origin": "https://app.test", "Access-Control-Request-Method": "GET", "X-Amz-Acl": "public-read",
		"Authorization": "AWS4-HMAC-SHA256 x", "Cookie": "c", "X-Minio-Extract": "true", "X-Forwarded-For": "f",
	}
	for _, c := range [][2]int{{200, 200}, {204, 200}, {403, 403}, {404, 403}, {301, 403}, {400, 403}, {500, 500}, {503, 503}} {
		status = c[0]
		answer := h.options(t, "/docs/a%2Fb%20c?uploads&x=y", ask)
		if answer.StatusCode != c[1] {
			t.Errorf("%d of the store: got %s", c[0], answer.Status)
		}
		if answer.Header.Get("Set-Cookie") != "" || answer.Header.Get("Location") != "" || c[1] != 200 && c[1] < 500 && answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%d of the store: got %v", c[0], answer.Header)
		}
		if seen.Method != "OPTIONS" || seen.RequestURI != "/docs/a/b%20c" || seen.ContentLength > 0 {
			t.Errorf("the store saw %s %s", seen.Method, seen.RequestURI)
		}
		for name := range seen.Header {
			switch name {
			case "Origin", "Access-Control-Request-Method", "User-Agent", "Accept-Encoding":
			default:
				t.Errorf("the store saw the header %s", name)
			}
		}
	}
}
