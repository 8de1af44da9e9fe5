// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// How an expectation is known.
const (
	recorded   = "recorded"   // AWS's own answer, kept by somebody
	measured   = "measured"   // somebody's test says that AWS answers so
	documented = "documented" // AWS's documentation
	guessed    = "guessed"    // ours; AWS's own text is not known
)

// An answerCase is one request and AWS's answer to it.
//
// In both, {name} is the ID of a key of answerKeys, {name.arn} its ARN, {p} the
// beginning of an ARN up to the resource, {blob name} a ciphertext of the key,
// {bytes 5} five bytes in base64, {text 5} five letters. Further ones are in
// answerMakers.
//
// want is JSON with exactly the members of the answer, where "*" stands for any
// value; or "" for a body without bytes; or the code of an error alone for one
// without a message; or "Code: message". A * at the end of the message stands
// for any rest; at the end of the code, for any message or none.
type answerCase struct {
	known string
	op    string
	in    string
	want  string
	first []string // requests that must succeed before, "Operation {...}"
	there bool     // ask in the other region
}

// answerKeys are made when a case names them: the input of CreateKey, then
// operations on the key.
var answerKeys = map[string][]string{
	"sym":           {`{}`},
	"other":         {`{}`},
	"disabled":      {`{}`, "DisableKey"},
	"deleting":      {`{}`, "ScheduleKeyDeletion"},
	"rsa":           {`{"KeySpec":"RSA_2048","KeyUsage":"ENCRYPT_DECRYPT"}`},
	"rsa3072":       {`{"KeySpec":"RSA_3072","KeyUsage":"ENCRYPT_DECRYPT"}`},
	"rsa4096":       {`{"KeySpec":"RSA_4096","KeyUsage":"ENCRYPT_DECRYPT"}`},
	"rsa-disabled":  {`{"KeySpec":"RSA_2048","KeyUsage":"ENCRYPT_DECRYPT"}`, "DisableKey"},
	"sign":          {`{"KeySpec":"RSA_2048","KeyUsage":"SIGN_VERIFY"}`},
	"sign-disabled": {`{"KeySpec":"RSA_2048","KeyUsage":"SIGN_VERIFY"}`, "DisableKey"},
	"ecc":           {`{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}`},
	"ecc-deleting":  {`{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}`, "ScheduleKeyDeletion"},
	"ed":            {`{"KeySpec":"ECC_NIST_EDWARDS25519","KeyUsage":"SIGN_VERIFY"}`},
	"mldsa":         {`{"KeySpec":"ML_DSA_44","KeyUsage":"SIGN_VERIFY"}`},
	"hmac":          {`{"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}`},
	"hmac224":       {`{"KeySpec":"HMAC_224","KeyUsage":"GENERATE_VERIFY_MAC"}`},
	"hmac-disabled": {`{"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}`, "DisableKey"},
	"hmac-deleting": {`{"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}`, "ScheduleKeyDeletion"},
	"agree":         {`{"KeySpec":"ECC_NIST_P256","KeyUsage":"KEY_AGREEMENT"}`},
	"ext":           {`{"Origin":"EXTERNAL"}`},
	"ext-deleting":  {`{"Origin":"EXTERNAL"}`, "ScheduleKeyDeletion"},
	"ext-hmac":      {`{"Origin":"EXTERNAL","KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}`},
	"ext-rsa":       {`{"Origin":"EXTERNAL","KeySpec":"RSA_2048","KeyUsage":"SIGN_VERIFY"}`},
	"mrk":           {`{"MultiRegion":true}`},
	"mrk-hmac":      {`{"MultiRegion":true,"KeySpec":"HMAC_256","KeyUsage":"GENERATE_VERIFY_MAC"}`},
	"mrk-disabled":  {`{"MultiRegion":true}`, "DisableKey"},
	"p384":          {`{"KeySpec":"ECC_NIST_P384","KeyUsage":"SIGN_VERIFY"}`},
	"p521":          {`{"KeySpec":"ECC_NIST_P521","KeyUsage":"SIGN_VERIFY"}`},
	"k1":            {`{"KeySpec":"ECC_SECG_P256K1","KeyUsage":"SIGN_VERIFY"}`},
	"hmac384":       {`{"KeySpec":"HMAC_384","KeyUsage":"GENERATE_VERIFY_MAC"}`},
	"hmac512":       {`{"KeySpec":"HMAC_512","KeyUsage":"GENERATE_VERIFY_MAC"}`},
	"agree384":      {`{"KeySpec":"ECC_NIST_P384","KeyUsage":"KEY_AGREEMENT"}`},
	"ext-ecc":       {`{"Origin":"EXTERNAL","KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}`},
	"ext-in":        {`{"Origin":"EXTERNAL"}`},
	"ext-full":      {`{"Origin":"EXTERNAL"}`},
	"ext-expiring":  {`{"Origin":"EXTERNAL"}`},
	"tagged":        {`{}`},
	"described":     {`{}`},
	"rotating":      {`{}`},
	"rotated":       {`{}`},
	"granted":       {`{}`},
	"ruled":         {`{}`},
	"unused":        {`{}`},
}

func TestAnswersAreThoseOfAWS(t *testing.T) {
	a := &answers{s: startKMS(t, raceBinary, false, twoRegions...), keys: map[string]string{}, made: map[string]string{}}
	for i, c := range slices.Concat(answerCases(), moreAnswers()) {
		t.Run(fmt.Sprintf("%03d/%s", i, c.op), func(t *testing.T) {
			for _, request := range c.first {
				op, in, _ := strings.Cut(request, " ")
				if got := a.call(t, op, a.fill(t, in)); got.status != http.StatusOK {
					t.Fatalf("%s: %s", request, got)
				}
			}
			region := kmsRegion
			if c.there {
				region = kmsOtherRegion
			}
			got := a.callIn(t, region, c.op, a.fill(t, c.in))
			if problem := got.differs(a.fill(t, c.want)); problem != "" {
				t.Errorf("%s (%s)\n%.300s\n got: %s\nwant: %s\n%s", c.op, c.known, c.in, got, a.fill(t, c.want), problem)
			}
		})
	}
}

// answers asks a service and remembers the keys it has made for cases.
type answers struct {
	s    *kmsService
	keys map[string]string // IDs by name
	made map[string]string // what answerMakers have made and remember
}

// key is the ID of a key of answerKeys.
func (a *answers) key(t *testing.T, name string) string {
	t.Helper()
	if id, ok := a.keys[name]; ok {
		return id
	}
	steps, ok := answerKeys[name]
	if !ok {
		t.Fatalf("no key is called %s", name)
	}
	var made struct{ KeyMetadata struct{ KeyId string } }
	answer := a.call(t, "CreateKey", steps[0])
	if err := json.Unmarshal(answer.body, &made); err != nil || made.KeyMetadata.KeyId == "" {
		t.Fatalf("making the key %s: %s", name, answer)
	}
	id := made.KeyMetadata.KeyId
	for _, op := range steps[1:] {
		if answer := a.call(t, op, `{"KeyId":"`+id+`"}`); answer.status != http.StatusOK {
			t.Fatalf("making the key %s: %s: %s", name, op, answer)
		}
	}
	a.keys[name] = id
	return id
}

var placeholder = regexp.MustCompile(`\{([a-z0-9-]+)(\.arn| [a-z0-9-]+)?\}`)

// fill puts what placeholders stand for into a request or an answer.
func (a *answers) fill(t *testing.T, text string) string {
	t.Helper()
	return placeholder.ReplaceAllStringFunc(text, func(all string) string {
		match := placeholder.FindStringSubmatch(all)
		name, rest := match[1], strings.TrimSpace(match[2])
		n, _ := strconv.Atoi(rest)
		switch {
		case answerMakers()[name] != nil:
			return answerMakers()[name](t, a, rest)
		case name == "p":
			return "arn:aws:kms:" + kmsRegion + ":" + kmsAccount + ":"
		case name == "there":
			return kmsOtherRegion
		case name == "account":
			return kmsAccount
		case name == "bytes":
			return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, n))
		case name == "text":
			return strings.Repeat("a", n)
		case name == "blob":
			return a.blob(t, rest)
		case rest == ".arn":
			return keyARN(kmsRegion, a.key(t, name))
		default:
			return a.key(t, name)
		}
	})
}

// blob is a ciphertext of x under a key.
func (a *answers) blob(t *testing.T, name string) string {
	t.Helper()
	var sealed struct{ CiphertextBlob string }
	algorithm := ""
	if strings.HasPrefix(name, "rsa") {
		algorithm = `,"EncryptionAlgorithm":"RSAES_OAEP_SHA_256"`
	}
	answer := a.call(t, "Encrypt", `{"KeyId":"`+a.key(t, name)+`","Plaintext":"eA=="`+algorithm+`}`)
	if err := json.Unmarshal(answer.body, &sealed); err != nil || sealed.CiphertextBlob == "" {
		t.Fatalf("a ciphertext of %s: %s", name, answer)
	}
	return sealed.CiphertextBlob
}

// kmsAnswer is an answer as it came.
type kmsAnswer struct {
	status int
	body   []byte
}

func (r kmsAnswer) String() string { return fmt.Sprintf("%d %.1500s", r.status, r.body) }

func (a *answers) call(t *testing.T, op, in string) kmsAnswer {
	t.Helper()
	return a.callIn(t, kmsRegion, op, in)
}

// callIn sends a request that no SDK has looked at.
func (a *answers) callIn(t *testing.T, region, op, in string) kmsAnswer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.s.endpoint()+"/", strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "TrentService."+op)
	digest := sha256.Sum256([]byte(in))
	admin := aws.Credentials{AccessKeyID: "AKIADEVADMIN00000000", SecretAccessKey: shared.secret(t, "admin")}
	if err := v4.NewSigner().SignHTTP(t.Context(), admin, request, hex.EncodeToString(digest[:]), "kms", region, time.Now()); err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Header.Get("X-Amzn-Requestid") == "" || answer.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("%s: headers %v", op, answer.Header)
	}
	return kmsAnswer{answer.StatusCode, body}
}

// differs says in what an answer is not what was wanted, or "".
func (r kmsAnswer) differs(want string) string {
	if want == "" || strings.HasPrefix(want, "{") {
		return r.differsFromSuccess(want)
	}
	code, message, hasMessage := strings.Cut(want, ": ")
	var got map[string]any
	if err := json.Unmarshal(r.body, &got); err != nil {
		return "not JSON: " + err.Error()
	}
	code, anyMessage := strings.CutSuffix(code, "*")
	if r.status != http.StatusBadRequest || got["__type"] != code {
		return "another status or code"
	}
	text, has := got["message"]
	switch {
	case anyMessage:
		return ""
	case !hasMessage && has:
		return "a message, where AWS has none"
	case hasMessage && !likeMessage(message, text):
		return "another message"
	}
	return ""
}

// likeMessage compares a message with the one wanted, of which * at the end
// stands for any rest.
func likeMessage(want string, got any) bool {
	text, _ := got.(string)
	if beginning, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(text, beginning)
	}
	return text == want
}

func (r kmsAnswer) differsFromSuccess(want string) string {
	if r.status != http.StatusOK {
		return "not a success"
	}
	if want == "" {
		if len(r.body) > 0 {
			return "a body, where AWS has none"
		}
		return ""
	}
	var wanted, got any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		return "the test's own JSON: " + err.Error()
	}
	if err := json.Unmarshal(r.body, &got); err != nil {
		return "not JSON: " + err.Error()
	}
	return jsonDiffers("answer", wanted, got)
}

// jsonDiffers compares JSON values; "*" in the wanted one is any value.
func jsonDiffers(path string, want, got any) string {
	if want == "*" {
		return ""
	}
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if names, wanted := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !ok || !slices.Equal(names, wanted) {
			return fmt.Sprintf("%s has the members %v, want %v", path, names, wanted)
		}
		for name := range want {
			if problem := jsonDiffers(path+"."+name, want[name], got[name]); problem != "" {
				return problem
			}
		}
		return ""
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
		for i := range want {
			if problem := jsonDiffers(fmt.Sprintf("%s[%d]", path, i), want[i], got[i]); problem != "" {
				return problem
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s is %v, want %v", path, got, want)
	}
	return ""
}
