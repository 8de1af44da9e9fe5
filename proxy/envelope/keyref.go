// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// A key reference is a KMS key ARN, compact where it has the usual form ([H4]):
//
//	0x00 | text                                    anything else, ≤ 254 bytes
//	0x01 | account 6 | UUID 16 | region            arn:aws:kms:REGION:ACCOUNT:key/UUID
const (
	refText    = 0x00
	refCompact = 0x01

	maxKeyRef = 254
)

const arnPrefix = "arn:aws:kms:"

func appendKeyRef(b []byte, arn string) []byte {
	region, account, id, ok := splitARN(arn)
	if !ok {
		return append(append(b, refText), arn...)
	}
	b = append(b, refCompact)
	b = append(b, account[:]...)
	b = append(b, id[:]...)
	return append(b, region...)
}

// splitARN is the exact inverse of joinARN, or not ok.
func splitARN(arn string) (region string, account [6]byte, id [16]byte, ok bool) {
	region, rest, _ := strings.Cut(strings.TrimPrefix(arn, arnPrefix), ":")
	digits, key, _ := strings.Cut(rest, ":")
	if len(region) > 64 || len(digits) != 12 {
		return
	}
	n, err := strconv.ParseUint(digits, 10, 48)
	if err != nil {
		return
	}
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], n)
	copy(account[:], wide[2:])
	text := strings.ReplaceAll(strings.TrimPrefix(key, "key/"), "-", "")
	if len(text) != 32 {
		return
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return
	}
	return region, account, id, joinARN(region, account, id) == arn
}

func joinARN(region string, account [6]byte, id [16]byte) string {
	var wide [8]byte
	copy(wide[2:], account[:])
	n := strconv.FormatUint(binary.BigEndian.Uint64(wide[:]), 10)
	b := append(make([]byte, 0, 128), arnPrefix...)
	b = append(append(b, region...), ':')
	for range 12 - len(n) {
		b = append(b, '0')
	}
	b = append(append(b, n...), ":key/"...)
	from := 0
	for i, to := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, id[from:to])
		from = to
	}
	return string(b)
}

func parseKeyRef(b []byte) (string, error) {
	switch {
	case len(b) >= 1 && b[0] == refText:
		arn := string(b[1:])
		if _, _, _, ok := splitARN(arn); ok {
			return "", malformed("a key ARN that is not in its compact form")
		}
		return arn, nil
	case len(b) >= 23 && b[0] == refCompact:
		arn := joinARN(string(b[23:]), [6]byte(b[1:7]), [16]byte(b[7:23]))
		if _, _, _, ok := splitARN(arn); ok {
			return arn, nil
		}
	}
	return "", malformed("a key reference")
}
