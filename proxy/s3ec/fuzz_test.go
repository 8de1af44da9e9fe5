// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"encoding/json"
	"errors"
	"maps"
	"testing"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

// ofFormat are the mapkeys that only one format has.
var ofFormat = map[string][]string{
	"V1": {"x-amz-key"},
	"V2": {"x-amz-key-v2", "x-amz-iv", "x-amz-matdesc", "x-amz-cek-alg", "x-amz-wrap-alg"},
	"V3": {"x-amz-3", "x-amz-c", "x-amz-d", "x-amz-i", "x-amz-w"},
}

// checkEnvelope checks what must hold for every envelope that is complete.
func checkEnvelope(t *testing.T, e *s3ec.Envelope) {
	t.Helper()
	if len(e.WrappedKey) == 0 || e.EncryptionContext == nil {
		t.Error("no wrapped key or no context")
	}
	alg, bound := e.EncryptionContext["aws:x-amz-cek-alg"]
	switch {
	case e.Committed() && alg != "115":
		t.Errorf("V3 with a data key for %q", alg)
	case !e.Committed() && bound && alg != "AES/GCM/NoPadding":
		t.Errorf("V2 with a data key for %q", alg)
	case !e.Committed() && !bound && e.EncryptionContext["kms_cmk_id"] == "":
		t.Error("V2 with a data key that is bound to nothing")
	}
	if _, err := e.WithInstruction([]byte(`{}`)); !errors.Is(err, s3ec.ErrRefused) {
		t.Errorf("a second place for the data key: %v", err)
	}
}

// FuzzParse reads metadata given as a JSON map. What parses is refused once it
// has a mapkey of another format, or lacks one of its own.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		b, err := json.Marshal(v.Metadata)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var metadata map[string]string
		if json.Unmarshal(raw, &metadata) != nil {
			return
		}
		envelope, needed, err := s3ec.Parse(metadata)
		if err != nil {
			if !errors.Is(err, s3ec.ErrRefused) {
				t.Errorf("%v does not wrap ErrRefused", err)
			}
			return
		}
		if needed != (envelope.WrappedKey == nil) || envelope.Bare() && !needed {
			t.Errorf("needed %v, bare %v, wrapped key %x", needed, envelope.Bare(), envelope.WrappedKey)
		}
		if needed {
			return
		}
		checkEnvelope(t, envelope)
		checkFormats(t, metadata, envelope.Committed())
	})
}

func checkFormats(t *testing.T, metadata map[string]string, committed bool) {
	t.Helper()
	own := map[bool]string{false: "V2", true: "V3"}[committed]
	for format, names := range ofFormat {
		if format == own {
			continue
		}
		for _, name := range names {
			mixed := maps.Clone(metadata)
			mixed[name] = "QUJD"
			if _, _, err := s3ec.Parse(mixed); !errors.Is(err, s3ec.ErrRefused) {
				t.Errorf("%s with %s: %v", own, name, err)
			}
		}
	}
}

// FuzzInstruction reads instruction files for an object that has nothing, and
// for one of V3. Neither reads as the other format.
func FuzzInstruction(f *testing.F) {
	bare, _, err := s3ec.Parse(nil)
	if err != nil {
		f.Fatal(err)
	}
	o := sealV3(f, random(32), random(60), nil, nil)
	for _, name := range []string{"x-amz-3", "x-amz-w", "x-amz-t"} {
		delete(o.metadata, name)
	}
	v3, _, err := s3ec.Parse(o.metadata)
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range vectors(f) {
		if v.Instruction != nil {
			f.Add([]byte(*v.Instruction))
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		ofBare, errBare := bare.WithInstruction(file)
		ofV3, errV3 := v3.WithInstruction(file)
		for _, err := range []error{errBare, errV3} {
			if err != nil && !errors.Is(err, s3ec.ErrRefused) {
				t.Errorf("%v does not wrap ErrRefused", err)
			}
		}
		if errBare == nil && errV3 == nil {
			t.Error("one file for both formats")
		}
		for committed, e := range map[bool]*s3ec.Envelope{false: ofBare, true: ofV3} {
			if e == nil {
				continue
			}
			checkEnvelope(t, e)
			if e.Committed() != committed || !e.Instructed {
				t.Errorf("committed %v, instructed %v", e.Committed(), e.Instructed)
			}
		}
		if bare.WrappedKey != nil || v3.WrappedKey != nil {
			t.Error("the envelope itself was changed")
		}
	})
}

// FuzzDecodeHeader undoes the encoding of S3, and leaves ASCII alone.
func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{`{"a":"b"}`, `{"ä":"€"}`, "=?UTF-8?Q?=C3=83=C2=9F?=", "\xff", "=?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		checkDoubleEncoding(t, value)
		got, err := s3ec.DecodeHeader(value)
		if err == nil && isASCII(value) && !hasEncodedWord(value) && got != value {
			t.Errorf("%q became %q", value, got)
		}
	})
}
