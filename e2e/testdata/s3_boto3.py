# SPDX-License-Identifier: Apache-2.0
# An application that uses boto3: every call here is plain S3.
import hashlib, io, os, sys, urllib.request
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

canary = os.environ["CANARY"]
s3 = boto3.Session(profile_name="app").client(
    "s3", endpoint_url=os.environ["S3_ENDPOINT"], config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
bucket = "boto3-" + canary[6:20]
s3.create_bucket(Bucket=bucket)
body = (canary * 3000).encode()
put = s3.put_object(Bucket=bucket, Key="dir/ä b+c%2F.txt", Body=body, Metadata={"owner": "me"},
                    ContentType="text/x-canary", ContentMD5=__import__("base64").b64encode(hashlib.md5(body).digest()).decode())
assert put["ServerSideEncryption"] == "aws:kms", put
key = "dir/ä b+c%2F.txt"
head = s3.head_object(Bucket=bucket, Key=key)
assert head["ContentLength"] == len(body), head
assert head["Metadata"] == {"owner": "me"}, head
assert head["ContentType"] == "text/x-canary", head
assert head["ETag"] == put["ETag"]
got = s3.get_object(Bucket=bucket, Key=key)
assert got["Body"].read() == body
for spec, want in [("bytes=0-0", body[:1]), ("bytes=16380-16390", body[16380:16391]), ("bytes=50000-", body[50000:]),
                   ("bytes=-17", body[-17:]), ("bytes=%d-99999999" % (len(body) - 5), body[-5:])]:
    part = s3.get_object(Bucket=bucket, Key=key, Range=spec)
    assert part["Body"].read() == want, spec
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert part["ContentRange"].endswith("/%d" % len(body)), part["ContentRange"]
try:
    s3.get_object(Bucket=bucket, Key=key, Range="bytes=%d-" % len(body))
    sys.exit("a range past the end was answered")
except ClientError as e:
    assert e.response["Error"]["Code"] == "InvalidRange", e
listing = s3.list_objects_v2(Bucket=bucket, Prefix="dir/")
assert [(o["Key"], o["Size"]) for o in listing["Contents"]] == [(key, len(body))], listing
s3.upload_fileobj(io.BytesIO(body), bucket, "small")
url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "small"})
assert urllib.request.urlopen(url).read() == body
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "presigned"})
urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"))
assert s3.get_object(Bucket=bucket, Key="presigned")["Body"].read() == body
try:
    s3.get_object(Bucket=bucket, Key="absent")
    sys.exit("an absent object was answered")
except s3.exceptions.NoSuchKey:
    pass
gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in (key, "small", "presigned")]})
assert len(gone["Deleted"]) == 3, gone
s3.delete_bucket(Bucket=bucket)
