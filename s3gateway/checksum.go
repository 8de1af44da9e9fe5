// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/crc64nvme"
)

// algorithms are the additional checksums of S3 by the last part of their
// header's name.
var algorithms = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"crc64nvme": func() hash.Hash { return crc64nvme.New() },
	"sha1":      sha1.New,
	"sha256":    sha256.New,
}

const checksumPrefix = "X-Amz-Checksum-"

// namedAlgorithm is x-amz-checksum-algorithm in upper case, "" if it is not there.
func namedAlgorithm(header http.Header) (string, error) {
	algorithm := header.Get("X-Amz-Checksum-Algorithm")
	if algorithm != "" && algorithms[strings.ToLower(algorithm)] == nil {
		return "", invalidRequest("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	}
	return strings.ToUpper(algorithm), nil
}

// notChecksums have the prefix and are no values.
var notChecksums = []string{"Mode", "Type", "Algorithm"}

// digests are what the client says of its content, checked while it passes.
type digests struct {
	md5       hash.Hash // nil if it is not needed
	wantMD5   []byte    // what the client gave as Content-MD5, nil if nothing
	ended     bool
	algorithm string // "" if there is no additional checksum
	sum       hash.Hash
	want      string    // base64; "" while it is still to come in a trailer
	keepMD5   bool      // for the ETag
	own       bool      // the client gave none, and what is computed is kept
	byDefault hash.Hash // the default checksum beside another; nil if it is not needed
}

// newDigests reads the client's declarations.
func newDigests(header http.Header) (*digests, error) {
	d := &digests{}
	if values := header["Content-Md5"]; len(values) > 0 {
		want, err := base64.StdEncoding.DecodeString(values[0])
		if err != nil || len(want) != md5.Size || len(values) > 1 {
			return nil, &s3Error{code: "InvalidDigest", status: http.StatusBadRequest, message: "The Content-MD5 you specified is not valid."}
		}
		d.md5, d.wantMD5 = md5.New(), want
	}
	if kind := header.Get("X-Amz-Checksum-Type"); kind != "" && kind != "FULL_OBJECT" {
		return nil, invalidRequest("The checksum type of a single upload must be FULL_OBJECT.")
	}
	for name, values := range header {
		algorithm, ok := strings.CutPrefix(name, checksumPrefix)
		if !ok || slices.Contains(notChecksums, algorithm) {
			continue
		}
		if len(values) != 1 {
			return nil, invalidRequest("A checksum is given more than once.")
		}
		if err := d.use(algorithm, values[0]); err != nil {
			return nil, err
		}
	}
	for _, list := range header.Values("X-Amz-Trailer") {
		for name := range strings.SplitSeq(list, ",") {
			algorithm, ok := strings.CutPrefix(http.CanonicalHeaderKey(strings.TrimSpace(name)), checksumPrefix)
			if !ok {
				return nil, invalidRequest("The value specified in the x-amz-trailer header is not supported.")
			}
			if err := d.use(algorithm, ""); err != nil {
				return nil, err
			}
		}
	}
	return d, d.checkName(header)
}

// defaultChecksum is what S3 computes where the client names no checksum.
const defaultChecksum = "CRC64NVME"

func (d *digests) use(algorithm, want string) error {
	algorithm = strings.ToLower(algorithm)
	if d.algorithm != "" {
		return invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum types are not allowed.")
	}
	construct := algorithms[algorithm]
	if construct == nil {
		return notImplemented("PutObject", "the checksum "+algorithm)
	}
	d.algorithm, d.sum = algorithm, construct()
	return d.setWant(want)
}

func (d *digests) setWant(want string) error {
	if want == "" {
		return nil
	}
	value, err := base64.StdEncoding.DecodeString(want)
	if err != nil || len(value) != d.sum.Size() {
		return invalidRequest("Value for x-amz-checksum-" + d.algorithm + " header is invalid.")
	}
	d.want = want
	return nil
}

// checkName compares x-amz-sdk-checksum-algorithm with what was given.
func (d *digests) checkName(header http.Header) error {
	named := header.Get("X-Amz-Sdk-Checksum-Algorithm")
	if named == "" {
		named = header.Get("X-Amz-Checksum-Algorithm")
	}
	if named != "" && d.algorithm != "" && !strings.EqualFold(named, d.algorithm) {
		return invalidRequest("Value for x-amz-sdk-checksum-algorithm header is not the algorithm of the checksum.")
	}
	return nil
}

func (d *digests) write(p []byte) {
	if d.md5 != nil {
		d.md5.Write(p)
	}
	if d.sum != nil {
		d.sum.Write(p)
	}
	if d.byDefault != nil {
		d.byDefault.Write(p)
	}
}

// check compares once all of the content has passed. The trailer is nil if the
// body had none.
func (d *digests) check(trailer http.Header) error {
	d.ended = true
	if d.wantMD5 != nil && !slices.Equal(d.md5.Sum(nil), d.wantMD5) {
		return badDigest("Content-MD5")
	}
	if d.sum == nil {
		return nil
	}
	if d.own {
		d.want = base64.StdEncoding.EncodeToString(d.sum.Sum(nil))
		return nil
	}
	if d.want == "" {
		if err := d.setWant(trailer.Get(checksumPrefix + d.algorithm)); err != nil {
			return err
		}
	}
	if d.want == "" || base64.StdEncoding.EncodeToString(d.sum.Sum(nil)) != d.want {
		return badDigest(strings.ToUpper(d.algorithm))
	}
	return nil
}

func badDigest(name string) *s3Error {
	return &s3Error{code: "BadDigest", status: http.StatusBadRequest, message: "The " + name + " you specified did not match the calculated checksum."}
}

// known is the additional checksum as it is stored with the object: nil as
// long as there is none.
func (d *digests) known() map[string]string {
	if d.want == "" {
		return nil
	}
	return map[string]string{strings.ToUpper(d.algorithm): d.want}
}

// entries are what is stored with an object: the additional checksum, and the MD5
// where ETags are made of it, as far as they are known.
func (d *digests) entries() map[string]string {
	all := d.known()
	if sum := d.md5Sum(); sum != nil && d.keepMD5 {
		if all == nil {
			all = map[string]string{}
		}
		all[md5Name] = base64.StdEncoding.EncodeToString(sum)
	}
	return all
}

// md5Sum is the MD5 of the content, as far as it is known; else nil.
func (d *digests) md5Sum() []byte {
	switch {
	case d.wantMD5 != nil:
		return d.wantMD5
	case d.md5 != nil && d.ended:
		return d.md5.Sum(nil)
	}
	return nil
}

// late says that a checksum will be known only once the content has passed.
func (d *digests) late() bool {
	return d.algorithm != "" && d.want == "" || d.keepMD5 && d.md5Sum() == nil
}

// computeMD5 has the MD5 computed, and kept.
func (d *digests) computeMD5() {
	if d.keepMD5 = true; d.md5 == nil {
		d.md5 = md5.New()
	}
}

// computeDefault has the default checksum computed, beside another that the client gave.
func (d *digests) computeDefault() {
	switch {
	case d.algorithm == "":
		d.compute(defaultChecksum)
	case !strings.EqualFold(d.algorithm, defaultChecksum):
		d.byDefault = algorithms[strings.ToLower(defaultChecksum)]()
	}
}

// raw is a checksum of content that has ended.
func (d *digests) raw(algorithm string) ([]byte, error) {
	if d.byDefault != nil && algorithm == defaultChecksum {
		return d.byDefault.Sum(nil), nil
	}
	sum, err := base64.StdEncoding.DecodeString(d.known()[algorithm])
	if err != nil {
		return nil, fmt.Errorf("reading a part's checksum: %w", err)
	}
	return sum, nil
}

// compute has the checksum computed where the client did not give one of its own.
func (d *digests) compute(algorithm string) {
	d.algorithm, d.own = strings.ToLower(algorithm), true
	d.sum = algorithms[d.algorithm]()
}
