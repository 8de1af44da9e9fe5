// SPDX-License-Identifier: Apache-2.0

// Package s3ec reads objects that the Amazon S3 Encryption Client wrote with
// data keys under a key of a KMS. It only reads, and only what is
// authenticated: AES-GCM in formats V2 and V3. It has no client of S3 or KMS:
// its caller gives it the metadata, the instruction file if there is one, the
// unwrapped data key, and a way to open the sealed bytes.
//
//	envelope, needInstruction, err := s3ec.Parse(metadata)
//	if needInstruction {
//		envelope, err = envelope.WithInstruction(file) // of key + InstructionSuffix
//	}
//	… KMS Decrypt(envelope.WrappedKey, envelope.EncryptionContext) …
//	opener, err := s3ec.NewOpener(dataKey, envelope, contentLength)
//	verified, err := opener.Verify(ctx, source)
//	body, err := verified.Open(ctx, source, offset, length)
//
// # The format
//
// Facts are from the "S3 Encryption Client" documents of
// aws-encryption-sdk-specification (content-metadata.md [M], metadata-strategy.md
// [S], key-derivation.md [K], encryption.md, decryption.md, s3-kms-keyring.md [W])
// and, where those are silent or older than the clients, from the sources of
// amazon-s3-encryption-client-go v3.2.0 and v4 [G], -java v4 [J], and of the PHP,
// Ruby, .NET and C++ clients.
//
// An object is one AES-256-GCM message, ciphertext | tag of 16 bytes, so that a
// sealed object is 16 bytes longer than its plaintext, also if it was uploaded
// in parts. What is needed to open it is in user metadata ("mapkeys"; S3's own
// prefix x-amz-meta- comes before them on the wire) [M]:
//
//	V2                 V3        content
//	x-amz-key-v2       x-amz-3   wrapped data key, base64
//	x-amz-iv           –         GCM nonce of 12 bytes, base64
//	x-amz-cek-alg      x-amz-c   "AES/GCM/NoPadding" | "115" (suite 0x0073)
//	x-amz-wrap-alg     x-amz-w   "kms+context" or "kms" | "12" (kms+context)
//	x-amz-matdesc      x-amz-t   encryption context of KMS, JSON
//	x-amz-tag-len      –         "128"
//	–                  x-amz-m   material description of raw keys; empty here
//	–                  x-amz-d   key commitment of 28 bytes, base64
//	–                  x-amz-i   message ID of 28 bytes, base64
//	x-amz-unencrypted-content-length (any)  length of the plaintext, not
//	                             authenticated; the Go client writes it empty in V3
//
// V3 knows "02" (AES/GCM) and "22" (RSA-OAEP-SHA1) besides "12" [M]: they wrap
// with raw keys that no KMS holds, and are refused like V2's AESWrap, AES/GCM
// and RSA. Format V1 (x-amz-key) and AES/CBC or AES/CTR content are refused:
// nothing authenticates them.
//
// V2 opens with the data key itself, the nonce x-amz-iv, and no additional data.
// V3 (ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY) derives with HKDF-SHA-512 [K, G]:
//
//	PRK        = Extract(salt = message ID, input = data key of 32 bytes)
//	commitment = Expand(PRK, 0x0073 | "COMMITKEY", 28)
//	key        = Expand(PRK, 0x0073 | "DERIVEKEY", 32)
//
// The commitment is compared in constant time before the key is derived. The
// nonce is 12 bytes of 0x01 [G, J, PHP; early revisions of K say zeros, which no
// client wrote] and the additional data is 0x0073.
//
// The context that KMS gets is the whole map [W, G, J]. With kms+context it must
// hold "aws:x-amz-cek-alg" with the value of x-amz-cek-alg or x-amz-c ("115"):
// that binds the content algorithm to the wrapped key (CVE-2020-8912). With kms
// (V1 of the KMS wrapping) it is the map with kms_cmk_id, and binds nothing; it
// can be read because GCM is the only algorithm here. S3 returns a map with
// characters outside ASCII in an encoding of its own ("double encoding", [S]):
// see decodeHeader.
//
// # Instruction files
//
// A second object, key + ".instruction", may hold the metadata as one JSON map
// [S]: in V2 all of it; in V3 x-amz-3, -w, -t and -m, while -c, -d and -i stay
// with the object. Whoever can replace an instruction file of V2 can give an
// object another key under which it opens to something else, prepared before
// (CVE-2025-14764, "invisible salamanders"), because nothing commits the
// content to its key. V3 does: the commitment is not in the instruction file.
// So a mapkey in the wrong place, in two places, or of another format is
// refused. Envelope.Committed tells the two apart, so that a caller can ask for
// commitment, as version 4 of the client does by default.
//
// # What is not bound
//
// The format binds content to key and context, not to bucket or name: who can
// write to the store can put one object, with its metadata, in place of
// another, unless the context tells them apart.
package s3ec
