// SPDX-License-Identifier: Apache-2.0

package envelope

import "fmt"

// FooterSize is the length in bytes of the footer, which follows the content inside
// the message of a whole object ([O10]).
const FooterSize = 64

// Footer is the footer of a whole object: checksums that were not yet known when
// its header was written, and zeros.
func Footer(checksums map[string]string) ([]byte, error) {
	b, err := appendChecksums(make([]byte, 0, FooterSize), checksums)
	if err != nil {
		return nil, err
	}
	if len(b) > FooterSize {
		return nil, fmt.Errorf("envelope: checksums of %d bytes do not fit into a footer", len(b))
	}
	return b[:FooterSize:FooterSize], nil
}

// ParseFooter returns the checksums of a footer that has been authenticated. It
// fails with ErrOpen.
func ParseFooter(footer []byte) (map[string]string, error) {
	if len(footer) != FooterSize {
		return nil, ErrOpen
	}
	checksums, err := parseChecksums(footer, true)
	if err != nil {
		return nil, ErrOpen
	}
	return checksums, nil
}

// FooterSize is what the suite has after the content, in bytes.
func (s Suite) FooterSize() int64 {
	if s == WholeSuite {
		return FooterSize
	}
	return 0
}

// PlainSize is the length of the content of a stored object of this suite. It fails
// with ErrFormat for a length that none has.
func (s Suite) PlainSize(stored int64) (int64, error) {
	switch s {
	case PlainSuite:
		return PlainSize(stored)
	case MultipartSuite:
		return MultipartPlainSize(stored)
	}
	return WholePlainSize(stored)
}

// WholeSize is the stored length of a whole object of plain bytes of content
// ([O10]).
func WholeSize(plain int64) int64 { return SealedSize(plain + FooterSize) }

// WholePlainSize is the length of the content of a stored whole object. It fails
// with ErrFormat for a length that none has.
func WholePlainSize(stored int64) (int64, error) {
	size, err := PlainSize(stored)
	if err != nil || size < FooterSize {
		return 0, malformed("an object of %d bytes", stored)
	}
	return size - FooterSize, nil
}
