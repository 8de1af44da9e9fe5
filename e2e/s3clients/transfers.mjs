// SPDX-License-Identifier: Apache-2.0
// An application that uses the AWS SDK for JavaScript: the client with its
// default checksums in trailers, lib-storage's Upload, and presigned URLs.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { join } from "node:path";

const require = createRequire(join(process.argv[2], "package.json"));
const aws = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const { CANARY, BUCKET: Bucket, S3_ENDPOINT } = process.env;
const MiB = 1 << 20;
const options = { endpoint: S3_ENDPOINT, forcePathStyle: true, region: "us-east-1", maxAttempts: 2 };
const s3 = new aws.S3(options);

function text(name, size) {
  const line = (n) => `${CANARY} ${name} ${String(n).padStart(12, "0")}\n`;
  const count = Math.floor(size / line(0).length) + 1;
  return Buffer.from(Array.from({ length: count }, (_, n) => line(n)).join("")).subarray(0, size);
}

async function read(Key, options = {}) {
  const answer = await s3.getObject({ Bucket, Key, ...options });
  return [Buffer.from(await answer.Body.transformToByteArray()), answer];
}

// check compares an object with content in whole, in part, and in sizes.
async function check(Key, content) {
  const [got] = await read(Key);
  assert.ok(got.equals(content), `${Key}: ${got.length} bytes, want ${content.length}`);
  const head = await s3.headObject({ Bucket, Key });
  assert.equal(head.ContentLength, content.length, Key);
  const list = await s3.listObjectsV2({ Bucket, Prefix: Key });
  assert.equal(list.Contents[0].Size, content.length, Key);
  assert.equal(list.Contents[0].ETag, head.ETag, Key);
  if (content.length > 20_000) {
    const [part, answer] = await read(Key, { Range: "bytes=16380-16390" });
    assert.ok(part.equals(content.subarray(16380, 16391)), Key);
    assert.equal(answer.ContentRange, `bytes 16380-16390/${content.length}`);
  }
  return head;
}

async function refused(code, promise) {
  await assert.rejects(promise, (e) => code.split(" ").includes(e.name) || assert.fail(`${e.name}, want ${code}: ${e}`));
}

// A stream in pieces of odd sizes, whose length nobody knows.
async function* pieces(content) {
  for (let at = 0; at < content.length; at += 70_001) yield content.subarray(at, at + 70_001);
}

// Bodies in memory have their checksum in a header, streams in a trailer.
const algorithms = [undefined, "CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"];
for (const ChecksumAlgorithm of algorithms) {
  for (const size of [0, 1, 16384, 300_001]) {
    const content = text(`${ChecksumAlgorithm}`, size);
    const Key = `put/${ChecksumAlgorithm}-${size}`;
    const put = await s3.putObject({ Bucket, Key, Body: content, ChecksumAlgorithm, Metadata: { owner: "me" } });
    const head = await check(Key, content);
    assert.deepEqual([head.Metadata, head.ETag], [{ owner: "me" }, put.ETag]);
    if (size > 0) {
      await s3.putObject({ Bucket, Key: Key + "-stream", Body: Readable.from(pieces(content)), ContentLength: size, ChecksumAlgorithm });
      await check(Key + "-stream", content);
    }
  }
}
await refused("BadDigest XAmzContentChecksumMismatch", s3.putObject({ Bucket, Key: "bad", Body: text("bad", 5000), ChecksumCRC32: "AAAAAA==" }));
await refused("NoSuchKey", s3.getObject({ Bucket, Key: "bad" }));

// Uploads of buffers and of streams of unknown length, in parts or not.
for (const [i, size] of [11 * MiB + 5, 0, 5 * MiB, 5 * MiB + 1, 100].entries()) {
  for (const [name, Body] of [["buffer", text("up", size)], ["stream", Readable.from(pieces(text("up", size)))]]) {
    const Key = `up/${name}-${size}`;
    const params = { Bucket, Key, Body, ContentType: "text/x-canary" };
    if (algorithms[i]) params.ChecksumAlgorithm = algorithms[i];
    const done = await new Upload({ client: s3, params, partSize: 5 * MiB, queueSize: 3 }).done();
    const head = await check(Key, text("up", size));
    assert.deepEqual([head.ContentType, head.ETag], ["text/x-canary", done.ETag]);
  }
}
const large = text("up", 11 * MiB + 5);
const aborted = new Upload({ client: s3, params: { Bucket, Key: "aborted", Body: Readable.from(pieces(text("aborted", 30 * MiB))) } });
aborted.on("httpUploadProgress", () => aborted.abort());
await assert.rejects(aborted.done());
await refused("NotFound", s3.headObject({ Bucket, Key: "aborted" }));

// Copies, in one request and as a part.
const CopySource = `${Bucket}/up/buffer-${large.length}`;
await s3.copyObject({ Bucket, Key: "copy", CopySource });
await check("copy", large);
const { UploadId } = await s3.createMultipartUpload({ Bucket, Key: "copied-parts" });
const at = { Bucket, Key: "copied-parts", UploadId };
const one = await s3.uploadPartCopy({ ...at, PartNumber: 1, CopySource, CopySourceRange: `bytes=3-${6 * MiB}` });
const two = await s3.uploadPart({ ...at, PartNumber: 2, Body: text("last", 77) });
const listed = await s3.listParts(at);
assert.deepEqual(listed.Parts.map((p) => [p.PartNumber, p.Size]), [[1, 6 * MiB - 2], [2, 77]]);
await s3.completeMultipartUpload({ ...at, MultipartUpload: { Parts: [
  { PartNumber: 1, ETag: one.CopyPartResult.ETag }, { PartNumber: 2, ETag: two.ETag, ChecksumCRC32: two.ChecksumCRC32 }] } });
await check("copied-parts", Buffer.concat([large.subarray(3, 6 * MiB + 1), text("last", 77)]));

// Presigned URLs, used without an SDK.
const content = text("presigned", 40_000);
// Signed without a body, which is not there yet: the SDK would otherwise put the
// checksum of an empty one into the URL.
const late = new aws.S3({ ...options, requestChecksumCalculation: "WHEN_REQUIRED" });
const put = await getSignedUrl(late, new aws.PutObjectCommand({ Bucket, Key: "presigned" }));
const answered = await fetch(put, { method: "PUT", body: content });
assert.equal(answered.status, 200, `${put}: ${await answered.text()}`);
await check("presigned", content);
const url = await getSignedUrl(s3, new aws.GetObjectCommand({ Bucket, Key: "presigned", ResponseContentType: "text/x-other" }));
const answer = await fetch(url, { headers: { Range: "bytes=16000-" } });
assert.deepEqual([answer.status, answer.headers.get("content-type")], [206, "text/x-other"]);
assert.ok(Buffer.from(await answer.arrayBuffer()).equals(content.subarray(16_000)));
assert.equal((await fetch(url.replace("text%2Fx-other", "text%2Fx-else"))).status, 403);

// Pages, sizes and removal.
const attributes = await s3.getObjectAttributes({ Bucket, Key: "presigned", ObjectAttributes: ["ObjectSize", "ETag"] });
assert.equal(attributes.ObjectSize, content.length);
let found = 0;
for await (const page of aws.paginateListObjectsV2({ client: s3, pageSize: 7 }, { Bucket, Prefix: "put/" })) {
  const contents = page.Contents ?? []; // MinIO may end with an empty page
  assert.ok(contents.length <= 7);
  found += contents.length;
}
assert.equal(found, algorithms.length * 7);
const gone = await s3.deleteObjects({ Bucket, Delete: { Objects: [{ Key: "put/SHA1-1" }, { Key: "put/SHA1-0" }] } });
assert.equal(gone.Deleted.length, 2);
await s3.putObjectTagging({ Bucket, Key: "presigned", Tagging: { TagSet: [{ Key: "a", Value: "x b" }] } });
assert.deepEqual((await s3.getObjectTagging({ Bucket, Key: "presigned" })).TagSet, [{ Key: "a", Value: "x b" }]);
console.log("all done");
