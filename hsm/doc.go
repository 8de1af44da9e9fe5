// SPDX-License-Identifier: Apache-2.0

// Package hsm is the only PKCS#11 code of sidekey. It knows nothing of KMS: it
// holds one root key in a token, makes backing keys that leave the token only
// wrapped under that root key, and encrypts with subkeys derived from them
// inside the token.
//
//	root KEK        token object, AES-256, never extractable
//	  └ backing key   generated and wrapped in the token; used as a session object
//	      └ subkey      derived in the token from a 16-byte epoch; AES-256-GCM
//
// # Lives of a handle
//
// A [Token] survives its token. Everything that dies together (login, sessions,
// object handles) hangs off one conn; when a call shows that a conn is dead it
// is dropped whole, a new one is built once for all waiting calls, and the call
// is tried once more. A wrong PIN is never tried again.
//
// Every call into the module runs in a goroutine of its own under a deadline.
// A call that overruns is abandoned with its session: its result is discarded,
// its session is closed when the module lets go of it.
//
// # Limits
//
// github.com/miekg/pkcs11 returns output through C memory that it frees without
// clearing, so a copy of each decrypted plaintext (a data key, say) stays in
// freed heap until it is overwritten. Buffers of this package are cleared. The
// process is meant to be non-dumpable and without core files for this reason.
//
// A module is shared by the whole process. Other code in the process may log
// out, close all sessions or finalize the module, and this package heals; but
// other code that finalizes and initializes the module again while calls are
// under way can make old handles name new objects, and must not.
package hsm
