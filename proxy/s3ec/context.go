// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// Names that the client reserves in an encryption context.
const (
	contextCEKAlg = "aws:x-amz-cek-alg"
	contextKeyID  = "kms_cmk_id"
)

// contextV2 is the encryption context of a V2 envelope.
func contextV2(wrap, description string, decode decoder) (map[string]string, error) {
	switch wrap {
	case wrapKMSContext:
		return parseContext(description, decode, algGCM)
	case wrapKMS:
	default:
		return nil, refuse("data key wrapped by %q, not by a KMS", wrap)
	}
	context, err := parseMap(description, decode)
	if err != nil {
		return nil, err
	}
	if context[contextKeyID] == "" {
		return nil, refuse("a key of wrapping %q without %s", wrap, contextKeyID)
	}
	if _, bound := context[contextCEKAlg]; bound {
		return nil, refuse("wrapping %q with the %s of %q", wrap, contextCEKAlg, wrapKMSContext)
	}
	return context, nil
}

// contextV3 is the encryption context of a V3 envelope. An absent one is the
// empty map, which lacks the algorithm and so is refused.
func contextV3(value string, decode decoder) (map[string]string, error) {
	if value == "" {
		value = "{}"
	}
	return parseContext(value, decode, algCommitting)
}

// parseContext reads a context that names the content algorithm.
func parseContext(value string, decode decoder, alg string) (map[string]string, error) {
	context, err := parseMap(value, decode)
	if err != nil {
		return nil, err
	}
	if bound, ok := context[contextCEKAlg]; !ok || bound != alg {
		return nil, refuse("the data key was wrapped for %s %q, the content is %q", contextCEKAlg, bound, alg)
	}
	return context, nil
}

// parseMap reads a JSON map of strings. A name that is there twice is an error,
// since readers differ in which of the two they take.
func parseMap(value string, decode decoder) (map[string]string, error) {
	value, err := decode(value)
	if err != nil {
		return nil, refuse("a material description in an unknown encoding")
	}
	var parsed map[string]*string
	if err := json.Unmarshal([]byte(value), &parsed); err != nil || parsed == nil {
		return nil, refuse("a material description that is not a JSON map of strings")
	}
	context := make(map[string]string, len(parsed))
	for name, value := range parsed {
		if value == nil {
			return nil, refuse("a material description with a null")
		}
		context[name] = *value
	}
	return context, nil
}

// asIs is the decoder of instruction files.
func asIs(value string) (string, error) { return value, nil }

// decodeHeader undoes what S3 does to metadata outside of ASCII: it takes the
// bytes of its UTF-8 for characters of Latin-1, and returns those as an encoded
// word of RFC 2047. Stores that return the characters as they were are
// understood too. If one reading were taken for the other, the context would be
// wrong and KMS would refuse it.
func decodeHeader(value string) (string, error) {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		return "", err
	}
	var latin strings.Builder
	for _, r := range decoded {
		if r > 0xff {
			return decoded, nil
		}
		latin.WriteByte(byte(r))
	}
	if !utf8.ValidString(latin.String()) {
		return decoded, nil
	}
	return latin.String(), nil
}
