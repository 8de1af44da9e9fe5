// SPDX-License-Identifier: Apache-2.0

// Package hsm is the only PKCS#11 code of sidekey. It knows nothing of KMS but
// the names of key specs: it holds one root key in a token, makes keys that
// leave the token only wrapped under that root key, and uses them inside the
// token.
//
//	root KEK        token object, AES-256, never extractable
//	  ├ backing key   of SYMMETRIC_DEFAULT: generated and wrapped in the token; used as a session object
//	  │   └ subkey      derived in the token from a 16-byte epoch; AES-256-GCM
//	  ├ private key   RSA, ECC: wrapped as PKCS #8; used as a session object
//	  └ secret key    HMAC: likewise
//
// strategy.go has the bytes of wrapped keys.
//
// # Specs
//
// A key is extractable, though sensitive, only in the call that makes or
// imports it, which wraps it, unwraps it again, proves that the two are the
// same key (the one unwrapped signs for the public half) and destroys both.
// Unwrapped keys are not extractable and do no more than their spec:
//
//	spec                    key may       mechanisms
//	RSA_2048, 3072, 4096    sign, decrypt CKM_RSA_PKCS, CKM_RSA_PKCS_PSS, CKM_RSA_PKCS_OAEP or CKM_RSA_X_509
//	ECC_NIST_P256, 384, 521 sign, derive  CKM_ECDSA, CKM_ECDH1_DERIVE
//	ECC_SECG_P256K1         sign          CKM_ECDSA
//	ECC_NIST_EDWARDS25519   sign          CKM_EDDSA, with CK_EDDSA_PARAMS for Ed25519ph
//	HMAC_224 to HMAC_512    sign          CKM_SHA224_HMAC to CKM_SHA512_HMAC
//
// [Token.Supports] tells what a token does of these, by doing. SoftHSM 2.6.1
// does all but Ed25519: it makes such keys but does not wrap them. No
// token with PKCS#11 before 3.2 has ML-DSA.
//
// Tokens differ in OAEP: SoftHSM has it with SHA-1 only. Where a token refuses
// the hash, it does the bare RSA operation, and the padding is undone here, in
// time that does not depend on it. A ciphertext that does not open is told
// from a token that is ill by encrypting to the same key and decrypting that.
//
// The RSA-2048 probe stands for the longer keys if the token's mechanism
// covers their size. Generating an RSA key may take six times Config.Timeout.
//
// # Lives of a handle
//
// A [Token] survives its token. Everything that dies together (login, sessions,
// object handles) hangs off one conn; when a call shows that a conn is dead it
// is dropped whole, a new one is built once for all waiting calls, and the call
// is tried once more. A wrong PIN is never tried again.
//
// Every call into the module runs in a goroutine apart, under a deadline.
// A call that overruns is abandoned with its session: its result is discarded,
// its session is closed when the module lets go of it.
//
// Several Tokens may use tokens of one module, each with a login of its own. The
// module is finalized by the last to close, and initialized anew, which some
// modules need to see a token again that was away, while no Token reaches its own.
//
// # Limits
//
// github.com/miekg/pkcs11 returns output through C memory that it frees without
// clearing, so a copy of each decrypted plaintext (a data key, say) stays in
// freed heap until it is overwritten. Buffers of this package are cleared. The
// process is meant to be non-dumpable and without core files for this reason.
// The same holds of ECDH secrets and, on their way in, of imported keys, of
// which the parsers of crypto/x509 leave copies of their own, too.
//
// PKCS#11 has one login per process and token. Where the process is logged in
// already, a wrong PIN is not noticed, by [Open] or [OpenWithPIN]: a custom key
// store should not share the token of another.
//
// A module is shared by the whole process. Other code in the process may log
// out, close all sessions or finalize the module, and this package heals; but
// other code that finalizes and initializes the module again while calls are
// under way can make old handles name new objects, and must not.
package hsm
