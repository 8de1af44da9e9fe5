// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"crypto/hkdf"
	"crypto/sha512"
	"crypto/subtle"
)

// DataKeySize is the length of the data keys of both formats.
const DataKeySize = 32

// suite is algorithm suite 0x0073 as bytes: it begins the labels of HKDF, and
// is the additional data of GCM.
const suite = "\x00\x73"

const (
	labelCommit  = suite + "COMMITKEY"
	labelDerive  = suite + "DERIVEKEY"
	nonceOfSuite = "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
)

// contentKey derives the key of a V3 object. The commitment comes first: a data
// key that the content is not bound to yields nothing that could be used.
func contentKey(dataKey []byte, e *Envelope) ([]byte, error) {
	prk, err := hkdf.Extract(sha512.New, dataKey, e.messageID)
	if err != nil {
		return nil, err
	}
	defer clear(prk)
	commitment, err := hkdf.Expand(sha512.New, prk, labelCommit, commitmentSize)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, e.expected) != 1 {
		return nil, ErrOpen
	}
	return hkdf.Expand(sha512.New, prk, labelDerive, DataKeySize)
}
