// SPDX-License-Identifier: Apache-2.0

package hsm

/*
#include <stdlib.h>

// CK_KEY_DERIVATION_STRING_DATA of PKCS#11 2.40; the binding has no type for it.
struct string_data {
	unsigned char *data;
	unsigned long len;
};
*/
import "C"

import (
	"unsafe"

	"github.com/miekg/pkcs11"
)

// epochBlocks gives the 32 bytes of which the subkey of an epoch is the
// encryption, block by block, under the backing key K:
//
//	block 0 = epoch with the top bit of its first byte cleared
//	block 1 = epoch with the top bit of its first byte set
//	subkey  = AES-256(K, block 0) || AES-256(K, block 1)
//
// Why this is a sound key derivation: the two blocks of one epoch differ in
// that bit, and blocks of epochs that differ anywhere else differ too, so no
// block is ever encrypted for two purposes and the map from the remaining 127
// bits of epoch to pairs of blocks is injective. K does nothing but this
// (unwrapTemplate), so AES under K is a pseudorandom permutation evaluated at
// 2q distinct points for q epochs. By the PRP/PRF switching lemma the subkeys
// are then distinguishable from q independent random 256-bit keys with
// advantage at most (2q)²/2^129 beyond breaking AES: below 2^-47 for 2^40
// epochs of one backing key. Setting the bit, rather than flipping it, matters: with
// a flip, two epochs would have subkeys that are each other's halves swapped.
//
// Why it is used: with random 96-bit nonces one AES-GCM key is good for 2^32
// messages (NIST SP 800-38D section 8.3). The limit holds per subkey, so a
// caller that changes epoch at random may use one backing key far past 2^32.
// Two epochs that differ only in the top bit share a subkey and its limit.
func epochBlocks(epoch [16]byte) [32]byte {
	var b [32]byte
	copy(b[:16], epoch[:])
	copy(b[16:], epoch[:])
	b[0] &^= 0x80
	b[16] |= 0x80
	return b
}

// deriveMechanism is CKM_AES_ECB_ENCRYPT_DATA over the blocks of an epoch. Its
// parameter points to C memory, which the caller frees after the call.
func deriveMechanism(epoch [16]byte) (m *pkcs11.Mechanism, free func()) {
	blocks := epochBlocks(epoch)
	data := C.CBytes(blocks[:])
	param := C.struct_string_data{data: (*C.uchar)(data), len: C.ulong(len(blocks))}
	raw := C.GoBytes(unsafe.Pointer(&param), C.int(unsafe.Sizeof(param)))
	return pkcs11.NewMechanism(pkcs11.CKM_AES_ECB_ENCRYPT_DATA, raw), func() { C.free(data) }
}
