// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// createMultipartUpload begins an upload at the store, whose metadata holds the
// header of the object to be, and keeps that header for the parts.
func createMultipartUpload(ctx context.Context, x *exchange) error {
	header, sse, err := x.storedAs(ctx)
	if err != nil {
		return err
	}
	algorithm, kind, err := uploadChecksum(x.header)
	if err != nil {
		return err
	}
	u, keyARN, err := x.beginUpload(ctx, sse, header, algorithm, kind)
	if err != nil {
		return err
	}
	x.setEncryption(keyARN, sse.customer)
	if algorithm != "" {
		x.w.Header().Set("X-Amz-Checksum-Algorithm", algorithm)
		x.w.Header().Set("X-Amz-Checksum-Type", kind)
	}
	x.op.Set(audit.S3UploadID.String(u.id), audit.KeyARN.String(keyARN))
	text, err := s3XML("InitiateMultipartUploadResult", initiated{Bucket: x.bucket, Key: x.key, UploadID: u.clientID()})
	if err != nil {
		return err
	}
	return x.sendDocument(text)
}

type initiated struct {
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

// s3XML is an answer in S3's namespace.
func s3XML(root string, v any) ([]byte, error) {
	var b strings.Builder
	b.WriteString(xml.Header)
	name := xml.Name{Space: "http://s3.amazonaws.com/doc/2006-03-01/", Local: root}
	if err := xml.NewEncoder(&b).EncodeElement(v, xml.StartElement{Name: name}); err != nil {
		return nil, fmt.Errorf("writing %s: %w", root, err)
	}
	return []byte(b.String()), nil
}

// uploadChecksum reads what the parts will have. S3 has the CRCs of whole objects
// by default for CRC64NVME only, and the SHAs of parts.
func uploadChecksum(header http.Header) (algorithm, kind string, err error) {
	if algorithm, err = namedAlgorithm(header); err != nil {
		return "", "", err
	}
	kind = strings.ToUpper(header.Get("X-Amz-Checksum-Type"))
	if algorithm == "" {
		if kind != "" {
			return "", "", invalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return "", "", nil
	}
	sha := strings.HasPrefix(algorithm, "SHA")
	switch {
	case kind == "" && algorithm == "CRC64NVME":
		kind = fullObject
	case kind == "":
		kind = composite
	case kind != fullObject && kind != composite:
		return "", "", invalidRequest("Value for x-amz-checksum-type header is invalid.")
	case sha && kind == fullObject, algorithm == "CRC64NVME" && kind == composite:
		return "", "", invalidRequest("The " + kind + " checksum type cannot be used with the " + strings.ToLower(algorithm) + " checksum algorithm.")
	}
	return algorithm, kind, nil
}

// beginUpload begins an upload at the store.
func (x *exchange) beginUpload(ctx context.Context, sse encryption, header http.Header, algorithm, kind string) (u *upload, keyARN string, err error) {
	object := proxy.Object{
		Bucket: x.bucket, Key: x.key, KeyID: sse.keyID, EncryptionContext: sse.context, CustomerKey: sse.customer.bytes(), Multipart: true,
	}
	if algorithm != "" {
		object.Checksums = map[string]string{envelope.TypeName: algorithm + " " + kind}
	}
	sealer, err := x.g.cipher.SealObject(ctx, object)
	if err != nil {
		return nil, "", err
	}
	id, answer, err := x.createUpstream(ctx, sealer.Header(), header)
	if err != nil {
		return nil, "", err
	}
	copyHeaders(x.w.Header(), answer, []string{"X-Amz-Abort-Date", "X-Amz-Abort-Rule-Id", "X-Amz-Request-Charged"})
	u = uploadOf(id)
	u.header = sealer.Header()
	if err := x.g.putHidden(ctx, x.bucket, u.prefix()+"upload", http.Header{sealedHeader: {u.header}}, []byte(id+"\n"+x.key)); err != nil {
		x.abortUpstream(context.WithoutCancel(ctx), id)
		return nil, "", err
	}
	x.g.sweepLater(ctx, x.bucket)
	x.g.uploads.Add(x.bucket+"/"+id, u.header)
	return u, sealer.KeyARN(), nil
}

// createUpstream begins an upload of an object with that sidekey header.
func (x *exchange) createUpstream(ctx context.Context, sidekeyHeader string, header http.Header) (string, http.Header, error) {
	header[sealedHeader] = []string{sidekeyHeader}
	var answer initiated
	c := call{method: http.MethodPost, bucket: x.bucket, key: x.key, header: header, query: url.Values{"uploads": {""}}}
	answered, err := x.g.askFor(ctx, c, maxAnswer, &answer)
	if err != nil {
		return "", nil, err
	}
	if answer.UploadID == "" {
		return "", nil, errors.New("the upstream began an upload without an ID")
	}
	return answer.UploadID, answered, nil
}

// uploadPart seals one part.
func uploadPart(ctx context.Context, x *exchange) error {
	number, err := x.partNumber()
	if err != nil {
		return err
	}
	src, err := x.newSource(ctx)
	if err != nil {
		return err
	}
	if err := checkSize(src.length); err != nil {
		return err
	}
	customer, err := x.customerKey(customerPrefix)
	if err != nil {
		return err
	}
	u, err := x.upload(ctx, customer)
	if err != nil {
		return err
	}
	etag, err := x.storePart(ctx, u, number, src)
	if err != nil {
		return err
	}
	x.w.Header().Set("Etag", etag)
	objectChecksums(src.digests.known()).set(x.w.Header())
	x.w.Header().Del("X-Amz-Checksum-Type")
	x.setEncryption(u.opener.KeyARN(), customer)
	return x.emptyAnswer(http.StatusOK)
}

// storePart seals a part, has the store keep it, and records it.
func (x *exchange) storePart(ctx context.Context, u *upload, number int, src *source) (etag string, err error) {
	if err := u.declare(src.digests); err != nil {
		return "", err
	}
	if x.g.md5 {
		src.digests.computeMD5()
	}
	sealer, err := u.opener.Part(number)
	if err != nil {
		return "", err
	}
	r := &envelope.PartRecord{Size: src.length, Salt: sealer.Salt}
	c := call{
		method: http.MethodPut, bucket: x.bucket, key: x.key, query: u.query(number), header: http.Header{},
		length: proxy.PartSize(src.length),
	}
	if number == envelope.MaxParts || src.length < envelope.MinPart {
		r.Held = make([]byte, 16)
		rand.Read(r.Held)
		c.key, c.query = u.heldKey(r.Held), nil
		if err := x.stillRuns(ctx, u); err != nil {
			return "", err
		}
	}
	x.op.Set(audit.Bytes.Int64(src.length))
	resp, err := x.ship(ctx, src, c, func(content io.Reader) (io.Reader, error) { return sealer.Reader(content), nil })
	if err != nil {
		return "", err
	}
	drain(resp.Body)
	r.ETag = etagSum(resp.Header.Get("Etag"))
	if x.g.md5 {
		r.MD5 = src.digests.md5Sum()
	}
	if r.Checksum, err = src.digests.raw(u.checksum()); err != nil {
		return "", err
	}
	return x.partETag(r), x.record(ctx, u, number, r)
}

// stillRuns looks whether an upload that is remembered has ended elsewhere. Of a part
// that is held back the store's upload, which would say so, does not hear.
func (x *exchange) stillRuns(ctx context.Context, u *upload) error {
	resp, err := x.g.upstream.do(ctx, call{method: http.MethodHead, bucket: x.bucket, key: u.prefix() + "upload"})
	if isNotFound(err) {
		x.g.uploads.Remove(x.bucket + "/" + u.id)
		return errNoSuchUpload
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

// checksum is the algorithm of what is kept of the parts.
func (u *upload) checksum() string { return cmp.Or(u.algorithm, defaultChecksum) }

// declare has the part's checksum be of the upload's algorithm: one that the client
// gave, or else one that is computed. Where the upload names none, parts may come with
// any.
func (u *upload) declare(d *digests) error {
	switch {
	case u.algorithm == "":
		d.computeDefault()
	case d.algorithm == "":
		d.compute(u.algorithm)
	case !strings.EqualFold(d.algorithm, u.algorithm):
		return invalidRequest("Checksum Type mismatch occurred, expected checksum Type: " + strings.ToLower(u.algorithm) + ", actual checksum Type: " + d.algorithm)
	}
	return nil
}

// abortMultipartUpload ends an upload without an object.
func abortMultipartUpload(ctx context.Context, x *exchange) error {
	u := uploadOf(storeID(x.query.Get("uploadId")))
	if u.id == "" {
		return errNoSuchUpload // some stores would delete the object
	}
	x.op.Set(audit.S3UploadID.String(u.id))
	c := call{method: http.MethodDelete, bucket: x.bucket, key: x.key, query: u.query(0), header: http.Header{}}
	copyHeaders(c.header, x.header, ownerHeaders)
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	drain(resp.Body)
	x.forget(context.WithoutCancel(ctx), u)
	return x.emptyAnswer(http.StatusNoContent)
}

// listedParts is the answer to ListParts.
type listedParts struct {
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	Initiator            *owner
	Owner                *owner
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string `xml:",omitempty"`
	ChecksumType         string `xml:",omitempty"`
	EncodingType         string `xml:",omitempty"`
	Part                 []listedPart
}

type owner struct {
	ID          string
	DisplayName string
}

type listedPart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
	partChecksums
}

// partChecksums are the checksums of a part as S3's documents have them.
type partChecksums struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
}

// of is the field of an algorithm.
func (c *partChecksums) of(algorithm string) *string {
	switch algorithm {
	case "CRC32":
		return &c.ChecksumCRC32
	case "CRC32C":
		return &c.ChecksumCRC32C
	case "CRC64NVME":
		return &c.ChecksumCRC64NVME
	case "SHA1":
		return &c.ChecksumSHA1
	case "SHA256":
		return &c.ChecksumSHA256
	}
	return nil
}

// set fills the field of an algorithm with raw bytes.
func (c *partChecksums) set(algorithm string, raw []byte) {
	if field := c.of(algorithm); field != nil && len(raw) > 0 {
		*field = base64.StdEncoding.EncodeToString(raw)
	}
}

// listParts shows the parts of an upload: those that the store has, and those that
// are held back.
func listParts(ctx context.Context, x *exchange) error {
	u, err := x.uploadTables(ctx)
	if err != nil {
		return err
	}
	answer := listedParts{Bucket: x.bucket, Key: x.key, UploadID: u.clientID(), StorageClass: "STANDARD", MaxParts: 1000, ChecksumAlgorithm: u.checksum(), ChecksumType: cmp.Or(u.kind, fullObject)}
	if answer.PartNumberMarker, err = x.queryNumber("part-number-marker", 0); err != nil {
		return err
	}
	if answer.MaxParts, err = x.queryNumber("max-parts", 1000); err != nil {
		return err
	}
	answer.MaxParts = min(answer.MaxParts, 1000)
	parts, err := x.currentParts(ctx, u, &answer)
	if err != nil {
		return err
	}
	parts = slices.DeleteFunc(parts, func(p listedPart) bool { return p.PartNumber <= answer.PartNumberMarker })
	if len(parts) > answer.MaxParts {
		parts, answer.IsTruncated = parts[:answer.MaxParts], true
	}
	if answer.Part = parts; len(parts) > 0 {
		answer.NextPartNumberMarker = parts[len(parts)-1].PartNumber
	}
	if x.query.Get("encoding-type") == "url" {
		answer.Key, answer.EncodingType = url.QueryEscape(answer.Key), "url"
	}
	text, err := s3XML("ListPartsResult", answer)
	if err != nil {
		return err
	}
	return x.sendDocument(text)
}

// queryNumber reads a parameter that is a number from 0 to 2^31-1.
func (x *exchange) queryNumber(name string, otherwise int) (int, error) {
	value := x.query.Get(name)
	if value == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0, &s3Error{
			code: "InvalidArgument", status: http.StatusBadRequest, message: "Provided " + name + " not an integer or within integer range",
			fields: [][2]string{{"ArgumentName", name}, {"ArgumentValue", value}},
		}
	}
	return int(n), nil
}

// currentParts joins the store's list of parts with the records.
func (x *exchange) currentParts(ctx context.Context, u *upload, answer *listedParts) ([]listedPart, error) {
	records, err := x.parts(ctx, u)
	if err != nil {
		return nil, err
	}
	stored, err := x.storedParts(ctx, u, answer)
	if err != nil {
		return nil, err
	}
	var parts []listedPart
	for number, sent := range records {
		if p, ok := currentPart(sent, stored[number]); ok {
			listed := listedPart{PartNumber: number, Size: p.Size, ETag: x.partETag(&p.PartRecord), LastModified: stored[number].LastModified}
			if len(p.Held) > 0 {
				listed.LastModified = p.heldModified
			}
			listed.set(u.checksum(), p.Checksum)
			parts = append(parts, listed)
		}
	}
	slices.SortFunc(parts, func(a, b listedPart) int { return a.PartNumber - b.PartNumber })
	return parts, nil
}

// currentPart picks of what was sent for a number that which counts: the latest.
func currentPart(sent []part, stored listedPart) (part, bool) {
	var current part
	found := false
	for _, p := range sent {
		if len(p.Held) == 0 && p.ETag != etagSum(stored.ETag) {
			continue // the store has another one by now
		}
		if !found || p.recorded >= current.recorded {
			current, found = p, true
		}
	}
	return current, found
}

// storedParts reads the store's list of parts, all pages of it.
func (x *exchange) storedParts(ctx context.Context, u *upload, answer *listedParts) (map[int]listedPart, error) {
	stored := map[int]listedPart{}
	query := u.query(0)
	query.Set("max-parts", "1000")
	for {
		var page listedParts
		c := call{method: http.MethodGet, bucket: x.bucket, key: x.key, query: query, header: http.Header{}}
		copyHeaders(c.header, x.header, ownerHeaders)
		if err := x.g.ask(ctx, c, &page); err != nil {
			return nil, err
		}
		for _, p := range page.Part {
			stored[p.PartNumber] = p
		}
		if answer != nil {
			answer.Initiator, answer.Owner = page.Initiator, page.Owner
			if page.StorageClass != "" {
				answer.StorageClass = page.StorageClass
			}
		}
		if !page.IsTruncated || page.NextPartNumberMarker == 0 {
			return stored, nil
		}
		query.Set("part-number-marker", strconv.Itoa(page.NextPartNumberMarker))
	}
}
