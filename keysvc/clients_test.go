// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// env is that of a client that knows nothing but endpoint and credentials.
func (s *server) env() []string {
	return append(os.Environ(),
		"AWS_ACCESS_KEY_ID="+adminID, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_DEFAULT_REGION="+region,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "KMS_URL="+s.url)
}

const boto = `
import json, os, datetime, boto3
from botocore.exceptions import ClientError
c = boto3.client("kms", endpoint_url=os.environ["KMS_URL"])
m = c.create_key(Description="from boto3", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
key, arn = m["KeyId"], m["Arn"]
assert m["Enabled"] is True and m["MultiRegion"] is False and m["KeyState"] == "Enabled", m
assert isinstance(m["CreationDate"], datetime.datetime) and abs(m["CreationDate"].timestamp() - datetime.datetime.now().timestamp()) < 60
assert "DeletionDate" not in m
c.create_alias(AliasName="alias/boto", TargetKeyId=key)
e = c.encrypt(KeyId="alias/boto", Plaintext=b"secret \x00\xff", EncryptionContext={"b": "2", "a": "1"})
assert e["KeyId"] == arn and e["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
d = c.decrypt(CiphertextBlob=e["CiphertextBlob"], EncryptionContext={"a": "1", "b": "2"})
assert d["Plaintext"] == b"secret \x00\xff" and d["KeyId"] == arn
r = c.re_encrypt(CiphertextBlob=e["CiphertextBlob"], SourceEncryptionContext={"a": "1", "b": "2"}, DestinationKeyId=arn)
assert c.decrypt(CiphertextBlob=r["CiphertextBlob"])["Plaintext"] == b"secret \x00\xff"
g = c.generate_data_key(KeyId=arn, KeySpec="AES_256")
assert len(g["Plaintext"]) == 32 and c.decrypt(CiphertextBlob=g["CiphertextBlob"])["Plaintext"] == g["Plaintext"]
w = c.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=64)
assert "Plaintext" not in w and len(c.decrypt(CiphertextBlob=w["CiphertextBlob"])["Plaintext"]) == 64
assert len(c.generate_random(NumberOfBytes=7)["Plaintext"]) == 7
for i in range(4): c.create_key()
assert len([k for p in c.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}) for k in p["Keys"]]) == 5
assert [a["AliasName"] for p in c.get_paginator("list_aliases").paginate(KeyId=key) for a in p["Aliases"]] == ["alias/boto"]
assert c.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
def refused(code, message, call, **args):
    try:
        call(**args)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert e.response["Error"]["Message"] == message, e
        assert e.response["ResponseMetadata"]["RequestId"], e
        return e
    raise AssertionError("not refused: " + code)
refused("InvalidCiphertextException", "", c.decrypt, CiphertextBlob=e["CiphertextBlob"])
c.disable_key(KeyId=key)
refused("DisabledException", arn + " is disabled.", c.encrypt, KeyId=key, Plaintext=b"x")
c.enable_key(KeyId=key)
s = c.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
assert s["KeyState"] == "PendingDeletion" and s["KeyId"] == arn and s["PendingWindowInDays"] == 7
refused("KMSInvalidStateException", arn + " is pending deletion.", c.encrypt, KeyId=key, Plaintext=b"x")
try: c.encrypt(KeyId=key, Plaintext=b"x")
except c.exceptions.KMSInvalidStateException: pass
assert c.cancel_key_deletion(KeyId=key)["KeyId"] == arn
assert json.loads(c.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"][0]["Action"] == "kms:*"
print("all well")
`

func TestBoto3(t *testing.T) {
	s := newServer(t)
	cmd := exec.Command("/usr/bin/python3", "-c", boto)
	cmd.Env = s.env()
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "all well" {
		t.Errorf("%v\n%s", err, out)
	}
}

const awsCLI = `
set -eu
trap 'cat err >&2; echo "line $LINENO" >&2' ERR
aws() { /usr/bin/aws --endpoint-url "$KMS_URL" kms "$@"; }
key=$(aws create-key --description cli --query KeyMetadata.KeyId --output text)
aws create-alias --alias-name alias/cli --target-key-id "$key"
printf 'from a file' > plain
aws encrypt --key-id alias/cli --plaintext fileb://plain --encryption-context tenant=42 --query CiphertextBlob --output text | base64 -d > sealed
aws decrypt --ciphertext-blob fileb://sealed --encryption-context tenant=42 --query Plaintext --output text | base64 -d > opened
cmp plain opened
if aws decrypt --ciphertext-blob fileb://sealed 2> err; then exit 1; fi
grep -q 'InvalidCiphertextException' err
aws list-aliases --query 'Aliases[].AliasName' --output text | grep -qx alias/cli
aws disable-key --key-id "$key"
aws describe-key --key-id alias/cli --query KeyMetadata.KeyState --output text | grep -qx Disabled
if aws generate-data-key --key-id "$key" --key-spec AES_256 2> err; then exit 1; fi
grep -q "An error occurred (DisabledException) when calling the GenerateDataKey operation: arn:aws:kms:.*:key/$key is disabled." err
echo all well
`

func TestAWSCLI(t *testing.T) {
	s := newServer(t)
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte(awsCLI), 0o600))
	cmd := exec.Command("/bin/bash", script)
	cmd.Env, cmd.Dir = s.env(), filepath.Dir(script)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "all well" {
		t.Errorf("%v\n%s", err, out)
	}
}
