# SPDX-License-Identifier: Apache-2.0
"""Keys' whole lives as boto3 sees them. Runs the sections named as arguments.

What keys make is checked outside with the cryptography package. KMS_ENDPOINT
is the key service; credentials and the CA come from boto3's own variables.
"""
import datetime
import hashlib
import hmac
import json
import os
import sys

import boto3
import botocore.config
from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

REGION, OTHER_REGION = "us-east-1", "eu-west-1"


def client(profile="admin", region=REGION):
    return boto3.Session(profile_name=profile).client(
        "kms", endpoint_url=os.environ["KMS_ENDPOINT"], region_name=region,
        config=botocore.config.Config(retries={"max_attempts": 0}))


kms = client()


def new_key(**arguments):
    return kms.create_key(**arguments)["KeyMetadata"]


def members(answer, *names):
    got = set(answer) - {"ResponseMetadata"}
    assert got == set(names), (sorted(got), sorted(names))


def fails(kind, message, call, **arguments):
    """The call fails with an exception of its client's own class."""
    own = getattr(call, "__self__", kms).exceptions
    try:
        call(**arguments)
    except getattr(own, kind, own.ClientError) as error:
        got = error.response["Error"]
        assert got["Code"] == kind, (got, kind)
        assert message is None or got.get("Message", "") == message, (got, message)
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return
    raise AssertionError(f"no {kind}: {arguments}")


def symmetric():
    a, b = new_key(Description="first"), new_key()
    context = {"tenant": "7", "purpose": "test"}
    sealed = kms.encrypt(KeyId=a["KeyId"], Plaintext=b"secret", EncryptionContext=context)
    assert sealed["KeyId"] == a["Arn"] and sealed["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT", sealed
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=dict(reversed(context.items())))
    assert opened["Plaintext"] == b"secret" and opened["KeyId"] == a["Arn"], opened
    for wrong in ({}, {"tenant": "7"}, {"tenant": "8", "purpose": "test"}, {"Tenant": "7", "purpose": "test"}):
        fails("InvalidCiphertextException", "", kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=wrong)
    fails("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.",
          kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context, KeyId=b["KeyId"])
    again = kms.re_encrypt(CiphertextBlob=sealed["CiphertextBlob"], SourceEncryptionContext=context,
                           DestinationKeyId=b["KeyId"], DestinationEncryptionContext={"n": "2"})
    assert again["SourceKeyId"] == a["Arn"] and again["KeyId"] == b["Arn"], again
    opened = kms.decrypt(CiphertextBlob=again["CiphertextBlob"], EncryptionContext={"n": "2"})
    assert opened["Plaintext"] == b"secret" and opened["KeyId"] == b["Arn"], opened
    for arguments, size in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 7}, 7)):
        data = kms.generate_data_key(KeyId=a["Arn"], EncryptionContext=context, **arguments)
        assert len(data["Plaintext"]) == size and data["KeyId"] == a["Arn"], data["KeyId"]
        assert kms.decrypt(CiphertextBlob=data["CiphertextBlob"], EncryptionContext=context)["Plaintext"] == data["Plaintext"]
        blind = kms.generate_data_key_without_plaintext(KeyId=a["Arn"], **arguments)
        assert "Plaintext" not in blind and len(kms.decrypt(CiphertextBlob=blind["CiphertextBlob"])["Plaintext"]) == size
    assert len(kms.generate_random(NumberOfBytes=1024)["Plaintext"]) == 1024


def aliases():
    a, b = new_key()["KeyId"], new_key()["KeyId"]
    name = "alias/boto/" + a
    assert kms.create_alias(AliasName=name, TargetKeyId=a)["ResponseMetadata"]["HTTPStatusCode"] == 200
    arn = kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"].replace("key/" + a, name)
    fails("AlreadyExistsException", f"An alias with the name {arn} already exists", kms.create_alias, AliasName=name, TargetKeyId=b)
    blob = kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    kms.update_alias(AliasName=name, TargetKeyId=b)
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyId"] == b
    assert kms.decrypt(CiphertextBlob=blob)["KeyId"].endswith(a)
    entries = [e for page in kms.get_paginator("list_aliases").paginate() for e in page["Aliases"] if e["AliasName"] == name]
    assert len(entries) == 1 and entries[0]["TargetKeyId"] == b and entries[0]["AliasArn"] == arn, entries
    members(entries[0], "AliasName", "AliasArn", "TargetKeyId", "CreationDate", "LastUpdatedDate")
    assert [e["AliasName"] for e in kms.list_aliases(KeyId=b)["Aliases"]] == [name]
    kms.delete_alias(AliasName=name)
    fails("NotFoundException", f"Alias {arn} is not found.", kms.delete_alias, AliasName=name)
    fails("NotFoundException", f"Alias {arn} is not found.", kms.encrypt, KeyId=name, Plaintext=b"x")


def states():
    key = new_key()
    id, arn = key["KeyId"], key["Arn"]
    kms.disable_key(KeyId=id)
    fails("DisabledException", f"{arn} is disabled.", kms.encrypt, KeyId=id, Plaintext=b"x")
    assert kms.describe_key(KeyId=id)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.enable_key(KeyId=id)
    kms.encrypt(KeyId=id, Plaintext=b"x")
    answer = kms.schedule_key_deletion(KeyId=id, PendingWindowInDays=7)
    members(answer, "KeyId", "DeletionDate", "KeyState", "PendingWindowInDays")
    assert answer["KeyId"] == arn and answer["KeyState"] == "PendingDeletion" and answer["PendingWindowInDays"] == 7, answer
    left = answer["DeletionDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=6, hours=23) < left <= datetime.timedelta(days=7), left
    fails("KMSInvalidStateException", f"{arn} is pending deletion.", kms.encrypt, KeyId=id, Plaintext=b"x")
    fails("KMSInvalidStateException", f"{arn} is pending deletion.", kms.schedule_key_deletion, KeyId=id)
    assert kms.describe_key(KeyId=id)["KeyMetadata"]["DeletionDate"] == answer["DeletionDate"]
    answer = kms.cancel_key_deletion(KeyId=id)
    members(answer, "KeyId")
    metadata = kms.describe_key(KeyId=id)["KeyMetadata"]
    assert metadata["KeyState"] == "Disabled" and not metadata["Enabled"] and "DeletionDate" not in metadata, metadata


def lists():
    made = {new_key()["KeyId"] for _ in range(5)}
    key = new_key()["KeyId"]
    for i in range(5):
        kms.create_alias(AliasName=f"alias/page/{key}/{i}", TargetKeyId=key)
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    assert made < {k["KeyId"] for page in pages for k in page["Keys"]} and len(pages) >= 3
    assert all(len(page["Keys"]) <= 2 and page["Truncated"] == ("NextMarker" in page) for page in pages)
    assert len({k["KeyId"] for page in pages for k in page["Keys"]}) == sum(len(page["Keys"]) for page in pages)
    pages = list(kms.get_paginator("list_aliases").paginate(KeyId=key, PaginationConfig={"PageSize": 2}))
    assert [len(page["Aliases"]) for page in pages] == [2, 2, 1], pages
    fails("InvalidMarkerException", None, kms.list_keys, Marker="no such marker")


def errors():
    absent = "12345678-1234-1234-1234-123456789012"
    arn = new_key()["Arn"]
    prefix = arn[:arn.rindex("/") + 1]
    fails("NotFoundException", f"Key '{prefix}{absent}' does not exist", kms.describe_key, KeyId=absent)
    fails("NotFoundException", "Invalid keyId 'nonsense'", kms.encrypt, KeyId="nonsense", Plaintext=b"x")
    fails("ValidationException", "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: "
          "Member must have value less than or equal to 1024", kms.generate_random, NumberOfBytes=1025)
    fails("ValidationException", 'Alias must start with the prefix "alias/". Please see '
          "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html", kms.create_alias, AliasName="bad", TargetKeyId=arn)
    stranger = boto3.client("kms", endpoint_url=os.environ["KMS_ENDPOINT"], region_name=REGION,
                            aws_access_key_id="AKIA0000000000000000", aws_secret_access_key="x" * 40)
    fails("UnrecognizedClientException", "The security token included in the request is invalid.", stranger.list_keys)


HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def verify_outside(public, algorithm, message, signature):
    if algorithm.startswith("ED25519"):
        return public.verify(signature, message)
    digest = HASHES[algorithm[-3:]]()
    if algorithm.startswith("ECDSA"):
        return public.verify(signature, message, ec.ECDSA(digest))
    if "PSS" in algorithm:
        return public.verify(signature, message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return public.verify(signature, message, padding.PKCS1v15(), digest)


def sign():
    rsa_algorithms = [f"RSASSA_{p}_SHA_{n}" for p in ("PKCS1_V1_5", "PSS") for n in ("256", "384", "512")]
    for spec, algorithms in {
        "RSA_2048": rsa_algorithms, "ECC_NIST_P256": ["ECDSA_SHA_256"], "ECC_NIST_P384": ["ECDSA_SHA_384"],
        "ECC_NIST_P521": ["ECDSA_SHA_512"], "ECC_SECG_P256K1": ["ECDSA_SHA_256"], "ECC_NIST_EDWARDS25519": ["ED25519_SHA_512"],
    }.items():
        key = new_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
        id = key["KeyId"]
        public = kms.get_public_key(KeyId=id)
        members(public, "KeyId", "PublicKey", "CustomerMasterKeySpec", "KeySpec", "KeyUsage", "SigningAlgorithms")
        assert public["SigningAlgorithms"] == key["SigningAlgorithms"], public
        outside = load_der_public_key(public["PublicKey"])
        for algorithm in algorithms:
            message = b"message for " + algorithm.encode()
            signed = kms.sign(KeyId=id, Message=message, SigningAlgorithm=algorithm)
            members(signed, "KeyId", "Signature", "SigningAlgorithm")
            verify_outside(outside, algorithm, message, signed["Signature"])
            answer = kms.verify(KeyId=id, Message=message, Signature=signed["Signature"], SigningAlgorithm=algorithm)
            assert answer["SignatureValid"] is True and answer["KeyId"] == key["Arn"], answer
            fails("KMSInvalidSignatureException", "", kms.verify, KeyId=id, Message=message + b"!", Signature=signed["Signature"], SigningAlgorithm=algorithm)
            if algorithm.startswith("ED25519"):
                continue
            digest = hashlib.new("sha" + algorithm[-3:], message).digest()
            signed = kms.sign(KeyId=id, Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)
            verify_outside(outside, algorithm, message, signed["Signature"])
            fails("ValidationException", f"Digest is invalid length for algorithm {algorithm}.",
                  kms.sign, KeyId=id, Message=digest[1:], MessageType="DIGEST", SigningAlgorithm=algorithm)
    # ML-DSA is newer than this cryptography package: the service checks itself.
    for spec in ("ML_DSA_44", "ML_DSA_65", "ML_DSA_87"):
        id = new_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyId"]
        signature = kms.sign(KeyId=id, Message=b"m", SigningAlgorithm="ML_DSA_SHAKE_256")["Signature"]
        assert kms.verify(KeyId=id, Message=b"m", Signature=signature, SigningAlgorithm="ML_DSA_SHAKE_256")["SignatureValid"]


def rsa_encryption():
    key = new_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    outside = load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    for algorithm, digest in (("RSAES_OAEP_SHA_1", hashes.SHA1()), ("RSAES_OAEP_SHA_256", hashes.SHA256())):
        sealed = outside.encrypt(b"from outside", padding.OAEP(padding.MGF1(digest), digest, None))
        assert kms.decrypt(KeyId=key["KeyId"], CiphertextBlob=sealed, EncryptionAlgorithm=algorithm)["Plaintext"] == b"from outside"
        sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"from inside", EncryptionAlgorithm=algorithm)
        assert sealed["EncryptionAlgorithm"] == algorithm and len(sealed["CiphertextBlob"]) == 256, sealed
        assert kms.decrypt(KeyId=key["KeyId"], CiphertextBlob=sealed["CiphertextBlob"], EncryptionAlgorithm=algorithm)["Plaintext"] == b"from inside"
    fails("InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.",
          kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")


def mac():
    for bits in ("224", "256", "384", "512"):
        key = new_key(KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")
        made = kms.generate_mac(KeyId=key["KeyId"], Message=b"message", MacAlgorithm=f"HMAC_SHA_{bits}")
        members(made, "KeyId", "Mac", "MacAlgorithm")
        assert made["KeyId"] == key["Arn"] and len(made["Mac"]) * 8 == int(bits), made
        answer = kms.verify_mac(KeyId=key["KeyId"], Message=b"message", MacAlgorithm=f"HMAC_SHA_{bits}", Mac=made["Mac"])
        assert answer["MacValid"] is True, answer
        fails("KMSInvalidMacException", "", kms.verify_mac, KeyId=key["KeyId"], Message=b"other", MacAlgorithm=f"HMAC_SHA_{bits}", Mac=made["Mac"])


def data_key_pairs():
    key = new_key()
    context = {"a": "b"}
    for spec in ("RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1"):
        pair = kms.generate_data_key_pair(KeyId=key["KeyId"], KeyPairSpec=spec, EncryptionContext=context)
        assert pair["KeyId"] == key["Arn"] and pair["KeyPairSpec"] == spec, pair["KeyId"]
        private = load_der_private_key(pair["PrivateKeyPlaintext"], None)
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        assert private.public_key().public_bytes(*form) == load_der_public_key(pair["PublicKey"]).public_bytes(*form)
        assert kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"], EncryptionContext=context)["Plaintext"] == pair["PrivateKeyPlaintext"]
    blind = kms.generate_data_key_pair_without_plaintext(KeyId=key["KeyId"], KeyPairSpec="ECC_NIST_P256")
    assert "PrivateKeyPlaintext" not in blind
    load_der_private_key(kms.decrypt(CiphertextBlob=blind["PrivateKeyCiphertextBlob"])["Plaintext"], None)


def grants():
    key = new_key()
    id, app = key["KeyId"], client("app")
    caller = key["Arn"].split(":")[4]
    grantee = f"arn:aws:iam::{caller}:user/app"
    fails("AccessDeniedException", None, app.encrypt, KeyId=id, Plaintext=b"x", EncryptionContext={"t": "1"})
    arguments = dict(KeyId=id, GranteePrincipal=grantee, RetiringPrincipal=grantee, Name="for-app",
                     Operations=["Encrypt", "Decrypt", "RetireGrant"], Constraints={"EncryptionContextSubset": {"t": "1"}})
    grant = kms.create_grant(**arguments)
    members(grant, "GrantId", "GrantToken")
    assert len(grant["GrantId"]) == 64 and kms.create_grant(**arguments)["GrantId"] == grant["GrantId"]
    blob = app.encrypt(KeyId=id, Plaintext=b"x", EncryptionContext={"t": "1", "u": "2"}, GrantTokens=[grant["GrantToken"]])["CiphertextBlob"]
    assert app.decrypt(CiphertextBlob=blob, EncryptionContext={"t": "1", "u": "2"})["Plaintext"] == b"x"
    fails("AccessDeniedException", None, app.encrypt, KeyId=id, Plaintext=b"x", EncryptionContext={"t": "2"})
    fails("AccessDeniedException", None, app.describe_key, KeyId=id)
    entries = kms.list_grants(KeyId=id)["Grants"]
    assert len(entries) == 1 and entries[0]["GranteePrincipal"] == grantee and entries[0]["KeyId"] == key["Arn"], entries
    assert entries[0]["Constraints"] == arguments["Constraints"] and sorted(entries[0]["Operations"]) == sorted(arguments["Operations"])
    retirable = [g for page in kms.get_paginator("list_retirable_grants").paginate(RetiringPrincipal=grantee) for g in page["Grants"]] \
        if kms.can_paginate("list_retirable_grants") else kms.list_retirable_grants(RetiringPrincipal=grantee)["Grants"]
    assert grant["GrantId"] in [g["GrantId"] for g in retirable], retirable
    app.retire_grant(KeyId=key["Arn"], GrantId=grant["GrantId"])
    fails("AccessDeniedException", None, app.decrypt, CiphertextBlob=blob, EncryptionContext={"t": "1", "u": "2"})
    ids = {kms.create_grant(KeyId=id, GranteePrincipal=grantee, Operations=["Encrypt"], Name=f"n{i}")["GrantId"] for i in range(5)}
    pages = list(kms.get_paginator("list_grants").paginate(KeyId=id, PaginationConfig={"PageSize": 2}))
    assert {g["GrantId"] for page in pages for g in page["Grants"]} == ids and len(pages) == 3, pages
    for grant_id in ids:
        kms.revoke_grant(KeyId=id, GrantId=grant_id)
    fails("NotFoundException", None, kms.revoke_grant, KeyId=id, GrantId=grant["GrantId"])
    fails("AccessDeniedException", None, app.encrypt, KeyId=id, Plaintext=b"x")


def tags():
    id = new_key(Tags=[{"TagKey": "made", "TagValue": "by boto3"}])["KeyId"]
    kms.tag_resource(KeyId=id, Tags=[{"TagKey": f"k{i:02}", "TagValue": str(i)} for i in range(49)])
    pages = list(kms.get_paginator("list_resource_tags").paginate(KeyId=id, PaginationConfig={"PageSize": 20})) \
        if kms.can_paginate("list_resource_tags") else [kms.list_resource_tags(KeyId=id)]
    got = {t["TagKey"]: t["TagValue"] for page in pages for t in page["Tags"]}
    assert len(got) == 50 and got["made"] == "by boto3" and got["k07"] == "7", got
    fails("TagException", "Too many tags", kms.tag_resource, KeyId=id, Tags=[{"TagKey": "more", "TagValue": ""}])
    kms.tag_resource(KeyId=id, Tags=[{"TagKey": "k07", "TagValue": "changed"}])
    kms.untag_resource(KeyId=id, TagKeys=[f"k{i:02}" for i in range(49) if i != 7] + ["absent"])
    got = {t["TagKey"]: t["TagValue"] for t in kms.list_resource_tags(KeyId=id)["Tags"]}
    assert got == {"made": "by boto3", "k07": "changed"}, got
    kms.update_key_description(KeyId=id, Description="described")
    assert kms.describe_key(KeyId=id)["KeyMetadata"]["Description"] == "described"


def policies():
    key = new_key()
    id = key["KeyId"]
    account = key["Arn"].split(":")[4]
    default = kms.get_key_policy(KeyId=id, PolicyName="default")["Policy"]
    assert json.loads(default) == {
        "Version": "2012-10-17", "Id": "key-default-1", "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "kms:*", "Resource": "*"}]}, default
    policy = json.loads(default)
    policy["Statement"].append({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:user/app"}, "Action": "kms:DescribeKey", "Resource": "*"})
    kms.put_key_policy(KeyId=id, PolicyName="default", Policy=json.dumps(policy))
    assert json.loads(kms.get_key_policy(KeyId=id, PolicyName="default")["Policy"]) == policy
    answer = kms.list_key_policies(KeyId=id)
    assert answer["PolicyNames"] == ["default"] and answer["Truncated"] is False, answer
    lockout = dict(policy, Statement=policy["Statement"][1:])
    fails("MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.",
          kms.put_key_policy, KeyId=id, PolicyName="default", Policy=json.dumps(lockout))
    kms.put_key_policy(KeyId=id, PolicyName="default", Policy=default)
    assert json.loads(kms.get_key_policy(KeyId=id, PolicyName="default")["Policy"]) == json.loads(default)


def rotation():
    id = new_key()["KeyId"]
    before = kms.encrypt(KeyId=id, Plaintext=b"before")["CiphertextBlob"]
    assert kms.get_key_rotation_status(KeyId=id)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=id)
    assert kms.get_key_rotation_status(KeyId=id)["KeyRotationEnabled"] is True
    kms.disable_key_rotation(KeyId=id)
    assert kms.get_key_rotation_status(KeyId=id)["KeyRotationEnabled"] is False
    assert kms.decrypt(CiphertextBlob=before)["Plaintext"] == b"before"
    asymmetric = new_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]
    fails("UnsupportedOperationException", "", kms.enable_key_rotation, KeyId=asymmetric)
    assert kms.get_key_rotation_status(KeyId=asymmetric)["KeyRotationEnabled"] is False


def wrapped(algorithm, public, material):
    public = load_der_public_key(public)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    if algorithm == "RSAES_OAEP_SHA_256":
        return public.encrypt(material, oaep)
    kek = os.urandom(32)
    return public.encrypt(kek, oaep) + keywrap.aes_key_wrap_with_padding(kek, material)


def bring(key, algorithm, material, **arguments):
    parameters = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")
    members(parameters, "KeyId", "ImportToken", "PublicKey", "ParametersValidTo")
    arguments.setdefault("ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE")
    return kms.import_key_material(KeyId=key, ImportToken=parameters["ImportToken"],
                                   EncryptedKeyMaterial=wrapped(algorithm, parameters["PublicKey"], material), **arguments)


def imports():
    der = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    for algorithm in ("RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"):
        key = new_key(Origin="EXTERNAL")
        id, arn, material = key["KeyId"], key["Arn"], os.urandom(32)
        assert key["KeyState"] == "PendingImport" and key["Enabled"] is False and "ExpirationModel" not in key, key
        fails("KMSInvalidStateException", f"{arn} is pending import.", kms.encrypt, KeyId=id, Plaintext=b"x")
        bring(id, algorithm, material)
        metadata = kms.describe_key(KeyId=id)["KeyMetadata"]
        assert metadata["KeyState"] == "Enabled" and metadata["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE", metadata
        blob = kms.encrypt(KeyId=id, Plaintext=b"x")["CiphertextBlob"]
        kms.delete_imported_key_material(KeyId=id)
        assert kms.describe_key(KeyId=id)["KeyMetadata"]["KeyState"] == "PendingImport"
        fails("KMSInvalidStateException", f"{arn} is pending import.", kms.decrypt, CiphertextBlob=blob)
        fails("IncorrectKeyMaterialException", None, bring, key=id, algorithm=algorithm, material=os.urandom(32))
        valid = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        bring(id, algorithm, material, ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=valid)
        metadata = kms.describe_key(KeyId=id)["KeyMetadata"]
        assert metadata["ExpirationModel"] == "KEY_MATERIAL_EXPIRES" and abs((metadata["ValidTo"] - valid).total_seconds()) < 1, metadata
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    id = new_key(Origin="EXTERNAL", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyId"]
    material = os.urandom(32)
    bring(id, "RSAES_OAEP_SHA_256", material)
    made = kms.generate_mac(KeyId=id, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
    assert made == hmac.new(material, b"m", "sha256").digest()
    for spec, private, algorithm in (
        ("RSA_2048", rsa.generate_private_key(65537, 2048), "RSASSA_PSS_SHA_256"),
        ("ECC_NIST_P384", ec.generate_private_key(ec.SECP384R1()), "ECDSA_SHA_384"),
        ("ECC_SECG_P256K1", ec.generate_private_key(ec.SECP256K1()), "ECDSA_SHA_256"),
        ("ECC_NIST_EDWARDS25519", ed25519.Ed25519PrivateKey.generate(), "ED25519_SHA_512"),
    ):
        id = new_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyId"]
        bring(id, "RSA_AES_KEY_WRAP_SHA_256", private.private_bytes(*der))
        verify_outside(private.public_key(), algorithm, b"m", kms.sign(KeyId=id, Message=b"m", SigningAlgorithm=algorithm)["Signature"])
    ours = new_key()["Arn"]
    fails("UnsupportedOperationException", f"{ours} origin is AWS_KMS which is not valid for this operation.",
          kms.get_parameters_for_import, KeyId=ours, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_4096")


def multi_region():
    key = new_key(MultiRegion=True, Description="primary")
    id, there = key["KeyId"], client(region=OTHER_REGION)
    assert id.startswith("mrk-") and key["MultiRegionConfiguration"]["ReplicaKeys"] == [], key
    made = kms.replicate_key(KeyId=id, ReplicaRegion=OTHER_REGION)
    replica = made["ReplicaKeyMetadata"]
    assert replica["KeyId"] == id and f":{OTHER_REGION}:" in replica["Arn"] and replica["Description"] == "", replica
    blob = kms.encrypt(KeyId=id, Plaintext=b"here")["CiphertextBlob"]
    opened = there.decrypt(CiphertextBlob=blob)
    assert opened["Plaintext"] == b"here" and opened["KeyId"] == replica["Arn"], opened
    blob = there.encrypt(KeyId=id, Plaintext=b"there")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"there"
    fails("UnsupportedOperationException", f"{replica['Arn']} is not a multi-region primary key.", there.replicate_key, KeyId=id, ReplicaRegion="eu-central-1")
    fails("AlreadyExistsException", None, kms.replicate_key, KeyId=id, ReplicaRegion=OTHER_REGION)
    single = new_key()
    fails("UnsupportedOperationException", f"{single['Arn']} is not a multi-region primary key.", kms.replicate_key, KeyId=single["KeyId"], ReplicaRegion=OTHER_REGION)
    fails("NotFoundException", f"Key '{single['Arn'].replace(REGION, OTHER_REGION)}' does not exist", there.describe_key, KeyId=single["KeyId"])
    fails("NotFoundException", f"Invalid arn {REGION}", there.describe_key, KeyId=single["Arn"])
    kms.update_primary_region(KeyId=id, PrimaryRegion=OTHER_REGION)
    configuration = there.describe_key(KeyId=id)["KeyMetadata"]["MultiRegionConfiguration"]
    assert configuration["MultiRegionKeyType"] == "PRIMARY" and configuration["PrimaryKey"]["Region"] == OTHER_REGION, configuration
    answer = there.schedule_key_deletion(KeyId=id, PendingWindowInDays=7)
    assert answer["KeyState"] == "PendingReplicaDeletion" and "DeletionDate" not in answer, answer


for section in sys.argv[1:]:
    globals()[section]()
    print("ok", section)
