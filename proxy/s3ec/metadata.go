// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// InstructionSuffix is appended to an object's key for its instruction file.
const InstructionSuffix = ".instruction"

// MapKeyPrefix begins every name of user metadata, without S3's x-amz-meta-,
// that the client owns.
const MapKeyPrefix = "x-amz-"

// ErrRefused covers metadata and instruction files that are malformed,
// incomplete, mixed, or of a kind this package does not read. The text of the
// error that wraps it says which, and holds no secret.
var ErrRefused = errors.New("s3ec: refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Mapkeys. The package comment says what they hold.
const (
	keyV1      = "x-amz-key"
	keyV2      = "x-amz-key-v2"
	keyIV      = "x-amz-iv"
	keyMatDesc = "x-amz-matdesc"
	keyCEKAlg  = "x-amz-cek-alg"
	keyWrapAlg = "x-amz-wrap-alg"
	keyTagLen  = "x-amz-tag-len"

	keyLength = "x-amz-unencrypted-content-length"
	keyMD5    = "x-amz-unencrypted-content-md5" // early clients; not used

	key3 = "x-amz-3"
	keyC = "x-amz-c"
	keyD = "x-amz-d"
	keyI = "x-amz-i"
	keyM = "x-amz-m"
	keyT = "x-amz-t"
	keyW = "x-amz-w"
)

var (
	keysV2 = []string{keyV2, keyIV, keyMatDesc, keyCEKAlg, keyWrapAlg, keyTagLen}
	keysV3 = []string{key3, keyC, keyD, keyI, keyM, keyT, keyW}

	// keysV3Object are those that only the object may hold, and keysV3Wrapping
	// those that an instruction file may hold instead of it.
	keysV3Object   = []string{keyC, keyD, keyI}
	keysV3Wrapping = []string{key3, keyW, keyT, keyM}

	// mayBeEmpty are those that clients write without a value: the Go client's
	// V3 has all but the third.
	mayBeEmpty = []string{keyM, keyT, keyTagLen, keyLength, keyMD5}
)

const (
	algGCM        = "AES/GCM/NoPadding"
	algCommitting = "115" // 0x0073

	wrapKMSContext   = "kms+context"
	wrapKMS          = "kms"
	wrapKMSContextV3 = "12"
)

const (
	nonceSize      = 12
	tagSize        = 16
	messageIDSize  = 28
	commitmentSize = 28
)

// fields are mapkeys of the client with their values, names in lower case.
type fields map[string]string

// hasAny returns the first of names that is present, or "".
func (f fields) hasAny(names []string) string {
	for _, name := range names {
		if _, ok := f[name]; ok {
			return name
		}
	}
	return ""
}

// lacksAny returns the first of names that is absent, or "".
func (f fields) lacksAny(names ...string) string {
	for _, name := range names {
		if _, ok := f[name]; !ok {
			return name
		}
	}
	return ""
}

func known(name string) bool {
	switch name {
	case keyV1, keyLength, keyMD5:
		return true
	}
	return contains(keysV2, name) || contains(keysV3, name)
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// Envelope is what the client stored beside an object's content.
type Envelope struct {
	// WrappedKey is the ciphertext blob for KMS Decrypt.
	WrappedKey []byte
	// EncryptionContext is the whole encryption context for KMS Decrypt. It
	// comes from the store: KMS authenticates it, but whether the reader
	// expected it is for the caller's policy.
	EncryptionContext map[string]string
	// Instructed says that the wrapped key is from an instruction file.
	Instructed bool

	object    fields // of the object's metadata
	committed bool   // V3
	nonce     []byte
	messageID []byte
	expected  []byte // commitment
	declared  int64  // length of the plaintext as declared, -1 if it is not
}

// Bare says that the object's metadata holds nothing of the client. Its object
// is not the client's unless there is an instruction file.
func (e *Envelope) Bare() bool {
	return e.object.hasAny(keysV2) == "" && e.object.hasAny(keysV3) == ""
}

// Committed says that the content is bound to its data key (format V3).
func (e *Envelope) Committed() bool { return e.committed }

// Parse reads an object's user metadata: names without x-amz-meta-, in any
// case. Names that are not the client's are ignored. needInstruction says that
// the wrapped key is not there: it may be in an instruction file (Bare) or must
// be (V3), and WithInstruction completes the envelope. Every error wraps
// ErrRefused.
func Parse(metadata map[string]string) (envelope *Envelope, needInstruction bool, err error) {
	f, err := ownFields(metadata)
	if err != nil {
		return nil, false, err
	}
	if err := f.unmixed(); err != nil {
		return nil, false, err
	}
	e := &Envelope{object: f}
	switch {
	case e.Bare():
		e.declared, err = declaredLength(f)
		return e, true, err
	case f.hasAny(keysV2) != "":
		return e, false, e.readV2(f, decodeHeader)
	}
	if err := e.readContentV3(f); err != nil {
		return nil, false, err
	}
	if f.hasAny(keysV3Wrapping) == "" {
		return e, true, nil
	}
	return e, false, e.readWrappingV3(f, decodeHeader)
}

// ownFields picks the client's mapkeys. What clients write without a value is
// the same as absent; for all others an empty value is malformed and must not
// hide that the mapkey is there.
func ownFields(metadata map[string]string) (fields, error) {
	f := fields{}
	for name, value := range metadata {
		name = strings.ToLower(name)
		if !known(name) || value == "" && contains(mayBeEmpty, name) {
			continue
		}
		if _, twice := f[name]; twice {
			return nil, refuse("%s is there twice", name)
		}
		f[name] = value
	}
	return f, nil
}

// unmixed refuses format V1 and mapkeys of two formats at once, which is how
// one format would be read as another that checks less.
func (f fields) unmixed() error {
	v2, v3 := f.hasAny(keysV2), f.hasAny(keysV3)
	if _, v1 := f[keyV1]; v1 {
		if f.lacksAny(keyV2) == "" || v3 != "" {
			return refuse("metadata of several formats: %s", keyV1)
		}
		return refuse("format V1: AES/CBC content is not authenticated")
	}
	if v2 != "" && v3 != "" {
		return refuse("metadata of several formats: %s and %s", v2, v3)
	}
	return nil
}

// decoder undoes what a place of storage does to a JSON value.
type decoder func(string) (string, error)

// readV2 reads a whole V2 envelope.
func (e *Envelope) readV2(f fields, decode decoder) error {
	if name := f.lacksAny(keyV2, keyIV, keyCEKAlg, keyWrapAlg, keyMatDesc); name != "" {
		return refuse("format V2 without %s", name)
	}
	if alg := f[keyCEKAlg]; alg != algGCM {
		return refuse("content algorithm %q: only %s is authenticated", alg, algGCM)
	}
	if length, ok := f[keyTagLen]; ok && length != strconv.Itoa(tagSize*8) {
		return refuse("tag of %q bits", length)
	}
	var err error
	if e.nonce, err = decodeBytes(f, keyIV, nonceSize); err != nil {
		return err
	}
	if e.declared, err = declaredLength(f); err != nil {
		return err
	}
	if e.WrappedKey, err = decodeBytes(f, keyV2, 0); err != nil {
		return err
	}
	e.EncryptionContext, err = contextV2(f[keyWrapAlg], f[keyMatDesc], decode)
	return err
}

// readContentV3 reads what the object itself holds in V3.
func (e *Envelope) readContentV3(f fields) error {
	if name := f.lacksAny(keysV3Object...); name != "" {
		return refuse("format V3 without %s", name)
	}
	if suite := f[keyC]; suite != algCommitting {
		return refuse("algorithm suite %q", suite)
	}
	e.committed = true
	var err error
	if e.expected, err = decodeBytes(f, keyD, commitmentSize); err != nil {
		return err
	}
	if e.messageID, err = decodeBytes(f, keyI, messageIDSize); err != nil {
		return err
	}
	e.declared, err = declaredLength(f)
	return err
}

// readWrappingV3 reads the wrapped key of V3, from either place.
func (e *Envelope) readWrappingV3(f fields, decode decoder) error {
	if name := f.lacksAny(key3, keyW); name != "" {
		return refuse("format V3 without %s", name)
	}
	if f[keyW] != wrapKMSContextV3 {
		return refuse("data key wrapped by %q, not by a KMS with context (%q)", f[keyW], wrapKMSContextV3)
	}
	if m, ok := f[keyM]; ok && m != "{}" {
		return refuse("material description of a raw key beside a key of a KMS")
	}
	var err error
	if e.WrappedKey, err = decodeBytes(f, key3, 0); err != nil {
		return err
	}
	e.EncryptionContext, err = contextV3(f[keyT], decode)
	return err
}

// decodeBytes decodes base64 in its one canonical form. A size of zero is any
// but none.
func decodeBytes(f fields, name string, size int) ([]byte, error) {
	value := f[name]
	b, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil || strings.ContainsAny(value, "\r\n") {
		return nil, refuse("%s is not base64", name)
	}
	if len(b) == 0 || size != 0 && len(b) != size {
		return nil, refuse("%s of %d bytes", name, len(b))
	}
	return b, nil
}

func declaredLength(f fields) (int64, error) {
	value, ok := f[keyLength]
	if !ok {
		return -1, nil
	}
	length, err := strconv.ParseUint(value, 10, 63)
	if err != nil || strconv.FormatUint(length, 10) != value {
		return -1, refuse("%s is %q", keyLength, value)
	}
	return int64(length), nil
}
