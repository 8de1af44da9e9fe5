// SPDX-License-Identifier: Apache-2.0

package memkey

// Expand is for tests.
func Expand(spec string, seed []byte) []byte {
	ks, err := specOf(spec, familyMLDSA)
	if err != nil {
		panic(err)
	}
	return ks.mldsa.expand(seed)
}
