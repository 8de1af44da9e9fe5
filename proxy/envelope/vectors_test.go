// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/proxy/envelope"
)

type hexBytes []byte

func (h hexBytes) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var err error
	*h, err = hex.DecodeString(s)
	return err
}

// Vector is one case. Result is "valid", "refused" (ErrOpen) or "malformed"
// (ErrFormat).
type Vector struct {
	Comment string   `json:"comment"`
	Source  string   `json:"source,omitempty"`
	Clauses []string `json:"clauses"`
	Kind    string   `json:"kind"` // message, object or value
	Result  string   `json:"result"`

	// message: sealed is zlib-compressed.
	InputKey    hexBytes `json:"input_key,omitempty"`
	Context     hexBytes `json:"context,omitempty"`
	SealedZlib  hexBytes `json:"sealed_zlib,omitempty"`
	PlainLength int      `json:"plain_length,omitempty"`
	PlainSHA512 hexBytes `json:"plain_sha512,omitempty"`

	DataKey hexBytes `json:"data_key,omitempty"`
	Plain   hexBytes `json:"plain,omitempty"`

	// object
	Bucket            string            `json:"bucket,omitempty"`
	Key               string            `json:"key,omitempty"`
	KeyARN            string            `json:"key_arn,omitempty"`
	WrappedKey        hexBytes          `json:"wrapped_key,omitempty"`
	EncryptionContext map[string]string `json:"encryption_context,omitempty"`
	Checksums         map[string]string `json:"checksums,omitempty"`
	Header            string            `json:"header,omitempty"`
	Body              hexBytes          `json:"body,omitempty"`

	// stored: a whole stored object, which both decryptors open or refuse
	CustomerKey hexBytes `json:"customer_key,omitempty"`
	BodyZlib    hexBytes `json:"body_zlib,omitempty"`

	// value
	Mode    int               `json:"mode,omitempty"`
	KeyID   uint32            `json:"key_id,omitempty"`
	Binding *envelope.Binding `json:"binding,omitempty"`
	Value   hexBytes          `json:"value,omitempty"`
}

func loadVectors(t testing.TB) map[string]Vector {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	vectors := map[string]Vector{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v Vector
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		vectors[filepath.Base(file)] = v
	}
	return vectors
}

func TestVectors(t *testing.T) {
	for name, v := range loadVectors(t) {
		t.Run(name, func(t *testing.T) {
			var err error
			switch v.Kind {
			case "message":
				err = checkMessage(v)
			case "object":
				err = checkObject(v)
			case "stored":
				err = checkStored(t, v)
			case "value":
				err = checkValue(v)
			default:
				t.Fatalf("unknown kind %q", v.Kind)
			}
			if got := result(err); got != v.Result {
				t.Errorf("%s: %s (%v), want %s", v.Comment, got, err, v.Result)
			}
		})
	}
}

func result(err error) string {
	switch {
	case err == nil:
		return "valid"
	case errors.Is(err, envelope.ErrOpen):
		return "refused"
	case errors.Is(err, envelope.ErrFormat):
		return "malformed"
	}
	return "error"
}

func inflate(b []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// checkStored opens a stored object with the package, which the stand-alone decryptor
// has to agree with.
func checkStored(t *testing.T, v Vector) error {
	body, err := inflate(v.BodyZlib)
	if err != nil {
		return err
	}
	a := aloneObject{dataKey: v.DataKey, bucket: v.Bucket, name: v.Key, header: v.Header, body: body}
	if len(v.CustomerKey) > 0 {
		a.customerKey = v.CustomerKey
	}
	got, err := compareOpeners(t, a)
	if errors.Is(err, envelope.ErrCustomerKey) {
		return envelope.ErrOpen
	}
	if err != nil {
		return err
	}
	if sum := sha512.Sum512(got.content); len(got.content) != v.PlainLength || !bytes.Equal(sum[:], v.PlainSHA512) {
		return fmt.Errorf("opened %d bytes with SHA-512 %x", len(got.content), sum)
	}
	return nil
}

func checkMessage(v Vector) error {
	sealed, err := inflate(v.SealedZlib)
	if err != nil {
		return err
	}
	m, err := envelope.OpenMessage(v.InputKey, sealed, v.Context)
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(m.Open(bytes.NewReader(sealed)))
	if sum := sha512.Sum512(plain); len(plain) != v.PlainLength || (len(v.PlainSHA512) > 0 && !bytes.Equal(sum[:], v.PlainSHA512)) {
		return fmt.Errorf("opened %d bytes with SHA-512 %x", len(plain), sum)
	}
	if err != nil {
		return err
	}
	again, err := io.ReadAll(m.Seal(bytes.NewReader(plain)))
	if err == nil && !bytes.Equal(again, sealed) {
		err = errors.New("sealing gives other bytes")
	}
	return err
}

func checkObject(v Vector) error {
	h, err := envelope.ParseHeader(v.Header)
	if err != nil {
		return err
	}
	if h.String() != v.Header {
		return errors.New("the header is written differently")
	}
	m, checksums, err := h.Open(v.DataKey, v.Bucket, v.Key)
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(m.Open(bytes.NewReader(v.Body)))
	if err != nil {
		return err
	}
	if !bytes.Equal(plain, v.Plain) || h.KeyARN != v.KeyARN || !bytes.Equal(h.WrappedKey, v.WrappedKey) {
		return errors.New("other contents")
	}
	if diff := cmp.Diff(v.Checksums, checksums); diff != "" && len(v.Checksums)+len(checksums) > 0 {
		return errors.New(diff)
	}
	if diff := cmp.Diff(v.EncryptionContext, h.Context); diff != "" {
		return errors.New(diff)
	}
	// The same object ID and salt give the same header and body.
	if m, err = h.Seal(v.DataKey, v.Bucket, v.Key, v.Checksums); err != nil {
		return err
	}
	body, err := io.ReadAll(m.Seal(bytes.NewReader(plain)))
	if err == nil && (h.String() != v.Header || !bytes.Equal(body, v.Body)) {
		err = errors.New("sealing gives other bytes")
	}
	return err
}

func checkValue(v Vector) error {
	c, err := envelope.NewCodec(envelope.Mode(v.Mode), v.DataKey, v.KeyID, *v.Binding)
	if err != nil {
		return err
	}
	plain, err := c.Open(nil, v.Value)
	if err != nil {
		return err
	}
	if !bytes.Equal(plain, v.Plain) {
		return fmt.Errorf("opened %x", plain)
	}
	again, err := c.Seal(nil, plain)
	if err != nil {
		return err
	}
	if equal := bytes.Equal(again, v.Value); equal != (v.Mode == int(envelope.Equality)) {
		return fmt.Errorf("sealed again: %x", again)
	}
	if back, err := c.Open(nil, again); err != nil || !bytes.Equal(back, plain) {
		return fmt.Errorf("opened again: %x, %w", back, err)
	}
	return nil
}
