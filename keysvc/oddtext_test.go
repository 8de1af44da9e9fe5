// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/keysvc/store/storetest"
)

// TestOddText: names and markers of any text are refused in the form of AWS,
// also where PostgreSQL would not take the text.
func TestOddText(t *testing.T) {
	s := newServer(t)
	s.stop()
	s.cfg.Store = storetest.New(t).URL(t)
	s.start()
	id, _ := s.newKey()
	bodies := map[string][]string{
		"CreateKey":      {`{"Origin":"AWS_CLOUDHSM","CustomKeyStoreId":NAME}`, `{"Description":TEXT}`, `{"Tags":[{"TagKey":TEXT,"TagValue":TEXT}]}`},
		"GenerateRandom": {`{"NumberOfBytes":1,"CustomKeyStoreId":NAME}`},
		"TagResource":    {`{"KeyId":"` + id + `","Tags":[{"TagKey":TEXT,"TagValue":TEXT}]}`}, "UntagResource": {`{"KeyId":"` + id + `","TagKeys":[TEXT]}`},
		"UpdateKeyDescription": {`{"KeyId":"` + id + `","Description":TEXT}`},
		"ListGrants":           {`{"KeyId":"` + id + `","GrantId":TEXT}`}, "RevokeGrant": {`{"KeyId":"` + id + `","GrantId":TEXT}`}, "RetireGrant": {`{"KeyId":"` + id + `","GrantId":TEXT}`},
		"CreateAlias": {`{"AliasName":ALIAS,"TargetKeyId":"` + id + `"}`}, "UpdateAlias": {`{"AliasName":ALIAS,"TargetKeyId":"` + id + `"}`}, "DeleteAlias": {`{"AliasName":ALIAS}`},
		"Encrypt":               {`{"KeyId":ALIAS,"Plaintext":"eA=="}`, `{"KeyId":"` + id + `","Plaintext":"eA==","EncryptionContext":{TEXT:TEXT}}`},
		"DescribeKey":           {`{"KeyId":ALIAS}`, `{"KeyId":NAME}`},
		"ListRetirableGrants":   {`{"RetiringPrincipal":"` + appARN + `","Marker":TEXT}`},
		"UpdatePrimaryRegion":   {`{"KeyId":"` + id + `","PrimaryRegion":TEXT}`},
		"ReplicateKey":          {`{"KeyId":"` + id + `","ReplicaRegion":TEXT}`},
		"ListAliases":           {`{"KeyId":ALIAS}`},
		"CreateCustomKeyStore":  {`{"CustomKeyStoreName":TEXT,"CloudHsmClusterId":"cluster-abcdefghijk","TrustAnchorCertificate":TEXT,"KeyStorePassword":"1234567"}`},
		"ConnectCustomKeyStore": {`{"CustomKeyStoreId":NAME}`}, "DisconnectCustomKeyStore": {`{"CustomKeyStoreId":NAME}`}, "DeleteCustomKeyStore": {`{"CustomKeyStoreId":NAME}`},
		"UpdateCustomKeyStore":    {`{"CustomKeyStoreId":NAME,"NewCustomKeyStoreName":TEXT}`},
		"DescribeCustomKeyStores": {`{"CustomKeyStoreId":NAME}`, `{"CustomKeyStoreName":TEXT}`},
	}
	for _, text := range []string{"\x00", "a\x00b", "\uffff", "\ufeff", "é", "'; DROP TABLE keys; --", "%", "\\", "\u202e"} {
		fill := strings.NewReplacer("TEXT", quoted(t, text), "NAME", quoted(t, "cks-"+text), "ALIAS", quoted(t, "alias/"+text))
		for op, list := range bodies {
			for _, body := range list {
				if got := s.post(op, fill.Replace(body)); got.status >= 500 {
					t.Errorf("%s %s: %d %s", op, fill.Replace(body), got.status, got.body)
				}
			}
		}
		// Markers say what they are of in their first byte.
		for _, op := range []string{"ListKeys", "ListAliases", "ListGrants", "ListRetirableGrants", "ListResourceTags", "ListKeyRotations", "DescribeCustomKeyStores"} {
			for _, kind := range "katgsrR" {
				for _, last := range []string{text, "\xff", "\x80"} {
					marker := base64.RawURLEncoding.EncodeToString([]byte(string(kind) + last))
					body := `{"KeyId":"` + id + `","RetiringPrincipal":"` + appARN + `","Marker":"` + marker + `"}`
					if got := s.post(op, body); got.status >= 500 {
						t.Errorf("%s after %q: %d %s", op, string(kind)+last, got.status, got.body)
					}
				}
			}
		}
	}
}
