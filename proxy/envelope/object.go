// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"encoding/binary"
)

// Suite names the algorithms of an object or a value. Zero is none.
type Suite byte

// ObjectSuite is Cobblestone-256 with HKDF-SHA-512 below it ([H2]).
const ObjectSuite Suite = 0x01

// Labels of HKDF-Expand under a data key. No label is a prefix of another, and
// what follows each has one length ([K2]).
const (
	labelObject   = "sidekey/v1/object\x00"
	labelHeader   = "sidekey/v1/header\x00"
	labelRandom   = "sidekey/v1/random\x00"
	labelEquality = "sidekey/v1/equality\x00"

	labelMessage = "sidekey/v1/message\x00"
)

// inputKey is the Cobblestone input key of an object ([O1]).
//
// One data key serves up to 2^20 objects in a cache, and any number over many
// caches: the objects' IDs are 192 random bits, so that 2^80 objects of one data
// key stay below a collision chance of 2^-32, and HMAC-SHA-512 under a secret
// key makes their input keys independent of each other and of all other labels.
// Each input key then seals one message for part 0, and one message per random
// salt for a part.
func inputKey(dataKey []byte, id [24]byte) ([]byte, error) {
	return expand(dataKey, labelObject+string(id[:]), DataKeySize)
}

// messageContext binds a message to suite, object and part ([O4]).
//
//	"sidekey/v1/message" 0x00 | suite 1 | object ID 24 | part 4
func messageContext(id [24]byte, part uint32) []byte {
	b := append([]byte(labelMessage), byte(ObjectSuite))
	b = append(b, id[:]...)
	return binary.BigEndian.AppendUint32(b, part)
}

// wholeMessage is part 0, the message of an object that was put in one piece.
// Its salt is the object ID, which is random and has its length ([O1]).
func wholeMessage(dataKey []byte, id [24]byte) (*Message, error) {
	key, err := inputKey(dataKey, id)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return NewMessage(key, id, messageContext(id, 0))
}
