// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/memkey"
	"github.com/sidekey/sidekey/keysvc/store"
)

// The states of "Key states of AWS KMS keys" in AWS's developer guide, and one
// of ours: imported material has expired and is not erased yet.
var keyStates = []string{"Enabled", "Disabled", "PendingImport", "Expired", "PendingDeletion", "PendingReplicaDeletion"}

// Columns of the table in AWS's developer guide, in the order of keyStates.
var (
	inUse      = []string{"", isDisabled, isImporting, isImporting, isDeleting, isWaiting}
	anytime    = []string{"", "", "", "", "", ""}
	untilGone  = []string{"", "", "", "", isDeleting, isWaiting}
	switching  = []string{"", "", isImporting, isImporting, isDeleting, isWaiting}
	canceling  = []string{notDeleting, notDeleting, notDeleting, notDeleting, "", ""}
	notOurs    = slices.Repeat([]string{notImported}, 6)
	notTheirs  = slices.Repeat([]string{imported}, 6)
	nowhere    = []string{unsupported, isDisabled, "", "", isDeleting, isWaiting}
	notRotated = []string{imported, isDisabled, imported, imported, isDeleting, isWaiting}
	emptyQueue = []string{"KMSInvalidStateException: No available key material pending rotation for the key: ARN.",
		isDisabled, isImporting, isImporting, isDeleting, isWaiting}
)

const (
	unsupported = "UnsupportedOperationException"
	isDisabled  = "DisabledException: ARN is disabled."
	isImporting = "KMSInvalidStateException: ARN is pending import."
	isDeleting  = "KMSInvalidStateException: ARN is pending deletion."
	isWaiting   = "KMSInvalidStateException: ARN is pending replica deletion."
	notDeleting = "KMSInvalidStateException: ARN is not pending deletion."
	imported    = "UnsupportedOperationException: ARN origin is EXTERNAL which is not valid for this operation."
	notImported = "UnsupportedOperationException: ARN origin is AWS_KMS which is not valid for this operation."
)

// A stateCase is one row of the table. Words in capitals stand for what the
// test has made.
type stateCase struct {
	kinds    string // of keys, separated by blanks
	op, body string
	want     []string
}

var stateCases = []stateCase{
	{"sym ext", "Encrypt", `{"KeyId":"KEY","Plaintext":"eA=="}`, inUse},
	{"rsa", "Encrypt", `{"KeyId":"KEY","Plaintext":"eA==","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}`, inUse},
	{"sym ext", "Decrypt", `{"CiphertextBlob":"BLOB"}`, inUse},
	{"sym ext", "Decrypt", `{"CiphertextBlob":"BLOB","KeyId":"KEY"}`, inUse},
	{"rsa", "Decrypt", `{"CiphertextBlob":"BLOB","KeyId":"KEY","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}`, inUse},
	{"sym ext", "ReEncrypt", `{"CiphertextBlob":"BLOB","DestinationKeyId":"OTHER"}`, inUse},
	{"sym ext", "ReEncrypt", `{"CiphertextBlob":"THEIRS","DestinationKeyId":"KEY"}`, inUse},
	{"rsa", "ReEncrypt", `{"CiphertextBlob":"BLOB","SourceKeyId":"KEY","SourceEncryptionAlgorithm":"RSAES_OAEP_SHA_256","DestinationKeyId":"OTHER"}`, inUse},
	{"rsa", "ReEncrypt", `{"CiphertextBlob":"THEIRS","DestinationKeyId":"KEY","DestinationEncryptionAlgorithm":"RSAES_OAEP_SHA_1"}`, inUse},
	{"sym ext", "GenerateDataKey", `{"KeyId":"KEY","KeySpec":"AES_128"}`, inUse},
	{"sym ext", "GenerateDataKeyWithoutPlaintext", `{"KeyId":"KEY","NumberOfBytes":1}`, inUse},
	{"sym ext", "GenerateDataKeyPair", `{"KeyId":"KEY","KeyPairSpec":"ECC_NIST_P256"}`, inUse},
	{"sym ext", "GenerateDataKeyPairWithoutPlaintext", `{"KeyId":"KEY","KeyPairSpec":"ECC_NIST_P256"}`, inUse},
	{"sign", "Sign", `{"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256"}`, inUse},
	{"sign", "Verify", `{"KeyId":"KEY","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256","Signature":"BLOB"}`, inUse},
	{"sign agree rsa", "GetPublicKey", `{"KeyId":"KEY"}`, switching},
	{"mac", "GenerateMac", `{"KeyId":"KEY","Message":"eA==","MacAlgorithm":"HMAC_SHA_256"}`, inUse},
	{"mac", "VerifyMac", `{"KeyId":"KEY","Message":"eA==","MacAlgorithm":"HMAC_SHA_256","Mac":"BLOB"}`, inUse},
	{"agree", "DeriveSharedSecret", `{"KeyId":"KEY","KeyAgreementAlgorithm":"ECDH","PublicKey":"BLOB"}`, inUse},
	{"sym ext sign mac agree rsa", "CreateGrant", `{"KeyId":"KEY","GranteePrincipal":"` + appARN + `","Operations":["DescribeKey"]}`, inUse},
	{"sym ext", "ReplicateKey", `{"KeyId":"KEY","ReplicaRegion":"us-east-1"}`, inUse},
	{"sym ext", "UpdatePrimaryRegion", `{"KeyId":"KEY","PrimaryRegion":"ap-southeast-1"}`, inUse},

	{"sym ext sign", "DescribeKey", `{"KeyId":"KEY"}`, anytime},
	{"sym ext sign", "GetKeyPolicy", `{"KeyId":"KEY"}`, anytime},
	{"sym ext sign", "ListKeyPolicies", `{"KeyId":"KEY"}`, anytime},
	{"sym ext sign", "PutKeyPolicy", `{"KeyId":"KEY","Policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"kms:*\",\"Resource\":\"*\"}}","BypassPolicyLockoutSafetyCheck":true}`, anytime},
	{"sym ext sign", "ListGrants", `{"KeyId":"KEY"}`, anytime},
	{"sym ext sign", "RetireGrant", `{"KeyId":"ARN","GrantId":"GRANT"}`, anytime},
	{"sym ext sign", "RevokeGrant", `{"KeyId":"KEY","GrantId":"GRANT"}`, anytime},
	{"sym ext sign", "ListResourceTags", `{"KeyId":"KEY"}`, anytime},
	{"sym ext sign", "ListAliases", `{"KeyId":"KEY"}`, anytime},
	{"sym ext sign", "DeleteAlias", `{"AliasName":"alias/KEY"}`, anytime},
	{"sym ext sign", "UpdateAlias", `{"AliasName":"alias/KEY","TargetKeyId":"TWIN"}`, anytime},
	{"sym ext sign", "GetKeyLastUsage", `{"KeyId":"KEY"}`, anytime},
	{"sym sign mac", "GetKeyRotationStatus", `{"KeyId":"KEY"}`, anytime},
	{"ext", "GetKeyRotationStatus", `{"KeyId":"KEY"}`, notTheirs},
	{"sym ext", "ListKeyRotations", `{"KeyId":"KEY"}`, anytime},

	{"sym ext sign", "CreateAlias", `{"AliasName":"alias/NEW","TargetKeyId":"KEY"}`, untilGone},
	{"sym ext sign", "UpdateAlias", `{"AliasName":"alias/TWIN","TargetKeyId":"KEY"}`, untilGone},
	{"sym ext sign", "TagResource", `{"KeyId":"KEY","Tags":[{"TagKey":"a","TagValue":"b"}]}`, untilGone},
	{"sym ext sign", "UntagResource", `{"KeyId":"KEY","TagKeys":["a"]}`, untilGone},
	{"sym ext sign", "UpdateKeyDescription", `{"KeyId":"KEY","Description":""}`, untilGone},
	{"sym ext sign", "ScheduleKeyDeletion", `{"KeyId":"KEY"}`, untilGone},
	{"sym ext sign", "CancelKeyDeletion", `{"KeyId":"KEY"}`, canceling},
	{"sym ext sign", "EnableKey", `{"KeyId":"KEY"}`, switching},
	{"sym ext sign", "DisableKey", `{"KeyId":"KEY"}`, switching},

	{"sym", "EnableKeyRotation", `{"KeyId":"KEY"}`, inUse},
	{"sym", "DisableKeyRotation", `{"KeyId":"KEY"}`, inUse},
	{"sym", "RotateKeyOnDemand", `{"KeyId":"KEY"}`, inUse},
	{"ext", "EnableKeyRotation", `{"KeyId":"KEY"}`, notRotated},
	{"ext", "DisableKeyRotation", `{"KeyId":"KEY"}`, notRotated},
	{"ext", "RotateKeyOnDemand", `{"KeyId":"KEY"}`, emptyQueue},
	{"sign mac", "RotateKeyOnDemand", `{"KeyId":"KEY"}`, nowhere},
	{"sign mac", "EnableKeyRotation", `{"KeyId":"KEY"}`, nowhere},

	{"ext", "GetParametersForImport", `{"KeyId":"KEY","WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048"}`, untilGone},
	{"sym", "GetParametersForImport", `{"KeyId":"KEY","WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048"}`, notOurs},
	{"ext", "ImportKeyMaterial", `{"KeyId":"KEY","ImportToken":"TOKEN","EncryptedKeyMaterial":"WRAPPED","ExpirationModel":"KEY_MATERIAL_DOES_NOT_EXPIRE"}`, untilGone},
	{"sym", "ImportKeyMaterial", `{"KeyId":"KEY","ImportToken":"eA==","EncryptedKeyMaterial":"eA==","ExpirationModel":"KEY_MATERIAL_DOES_NOT_EXPIRE"}`, notOurs},
	{"ext", "DeleteImportedKeyMaterial", `{"KeyId":"KEY"}`, untilGone},
	{"sym", "DeleteImportedKeyMaterial", `{"KeyId":"KEY"}`, notOurs},
}

// TestKeyStateTable calls every operation that names a key, on keys of every
// kind that it is for, in every state.
func TestKeyStateTable(t *testing.T) {
	f := newStateFixture(t)
	missing := map[string]bool{}
	for _, name := range keysvc.OperationNames() {
		missing[name] = !strings.Contains(name, "CustomKeyStore") && !slices.Contains([]string{"CreateKey", "ListKeys", "GenerateRandom", "ListRetirableGrants"}, name)
	}
	for _, tc := range stateCases {
		delete(missing, tc.op)
		for _, kind := range strings.Fields(tc.kinds) {
			for i, state := range keyStates {
				if kind != "ext" && (state == "PendingImport" || state == "Expired") {
					continue
				}
				body, arn := f.prepare(kind, state, tc.body)
				got := f.s.post(tc.op, body)
				want := strings.ReplaceAll(tc.want[i], "ARN", arn)
				code, message, _ := strings.Cut(want, ": ")
				if want == "" && got.status == 200 || want != "" && got.code() == code && (message == "" || strings.HasSuffix(got.body, `"message":"`+message+`"}`)) {
					continue
				}
				t.Errorf("%s of %s in state %s: %d %s\nwant %s", tc.op, kind, state, got.status, got.body, want)
			}
		}
	}
	for op, is := range missing {
		if is {
			t.Errorf("%s is not in the table", op)
		}
	}
}

// stateFixture is a key of each kind, and its twin.
type stateFixture struct {
	s        *server
	fill     map[string]map[string]string // by kind
	saved    map[string]store.Key
	material *kms.ImportKeyMaterialInput
	count    int
}

func newStateFixture(t *testing.T) *stateFixture {
	s := newRegions(t)
	f := &stateFixture{s: s, fill: map[string]map[string]string{}, saved: map[string]store.Key{}}
	c := s.admin()
	other, _ := s.newKey()
	theirs, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &other, Plaintext: []byte("x")})
	must(t, err)
	for kind, in := range map[string]kms.CreateKeyInput{
		"sym": {}, "ext": {Origin: "EXTERNAL"},
		"rsa": {KeySpec: "RSA_2048", KeyUsage: "ENCRYPT_DECRYPT"}, "sign": {KeySpec: "ECC_NIST_P256", KeyUsage: "SIGN_VERIFY"},
		"mac": {KeySpec: "HMAC_256", KeyUsage: "GENERATE_VERIFY_MAC"}, "agree": {KeySpec: "ECC_NIST_P256", KeyUsage: "KEY_AGREEMENT"},
	} {
		id, arn := s.newMultiRegionKey(in)
		twin, _ := s.newMultiRegionKey(in)
		fill := map[string]string{"KEY": id, "ARN": arn, "TWIN": twin, "OTHER": other, "THEIRS": base64.StdEncoding.EncodeToString(theirs.CiphertextBlob)}
		if kind == "ext" {
			f.material = s.wrapFor(id, "RSAES_OAEP_SHA_256", "RSA_2048", randomBytes(32))
			must2(t)(c.ImportKeyMaterial(ctx, f.material))
			fill["TOKEN"] = base64.StdEncoding.EncodeToString(f.material.ImportToken)
			fill["WRAPPED"] = base64.StdEncoding.EncodeToString(f.material.EncryptedKeyMaterial)
		}
		fill["BLOB"] = base64.StdEncoding.EncodeToString(f.output(kind, id))
		f.s.replicate(id, thirdRegion)
		f.enableReplica(id)
		f.fill[kind] = fill
	}
	return f
}

// enableReplica is for UpdatePrimaryRegion, which no key without material can
// be moved by.
func (f *stateFixture) enableReplica(id string) {
	f.s.t.Helper()
	_, err := f.s.store.Update(ctx, store.Ref{Region: thirdRegion, ID: multiID(id)}, func(_ *store.Tx, k *store.Key) error {
		k.State = store.Enabled
		return nil
	})
	must(f.s.t, err)
}

// output is what a key of a kind is asked to take back.
func (f *stateFixture) output(kind, id string) []byte {
	c, t := f.s.admin(), f.s.t
	switch kind {
	case "sign":
		out, err := c.Sign(ctx, &kms.SignInput{KeyId: &id, Message: []byte("x"), SigningAlgorithm: "ECDSA_SHA_256"})
		must(t, err)
		return out.Signature
	case "mac":
		out, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &id, Message: []byte("x"), MacAlgorithm: "HMAC_SHA_256"})
		must(t, err)
		return out.Mac
	case "agree":
		_, public, err := memkey.Generate("ECC_NIST_P256")
		must(t, err)
		return public
	}
	in := &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")}
	if kind == "rsa" {
		in.EncryptionAlgorithm = types.EncryptionAlgorithmSpecRsaesOaepSha256
	}
	out, err := c.Encrypt(ctx, in)
	must(t, err)
	return out.CiphertextBlob
}

// prepare brings the key of a kind into a state, whatever a case before has
// done to it, and returns the body with its names filled in.
func (f *stateFixture) prepare(kind, state, body string) (filled, arn string) {
	t, c := f.s.t, f.s.admin()
	t.Helper()
	fill := maps.Clone(f.fill[kind])
	id, arn := fill["KEY"], fill["ARN"]
	f.set(id, "Enabled")
	if kind == "ext" && !strings.Contains(body, "ImportToken") {
		must2(t)(c.ImportKeyMaterial(ctx, f.material))
	}
	f.count++
	fill["NEW"] = "new-" + base64.RawURLEncoding.EncodeToString([]byte{byte(f.count >> 8), byte(f.count)})
	if strings.Contains(body, "GRANT") {
		fill["GRANT"], _ = f.s.grant(id, kms.CreateGrantInput{Operations: []types.GrantOperation{"DescribeKey"}})
	}
	for _, name := range []string{"KEY", "TWIN"} {
		if alias := "alias/" + fill[name]; strings.Contains(body, "alias/"+name) {
			target := fill[name]
			c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &alias})
			must2(t)(c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &target}))
		}
	}
	f.set(id, state)
	pairs := []string{}
	for _, name := range slices.SortedFunc(maps.Keys(fill), func(a, b string) int { return len(b) - len(a) }) {
		pairs = append(pairs, name+`"`, fill[name]+`"`)
	}
	return strings.NewReplacer(pairs...).Replace(body), arn
}

// set writes a state into the store, and undoes what other states and
// operations have left of theirs.
func (f *stateFixture) set(id, state string) {
	f.s.t.Helper()
	multi := multiID(id)
	if _, err := f.s.store.Key(ctx, store.Ref{Region: secondRegion, ID: multi}); err == nil {
		must(f.s.t, f.s.store.Discard(ctx, store.Ref{Region: secondRegion, ID: multi}))
	}
	_, err := f.s.store.Update(ctx, store.Ref{Region: region, ID: multi}, func(tx *store.Tx, k *store.Key) error {
		related, err := tx.Group(multi)
		for _, k := range related {
			k.PrimaryRegion = region
		}
		k.State, k.DeletionDate, k.PendingWindow, k.Rotation = store.State(state), time.Time{}, 0, store.Rotation{}
		for i := range k.Imports {
			k.Imports[i].ValidTo = time.Time{}
		}
		switch state {
		case "PendingDeletion":
			k.DeletionDate = time.Now().AddDate(0, 0, 7)
		case "PendingReplicaDeletion":
			k.PendingWindow = 7
		case "Expired":
			k.State = store.Enabled
			k.Imports[0].ValidTo = time.Now().Add(-time.Second)
		}
		return err
	})
	must(f.s.t, err)
}
