// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"encoding/binary"
	"strings"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// polynomials of S3's CRCs, reflected, with their widths in bits.
var polynomials = map[string]struct {
	polynomial uint64
	width      int
}{
	"CRC32":     {0xedb88320, 32},
	"CRC32C":    {0x82f63b78, 32},
	"CRC64NVME": {0x9a6c9329ac4bc9b5, 64},
}

// wholeChecksum is the checksum of the whole object from those of its parts: their
// CRCs joined, or the hash of their checksums. It is nil if a part has none.
func wholeChecksum(t *envelope.Table) []byte {
	if t.Algorithm == "" {
		return nil
	}
	for i := range t.Parts {
		if len(t.Parts[i].Checksum) == 0 {
			return nil
		}
	}
	if t.Composite {
		h := algorithms[strings.ToLower(t.Algorithm)]()
		for i := range t.Parts {
			h.Write(t.Parts[i].Checksum)
		}
		return h.Sum(nil)
	}
	crc, ok := polynomials[t.Algorithm]
	if !ok {
		return nil
	}
	sum := uint64(0)
	for i := range t.Parts {
		sum = joinCRC(crc.polynomial, crc.width, sum, number64(t.Parts[i].Checksum), uint64(t.Parts[i].Size))
	}
	b := binary.BigEndian.AppendUint64(nil, sum)
	return b[8-crc.width/8:]
}

func number64(b []byte) uint64 {
	n := uint64(0)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// joinCRC is the CRC of A followed by B, from those of A and of B and the length of B
// in bytes: crc(A) times x^(8n) modulo the polynomial, plus crc(B). It holds for CRCs
// whose initial value and final XOR are both all ones.
func joinCRC(polynomial uint64, width int, a, b, n uint64) uint64 {
	times := func(p, q uint64) uint64 { return multiplyCRC(polynomial, width, p, q) }
	shift, power := uint64(1)<<(width-1), uint64(1)<<(width-2) // x^0, x^1
	for range 3 {
		power = times(power, power) // at last x^8
	}
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			shift = times(shift, power)
		}
		power = times(power, power)
	}
	return times(a, shift) ^ b
}

// multiplyCRC multiplies modulo the polynomial. All are reflected: the highest bit of
// the width is that of x^0.
func multiplyCRC(polynomial uint64, width int, a, b uint64) uint64 {
	product := uint64(0)
	for bit := uint64(1) << (width - 1); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		if carry := b & 1; carry != 0 {
			b = b>>1 ^ polynomial
		} else {
			b >>= 1
		}
	}
	return product
}
