// SPDX-License-Identifier: Apache-2.0

package s3ec_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/proxy/s3ec"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var err error
	*h, err = hex.DecodeString(s)
	return err
}

// Vector is one case. Result is "valid", "refused" (ErrRefused, before the data
// key is needed) or "unauthentic" (ErrOpen). Those without a source were made
// from the specification by another implementation of HKDF and GCM.
type Vector struct {
	Comment     string            `json:"comment"`
	Source      string            `json:"source"`
	Result      string            `json:"result"`
	Metadata    map[string]string `json:"metadata"`
	Instruction *string           `json:"instruction"`
	DataKey     hexBytes          `json:"data_key"`
	Sealed      hexBytes          `json:"sealed"`
	Plain       hexBytes          `json:"plain"`
	WrappedKey  hexBytes          `json:"wrapped_key"`
	Context     map[string]string `json:"context"`
}

func vectors(t testing.TB) map[string]Vector {
	t.Helper()
	paths, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string]Vector{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var v Vector
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = v
	}
	return all
}

// parse reads metadata and, as a gateway would, the instruction file that is
// needed. One that is there though nobody needs it is given too.
func parse(metadata map[string]string, instruction *string) (*s3ec.Envelope, error) {
	envelope, needed, err := s3ec.Parse(metadata)
	switch {
	case err != nil:
		return nil, err
	case instruction != nil:
		return envelope.WithInstruction([]byte(*instruction))
	case needed:
		return nil, errors.New("an instruction file is needed and there is none")
	}
	return envelope, nil
}

// open is everything that follows the metadata.
func open(t testing.TB, envelope *s3ec.Envelope, dataKey, sealed []byte) ([]byte, error) {
	t.Helper()
	opener, err := s3ec.NewOpener(dataKey, envelope, int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	verified, err := opener.Verify(t.Context(), bytesOf(sealed))
	if err != nil {
		return nil, err
	}
	body, err := verified.Open(t.Context(), bytesOf(sealed), 0, verified.Size())
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// bytesOf is a store that holds sealed.
func bytesOf(sealed []byte) s3ec.Source {
	return func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		if offset == 0 && length == int64(len(sealed)) {
			return io.NopCloser(bytes.NewReader(sealed)), nil
		}
		return io.NopCloser(bytes.NewReader(sealed[offset : offset+length])), nil
	}
}

func TestVectors(t *testing.T) {
	for name, v := range vectors(t) {
		t.Run(name, func(t *testing.T) {
			envelope, err := parse(v.Metadata, v.Instruction)
			if err == nil {
				_, err = envelope.Size(int64(len(v.Sealed)))
			}
			if v.Result == "refused" {
				if !errors.Is(err, s3ec.ErrRefused) {
					t.Fatalf("%s: got %v, want ErrRefused", v.Comment, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", v.Comment, err)
			}
			plain, err := open(t, envelope, v.DataKey, v.Sealed)
			switch v.Result {
			case "valid":
				checkValid(t, v, envelope, plain, err)
			case "unauthentic":
				if err != s3ec.ErrOpen || len(plain) != 0 {
					t.Errorf("%s: got %d bytes, %v, want ErrOpen itself", v.Comment, len(plain), err)
				}
			default:
				t.Fatalf("result %q", v.Result)
			}
		})
	}
}

func checkValid(t *testing.T, v Vector, envelope *s3ec.Envelope, plain []byte, err error) {
	t.Helper()
	if err != nil || !bytes.Equal(plain, v.Plain) {
		t.Errorf("%s: got %x, %v, want %x", v.Comment, plain, err, v.Plain)
	}
	if !bytes.Equal(envelope.WrappedKey, v.WrappedKey) {
		t.Errorf("wrapped key %x, want %x", envelope.WrappedKey, v.WrappedKey)
	}
	if !maps.Equal(envelope.EncryptionContext, v.Context) {
		t.Errorf("context %v, want %v", envelope.EncryptionContext, v.Context)
	}
	if _, v3 := v.Metadata["x-amz-c"]; envelope.Committed() != v3 {
		t.Errorf("committed: %v, want %v", envelope.Committed(), v3)
	}
	if envelope.Instructed != (v.Instruction != nil) {
		t.Errorf("instructed: %v", envelope.Instructed)
	}
}
