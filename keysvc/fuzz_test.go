// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"bytes"
	"errors"
	"reflect"
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

// FuzzInputs: whatever is sent to whichever operation, decoding and validation
// end with an input or an error of the API, of a bounded size.
func FuzzInputs(f *testing.F) {
	all := inputs()
	for _, seed := range [][2]string{
		{"Sign", `{"KeyId":"alias/a","Message":"bQ==","MessageType":"EXTERNAL_MU","SigningAlgorithm":"ML_DSA_SHAKE_256"}`},
		{"Verify", `{"KeyId":"a","Message":"","Signature":"eA==","SigningAlgorithm":"SYMMETRIC_DEFAULT","DryRun":false}`},
		{"GenerateMac", `{"KeyId":"a","Message":"bQ==","MacAlgorithm":"HMAC_SHA_1"}`},
		{"DeriveSharedSecret", `{"KeyId":"a","PublicKey":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE","KeyAgreementAlgorithm":"ECDH","Recipient":{"AttestationDocument":""}}`},
		{"CreateKey", `{"Tags":[{"TagKey":"k","TagValue":""},{"TagValue":null}],"Policy":"{}","KeySpec":"SM2"}`},
		{"CreateGrant", `{"KeyId":"a","Operations":["Decrypt",""],"Constraints":{"EncryptionContextSubset":{"a":"b"}},"GrantTokens":[""]}`},
		{"ImportKeyMaterial", `{"KeyId":"a","ImportToken":"eA==","EncryptedKeyMaterial":"eA==","ValidTo":1e9,"KeyMaterialDescription":"\u0000"}`},
		{"UntagResource", `{"KeyId":"a","TagKeys":["","k"]}`},
		{"ReplicateKey", `{"KeyId":"a","ReplicaRegion":"us-gov-west-1"}`},
		{"CreateCustomKeyStore", `{"CustomKeyStoreName":"s","XksProxyAuthenticationCredential":{"AccessKeyId":"A"},"KeyStorePassword":"x"}`},
		{"ListKeys", `{"Marker":"\u0000","Limit":0}`},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, op string, body []byte) {
		empty, ok := all[op]
		if !ok {
			return
		}
		in := reflect.New(empty.Type().Elem()).Interface()
		var api smithy.APIError
		err := keysvc.Decode(body, in)
		if err == nil {
			err = keysvc.Validate(in)
		}
		if err != nil && !errors.As(err, &api) {
			t.Fatalf("refused with %v", err)
		}
		if err != nil && len(api.ErrorMessage()) > 1<<20 {
			t.Errorf("%d bytes of request, %d of answer", len(body), len(api.ErrorMessage()))
		}
	})
}
