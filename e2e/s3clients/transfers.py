# SPDX-License-Identifier: Apache-2.0
# An application that uses boto3's transfers: parts, streams, copies, checksums
# and pages. Every content is compared.
import hashlib, io, os, random, sys
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

canary, bucket = os.environ["CANARY"], os.environ["BUCKET"]
s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT"], config=Config(
    signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}))
MiB = 1 << 20


def text(name, size):
    line = "%s %s %%012d\n" % (canary, name)
    return "".join(line % n for n in range(size // len(line % 0) + 1)).encode()[:size]


def check(key, content):
    """Compares an object with content in whole, by parts and in sizes."""
    got = io.BytesIO()
    s3.download_fileobj(bucket, key, got, Config=TransferConfig(multipart_threshold=MiB, multipart_chunksize=3 * MiB + 1))
    assert hashlib.sha256(got.getvalue()).digest() == hashlib.sha256(content).digest(), (key, len(got.getvalue()), len(content))
    assert s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")["Body"].read() == content, key
    head = s3.head_object(Bucket=bucket, Key=key)
    assert head["ContentLength"] == len(content), (key, head)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]
    assert (listed["Size"], listed["ETag"]) == (len(content), head["ETag"]), (listed, head)
    return head


class Unseekable(io.RawIOBase):
    """A stream of unknown length, read in small pieces."""
    def __init__(self, content):
        self.source = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.source.readinto(memoryview(buffer)[:70_001])


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] in code.split(" "), e
        return
    sys.exit("%s was answered, want %s" % (call, code))


# Uploads in one request and in parts, with every checksum, out of order of size.
config = TransferConfig(multipart_threshold=6 * MiB, multipart_chunksize=5 * MiB, max_concurrency=4)
algorithms = [None, "CRC32", "CRC32C", "SHA1", "SHA256"]
sizes = [17 * MiB + 11, 0, 6 * MiB, 1, 6 * MiB - 1, 16385, 10 * MiB, 5 * MiB + 1]
for i, size in enumerate(sizes):
    for stream in (io.BytesIO, Unseekable):
        algorithm = algorithms[(i + (stream is Unseekable)) % len(algorithms)]
        key, content = "up/%s-%d" % (stream.__name__, size), text("up", size)
        extra = {"Metadata": {"owner": "me"}, "ContentType": "text/x-canary"}
        if algorithm:
            extra["ChecksumAlgorithm"] = algorithm
        s3.upload_fileobj(stream(content), bucket, key, ExtraArgs=extra, Config=config)
        head = check(key, content)
        assert (head["Metadata"], head["ContentType"]) == ({"owner": "me"}, "text/x-canary"), head
for algorithm in algorithms[1:]:
    content = text(algorithm, 30_000)
    s3.put_object(Bucket=bucket, Key="sum/" + algorithm, Body=content, ChecksumAlgorithm=algorithm)
    check("sum/" + algorithm, content)
    refused("BadDigest", s3.put_object, Bucket=bucket, Key="bad", Body=content, ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    wrong = {"CRC32": "AAAAAA==", "CRC32C": "AAAAAA==", "SHA1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "SHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
    refused("BadDigest XAmzContentChecksumMismatch", s3.put_object, Bucket=bucket, Key="bad", Body=content, **{"Checksum" + algorithm: wrong[algorithm]})
refused("404", s3.head_object, Bucket=bucket, Key="bad")

# Copies: at the store in one request, in parts, onto themselves, with new metadata.
large = text("up", sizes[0])
source = {"Bucket": bucket, "Key": "up/BytesIO-%d" % sizes[0]}
s3.copy(source, bucket, "copy/whole", Config=TransferConfig(multipart_threshold=100 * MiB))
check("copy/whole", large)
s3.copy(source, bucket, "copy/parts", Config=TransferConfig(multipart_threshold=6 * MiB, multipart_chunksize=5 * MiB + 7))
check("copy/parts", large)
s3.copy_object(Bucket=bucket, Key="copy/whole", CopySource={"Bucket": bucket, "Key": "copy/whole"},
               MetadataDirective="REPLACE", Metadata={"owner": "you"}, ContentType="text/plain")
head = check("copy/whole", large)
assert (head["Metadata"], head["ContentType"]) == ({"owner": "you"}, "text/plain"), head
refused("PreconditionFailed", s3.copy_object, Bucket=bucket, Key="copy/no", CopySource=source, CopySourceIfNoneMatch=s3.head_object(**source)["ETag"])
s3.copy_object(Bucket=bucket, Key="copy/tagged", CopySource=source, TaggingDirective="REPLACE", Tagging="a=b&c=d")
tags = s3.get_object_tagging(Bucket=bucket, Key="copy/tagged")["TagSet"]
assert sorted((t["Key"], t["Value"]) for t in tags) == [("a", "b"), ("c", "d")], tags

# Ranges across the edges of chunks and parts.
for first, last in [(5 * MiB - 1, 5 * MiB), (0, 0), (16383, 16384), (10 * MiB - 3, 15 * MiB + 3), (len(large) - 1, len(large) + 9)]:
    part = s3.get_object(Range="bytes=%d-%d" % (first, last), **source)
    assert part["Body"].read() == large[first:last + 1], (first, last)
    assert part["ContentRange"] == "bytes %d-%d/%d" % (first, min(last, len(large) - 1), len(large)), part["ContentRange"]

# An upload by hand: parts out of order, one sent twice, one left out.
key = "by-hand"
upload = s3.create_multipart_upload(Bucket=bucket, Key=key, Metadata={"owner": "hand"})["UploadId"]
parts = {n: text("part %d" % n, size) for n, size in {9: 1234, 2: 5 * MiB, 5: 5 * MiB + 3}.items()}
etags = {}
for n in (9, 5, 2, 7, 5):
    content = parts.get(n, text("left out", 5 * MiB))
    etags[n] = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=n, Body=io.BytesIO(content))["ETag"]
pages = list(s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload, PaginationConfig={"PageSize": 2}))
listed = [(p["PartNumber"], p["Size"], p["ETag"]) for page in pages for p in page["Parts"]]
assert listed == [(n, len(parts.get(n, b"." * 5 * MiB)), etags[n]) for n in (2, 5, 7, 9)], listed
assert len(pages) == 2, pages


def complete(numbers):
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": n, "ETag": etags[n]} for n in numbers]})


refused("InvalidPartOrder", complete, numbers=[5, 2])
done = complete([2, 5, 9])
head = check(key, parts[2] + parts[5] + parts[9])
assert head["Metadata"] == {"owner": "hand"} and done["ETag"] == head["ETag"], (head, done)
for n in range(1, 5):
    part = s3.get_object(PartNumber=n, **source)
    assert part["Body"].read() == large[(n - 1) * 5 * MiB:n * 5 * MiB] and part["PartsCount"] == 4, (n, part)
    assert s3.head_object(PartNumber=n, **source)["ContentLength"] == part["ContentLength"], n
refused("NoSuchUpload", s3.list_parts, Bucket=bucket, Key=key, UploadId=upload)

# Pages of listings, with prefixes, in each form.
names = ["page/%03d" % n for n in range(25)] + ["page/dir%d/x" % n for n in range(5)]
random.Random(1).shuffle(names)
for name in names:
    s3.put_object(Bucket=bucket, Key=name, Body=text(name, int(name[-1:], 36) * 997))
for operation in ("list_objects_v2", "list_objects", "list_object_versions"):
    pages = s3.get_paginator(operation).paginate(Bucket=bucket, Prefix="page/", Delimiter="/", PaginationConfig={"PageSize": 4})
    found, prefixes = {}, []
    for page in pages:
        found.update((o["Key"], o["Size"]) for o in page.get("Contents", page.get("Versions", [])))
        prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
    assert found == {n: int(n[-1:], 36) * 997 for n in names if "dir" not in n}, (operation, found)
    assert sorted(prefixes) == ["page/dir%d/" % n for n in range(5)], (operation, prefixes)
gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": n} for n in names]})
assert len(gone["Deleted"]) == len(names) and not gone.get("Errors"), gone
assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix="page/")
print("all done")
