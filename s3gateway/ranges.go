// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// farAway is past the end of every object; numbers of ranges are cut to it so
// that sums of them do not overflow.
const farAway = 1 << 52

// rangeSpec is a Range header of one range. S3 ignores all others.
type rangeSpec struct {
	suffix   bool  // the last n bytes
	from, to int64 // without suffix: both inclusive; to is farAway if open
	n        int64
}

// parseRange returns nil for a header that is to be ignored.
func parseRange(header string) *rangeSpec {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return nil
	}
	first, last, ok := strings.Cut(strings.TrimSpace(list), "-")
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if !ok || !digits(first) || !digits(last) || first == "" && last == "" {
		return nil
	}
	if first == "" {
		return &rangeSpec{suffix: true, n: number(last)}
	}
	spec := &rangeSpec{from: number(first), to: farAway}
	if last != "" {
		if spec.to = number(last); spec.to < spec.from {
			return nil
		}
	}
	return spec
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > farAway {
		return farAway
	}
	return n
}

// within resolves the range for an object of that size; ok is false if it
// cannot be satisfied.
func (s *rangeSpec) within(size int64) (off, n int64, ok bool) {
	if s.suffix {
		n = min(s.n, size)
		return size - n, n, n > 0
	}
	if s.from >= size {
		return 0, 0, false
	}
	return s.from, min(s.to, size-1) - s.from + 1, true
}

// upstreamRange asks for all the stored bytes that the range can need before
// the size and the parts of the object are known.
//
// From a to b that is, of an object in one piece, the chunks which hold them, the
// footer, and the length of one empty final chunk: if b turns out to be the last byte
// of a full chunk that ends the content, what follows has to be seen. In the first
// MinPart bytes a multipart object is no different. Past them its chunks may lie up to
// one chunk earlier, since a part begins a chunk anywhere; and later by a part's
// overhead of 72 bytes for each MinPart, and a chunk.
//
// Of a suffix it is the sealed size of n bytes, a chunk, and room for the part table
// of objects of some 400 parts.
func (s *rangeSpec) upstreamRange() string {
	if s.suffix {
		return fmt.Sprintf("bytes=-%d", envelope.SealedSize(s.n+envelope.FooterSize+envelope.ChunkSize)+tableRoom)
	}
	off, length := envelope.SealedRange(s.from, s.to-s.from+1+envelope.FooterSize, 2*farAway)
	end := off + length + envelope.SealedSize(0) - envelope.PrefixSize
	if s.from >= envelope.MinPart {
		off -= envelope.SealedChunkSize
	}
	if s.to == farAway {
		return fmt.Sprintf("bytes=%d-", off)
	}
	if s.to >= envelope.MinPart {
		end += s.to/envelope.MinPart*partOverhead + envelope.SealedChunkSize + partOverhead
	}
	return fmt.Sprintf("bytes=%d-%d", off, end-1)
}

const (
	tableRoom    = 64 << 10
	partOverhead = 72 // prefix of a part, and the tag of a chunk more
)

// extent is where the body of an answer lies in the stored object.
type extent struct{ start, end, total int64 }

func extentOf(resp *http.Response) (extent, error) {
	if resp.StatusCode == http.StatusPartialContent {
		return parseContentRange(resp.Header.Get("Content-Range"))
	}
	if resp.ContentLength < 0 {
		return extent{}, fmt.Errorf("the upstream answered without a length")
	}
	return extent{end: resp.ContentLength, total: resp.ContentLength}, nil
}

func parseContentRange(value string) (extent, error) {
	var e extent
	var last int64
	n, err := fmt.Sscanf(value, "bytes %d-%d/%d", &e.start, &last, &e.total)
	e.end = last + 1
	if n != 3 || err != nil || e.start < 0 || e.end < e.start || e.total < e.end {
		return e, fmt.Errorf("the upstream answered with an unreadable Content-Range")
	}
	return e, nil
}
