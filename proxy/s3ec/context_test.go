// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"mime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func hasEncodedWord(s string) bool { return strings.Contains(s, "=?") }

// doubleEncode is what S3 does to metadata outside of ASCII.
func doubleEncode(value string) string {
	var latin strings.Builder
	for _, b := range []byte(value) {
		latin.WriteRune(rune(b))
	}
	return mime.QEncoding.Encode("UTF-8", latin.String())
}

func checkDoubleEncoding(t *testing.T, value string) {
	t.Helper()
	if !utf8.ValidString(value) || isASCII(value) || hasEncodedWord(value) {
		return
	}
	got, err := s3ec.DecodeHeader(doubleEncode(value))
	if err != nil || got != value {
		t.Errorf("%q: got %q, %v", value, got, err)
	}
}

func TestDecodeHeader(t *testing.T) {
	for value, want := range map[string]string{
		`{"a":"b"}`:   `{"a":"b"}`,
		`{"ä":"€ 1"}`: `{"ä":"€ 1"}`, // as MinIO returns it
		`{"ä":"b"}`:   `{"ä":"b"}`,
		"=?UTF-8?Q?{=22stra=C3=83=C2=9Fe=22:=22=C3=A2=C2=82=C2=AC=22}?=": `{"straße":"€"}`,
		"=?UTF-8?B?eyJhIjoiw4PCnyJ9?=":                                   `{"a":"ß"}`,
	} {
		if got, err := s3ec.DecodeHeader(value); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", value, got, err, want)
		}
	}
	for _, value := range []string{`{"ß":"ä"}`, `{"日本":"語"}`, strings.Repeat("ü", 100), `{"key":"a ä  b"}`} {
		checkDoubleEncoding(t, value)
	}
	if _, err := s3ec.DecodeHeader("=?KOI8-R?Q?=C1?="); err == nil {
		t.Error("an unknown character set is decoded")
	}
}
