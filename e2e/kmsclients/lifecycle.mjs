// SPDX-License-Identifier: Apache-2.0
// Keys' whole lives as the AWS SDK for JavaScript sees them. Runs the sections
// named as arguments; what keys make is checked outside with node's crypto.
// KMS_ENDPOINT is the key service, KMS_MODULES where the SDK is installed.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { createRequire } from "node:module";

const modules = createRequire(process.env.KMS_MODULES + "/package.json");
const sdk = modules("@aws-sdk/client-kms");
const region = "us-east-1", otherRegion = "eu-west-1";
const { fromIni } = modules("@aws-sdk/credential-provider-ini");

const client = (profile = "admin", where = region) =>
  new sdk.KMS({ region: where, endpoint: process.env.KMS_ENDPOINT, credentials: fromIni({ profile }), maxAttempts: 1 });
const kms = client();

const newKey = async (input = {}) => (await kms.createKey(input)).KeyMetadata;
const members = (answer, ...names) => assert.deepEqual(Object.keys(answer).filter((n) => n !== "$metadata" && answer[n] !== undefined).sort(), names.sort());
const text = (bytes) => Buffer.from(bytes).toString();
const bytes = (s) => Buffer.from(s);
const collect = async (pages, member) => {
  const all = [];
  for await (const page of pages) all.push(page[member]);
  return all;
};

// What the SDK says of an answer without a message.
const NO_MESSAGE = "Unknown";

// fails wants an instance of the SDK's own class; message undefined is any.
async function fails(kind, message, call) {
  try {
    await call();
  } catch (error) {
    assert.equal(error.name, kind, error);
    if (sdk[kind]) assert.ok(error instanceof sdk[kind], `${kind} is not of its class`);
    assert.ok(error instanceof sdk.KMSServiceException, error);
    if (message !== undefined) assert.equal(error.message, message);
    assert.equal(error.$metadata.httpStatusCode, 400);
    assert.ok(error.$metadata.requestId);
    return;
  }
  assert.fail(`no ${kind}`);
}

const sections = {
  async symmetric() {
    const a = await newKey({ Description: "first" }), b = await newKey();
    const EncryptionContext = { tenant: "7", purpose: "test" };
    const sealed = await kms.encrypt({ KeyId: a.KeyId, Plaintext: bytes("secret"), EncryptionContext });
    assert.equal(sealed.KeyId, a.Arn);
    const opened = await kms.decrypt({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: { purpose: "test", tenant: "7" } });
    assert.equal(text(opened.Plaintext), "secret");
    await fails("InvalidCiphertextException", NO_MESSAGE, () => kms.decrypt({ CiphertextBlob: sealed.CiphertextBlob }));
    await fails("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.",
      () => kms.decrypt({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext, KeyId: b.KeyId }));
    const moved = await kms.reEncrypt({ CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: EncryptionContext, DestinationKeyId: b.KeyId });
    assert.equal(moved.SourceKeyId, a.Arn);
    assert.equal(text((await kms.decrypt({ CiphertextBlob: moved.CiphertextBlob })).Plaintext), "secret");
    for (const [size, input] of [[32, { KeySpec: "AES_256" }], [16, { KeySpec: "AES_128" }], [7, { NumberOfBytes: 7 }]]) {
      const data = await kms.generateDataKey({ KeyId: a.Arn, ...input });
      assert.equal(data.Plaintext.length, size);
      assert.deepEqual((await kms.decrypt({ CiphertextBlob: data.CiphertextBlob })).Plaintext, data.Plaintext);
      assert.equal((await kms.generateDataKeyWithoutPlaintext({ KeyId: a.Arn, ...input })).Plaintext, undefined);
    }
    assert.equal((await kms.generateRandom({ NumberOfBytes: 1024 })).Plaintext.length, 1024);
    await fails("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.",
      () => kms.encrypt({ KeyId: a.KeyId, Plaintext: bytes("x"), DryRun: true }));
  },

  async aliases() {
    const a = (await newKey()).KeyId, b = (await newKey()).KeyId, AliasName = "alias/js/" + a;
    await kms.createAlias({ AliasName, TargetKeyId: a });
    await fails("AlreadyExistsException", undefined, () => kms.createAlias({ AliasName, TargetKeyId: b }));
    await kms.updateAlias({ AliasName, TargetKeyId: b });
    assert.equal((await kms.describeKey({ KeyId: AliasName })).KeyMetadata.KeyId, b);
    const entries = (await collect(sdk.paginateListAliases({ client: kms }, {}), "Aliases")).flat().filter((e) => e.AliasName === AliasName);
    assert.equal(entries.length, 1);
    members(entries[0], "AliasName", "AliasArn", "TargetKeyId", "CreationDate", "LastUpdatedDate");
    assert.ok(entries[0].CreationDate instanceof Date);
    await kms.deleteAlias({ AliasName });
    await fails("NotFoundException", `Alias ${entries[0].AliasArn} is not found.`, () => kms.deleteAlias({ AliasName }));
  },

  async states() {
    const { KeyId, Arn } = await newKey();
    await kms.disableKey({ KeyId });
    await fails("DisabledException", `${Arn} is disabled.`, () => kms.encrypt({ KeyId, Plaintext: bytes("x") }));
    await kms.enableKey({ KeyId });
    const answer = await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    members(answer, "KeyId", "DeletionDate", "KeyState", "PendingWindowInDays");
    await fails("KMSInvalidStateException", `${Arn} is pending deletion.`, () => kms.encrypt({ KeyId, Plaintext: bytes("x") }));
    members(await kms.cancelKeyDeletion({ KeyId }), "KeyId");
    const metadata = (await kms.describeKey({ KeyId })).KeyMetadata;
    assert.equal(metadata.KeyState, "Disabled");
    assert.equal(metadata.DeletionDate, undefined);
  },

  async lists() {
    const made = [];
    for (let i = 0; i < 5; i++) made.push((await newKey()).KeyId);
    const pages = await collect(sdk.paginateListKeys({ client: kms, pageSize: 2 }, {}), "Keys");
    const got = pages.flat().map((k) => k.KeyId);
    assert.ok(made.every((id) => got.includes(id)));
    assert.equal(new Set(got).size, got.length);
    assert.ok(pages.length >= 3 && pages.every((p) => p.length <= 2));
    await fails("InvalidMarkerException", undefined, () => kms.listKeys({ Marker: "no such marker" }));
  },

  async errors() {
    await fails("NotFoundException", "Invalid keyId 'nonsense'", () => kms.describeKey({ KeyId: "nonsense" }));
    await fails("ValidationException", "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024",
      () => kms.generateRandom({ NumberOfBytes: 1025 }));
    await fails("ValidationException", undefined, () => kms.createAlias({ AliasName: "bad", TargetKeyId: "x" }));
  },

  async sign() {
    const digests = { 256: "sha256", 384: "sha384", 512: "sha512" };
    for (const [KeySpec, algorithms] of Object.entries({
      RSA_2048: ["RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_512"], ECC_NIST_P256: ["ECDSA_SHA_256"], ECC_NIST_P521: ["ECDSA_SHA_512"],
      ECC_SECG_P256K1: ["ECDSA_SHA_256"], ECC_NIST_EDWARDS25519: ["ED25519_SHA_512"],
    })) {
      const { KeyId } = await newKey({ KeySpec, KeyUsage: "SIGN_VERIFY" });
      const key = crypto.createPublicKey({ key: Buffer.from((await kms.getPublicKey({ KeyId })).PublicKey), format: "der", type: "spki" });
      for (const SigningAlgorithm of algorithms) {
        const Message = bytes("message for " + SigningAlgorithm);
        const { Signature } = await kms.sign({ KeyId, Message, SigningAlgorithm });
        const ed = SigningAlgorithm.startsWith("ED"), options = { key };
        if (SigningAlgorithm.includes("PSS")) Object.assign(options, { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST });
        assert.ok(crypto.verify(ed ? null : digests[SigningAlgorithm.slice(-3)], Message, options, Signature), SigningAlgorithm);
        assert.equal((await kms.verify({ KeyId, Message, Signature, SigningAlgorithm })).SignatureValid, true);
        await fails("KMSInvalidSignatureException", NO_MESSAGE, () => kms.verify({ KeyId, Message: bytes("other"), Signature, SigningAlgorithm }));
      }
    }
    for (const [KeySpec, publicSize, size] of [["ML_DSA_44", 1334, 2420], ["ML_DSA_65", 1974, 3309], ["ML_DSA_87", 2614, 4627]]) {
      const { KeyId } = await newKey({ KeySpec, KeyUsage: "SIGN_VERIFY" });
      assert.equal((await kms.getPublicKey({ KeyId })).PublicKey.length, publicSize);
      const input = { KeyId, Message: bytes("m"), SigningAlgorithm: "ML_DSA_SHAKE_256" };
      const { Signature } = await kms.sign(input);
      assert.equal(Signature.length, size);
      assert.equal((await kms.verify({ ...input, Signature })).SignatureValid, true);
    }
  },

  async mac() {
    for (const bits of [224, 256, 384, 512]) {
      const { KeyId } = await newKey({ KeySpec: `HMAC_${bits}`, KeyUsage: "GENERATE_VERIFY_MAC" });
      const input = { KeyId, Message: bytes("message"), MacAlgorithm: `HMAC_SHA_${bits}` };
      const { Mac } = await kms.generateMac(input);
      assert.equal(Mac.length * 8, bits);
      assert.equal((await kms.verifyMac({ ...input, Mac })).MacValid, true);
      await fails("KMSInvalidMacException", NO_MESSAGE, () => kms.verifyMac({ ...input, Message: bytes("other"), Mac }));
    }
  },

  async data_key_pairs() {
    const { KeyId } = await newKey();
    for (const KeyPairSpec of ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"]) {
      const pair = await kms.generateDataKeyPair({ KeyId, KeyPairSpec });
      const key = crypto.createPrivateKey({ key: Buffer.from(pair.PrivateKeyPlaintext), format: "der", type: "pkcs8" });
      assert.deepEqual(crypto.createPublicKey(key).export({ format: "der", type: "spki" }), Buffer.from(pair.PublicKey));
      assert.deepEqual((await kms.decrypt({ CiphertextBlob: pair.PrivateKeyCiphertextBlob })).Plaintext, pair.PrivateKeyPlaintext);
      assert.equal((await kms.generateDataKeyPairWithoutPlaintext({ KeyId, KeyPairSpec })).PrivateKeyPlaintext, undefined);
    }
  },

  async ecdh() {
    for (const [KeySpec, namedCurve] of [["ECC_NIST_P256", "prime256v1"], ["ECC_NIST_P384", "secp384r1"], ["ECC_NIST_P521", "secp521r1"]]) {
      const { KeyId, KeyAgreementAlgorithms } = await newKey({ KeySpec, KeyUsage: "KEY_AGREEMENT" });
      assert.deepEqual(KeyAgreementAlgorithms, ["ECDH"]);
      const publicKey = crypto.createPublicKey({ key: Buffer.from((await kms.getPublicKey({ KeyId })).PublicKey), format: "der", type: "spki" });
      const peer = crypto.generateKeyPairSync("ec", { namedCurve });
      const answer = await kms.deriveSharedSecret({ KeyId, KeyAgreementAlgorithm: "ECDH", PublicKey: peer.publicKey.export({ format: "der", type: "spki" }) });
      members(answer, "KeyId", "SharedSecret", "KeyAgreementAlgorithm", "KeyOrigin");
      assert.deepEqual(Buffer.from(answer.SharedSecret), crypto.diffieHellman({ privateKey: peer.privateKey, publicKey }));
      const other = (await newKey({ KeySpec, KeyUsage: "KEY_AGREEMENT" })).KeyId;
      const one = await kms.deriveSharedSecret({ KeyId, KeyAgreementAlgorithm: "ECDH", PublicKey: (await kms.getPublicKey({ KeyId: other })).PublicKey });
      const two = await kms.deriveSharedSecret({ KeyId: other, KeyAgreementAlgorithm: "ECDH", PublicKey: (await kms.getPublicKey({ KeyId })).PublicKey });
      assert.deepEqual(one.SharedSecret, two.SharedSecret);
    }
  },

  async grants() {
    const { KeyId, Arn } = await newKey(), app = client("app"), GranteePrincipal = `arn:aws:iam::${Arn.split(":")[4]}:user/app`;
    await fails("AccessDeniedException", undefined, () => app.encrypt({ KeyId, Plaintext: bytes("x") }));
    const { GrantId, GrantToken } = await kms.createGrant({ KeyId, GranteePrincipal, Operations: ["Encrypt", "Decrypt"] });
    const { CiphertextBlob } = await app.encrypt({ KeyId, Plaintext: bytes("x"), GrantTokens: [GrantToken] });
    assert.equal(text((await app.decrypt({ CiphertextBlob })).Plaintext), "x");
    await fails("DryRunOperationException", undefined, () => kms.revokeGrant({ KeyId, GrantId, DryRun: true }));
    const listed = (await collect(sdk.paginateListGrants({ client: kms, pageSize: 1 }, { KeyId }), "Grants")).flat();
    assert.deepEqual(listed.map((g) => g.GrantId), [GrantId]);
    assert.ok(listed[0].CreationDate instanceof Date);
    await kms.retireGrant({ GrantToken });
    await fails("AccessDeniedException", undefined, () => app.decrypt({ CiphertextBlob }));
  },

  async tags() {
    const { KeyId } = await newKey({ Tags: [{ TagKey: "made", TagValue: "js" }] });
    await kms.tagResource({ KeyId, Tags: [{ TagKey: "a", TagValue: "1" }] });
    await kms.untagResource({ KeyId, TagKeys: ["made"] });
    assert.deepEqual((await collect(sdk.paginateListResourceTags({ client: kms, pageSize: 1 }, { KeyId }), "Tags")).flat(), [{ TagKey: "a", TagValue: "1" }]);
    await fails("TagException", "Tags beginning with aws: are reserved", () => kms.tagResource({ KeyId, Tags: [{ TagKey: "AWS:x", TagValue: "" }] }));
    await kms.updateKeyDescription({ KeyId, Description: "described" });
    assert.equal((await kms.describeKey({ KeyId })).KeyMetadata.Description, "described");
  },

  async policies() {
    const { KeyId } = await newKey();
    const { Policy, PolicyName } = await kms.getKeyPolicy({ KeyId });
    assert.equal(PolicyName, "default");
    await kms.putKeyPolicy({ KeyId, Policy });
    await fails("MalformedPolicyDocumentException", undefined, () => kms.putKeyPolicy({ KeyId, Policy: "{" }));
    assert.deepEqual(await collect(sdk.paginateListKeyPolicies({ client: kms }, { KeyId }), "PolicyNames"), [["default"]]);
  },

  async rotation() {
    const { KeyId, CurrentKeyMaterialId } = await newKey();
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: bytes("before") });
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 90 });
    const status = await kms.getKeyRotationStatus({ KeyId });
    assert.equal(status.RotationPeriodInDays, 90);
    const days = (status.NextRotationDate - Date.now()) / 86_400_000;
    assert.ok(days > 89 && days <= 90, days);
    await kms.rotateKeyOnDemand({ KeyId });
    const rotated = async () => (await kms.describeKey({ KeyId })).KeyMetadata.CurrentKeyMaterialId !== CurrentKeyMaterialId;
    while (!(await rotated())) await new Promise((go) => setTimeout(go, 50));
    assert.equal(text((await kms.decrypt({ CiphertextBlob })).Plaintext), "before");
    const rotations = (await collect(sdk.paginateListKeyRotations({ client: kms, pageSize: 1 }, { KeyId }), "Rotations")).flat();
    assert.equal(rotations.length, 1);
    assert.equal(rotations[0].RotationType, "ON_DEMAND");
    assert.ok(rotations[0].RotationDate instanceof Date);
    await kms.disableKeyRotation({ KeyId });
    assert.equal((await kms.getKeyRotationStatus({ KeyId })).KeyRotationEnabled, false);
  },

  async imports() {
    const { KeyId, Arn } = await newKey({ Origin: "EXTERNAL" });
    const bring = async (material, input) => {
      const parameters = await kms.getParametersForImport({ KeyId, WrappingAlgorithm: "RSAES_OAEP_SHA_256", WrappingKeySpec: "RSA_3072" });
      const key = crypto.createPublicKey({ key: Buffer.from(parameters.PublicKey), format: "der", type: "spki" });
      const EncryptedKeyMaterial = crypto.publicEncrypt({ key, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" }, material);
      return kms.importKeyMaterial({ KeyId, ImportToken: parameters.ImportToken, EncryptedKeyMaterial, ...input });
    };
    const material = crypto.randomBytes(32), ExpirationModel = "KEY_MATERIAL_DOES_NOT_EXPIRE";
    await fails("ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES", () => bring(material, { ExpirationModel: "KEY_MATERIAL_EXPIRES" }));
    const answer = await bring(material, { ExpirationModel });
    assert.equal(answer.KeyId, Arn);
    assert.match(answer.KeyMaterialId, /^[0-9a-f]{64}$/);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: bytes("first material") });
    // A second material waits for a rotation; the first goes on opening what it sealed.
    const second = await bring(crypto.randomBytes(32), { ExpirationModel, ImportType: "NEW_KEY_MATERIAL" });
    assert.notEqual(second.KeyMaterialId, answer.KeyMaterialId);
    await kms.rotateKeyOnDemand({ KeyId });
    const current = async () => (await kms.describeKey({ KeyId })).KeyMetadata.CurrentKeyMaterialId;
    while ((await current()) !== second.KeyMaterialId) await new Promise((go) => setTimeout(go, 50));
    assert.equal(text((await kms.decrypt({ CiphertextBlob })).Plaintext), "first material");
    const rotations = (await kms.listKeyRotations({ KeyId, IncludeKeyMaterial: "ALL_KEY_MATERIAL" })).Rotations;
    assert.deepEqual(rotations.map((r) => r.KeyMaterialId).sort(), [answer.KeyMaterialId, second.KeyMaterialId].sort());
    await kms.deleteImportedKeyMaterial({ KeyId, KeyMaterialId: answer.KeyMaterialId });
    assert.equal((await kms.describeKey({ KeyId })).KeyMetadata.KeyState, "PendingImport");
  },

  async multi_region() {
    const there = client("admin", otherRegion), { KeyId, MultiRegionConfiguration } = await newKey({ MultiRegion: true });
    assert.deepEqual(MultiRegionConfiguration.ReplicaKeys, []);
    const { ReplicaKeyMetadata, ReplicaPolicy } = await kms.replicateKey({ KeyId, ReplicaRegion: otherRegion, Description: "copy" });
    assert.equal(ReplicaKeyMetadata.Description, "copy");
    assert.ok(JSON.parse(ReplicaPolicy).Statement);
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: bytes("here") });
    assert.equal(text((await there.decrypt({ CiphertextBlob })).Plaintext), "here");
  },
};

for (const name of process.argv.slice(2)) {
  await sections[name]();
  console.log("ok", name);
}
