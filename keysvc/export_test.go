// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

// What the external tests need to see of the inside.

// ReparseBlob parses a blob and appends it again.
func ReparseBlob(raw []byte) ([]byte, error) {
	b, err := parseBlob(raw)
	if err != nil {
		return nil, err
	}
	return b.append(nil), nil
}

// BlobAAD parses a blob and returns its additional data.
func BlobAAD(raw []byte, context map[string]string) ([]byte, error) {
	b, err := parseBlob(raw)
	if err != nil {
		return nil, err
	}
	return b.aad(context), nil
}

// Decode parses a body as the given operation's input would be.
func Decode(body []byte, in any) error { return decodeInput(body, in) }

// Encode is the wire form of one of the SDK's structures, given by pointer.
func Encode(v any) []byte {
	return encoderOf(reflect.TypeOf(v).Elem())(nil, reflect.ValueOf(v).Elem())
}

// Validate checks an input, given by pointer, as its operation does.
func Validate(in any) error {
	v := reflect.ValueOf(in).Elem()
	return validate(rulesOf(v.Type()), v)
}

// OperationNames are the operations of the table.
func OperationNames() []string {
	var names []string
	for name := range operations() {
		names = append(names, name)
	}
	return names
}

// Limits of an epoch.
const (
	EpochMessages = epochMessages
	EpochAge      = epochAge
)

// NewEpochTaker returns a function that draws the epoch for one more message.
func NewEpochTaker(now func() time.Time) func(id uuid.UUID, version uint32) [16]byte {
	return newEpochs(now).take
}

// Hold returns a function that uses material, which load brings, as a key with
// protection memory does.
func Hold() func(id uuid.UUID, load func() ([]byte, error), do func([]byte) error) error {
	h := newHeld()
	return func(id uuid.UUID, load func() ([]byte, error), do func([]byte) error) error {
		return h.use(heldName{store.Ref{ID: id}, 1}, load, do)
	}
}

// MaxInToken bounds what is known of the wrapped keys in tokens.
const MaxInToken = maxInToken

// Held is the number of versions of a key, in all regions, that are opened in
// memory or may be in a token.
func (s *Service) Held(id uuid.UUID) (n int) {
	for _, ref := range s.held.refs() {
		if ref.ID == id {
			n++
		}
	}
	s.inToken.mu.Lock()
	defer s.inToken.mu.Unlock()
	for ref, wrapped := range s.inToken.all {
		if ref.ID == id {
			n += len(wrapped)
		}
	}
	return n
}

// NewInToken returns a function that notes a use of a wrapped key in a token.
func NewInToken(token Token) (note func(id uuid.UUID, wrapped []byte), size func() int) {
	i := &inToken{}
	return func(id uuid.UUID, wrapped []byte) { i.note(store.Ref{ID: id}, token, wrapped) }, func() int { return i.size }
}
