// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/proxy/envelope"
)

// objectAttributes is the answer to GetObjectAttributes.
type objectAttributes struct {
	ETag         string              `xml:",omitempty"`
	Checksum     *attributeChecksums `xml:",omitempty"`
	ObjectParts  *attributeParts     `xml:",omitempty"`
	StorageClass string              `xml:",omitempty"`
	ObjectSize   *int64              `xml:",omitempty"`
}

type attributeChecksums struct {
	partChecksums
	ChecksumType string `xml:",omitempty"`
}

type attributeParts struct {
	TotalPartsCount      int `xml:"PartsCount"`
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Part                 []attributePart
}

type attributePart struct {
	PartNumber int
	Size       int64
	partChecksums
}

// getObjectAttributes answers from the object's header, and its part table if it has
// one.
func getObjectAttributes(ctx context.Context, x *exchange) error {
	asked := map[string]bool{}
	for _, value := range x.header.Values("X-Amz-Object-Attributes") {
		for name := range strings.SplitSeq(value, ",") {
			asked[strings.TrimSpace(name)] = true
		}
	}
	if len(asked) == 0 {
		return invalidArgument("The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	customer, err := x.customerKey(customerPrefix)
	if err != nil {
		return err
	}
	c := call{method: http.MethodHead, bucket: x.bucket, key: x.key, header: http.Header{}, query: url.Values{}}
	copyHeaders(c.header, x.header, ownerHeaders)
	if version := x.query.Get("versionId"); version != "" {
		c.query.Set("versionId", version)
	}
	f, err := x.fetch(ctx, c, customer)
	if isNotFound(err) {
		return x.sourceMissing(ctx, c)
	}
	if err != nil {
		return err
	}
	f.close()
	answer, err := x.attributes(ctx, f, asked)
	if err != nil {
		return err
	}
	text, err := s3XML("GetObjectAttributesResponse", answer)
	if err != nil {
		return err
	}
	for _, name := range []string{"Last-Modified", "X-Amz-Version-Id", "X-Amz-Delete-Marker", "X-Amz-Request-Charged"} {
		if value := f.resp.Header.Get(name); value != "" {
			x.w.Header().Set(name, value)
		}
	}
	return x.sendDocument(text)
}

func (x *exchange) attributes(ctx context.Context, f *found, asked map[string]bool) (*objectAttributes, error) {
	a := &objectAttributes{}
	for name := range asked {
		switch name {
		case "ETag":
			etag, err := x.plainETag(ctx, f)
			if err != nil {
				return nil, err
			}
			a.ETag = strings.Trim(etag, `"`)
		case "ObjectSize":
			a.ObjectSize = &f.size
		case "StorageClass":
			if a.StorageClass = f.resp.Header.Get("X-Amz-Storage-Class"); a.StorageClass == "" {
				a.StorageClass = "STANDARD"
			}
		case "Checksum":
			if err := x.checksumAttribute(ctx, f, a); err != nil {
				return nil, err
			}
		case "ObjectParts":
			if err := x.partsAttribute(ctx, f, a); err != nil {
				return nil, err
			}
		default:
			return nil, invalidArgument("Invalid attribute name specified.")
		}
	}
	return a, nil
}

func (x *exchange) checksumAttribute(ctx context.Context, f *found, a *objectAttributes) error {
	if f.opener == nil {
		return nil
	}
	sums, err := x.checksumsOf(ctx, f)
	if err != nil || len(sums.values) == 0 {
		return err
	}
	a.Checksum = &attributeChecksums{ChecksumType: sums.kind}
	for algorithm, value := range sums.values {
		// S3 shows the checksum of checksums without the number of parts here.
		value, _, _ = strings.Cut(value, "-")
		*a.Checksum.of(algorithm) = value
	}
	return nil
}

func (x *exchange) partsAttribute(ctx context.Context, f *found, a *objectAttributes) error {
	if f.opener == nil || !f.opener.Multipart() {
		return nil
	}
	if err := x.openTable(ctx, f); err != nil {
		return err
	}
	table := f.opener.Table()
	parts := &attributeParts{TotalPartsCount: len(table.Parts), MaxParts: 1000}
	var err error
	if parts.MaxParts, err = headerNumber(x.header, "X-Amz-Max-Parts", 1000); err != nil {
		return err
	}
	if parts.PartNumberMarker, err = headerNumber(x.header, "X-Amz-Part-Number-Marker", 0); err != nil {
		return err
	}
	parts.MaxParts = min(parts.MaxParts, 1000)
	for i := range table.Parts {
		if table.Parts[i].Number <= parts.PartNumberMarker {
			continue
		}
		if len(parts.Part) == parts.MaxParts {
			parts.IsTruncated = true
			break
		}
		parts.Part = append(parts.Part, attributeOf(table, &table.Parts[i]))
		parts.NextPartNumberMarker = table.Parts[i].Number
	}
	a.ObjectParts = parts
	return nil
}

func attributeOf(table *envelope.Table, part *envelope.TablePart) attributePart {
	a := attributePart{PartNumber: part.Number, Size: part.Size}
	a.set(table.Algorithm, part.Checksum)
	return a
}

func headerNumber(header http.Header, name string, otherwise int) (int, error) {
	value := header.Get(name)
	if value == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0, invalidArgument("Provided " + strings.ToLower(name) + " not an integer or within integer range")
	}
	return int(n), nil
}
