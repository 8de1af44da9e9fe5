// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
)

// Suite names the algorithms and the layout of an object. Zero is none.
type Suite byte

// The suites of objects ([H2]). All are Cobblestone-256 with HKDF-SHA-512 below it.
const (
	// PlainSuite is one message of the content alone. It is read, not written.
	PlainSuite Suite = 0x01
	// WholeSuite is one message of the content and a footer.
	WholeSuite Suite = 0x02
	// MultipartSuite is one message per part and a part table at the end.
	MultipartSuite Suite = 0x03
)

func (s Suite) known() bool { return s >= PlainSuite && s <= MultipartSuite }

// Labels of HKDF-Expand under a data key. No label is a prefix of another, and
// what follows each has one length ([K2]).
const (
	labelObject   = "sidekey/v1/object\x00"
	labelHeader   = "sidekey/v1/header\x00"
	labelRandom   = "sidekey/v1/random\x00"
	labelEquality = "sidekey/v1/equality\x00"
	labelRange    = "sidekey/v1/range\x00"
	labelSearch   = "sidekey/v1/search\x00"

	labelMessage  = "sidekey/v1/message\x00"
	labelCustomer = "sidekey/v1/customer\x00"
	labelRecord   = "sidekey/v1/record\x00"
)

// tablePart is the part number in the context of the part table's message: no
// part of an upload has it.
const tablePart = 1<<32 - 1

// Object holds the keys of one object. Of a whole object it is the message; those
// of a multipart object come from Part.
type Object struct {
	*Message // nil for a multipart object

	suite    Suite
	id       [24]byte
	inputKey []byte // of the table and records; and of the content without customer key
	customer []byte // input key of the content with a customer key, else nil

	tablesOnly bool // the customer key is not there
	carried    bool // the input key is another data key's, too
}

// object derives the keys of the header's object.
//
// One data key serves up to 2^20 objects in a cache, and any number over many
// caches: the objects' IDs are 192 random bits, so that 2^80 objects of one data
// key stay below a collision chance of 2^-32, and HMAC-SHA-512 under a secret
// key makes their input keys independent of each other and of all other labels.
// Each input key then seals one message for part 0, and one message per random
// salt for a part ([O1]).
func (h *Header) object(dataKey []byte) (o *Object, err error) {
	o = &Object{suite: h.Suite, id: h.ObjectID, inputKey: h.carried, carried: h.carried != nil, tablesOnly: h.HasCustomerKey && h.CustomerKey == nil}
	if o.inputKey == nil {
		if o.inputKey, err = expand(dataKey, labelObject+string(h.ObjectID[:]), DataKeySize); err != nil {
			return nil, err
		}
	}
	if h.CustomerKey != nil {
		if o.customer, err = withCustomerKey(o.inputKey, h.CustomerKey, h.ObjectID); err != nil {
			return nil, err
		}
	}
	if h.Suite == MultipartSuite || o.tablesOnly {
		return o, nil
	}
	// Part 0, whose salt is the object ID: it is random and has its length.
	o.Message, err = o.message(o.contentKey(), 0, h.ObjectID)
	return o, err
}

// withCustomerKey is the input key of content that needs both keys ([O9]).
func withCustomerKey(inputKey, customerKey []byte, id [24]byte) ([]byte, error) {
	if len(customerKey) != DataKeySize {
		return nil, fmt.Errorf("envelope: a customer key of %d bytes, want %d", len(customerKey), DataKeySize)
	}
	secret := append(append(make([]byte, 0, 2*DataKeySize), inputKey...), customerKey...)
	defer clear(secret)
	key, err := hkdf.Key(sha512.New, secret, id[:], labelCustomer, DataKeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return key, nil
}

// Carried says that the header is one of a copy: who has the data key of its source
// has the input key, too, so nothing new is sealed under it ([U3]).
func (o *Object) Carried() bool { return o.carried }

func (o *Object) contentKey() []byte {
	if o.customer != nil {
		return o.customer
	}
	return o.inputKey
}

// Part is the message of a part: number 1 to 10000, and a salt that is random
// when it is sealed ([O4]).
func (o *Object) Part(number int, salt [24]byte) (*Message, error) {
	if o.tablesOnly {
		return nil, ErrCustomerKey
	}
	return o.message(o.contentKey(), uint32(number), salt)
}

// message binds a message to suite, object and part ([O4]).
//
//	"sidekey/v1/message" 0x00 | suite 1 | object ID 24 | part 4
func (o *Object) message(key []byte, part uint32, salt [24]byte) (*Message, error) {
	context := append([]byte(labelMessage), byte(o.suite))
	context = append(context, o.id[:]...)
	return NewMessage(key, salt, binary.BigEndian.AppendUint32(context, part))
}
