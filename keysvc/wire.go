// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The wire is AWS JSON 1.1: members by their exact names, blobs in standard
// base64, times as epoch seconds with a fraction, absent members left out.

// inputForm is made once because it remembers how each type is parsed.
var inputForm = json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(unmarshalEpoch), json.UnmarshalFromFunc(refuseNull)))

// decodeInput parses the JSON object in body into in, a pointer to one of the
// SDK's inputs. Members it does not know are ignored, as AWS does; duplicate
// names, invalid UTF-8 and wrong types are refused.
func decodeInput(body []byte, in any) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return apiError(codeSerialization, "The request body is not a JSON object")
	}
	err := json.Unmarshal(body, in, inputForm)
	var wrong *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return apiError(codeSerialization, "The member at %q has the wrong type or form", bounded(string(wrong.JSONPointer)))
	default:
		return apiError(codeSerialization, "The request body is not valid JSON")
	}
}

// refuseNull keeps null out of lists and encryption contexts, where it would
// be taken for the empty string. A null member is an absent one, and does not
// come here.
func refuseNull(dec *jsontext.Decoder, _ *string) error {
	if dec.PeekKind() == 'n' {
		return errors.New("want a string")
	}
	return errors.ErrUnsupported
}

func unmarshalEpoch(dec *jsontext.Decoder, t *time.Time) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '0' {
		return errors.New("want a number of seconds")
	}
	f, err := tok.Float()
	if err != nil {
		return err
	}
	seconds, fraction := math.Modf(f)
	if math.Abs(seconds) > 1<<40 {
		return errors.New("time out of range")
	}
	*t = time.Unix(int64(seconds), int64(fraction*1e9)).UTC()
	return nil
}

// An encoder appends the JSON of a value. Encoders append to one buffer that
// the caller zeroes: answers hold plaintext.
type encoder func(dst []byte, v reflect.Value) []byte

// encoderOf builds the encoder of a type of the SDK.
func encoderOf(t reflect.Type) encoder {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return appendEpoch
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return appendBlob
	}
	switch t.Kind() {
	case reflect.Pointer:
		elem := encoderOf(t.Elem())
		return func(dst []byte, v reflect.Value) []byte { return elem(dst, v.Elem()) }
	case reflect.String:
		return func(dst []byte, v reflect.Value) []byte { return appendString(dst, v.String()) }
	case reflect.Bool:
		return func(dst []byte, v reflect.Value) []byte { return strconv.AppendBool(dst, v.Bool()) }
	case reflect.Int32, reflect.Int64:
		return func(dst []byte, v reflect.Value) []byte { return strconv.AppendInt(dst, v.Int(), 10) }
	case reflect.Slice:
		return listEncoder(t)
	case reflect.Map:
		return appendPairs
	case reflect.Struct:
		return structEncoder(t)
	}
	panic("keysvc: no wire form for " + t.String())
}

func listEncoder(t reflect.Type) encoder {
	elem := encoderOf(t.Elem())
	return func(dst []byte, v reflect.Value) []byte {
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = elem(dst, v.Index(i))
		}
		return append(dst, ']')
	}
}

type field struct {
	index  int
	prefix string // the member's name, quoted, and the colon
	encode encoder
}

func structEncoder(t reflect.Type) encoder {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Anonymous || f.Name == "ResultMetadata" {
			continue
		}
		fields = append(fields, field{i, `"` + f.Name + `":`, encoderOf(f.Type)})
	}
	return func(dst []byte, v reflect.Value) []byte {
		dst = append(dst, '{')
		empty := len(dst)
		for _, f := range fields {
			member := v.Field(f.index)
			if absent(member) {
				continue
			}
			if len(dst) > empty {
				dst = append(dst, ',')
			}
			dst = f.encode(append(dst, f.prefix...), member)
		}
		return append(dst, '}')
	}
}

// appendPairs encodes a map of strings, which is what all maps of the API are.
func appendPairs(dst []byte, v reflect.Value) []byte {
	pairs := v.Interface().(map[string]string)
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(pairs)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		dst = appendString(dst, pairs[name])
	}
	return append(dst, '}')
}

// absent reports whether a member is left out: nil pointers, slices and maps,
// and enumerations without a value. Plain booleans and numbers are always there.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return v.IsNil()
	case reflect.String:
		return v.Len() == 0
	}
	return false
}

func appendEpoch(dst []byte, v reflect.Value) []byte {
	t := v.Interface().(time.Time)
	return strconv.AppendFloat(dst, float64(t.UnixMilli())/1e3, 'f', -1, 64)
}

func appendBlob(dst []byte, v reflect.Value) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
	return append(dst, '"')
}

// appendString replaces invalid UTF-8, which is all that AppendQuote reports.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
