// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"net/http"
	"strings"

	"github.com/sidekey/sidekey/proxy"
)

// sealedHeader is the canonical name of the metadata entry that makes an
// object one of ours.
var sealedHeader = http.CanonicalHeaderKey(proxy.MetadataKey)

// maxUserMetadata is S3's limit on the names and values of user metadata.
const maxUserMetadata = 2 << 10

const metaPrefix = "X-Amz-Meta-"

// Headers of requests that go upstream, besides x-amz-meta-*.
var (
	writeConditions  = []string{"If-Match", "If-None-Match"}
	conditionHeaders = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}
	// The origin is for the store to judge, which has the bucket's CORS rules.
	ownerHeaders  = []string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Request-Payer", "Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}
	storedHeaders = []string{
		"Content-Type", "Content-Disposition", "Content-Language", "Cache-Control", "Expires",
		"X-Amz-Acl", "X-Amz-Storage-Class", "X-Amz-Tagging", "X-Amz-Website-Redirect-Location",
		"X-Amz-Grant-Full-Control", "X-Amz-Grant-Read", "X-Amz-Grant-Read-Acp", "X-Amz-Grant-Write-Acp", "X-Amz-Grant-Write",
		"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold",
	}
	bucketHeaders = []string{
		"X-Amz-Mfa", "X-Amz-Bypass-Governance-Retention", "X-Amz-If-Match-Last-Modified-Time", "X-Amz-If-Match-Size",
		"X-Amz-Acl", "X-Amz-Grant-Full-Control", "X-Amz-Grant-Read", "X-Amz-Grant-Read-Acp", "X-Amz-Grant-Write", "X-Amz-Grant-Write-Acp",
		"X-Amz-Bucket-Object-Lock-Enabled", "X-Amz-Object-Ownership", "X-Amz-Optional-Object-Attributes",
		"X-Amz-Bucket-Object-Lock-Token", "X-Amz-Confirm-Remove-Self-Bucket-Access", "X-Amz-Skip-Destination-Validation",
		"X-Amz-Transition-Default-Minimum-Object-Size",
	}
)

// answerHeaders of the upstream reach the client. Lengths, ranges, checksums
// and encryption headers are the gateway's own.
var answerHeaders = []string{
	"Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Type",
	"Expires", "Last-Modified", "Retry-After", "X-Amz-Abort-Date", "X-Amz-Abort-Rule-Id", "X-Amz-Bucket-Region",
	"X-Amz-Delete-Marker", "X-Amz-Expiration", "X-Amz-Missing-Meta", "X-Amz-Object-Lock-Legal-Hold",
	"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Replication-Status", "X-Amz-Request-Charged",
	"X-Amz-Restore", "X-Amz-Storage-Class", "X-Amz-Tagging-Count", "X-Amz-Transition-Default-Minimum-Object-Size",
	"X-Amz-Version-Id", "X-Amz-Website-Redirect-Location",
}

// corsHeaders are the store's answer to the origin.
var corsHeaders = []string{
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Max-Age", "Vary",
}

func copyHeaders(dst, src http.Header, names ...[]string) {
	for _, list := range names {
		for _, name := range list {
			if values := src[name]; len(values) > 0 {
				dst[name] = values
			}
		}
	}
}

// copyAnswer passes on what the upstream says of an object or bucket.
func (x *exchange) copyAnswer(from http.Header) {
	header := x.w.Header()
	copyHeaders(header, from, answerHeaders, corsHeaders)
	if etag := from.Get("Etag"); etag != "" {
		header.Set("Etag", quoted(etag))
	}
	if encoding := contentEncoding(from["Content-Encoding"]); encoding != "" {
		header.Set("Content-Encoding", encoding)
	}
	for name, values := range from {
		if isUserMetadata(name) {
			// In lower case, as S3 sends them: some clients show the name as it came.
			header[strings.ToLower(name)] = values
		}
	}
}

// isUserMetadata says that a header of a stored object is the client's own metadata.
func isUserMetadata(name string) bool {
	return strings.HasPrefix(name, metaPrefix) && name != sealedHeader && !strings.HasPrefix(name, clientPrefix)
}

func quoted(etag string) string {
	if strings.HasPrefix(etag, `"`) || strings.HasPrefix(etag, "W/") {
		return etag
	}
	return `"` + etag + `"`
}

// setEncryption says what S3 says of an object under SSE-KMS, or SSE-C.
func (x *exchange) setEncryption(keyARN string, customer *customerKey) {
	header := x.w.Header()
	if customer != nil {
		header.Set(customerPrefix+"Algorithm", "AES256")
		header.Set(customerPrefix+"Key-Md5", customer.md5)
		return
	}
	header.Set("X-Amz-Server-Side-Encryption", "aws:kms")
	header.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", keyARN)
	header.Set("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")
}

// setObject says what holds for every object that is read. Without a type the
// HTTP server would guess one from the plaintext.
func (x *exchange) setObject(keyARN string, customer *customerKey) {
	x.setEncryption(keyARN, customer)
	x.setContent()
}

// setContent says what holds for all content, sealed or not.
func (x *exchange) setContent() {
	x.w.Header().Set("Accept-Ranges", "bytes")
	if x.w.Header().Get("Content-Type") == "" {
		x.w.Header().Set("Content-Type", "binary/octet-stream")
	}
}

// sealed returns the sidekey header of a stored object, "" if it has none.
func sealed(from http.Header) (string, error) {
	switch values := from[sealedHeader]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", &s3Error{code: "InternalError", status: http.StatusInternalServerError, message: "The stored object has two sidekey headers."}
}

// userMetadata copies the client's metadata, which may not contain ours.
func (x *exchange) userMetadata(dst http.Header) error {
	size := 0
	for name, values := range x.header {
		if !strings.HasPrefix(name, metaPrefix) {
			continue
		}
		if name == sealedHeader {
			return invalidArgument("The metadata entry " + strings.ToLower(name) + " belongs to the gateway.")
		}
		size += len(name) - len(metaPrefix)
		for _, value := range values {
			size += len(value)
		}
		dst[name] = []string{strings.Join(values, ",")}
	}
	if size > maxUserMetadata {
		return &s3Error{code: "MetadataTooLarge", status: http.StatusBadRequest, message: "Your metadata headers exceed the maximum allowed metadata size."}
	}
	return nil
}
