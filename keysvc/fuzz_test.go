// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sidekey/sidekey/keysvc"
)

// FuzzBlob: whatever parses appends to the same bytes, and its additional data
// is that of the reference.
func FuzzBlob(f *testing.F) {
	for _, v := range loadVectors(f) {
		f.Add(unhex(f, v.Blob))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		again, err := keysvc.ReparseBlob(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(again, raw) {
			t.Errorf("appended again: %x", again)
		}
		pairs := map[string]string{"k": string(raw[:3]), string(raw[3:5]): ""}
		aad, err := keysvc.BlobAAD(raw, pairs)
		if err != nil || !bytes.Equal(aad, refAAD(raw, pairs)) {
			t.Errorf("additional data %x, %v", aad, err)
		}
	})
}

// FuzzDecode: the decoder takes any body without a panic, refuses with errors
// of the API only, and what it took survives the way through the encoder.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, ``, `[]`, `{"KeyId":"a","Plaintext":"aGk=","EncryptionContext":{"a":"b"},"GrantTokens":["x"],"DryRun":true}`,
		`{"KeyId":"a","KeyId":"b"}`, `{"KeyId":null}`, `{"Plaintext":"a"}`, `{"Other":[1,{"x":1e400}]}`, "{\"KeyId\":\"\xff\"}",
		`{"EncryptionAlgorithm":"SYMMETRIC_DEFAULT","KeyId":"\ud800"}`, `{"KeyId":1}`, `{} {}`, strings.Repeat(`{"a":`, 20),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in kms.EncryptInput
		err := keysvc.Decode(bytes.Clone(body), &in)
		var api smithy.APIError
		if err != nil && (!errors.As(err, &api) || api.ErrorCode() != "SerializationException") {
			t.Fatalf("refused with %v", err)
		}
		if err != nil {
			return
		}
		if err := keysvc.Validate(&in); err != nil && !errors.As(err, &api) {
			t.Fatalf("invalid with %v", err)
		}
		wire := struct {
			KeyId, Other        *string
			Plaintext           []byte
			EncryptionAlgorithm types.EncryptionAlgorithmSpec
			GrantTokens         []string
		}{in.KeyId, nil, in.Plaintext, in.EncryptionAlgorithm, in.GrantTokens}
		encoded := keysvc.Encode(&wire)
		var again kms.EncryptInput
		if err := keysvc.Decode(encoded, &again); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		in.DryRun, in.EncryptionContext = nil, nil
		if diff := cmp.Diff(in, again, cmpopts.IgnoreUnexported(kms.EncryptInput{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("decoded, encoded, decoded (-once +twice):\n%s", diff)
		}
	})
}
