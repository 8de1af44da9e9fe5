// SPDX-License-Identifier: Apache-2.0

package envelope_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

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

// Vector is one case. Result is "valid", "refused" (ErrOpen or ErrCustomerKey) or
// "malformed" (ErrFormat).
type Vector struct {
	Comment string   `json:"comment"`
	Source  string   `json:"source,omitempty"`
	Clauses []string `json:"clauses"`
	Kind    string   `json:"kind"` // message, object, record or value
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
	CustomerKey       hexBytes          `json:"customer_key,omitempty"`
	Footer            map[string]string `json:"footer,omitempty"`
	// NotAsSealed says that the body is valid and has other bytes than a sealer writes.
	NotAsSealed bool `json:"not_as_sealed,omitempty"`

	// record: of the upload whose store's ID has that SHA-256
	UploadID hexBytes `json:"upload_id,omitempty"`
	Part     int      `json:"part,omitempty"`
	Record   string   `json:"record,omitempty"`

	// value
	Mode    int               `json:"mode,omitempty"`
	KeyID   uint32            `json:"key_id,omitempty"`
	Binding *envelope.Binding `json:"binding,omitempty"`
	Value   hexBytes          `json:"value,omitempty"`
	// Search is of mode 4.
	Search envelope.Search `json:"search,omitzero"`
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
			case "record":
				err = checkRecord(v)
			case "value":
				err = checkValue(v)
			default:
				t.Fatalf("unknown kind %q", v.Kind)
			}
			if got := result(err); got != v.Result {
				t.Errorf("%s: %s (%v), want %s", v.Comment, got, err, v.Result)
			}
			if err := checkAlone(v); err != nil {
				t.Errorf("%s: %v", v.Comment, err)
			}
		})
	}
}

func result(err error) string {
	switch {
	case err == nil:
		return "valid"
	case errors.Is(err, envelope.ErrOpen), errors.Is(err, envelope.ErrCustomerKey):
		return "refused"
	case errors.Is(err, envelope.ErrFormat):
		return "malformed"
	}
	return "error"
}

func (v Vector) sealed() ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(v.SealedZlib))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func checkMessage(v Vector) error {
	sealed, err := v.sealed()
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

// object is the vector's object; plain_length and plain_sha512 say what is in it
// where plain would be long.
func (v Vector) object() aloneObject {
	return aloneObject{dataKey: v.DataKey, customerKey: v.CustomerKey, bucket: v.Bucket, name: v.Key, header: v.Header, body: v.Body}
}

func (v Vector) isPlain(b []byte) bool {
	if len(v.PlainSHA512) == 0 {
		return bytes.Equal(b, v.Plain)
	}
	sum := sha512.Sum512(b)
	return len(b) == v.PlainLength && bytes.Equal(sum[:], v.PlainSHA512)
}

func checkObject(v Vector) error {
	opened, err := openWithPackage(v.object())
	if err != nil {
		return err
	}
	h, err := envelope.ParseHeader(v.Header)
	if err != nil {
		return err
	}
	if !v.isPlain(opened.content) || h.KeyARN != v.KeyARN || !bytes.Equal(h.WrappedKey, v.WrappedKey) {
		return errors.New("other contents")
	}
	for _, pair := range [][2]map[string]string{{v.Checksums, opened.entries}, {v.Footer, opened.footer}, {v.EncryptionContext, h.Context}} {
		if !maps.Equal(pair[0], pair[1]) {
			return fmt.Errorf("%v, want %v", pair[1], pair[0])
		}
	}
	return sealsTheSame(v, h, opened)
}

// sealsTheSame checks that the same IDs and salts give the same header and body.
func sealsTheSame(v Vector, h *envelope.Header, opened aloneOpened) error {
	h.CustomerKey = v.CustomerKey
	if _, _, err := h.Open(v.DataKey, v.Bucket, v.Key); err != nil { // takes a carried key
		return err
	}
	o, err := h.Seal(v.DataKey, v.Bucket, v.Key, opened.entries)
	if err != nil {
		return err
	}
	var body []byte
	switch h.Suite {
	case envelope.PlainSuite:
		body, err = io.ReadAll(o.Seal(bytes.NewReader(opened.content)))
	case envelope.WholeSuite:
		var footer []byte
		if footer, err = envelope.Footer(opened.footer); err == nil {
			body, err = io.ReadAll(o.Seal(bytes.NewReader(append(bytes.Clone(opened.content), footer...))))
		}
	case envelope.MultipartSuite:
		body, err = sealPartsAgain(o, v.Body, opened.content)
	}
	if err == nil && (h.String() != v.Header || bytes.Equal(body, v.Body) == v.NotAsSealed) {
		err = errors.New("sealing gives other bytes")
	}
	return err
}

func sealPartsAgain(o *envelope.Object, body, content []byte) ([]byte, error) {
	stored := int64(len(body))
	table, err := o.OpenTable(body[stored-envelope.TableTail(stored):], stored)
	if err != nil {
		return nil, err
	}
	var again []byte
	for _, part := range table.Parts {
		m, err := o.Part(part.Number, part.Salt)
		if err != nil {
			return nil, err
		}
		sealed, err := io.ReadAll(m.Seal(bytes.NewReader(content[:part.Size])))
		if err != nil {
			return nil, err
		}
		again, content = append(again, sealed...), content[part.Size:]
	}
	length := binary.BigEndian.Uint32(body[stored-4:])
	tail, err := o.SealTable(table, [24]byte(body[stored-8-int64(length):]))
	return append(again, tail...), err
}

// checkRecord opens the record of a part of the vector's object.
func checkRecord(v Vector) error {
	h, err := envelope.ParseHeader(v.Header)
	if err != nil {
		return err
	}
	o, _, err := h.Open(v.DataKey, v.Bucket, v.Key)
	if err != nil {
		return err
	}
	r, err := o.OpenPartRecord([32]byte(v.UploadID), v.Part, v.Record)
	if err != nil {
		return err
	}
	if plain := envelope.AppendRecord(r); !bytes.Equal(plain, v.Plain) {
		return fmt.Errorf("opened %x", plain)
	}
	return nil
}

// checkAlone opens a vector with the stand-alone opener.
func checkAlone(v Vector) error {
	switch v.Kind {
	case "message":
		sealed, err := v.sealed()
		if err != nil {
			return err
		}
		return aloneResult(v, func() ([]byte, error) { return openAlone(v.InputKey, v.Context, nil, sealed) })
	case "object":
		return aloneResult(v, func() ([]byte, error) {
			opened, err := v.object().open()
			return opened.content, err
		})
	case "record":
		return aloneResult(v, func() ([]byte, error) {
			h, err := parseAloneHeader(v.Header)
			if err != nil {
				return nil, err
			}
			k, err := h.open(v.object())
			if err != nil {
				return nil, err
			}
			r, err := openAloneRecord(k.input, v.UploadID, uint32(v.Part), v.Record)
			return r.plain, err
		})
	}
	return aloneResult(v, func() ([]byte, error) {
		b := aloneBinding{v.Binding.Tenant, v.Binding.Table, v.Binding.Column, v.Binding.Domain, v.Binding.Type,
			[]byte{v.Search.Prefix, v.Search.Suffix, v.Search.Min, v.Search.Max}}
		return openAloneValue(v.DataKey, uint64(v.KeyID), uint64(v.Mode), b, v.Value)
	})
}

// aloneResult compares what the stand-alone opener says with the vector.
func aloneResult(v Vector, open func() ([]byte, error)) error {
	plain, err := open()
	switch {
	case err != nil && !errors.Is(err, errAlone):
		return err
	case (err == nil) != (v.Result == "valid"):
		return fmt.Errorf("the stand-alone opener says %v", err)
	case err == nil && !v.isPlain(plain):
		return fmt.Errorf("the stand-alone opener opens %d bytes", len(plain))
	}
	return nil
}

func (v Vector) codec() (*envelope.Codec, error) {
	if v.Mode == int(envelope.Searchable) {
		return envelope.NewSearchCodec(v.Search, v.DataKey, v.KeyID, *v.Binding)
	}
	return envelope.NewCodec(envelope.Mode(v.Mode), v.DataKey, v.KeyID, *v.Binding)
}

func checkValue(v Vector) error {
	c, err := v.codec()
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
	if equal := bytes.Equal(again, v.Value); equal != (v.Mode == int(envelope.Equality) || v.Mode == int(envelope.Range)) {
		return fmt.Errorf("sealed again: %x", again)
	}
	if back, err := c.Open(nil, again); err != nil || !bytes.Equal(back, plain) {
		return fmt.Errorf("opened again: %x, %w", back, err)
	}
	return nil
}
