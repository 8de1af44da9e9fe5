// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// Types of checksums of multipart objects.
const (
	fullObject = "FULL_OBJECT"
	composite  = "COMPOSITE"
)

// checksums are the additional checksums of a whole object, as S3 shows them: by
// algorithm in upper case, in base64.
type checksums struct {
	values map[string]string
	kind   string // FULL_OBJECT or COMPOSITE
}

// objectChecksums are those of an object that was put in one piece.
func objectChecksums(entries map[string]string) checksums {
	c := checksums{values: map[string]string{}, kind: fullObject}
	for name, value := range entries {
		if algorithms[strings.ToLower(name)] != nil {
			c.values[strings.ToUpper(name)] = value
		}
	}
	return c
}

// tableChecksums are those of a multipart object.
func tableChecksums(t *envelope.Table) checksums {
	c := checksums{kind: fullObject}
	if t.Composite {
		c.kind = composite
	}
	if t.Algorithm != "" && len(t.Checksum) > 0 {
		value := base64.StdEncoding.EncodeToString(t.Checksum)
		if t.Composite {
			value += "-" + strconv.Itoa(len(t.Parts))
		}
		c.values = map[string]string{t.Algorithm: value}
	}
	return c
}

// set puts the checksums into an answer.
func (c checksums) set(header http.Header) {
	for algorithm, value := range c.values {
		header.Set(checksumPrefix+strings.ToLower(algorithm), value)
	}
	if len(c.values) > 0 {
		header.Set("X-Amz-Checksum-Type", c.kind)
	}
}

// setPartChecksum puts the checksum of one part into an answer.
func setPartChecksum(header http.Header, t *envelope.Table, part *envelope.TablePart) {
	if t.Algorithm != "" && len(part.Checksum) > 0 {
		header.Set(checksumPrefix+strings.ToLower(t.Algorithm), base64.StdEncoding.EncodeToString(part.Checksum))
	}
}
