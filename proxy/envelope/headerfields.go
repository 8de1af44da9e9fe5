// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
)

// appendContext writes an encryption context as pairs of u16-prefixed key and
// value, keys strictly ascending ([H5]).
func appendContext(b []byte, context map[string]string) []byte {
	for _, k := range slices.Sorted(maps.Keys(context)) {
		b = appendShort(b, []byte(k))
		b = appendShort(b, []byte(context[k]))
	}
	return b
}

func parseContext(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	context, last := map[string]string{}, ""
	for f := (fields{rest: b}); len(f.rest) > 0; {
		k, v := string(f.bytes(2)), string(f.bytes(2))
		if f.bad || (len(context) > 0 && k <= last) {
			return nil, malformed("an encryption context")
		}
		context[k], last = v, k
	}
	return context, nil
}

// SizeName is the entry among the checksums that holds the length of the plaintext,
// decimal. A store cannot then make up the size of an object to a reader of ranges
// that do not reach the end.
const SizeName = "size"

// Other entries that are no checksums.
const (
	// FooterName says that the footer of the body holds checksums.
	FooterName = "footer"
	// TypeName is the checksum type of a multipart upload: FULL_OBJECT or COMPOSITE.
	TypeName = "type"

	inputKeyName = "input-key"
	customerName = "customer-key"
)

// Checksum names that have a code; others are written out. A code is never
// given to another name. FORMAT.md [H9].
func checksumNames() []string {
	return []string{
		1: "CRC32", 2: "CRC32C", 3: "CRC64NVME", 4: "SHA1", 5: "SHA256", 6: "MD5",
		7: "x-amz-checksum-crc32", 8: "x-amz-checksum-crc32c", 9: "x-amz-checksum-crc64nvme",
		10: "x-amz-checksum-sha1", 11: "x-amz-checksum-sha256", 12: "content-md5",
		13: SizeName, 14: inputKeyName, 15: customerName, 16: FooterName, 17: TypeName,
	}
}

const rawValue = 0x80 // the value is the bytes of standard base64

// appendChecksums writes entries with names strictly ascending:
//
//	code 1 (bit 7: value was base64) | name 1+n if code is 0 | value 1+n
func appendChecksums(b []byte, checksums map[string]string) ([]byte, error) {
	names := checksumNames()
	for _, name := range slices.Sorted(maps.Keys(checksums)) {
		value, code := []byte(checksums[name]), byte(max(0, slices.Index(names, name)))
		if name == "" {
			return nil, fmt.Errorf("envelope: a checksum without a name")
		}
		if raw, err := base64.StdEncoding.Strict().DecodeString(checksums[name]); err == nil && len(raw) > 0 &&
			base64.StdEncoding.EncodeToString(raw) == checksums[name] {
			value, code = raw, code|rawValue
		}
		if len(name) > 255 || len(value) > 255 {
			return nil, fmt.Errorf("envelope: checksum %.20q does not fit", name)
		}
		b = append(b, code)
		if code&^rawValue == 0 {
			b = append(append(b, byte(len(name))), name...)
		}
		b = append(append(b, byte(len(value))), value...)
	}
	return b, nil
}

// parseChecksums accepts exactly what appendChecksums writes, and zeros after it as
// far as allowed.
func parseChecksums(b []byte, zeros bool) (map[string]string, error) {
	checksums := map[string]string{}
	f := fields{rest: b}
	for len(f.rest) > 0 && !(zeros && allZero(f.rest)) {
		name, value, err := f.checksum()
		if err != nil {
			return nil, err
		}
		checksums[name] = value
	}
	again, err := appendChecksums(nil, checksums)
	if err != nil || !bytes.Equal(again, b[:len(b)-len(f.rest)]) {
		return nil, malformed("checksums in another form")
	}
	return checksums, nil
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// checksum reads one entry.
func (f *fields) checksum() (name, value string, err error) {
	code := f.rest[0]
	f.rest = f.rest[1:]
	names := checksumNames()
	if i := int(code &^ rawValue); i == 0 {
		name = string(f.bytes(1))
	} else if i < len(names) {
		name = names[i]
	}
	raw := f.bytes(1)
	if f.bad || name == "" {
		return "", "", malformed("checksums")
	}
	if code&rawValue != 0 {
		return name, base64.StdEncoding.EncodeToString(raw), nil
	}
	return name, string(raw), nil
}
