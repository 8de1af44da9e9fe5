#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes vectors/*.json: known answers for package memkey.

Needs Python's `cryptography` 46 or newer over OpenSSL 3.5 or newer (ML-DSA).
The values printed in RFC 4231, RFC 6979, RFC 8032 and NIST's ECC CDH file are
checked against that library before they are written. The other cases are made
here: broken ones by hand, with Python's integers. Keys are new at each run.
"""
import hashlib, hmac, json, os, secrets, sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization as ser, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils

HASHES = {"SHA1": hashes.SHA1(), "SHA224": hashes.SHA224(), "SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}
MADE = "made by generate.py"
files = {}


def case(file, operation, spec, comment, result, source=MADE, **values):
    values = {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}
    files.setdefault(file, []).append({"comment": comment, "source": source, "operation": operation, "spec": spec, **values, "result": result})


def spki(key):
    return key.public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)


def pkcs8(key):
    return key.private_bytes(ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption())


def tlv(tag, body, long=False):
    n = len(body)
    size = bytes([n]) if n < 128 and not long else bytes([0x81, n]) if n < 256 else bytes([0x82, n >> 8, n & 255])
    return bytes([tag]) + size + body


def integer(n):
    if n < 0:
        size = (n + 1).bit_length() // 8 + 1
        return tlv(2, n.to_bytes(size, "big", signed=True))
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


# --- ECDSA ---------------------------------------------------------------

CURVES = {
    "ECC_NIST_P256": (ec.SECP256R1(), "SHA256", 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551,
                      2**256 - 2**224 + 2**192 + 2**96 - 1, 256),
    "ECC_NIST_P384": (ec.SECP384R1(), "SHA384", 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973,
                      2**384 - 2**128 - 2**96 + 2**32 - 1, 384),
    "ECC_NIST_P521": (ec.SECP521R1(), "SHA512", int("1" + "f" * 65 + "a51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16),
                      2**521 - 1, 521),
    "ECC_SECG_P256K1": (ec.SECP256K1(), "SHA256", 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141,
                        2**256 - 2**32 - 977, 256),
}

# x, r, s of the message "sample" with the curve's own hash (RFC 6979 A.2.5 to
# A.2.7); of secp256k1 the usual case of implementations of RFC 6979.
RFC6979 = {
    "ECC_NIST_P256": (0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721,
                      0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
                      0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8, b"sample", "RFC 6979 A.2.5"),
    "ECC_NIST_P384": (0x6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5,
                      0x94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46,
                      0x99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8, b"sample", "RFC 6979 A.2.6"),
    "ECC_NIST_P521": (0x00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538,
                      0x00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA,
                      0x00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A, b"sample", "RFC 6979 A.2.7"),
    "ECC_SECG_P256K1": (1, 0x934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8,
                        0x2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5, b"Satoshi Nakamoto", "RFC 6979 with secp256k1, key 1"),
}


def ecdsa_cases(spec):
    curve, hash, n, p, _ = CURVES[spec]
    d, r, s, message, source = RFC6979[spec]
    key = ec.derive_private_key(d, curve)
    public, digest = spki(key.public_key()), hashlib.new(hash, message).digest()
    key.public_key().verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(HASHES[hash]))
    R, S = integer(r), integer(s)
    good = tlv(0x30, R + S)
    size = (n.bit_length() + 7) // 8

    def add(comment, signature, result="invalid", **more):
        case("ecdsa", "verify", spec, comment, result, **{"options": hash, "public": public, "input": digest, "signature": signature, **more})

    add("the example", good, "valid", source=source)
    add("S is n-S: AWS KMS takes both", tlv(0x30, R + integer(n - s)), "valid")
    for name, r2, s2 in [
        ("r = 0", 0, s), ("s = 0", r, 0), ("r = s = 0", 0, 0), ("r = 1, s = 0", 1, 0), ("r = s = 1", 1, 1), ("r = 0, s = 1", 0, 1),
        ("r = n", n, s), ("s = n", r, n), ("r + n", r + n, s), ("s + n", r, s + n), ("r = n, s = 1", n, 1), ("r = p", p, s), ("r = p, s = 1", p, 1),
        ("r negative", -r, s), ("s negative", r, -s), ("r - n", r - n, s), ("s - n", r, s - n), ("r = -1", -1, s),
        ("r and s exchanged", s, r), ("r + 2^(8·size)", r + (1 << 8 * size), s), ("s + 2^(8·size)", r, s + (1 << 8 * size)), ("r + 2^4096", r + (1 << 4096), s),
    ]:
        add(name, tlv(0x30, integer(r2) + integer(s2)))
    bare = lambda x: x.to_bytes(size, "big")
    for name, signature in [
        ("empty", b""), ("an empty SEQUENCE", tlv(0x30, b"")), ("r only", tlv(0x30, R)), ("three INTEGERs", tlv(0x30, R + S + integer(1))),
        ("trailing byte", good + b"\0"), ("trailing NULL in the SEQUENCE", tlv(0x30, R + S + b"\x05\0")), ("truncated", good[:-1]),
        ("BER: SEQUENCE with a long length", tlv(0x30, R + S, True) if len(R + S) < 128 else b"\x30\x82\x00" + bytes([len(R + S)]) + R + S),
        ("BER: INTEGER with a long length", tlv(0x30, b"\x02\x81" + R[1:] + S)),
        ("BER: indefinite length", b"\x30\x80" + R + S + b"\0\0"),
        ("r with a zero more", tlv(0x30, tlv(2, b"\0" + R[2:]) + S)), ("s with a zero more", tlv(0x30, R + tlv(2, b"\0" + S[2:]))),
        ("an INTEGER without bytes", tlv(0x30, b"\x02\0" + S)), ("a SET", tlv(0x31, R + S)), ("OCTET STRINGs", tlv(0x30, b"\x04" + R[1:] + b"\x04" + S[1:])),
        ("BOOLEANs for integers", tlv(0x30, b"\x01\x01\xff\x01\x01\xff")), ("r || s of IEEE P1363", bare(r) + bare(s)), ("infinite REAL for r", tlv(0x30, b"\x09\x01\x40" + S)),
        ("a signature in a SEQUENCE", tlv(0x30, good)), ("leading byte", b"\0" + good), ("length of 2^31", b"\x30\x84\x80\0\0\0" + R + S), ("length of 2^64-1", b"\x30\x88" + b"\xff" * 8 + R + S),
    ]:
        add(name, signature)
    if R[2] == 0 and len(R) - 2 == size + 1:
        add("r without the zero that makes it positive", tlv(0x30, tlv(2, R[3:]) + S))
    # u1·G + u2·Q is the point at infinity for the digest 0 with r = s·... of Q = G·d:
    # e = 0 and Q = -G·r/s cannot be, so use e = -r·d (FIPS 186-5 section 6.4.2).
    e = -r * d % n
    if e.bit_length() <= 8 * HASHES[hash].digest_size:
        add("u1·G + u2·Q is at infinity", tlv(0x30, R + integer(1)), input=e.to_bytes(HASHES[hash].digest_size, "big"))
    # A digest of 0: s = r·d/k.
    k = secrets.randbelow(n - 1) + 1
    x = ec.derive_private_key(k, curve).public_key().public_numbers().x % n
    zero = bytes(HASHES[hash].digest_size)
    add("a digest of zeros", tlv(0x30, integer(x) + integer(x * d * pow(k, -1, n) % n)), "valid", input=zero)
    ones = b"\xff" * HASHES[hash].digest_size
    e = int.from_bytes(ones, "big")
    add("a digest of ones", tlv(0x30, integer(x) + integer((e + x * d) * pow(k, -1, n) % n)), "valid", input=ones)
    add("a digest of ones, s for 0", tlv(0x30, integer(x) + integer(x * d * pow(k, -1, n) % n)), input=ones)


# --- ECDH ----------------------------------------------------------------

def point_spki(spec, point):
    key = ec.generate_private_key(CURVES[spec][0]).public_key()
    der = spki(key)
    algorithm = der[2 if der[1] < 128 else 3:]
    algorithm = algorithm[: 2 + algorithm[1]]
    return tlv(0x30, algorithm + tlv(3, b"\0" + point))


def ecdh_cases(spec):
    curve, _, n, p, _ = CURVES[spec]
    size = (p.bit_length() + 7) // 8
    own, peer = ec.generate_private_key(curve), ec.generate_private_key(curve)
    material, numbers = pkcs8(own), peer.public_key().public_numbers()
    secret = own.exchange(ec.ECDH(), peer.public_key())
    coordinates = lambda x, y: b"\x04" + x.to_bytes(size, "big") + y.to_bytes(size, "big")

    def add(comment, peer, result="invalid", **more):
        case("ecdh", "agree", spec, comment, result, **{"material": material, "public": peer, **more})

    if spec == "ECC_NIST_P256":
        q = ec.EllipticCurvePublicNumbers(0x700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287, 0xdb71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac, curve).public_key()
        d = ec.derive_private_key(0x7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534, curve)
        z = bytes.fromhex("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b")
        assert d.exchange(ec.ECDH(), q) == z
        add("P-256, count 0", spki(q), "valid", source="NIST CAVP, KAS_ECC_CDH_PrimitiveTest", material=pkcs8(d), output=z)
    add("a random key", spki(peer.public_key()), "valid", output=secret)
    add("the same key as ours", spki(own.public_key()), "valid", output=own.exchange(ec.ECDH(), own.public_key()))
    generator = ec.derive_private_key(1, curve)
    add("the generator", spki(generator.public_key()), "valid", output=own.exchange(ec.ECDH(), generator.public_key()))
    x = 1  # a secret that begins with a zero
    while True:
        other = ec.derive_private_key(x, curve)
        shared = own.exchange(ec.ECDH(), other.public_key())
        if shared[0] == 0 and (size != 66 or shared[1] == 0):
            break
        x += 1
    add("a secret with leading zeros", spki(other.public_key()), "valid", output=shared)
    good = coordinates(numbers.x, numbers.y)
    for name, point in [
        ("infinity", b"\0"), ("infinity, padded", b"\0" * len(good)), ("(0, 0)", coordinates(0, 0)), ("no point", b""), ("y + 1", coordinates(numbers.x, numbers.y ^ 1)),
        ("x + p", b"\x04" + (numbers.x + p).to_bytes(size + 1, "big")[-size:] + good[1 + size:]), ("(p, y)", coordinates(p, numbers.y)), ("(x, p)", coordinates(numbers.x, p)),
        ("a byte short", good[:-1]), ("a byte long", good + b"\0"), ("x and y exchanged", coordinates(numbers.y, numbers.x)), ("on the twist: x without a y", twist(p, curve, coordinates)),
    ]:
        add(name, point_spki(spec, point))
    odd = numbers.y & 1
    add("compressed: sound, but AWS KMS gives and documents uncompressed points", point_spki(spec, bytes([2 + odd]) + good[1:1 + size]), "acceptable", answer="invalid")
    add("hybrid: X9.62 only", point_spki(spec, bytes([6 + odd]) + good[1:]), "invalid")
    for other in CURVES:
        if other != spec:
            add("a key of " + other, spki(ec.generate_private_key(CURVES[other][0]).public_key()))
            add("its own point named as of " + other, point_spki(other, good))
    add("explicit parameters", tlv(0x30, tlv(0x30, bytes.fromhex("06072a8648ce3d0201") + tlv(0x30, b"")) + tlv(3, b"\0" + good)))
    add("curve absent", tlv(0x30, tlv(0x30, bytes.fromhex("06072a8648ce3d0201")) + tlv(3, b"\0" + good)))
    add("unused bits", point_spki(spec, good).replace(tlv(3, b"\0" + good), tlv(3, b"\1" + good)))
    add("an Ed25519 key", spki(ed25519.Ed25519PrivateKey.generate().public_key()))


def twist(p, curve, coordinates):
    b = {256: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b,
         384: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef,
         521: 0x0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00}[p.bit_length()]
    x = 2
    while pow((x**3 - 3 * x + b) % p, (p - 1) // 2, p) == 1:
        x += 1
    return coordinates(x, pow(-(x**3 - 3 * x + b) % p, (p + 1) // 4, p))


# --- RSA -----------------------------------------------------------------

INFO = {h: bytes.fromhex(x) for h, x in {
    "SHA256": "3031300d060960864801650304020105000420", "SHA384": "3041300d060960864801650304020205000430",
    "SHA512": "3051300d060960864801650304020305000440", "SHA1": "3021300906052b0e03021a05000414"}.items()}


def mgf(hash, seed, size):
    return b"".join(hashlib.new(hash, seed + i.to_bytes(4, "big")).digest() for i in range(size // 20 + 1))[:size]


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def raw(key, em):
    numbers = key.private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(em, "big"), numbers.d, n).to_bytes((n.bit_length() + 7) // 8, "big")


def rsa_key(spec):
    return rsa.generate_private_key(65537, int(spec[4:]))


def pkcs1_cases(spec, key):
    k = int(spec[4:]) // 8
    public, n = spki(key.public_key()), key.public_key().public_numbers().n
    for hash in ["SHA256", "SHA384", "SHA512"]:
        digest = hashlib.new(hash, b"message").digest()
        good = key.sign(b"message", padding.PKCS1v15(), HASHES[hash])
        info = INFO[hash] + digest
        em = lambda t, head=b"\0\1", fill=b"\xff": head + fill * (k - 3 - len(t)) + b"\0" + t
        assert raw(key, em(info)) == good

        def add(comment, signature, result="invalid", **more):
            case("rsa_pkcs1", "verify", spec, hash + ": " + comment, result, **{"options": hash, "public": public, "input": digest, "signature": signature, **more})

        add("good", good, "valid")
        for name, bad in [
            ("no NULL in DigestInfo", em(tlv(0x30, tlv(0x30, INFO[hash][4:15]) + tlv(4, digest)))), ("no DigestInfo", em(digest)),
            ("BER length", em(b"\x30\x81" + info[1:])), ("trailing bytes in the block", em(info)[2 + 20:] and b"\0\1" + b"\xff" * (k - 3 - len(info) - 20) + b"\0" + info + b"\x01" * 20),
            ("block type 2", em(info, b"\0\2")), ("block type 0", em(info, b"\0\0", b"\0")), ("first byte 1", em(info, b"\1\1") if n >> (8 * k - 8) > 1 else em(info, b"\0\3")),
            ("padding of 0xfe", em(info, fill=b"\xfe")), ("one padding byte wrong", em(info)[:9] + b"\xfe" + em(info)[10:]), ("no separator", em(info)[: k - len(info) - 1] + b"\xff" + info),
            ("8 bytes of padding, rest after", b"\0\1" + b"\xff" * 8 + b"\0" + info + bytes(k - 11 - len(info))), ("DigestInfo of SHA-1", em(INFO["SHA1"] + digest[:20])),
            ("the digest changed", em(info[:-1] + bytes([info[-1] ^ 1]))), ("all zeros but 1", b"\0" * (k - 1) + b"\1"), ("all zeros", bytes(k)), ("PKCS #1 with ones in NULL", em(info.replace(b"\x05\0\x04", b"\x05\1\x04"))),
        ]:
            add(name, raw(key, bad))
        s = int.from_bytes(good, "big")
        for name, bad in [("s = 0", bytes(k)), ("s = 1", bytes(k - 1) + b"\1"), ("s = n", n.to_bytes(k, "big")), ("s = n-1", (n - 1).to_bytes(k, "big")), ("s + n", (s + n).to_bytes(k + 1, "big")), ("n - s", (n - s).to_bytes(k, "big")), ("leading zero", b"\0" + good), ("trailing zero", good + b"\0"), ("truncated", good[:-1]), ("empty", b"")]:
            add(name, bad)
        for other in ["SHA256", "SHA384", "SHA512"]:
            if other != hash:
                add("taken as " + other, good, options=other, input=hashlib.new(other, b"message").digest())
        add("taken as PSS", good, options="PSS-" + hash)


def pss_em(k, bits, hash, digest, salt, mask=None, trailer=b"\xbc", one=b"\1", top=0, pad=b"\0"):
    h = hashlib.new(hash, bytes(8) + digest + salt).digest()
    db = pad * (k - len(salt) - len(h) - 2) + one + salt
    db = xor(db, mgf(mask or hash, h, len(db)))
    db = bytes([db[0] & (0xff >> (8 * k - bits)) | top]) + db[1:]
    return db + h + trailer


def pss_cases(spec, key):
    k, bits = int(spec[4:]) // 8, int(spec[4:]) - 1
    public = spki(key.public_key())
    for hash in ["SHA256", "SHA384", "SHA512"]:
        size = HASHES[hash].digest_size
        digest = hashlib.new(hash, b"message").digest()
        good = key.sign(b"message", padding.PSS(padding.MGF1(HASHES[hash]), size), HASHES[hash])

        def add(comment, signature, result="invalid", **more):
            case("rsa_pss", "verify", spec, hash + ": " + comment, result, **{"options": "PSS-" + hash, "public": public, "input": digest, "signature": signature, **more})

        add("good", good, "valid")
        salt = os.urandom(size)
        em = lambda *a, **b: raw(key, pss_em(k, bits, hash, *a, **b))
        add("good, by integers", em(digest, salt), "valid")
        add("a salt of zeros", em(digest, bytes(size)), "valid")
        longest = k - size - 2
        for length in sorted({0, 1, 20, size - 1, size + 1, longest}):
            add(f"a salt of {length} bytes", em(digest, os.urandom(length)))
        others = [h for h in INFO if h != hash]
        for other in others:
            add("MGF1 with " + other, em(digest, salt, mask=other))
        for name, bad in [("trailer 0xcc", em(digest, salt, trailer=b"\xcc")), ("trailer 0", em(digest, salt, trailer=b"\0")), ("02 before the salt", em(digest, salt, one=b"\2")), ("00 before the salt", em(digest, salt, one=b"\0")),
                          ("padding of 1", em(digest, salt, pad=b"\1")), ("of another digest", em(hashlib.new(hash, b"other").digest(), salt)), ("leading zero", b"\0" + good), ("truncated", good[:-1]), ("empty", b""), ("zeros", bytes(k))]:
            add(name, bad)
        n = key.public_key().public_numbers().n
        topped = pss_em(k, bits, hash, digest, salt, top=0x80)
        if int.from_bytes(topped, "big") < n:
            add("the top bit set", raw(key, topped))
        add("s + n", (int.from_bytes(good, "big") + n).to_bytes(k + 1, "big"))
        add("taken as PKCS #1 v1.5", good, options=hash)


def oaep_block(k, hash, message, label=b"", first=b"\0", one=b"\1", mask=None, pad=b"\0"):
    size = HASHES[hash].digest_size
    db = hashlib.new(hash, label).digest() + pad * (k - len(message) - 2 * size - 2) + one + message
    seed = os.urandom(size)
    db = xor(db, mgf(mask or hash, seed, len(db)))
    return first + xor(seed, mgf(mask or hash, db, size)) + db


def oaep_cases(spec, key):
    k, numbers = int(spec[4:]) // 8, key.public_key().public_numbers()
    raise_ = lambda em: pow(int.from_bytes(em, "big"), 65537, numbers.n).to_bytes(k, "big")
    for hash in ["SHA1", "SHA256"]:
        size = HASHES[hash].digest_size

        def add(comment, ciphertext, result="invalid", **more):
            case("rsa_oaep", "decrypt", spec, hash + ": " + comment, result, **{"options": hash, "material": pkcs8(key), "input": ciphertext, **more})

        for name, message in [("one byte", b"x"), ("empty", b""), ("32 bytes", bytes(range(32))), ("as long as can be", b"y" * (k - 2 * size - 2)), ("leading zeros", bytes(20)), ("leading ones", b"\1" * 20)]:
            add(name, key.public_key().encrypt(message, padding.OAEP(padding.MGF1(HASHES[hash]), HASHES[hash], None)), "valid", output=message)
            add(name + ", by integers", raise_(oaep_block(k, hash, message)), "valid", output=message)
        other = "SHA256" if hash == "SHA1" else "SHA1"
        for name, em in [("a label", oaep_block(k, hash, b"x", label=b"label")), ("first byte 1", oaep_block(k, hash, b"x", first=b"\1")), ("no 01", oaep_block(k, hash, b"", one=b"\0")), ("02 for 01", oaep_block(k, hash, b"x", one=b"\2")),
                         ("MGF1 with " + other, oaep_block(k, hash, b"x", mask=other)), ("hash " + other, oaep_block(k, other, b"x")), ("padding of 2", oaep_block(k, hash, b"x", pad=b"\2")), ("PKCS #1 v1.5", b"\0\2" + b"\7" * (k - 4) + b"\0x"), ("0", bytes(k)), ("1", bytes(k - 1) + b"\1")]:
            add(name, raise_(em))
        good = key.public_key().encrypt(b"x", padding.OAEP(padding.MGF1(HASHES[hash]), HASHES[hash], None))
        c = int.from_bytes(good, "big")
        for name, bad in [("empty", b""), ("truncated", good[:-1]), ("leading zero", b"\0" + good), ("c = n", numbers.n.to_bytes(k, "big")), ("c = n - 1", (numbers.n - 1).to_bytes(k, "big")), ("c + n", (c + numbers.n).to_bytes(k + 1, "big")), ("n - c", (numbers.n - c).to_bytes(k, "big")), ("all ones", b"\xff" * k)]:
            add(name, bad)


# --- Ed25519 -------------------------------------------------------------

L = 2**252 + 27742317777372353535851937790883648493
SMALL = ["00" * 32, "01" + "00" * 31, "01" + "00" * 30 + "80", "ec" + "ff" * 30 + "7f", "ec" + "ff" * 31, "ed" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f", "00" * 31 + "80",
         "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
         "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"]


def ed_spki(raw):
    return bytes.fromhex("302a300506032b6570032100") + raw


def ed25519_cases():
    spec = "ECC_NIST_EDWARDS25519"

    def add(comment, key, message, signature, result="invalid", **more):
        case("ed25519", "verify", spec, comment, result, **{"options": "ED25519", "public": key, "input": message, "signature": signature, **more})

    for number, (seed, message, signature) in {
        "TEST 1": ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "", "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
        "TEST 2": ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72", "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    }.items():
        key, message, signature = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)), bytes.fromhex(message), bytes.fromhex(signature)
        assert key.sign(message) == signature
        add(number, spki(key.public_key()), message, signature, "valid", source="RFC 8032 section 7.1")
        case("ed25519", "sign", spec, number + ", signing", "valid", "RFC 8032 section 7.1", options="ED25519", material=pkcs8(key), input=message, signature=signature)
    ph = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"))
    signature = bytes.fromhex("98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406")
    digest = hashlib.sha512(b"abc").digest()
    add("TEST abc", spki(ph.public_key()), digest, signature, "valid", options="SHA512", source="RFC 8032 section 7.3")
    add("TEST abc, as Ed25519 of the digest", spki(ph.public_key()), digest, signature)
    add("TEST abc, as Ed25519 of the message", spki(ph.public_key()), b"abc", signature)
    add("Ed25519 of the digest, as Ed25519ph", spki(ph.public_key()), digest, ph.sign(digest), options="SHA512")

    key = ed25519.Ed25519PrivateKey.generate()
    public, message = spki(key.public_key()), b"message"
    good = key.sign(message)
    r, s = good[:32], int.from_bytes(good[32:], "little")
    add("good", public, message, good, "valid")
    for name, value in [("S + L", s + L), ("S + 2L", s + 2 * L), ("S + 8L", s + 8 * L), ("S + 15L", s + 15 * L), ("S = 0", 0), ("S = 1", 1), ("S = L", L), ("S = L - 1", L - 1), ("S = 2^256 - 1", 2**256 - 1), ("L - S", L - s), ("S, bit 255", s | 1 << 255), ("S, bit 253", s | 1 << 253)]:
        if value < 2**256:
            add(name, public, message, r + value.to_bytes(32, "little"))
    for name, bad in [("empty", b""), ("truncated", good[:-1]), ("R alone", r), ("extended", good + b"\0"), ("R, sign bit", r[:31] + bytes([r[31] ^ 0x80]) + good[32:]), ("zeros", bytes(64)), ("R changed", bytes([r[0] ^ 1]) + good[1:]), ("R of p", b"\xed" + b"\xff" * 30 + b"\x7f" + good[32:])]:
        add(name, public, message, bad)
    add("another message", public, b"message ", good)
    add("another key", spki(ed25519.Ed25519PrivateKey.generate().public_key()), message, good)
    for small in SMALL:
        for start in ["00" * 32, "01" + "00" * 31, small]:
            add("a public key of small order " + small[:4] + "…" + small[-4:] + ", S = 0", ed_spki(bytes.fromhex(small)), message, bytes.fromhex(start) + bytes(32),
                "acceptable", answer="invalid")  # RFC 8032 does not say; OpenSSL takes some
    for name, raw_key in [("y >= p", b"\xf0" + b"\xff" * 30 + b"\x7f"), ("y without an x", b"\2" + bytes(31)), ("31 bytes", b"\x21" * 31)]:
        add("a public key with " + name, ed_spki(raw_key) if len(raw_key) == 32 else tlv(0x30, bytes.fromhex("300506032b6570") + tlv(3, b"\0" + raw_key)), message, good)


# --- HMAC ----------------------------------------------------------------

def hmac_cases():
    # Keys and data of RFC 4231. Its keys have other lengths than those of KMS,
    # so they are brought to length as HMAC itself does: zeros behind short ones,
    # the hash of those that are longer than a block.
    cases = {1: (b"\x0b" * 20, b"Hi There"), 2: (b"Jefe", b"what do ya want for nothing?"), 3: (b"\xaa" * 20, b"\xdd" * 50), 4: (bytes(range(1, 26)), b"\xcd" * 50),
             6: (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First"),
             7: (b"\xaa" * 131, b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.")}
    printed = {(1, "SHA224"): "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
               (1, "SHA256"): "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
               (1, "SHA384"): "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
               (1, "SHA512"): "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
               (2, "SHA256"): "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"}
    for hash in ["SHA224", "SHA256", "SHA384", "SHA512"]:
        size = HASHES[hash].digest_size
        spec = "HMAC_" + hash[3:]
        block = 64 if size <= 32 else 128
        for number, (key, data) in cases.items():
            fitted = (hashlib.new(hash, key).digest() if len(key) > block else key).ljust(size, b"\0")
            mac = hmac.new(key, data, hash).digest()
            assert mac == hmac.new(fitted, data, hash).digest() and printed.get((number, hash), mac.hex()) == mac.hex()
            case("hmac", "mac", spec, f"test case {number}", "valid", "RFC 4231 section 4", material=fitted, input=data, output=mac)
        key = os.urandom(size)
        for length in [0, 1, block - 1, block, block + 1, 4096]:
            data = os.urandom(length)
            case("hmac", "mac", spec, f"{length} bytes", "valid", material=key, input=data, output=hmac.new(key, data, hash).digest())
        for length in [0, size - 1, size + 1, 2 * block]:
            case("hmac", "mac", spec, f"a key of {length} bytes", "invalid", material=bytes(length), input=b"x")


# --- ML-DSA --------------------------------------------------------------

MLDSA = {"ML_DSA_44": (mldsa.MLDSA44PrivateKey, 32, 4, 80), "ML_DSA_65": (mldsa.MLDSA65PrivateKey, 48, 6, 55), "ML_DSA_87": (mldsa.MLDSA87PrivateKey, 64, 8, 75)}


def mldsa_cases(spec):
    kind, strong, k, omega = MLDSA[spec]
    key = kind.from_seed_bytes(bytes(range(32)))
    public, raw_key, message = spki(key.public_key()), key.public_key().public_bytes_raw(), b"message"
    case("mldsa", "public", spec, "the seed 00 01 … 1f of RFC 9881 appendix C", "valid", material=pkcs8(key), output=public)

    def both(comment, signature, result="invalid", message=message, context=b"", **more):
        mu = hashlib.shake_256(hashlib.shake_256(raw_key).digest(64) + b"\0" + bytes([len(context)]) + context + message).digest(64)
        if not context:
            case("mldsa", "verify", spec, comment, result, **{"options": "PURE", "public": public, "input": message, "signature": signature, **more})
        case("mldsa", "verify", spec, comment + ", mu", result, **{"options": "MU", "public": public, "input": mu, "signature": signature, **more})

    good = key.sign(message)
    both("good", good, "valid")
    both("an empty message", key.sign(b""), "valid", message=b"")
    both("4096 bytes", key.sign(b"m" * 4096), "valid", message=b"m" * 4096)
    case("mldsa", "verify", spec, "with a context, taken without", "invalid", options="PURE", public=public, input=message, signature=key.sign(message, context=b"c"))
    both("with a context: mu has it in it", key.sign(message, context=b"c"), "valid", context=b"c")
    both("another message", good, message=b"massage")
    flip = lambda at: good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]
    hints = good[-(omega + k):]
    used = hints[-1]
    put = lambda body: good[: -(omega + k)] + body
    at = strong
    for name, bad in [("empty", b""), ("truncated", good[:-1]), ("extended", good + b"\0"), ("zeros", bytes(len(good))), ("ones", b"\xff" * len(good)),
                      ("challenge changed", flip(0)), ("z changed", flip(at + 5)), ("z at its bound: coefficient 0 is gamma1", good[:at] + bytes(3) + good[at + 3:]), ("z at its bound: coefficient 0 is lowest", good[:at] + b"\xff" * 3 + good[at + 3:]),
                      ("hints: more than omega", put(hints[:-1] + bytes([omega + 1]))), ("hints: an end before the last", put(hints[:omega] + bytes([255]) + hints[omega + 1:])), ("hints: none", put(bytes(omega + k))),
                      ("hints: one fewer", put(hints[:-1] + bytes([max(used - 1, 0)])))] + (
                     [("hints: positions exchanged", put(bytes([hints[1], hints[0]]) + hints[2:])), ("hints: a position twice", put(bytes([hints[0], hints[0]]) + hints[2:]))] if hints[omega] >= 2 else []) + (
                     [("hints: a position twice, else the same", put(bytes([hints[0]]) + hints[: omega - 1] + bytes(e + 1 for e in hints[omega:]))), ("hints: more than omega, all in order", put(bytes(range(omega)) + bytes([omega + 1]) * k)), ("hints: bytes that are not used", put(hints[: omega - 1] + b"\1" + hints[omega:]))] if used < omega else []):
        both(name, bad)
    try:
        key.public_key().verify(good, message)
    except InvalidSignature:
        sys.exit("the library refuses its own signature")


# --- AES key wrap with padding -------------------------------------------

def kwp_cases():
    for kek_size in [16, 32]:
        kek = os.urandom(kek_size)

        def add(comment, wrapped, result="invalid", **more):
            case("aes_kwp", "unwrap", "", f"KEK of {kek_size} bytes: " + comment, result, **{"material": kek, "input": wrapped, **more})

        for length in [9, 15, 16, 17, 20, 24, 28, 31, 32, 48, 64, 138, 1217, 4096]:
            key = os.urandom(length)
            add(f"{length} bytes", keywrap.aes_key_wrap_with_padding(kek, key), "valid", output=key)
        for length in [1, 7, 8]:
            add(f"{length} bytes: sound, but shorter than any key here", keywrap.aes_key_wrap_with_padding(kek, bytes(length)), "acceptable", answer="invalid")
        good = keywrap.aes_key_wrap_with_padding(kek, bytes(range(20)))
        add("RFC 3394, without padding", keywrap.aes_key_wrap(kek, bytes(24)))
        for at in range(len(good)):
            add(f"byte {at} changed", good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1:])
        for name, bad in [("empty", b""), ("8 bytes", good[:8]), ("16 bytes", good[:16]), ("truncated", good[:-8]), ("extended", good + bytes(8)), ("odd length", good + b"\0"), ("blocks exchanged", good[:8] + good[16:24] + good[8:16] + good[24:])]:
            add(name, bad)
        add("another KEK", good, material=os.urandom(kek_size))
    add_kek = keywrap.aes_key_wrap_with_padding(bytes(24), bytes(20))
    case("aes_kwp", "unwrap", "", "KEK of 24 bytes: sound, but AWS KMS has none", "acceptable", material=bytes(24), input=add_kek, output=bytes(20), answer="invalid")


for spec in CURVES:
    ecdsa_cases(spec)
    if spec != "ECC_SECG_P256K1":
        ecdh_cases(spec)
for spec in ["RSA_2048", "RSA_3072"]:
    key = rsa_key(spec)
    pkcs1_cases(spec, key)
    pss_cases(spec, key)
    oaep_cases(spec, key)
ed25519_cases()
hmac_cases()
for spec in MLDSA:
    mldsa_cases(spec)
kwp_cases()

out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors")
for name, cases in files.items():
    # A long value that several cases have is written once, and named in them.
    every = [v for c in cases for v in c.values()]
    shared = [v for v in dict.fromkeys(every) if len(v) > 100 and every.count(v) > 1]
    named = {v: f"${i}" for i, v in enumerate(shared)}
    with open(os.path.join(out, name + ".json"), "w") as f:
        f.write('{"generator": "testdata/generate.py", "values": {\n')
        f.write(",\n".join(json.dumps(named[v]) + ": " + json.dumps(v) for v in shared))
        f.write("},\n\"cases\": [\n")
        f.write(",\n".join(json.dumps({k: named.get(v, v) for k, v in c.items()}, ensure_ascii=False) for c in cases))
        f.write("\n]}\n")
    print(name, len(cases))
