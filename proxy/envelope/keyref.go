// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
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
	parts := strings.Split(strings.TrimPrefix(arn, arnPrefix), ":")
	if len(parts) != 3 || len(parts[0]) > 64 || len(parts[1]) != 12 {
		return
	}
	n, err := strconv.ParseUint(parts[1], 10, 48)
	if err != nil {
		return
	}
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], n)
	copy(account[:], wide[2:])
	text := strings.ReplaceAll(strings.TrimPrefix(parts[2], "key/"), "-", "")
	if len(text) != 32 {
		return
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return
	}
	region = parts[0]
	return region, account, id, joinARN(region, account, id) == arn
}

func joinARN(region string, account [6]byte, id [16]byte) string {
	n := binary.BigEndian.Uint64(append([]byte{0, 0}, account[:]...))
	return fmt.Sprintf("%s%s:%012d:key/%x-%x-%x-%x-%x", arnPrefix, region, n,
		id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
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
