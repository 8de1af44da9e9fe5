// SPDX-License-Identifier: Apache-2.0

package sigv4

import (
	"crypto/hmac"
	"net/http"
	"slices"
	"strings"
)

// Post is the signature of a browser's form: the values of the fields of the same
// names. What is signed is the policy; that the form obeys it is for the caller to
// check. Source: "Browser-Based Uploads Using POST" of the Amazon S3 API reference.
type Post struct {
	Policy     string // as the form has it, in base64: this is the string that is signed
	Algorithm  string // x-amz-algorithm
	Credential string // x-amz-credential
	Date       string // x-amz-date
	Signature  string // x-amz-signature
}

// VerifyPost authenticates a form. How long it is valid stands in its policy. The
// result has no body to read: the form is the body.
func (v *Verifier) VerifyPost(p Post) (*Verified, error) {
	if p.Algorithm != algorithm {
		return nil, refuse(UnsupportedAlgorithm, unsupported)
	}
	c := &claim{form: true, signature: p.Signature}
	if err := c.setField("Credential", p.Credential, FormMalformed); err != nil {
		return nil, err
	}
	if c.setTime(p.Date) != nil {
		return nil, refuse(FormMalformed, "x-amz-date must be in the form YYYYMMDDTHHMMSSZ")
	}
	if err := v.checkScope(c); err != nil {
		return nil, err
	}
	got, key, err := v.signingKey(c)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(got[:], mac(key.key, p.Policy)) {
		return nil, refuse(SignatureDoesNotMatch, "the signature calculated from the policy does not match the one provided")
	}
	v.keep(key)
	return &Verified{
		AccessKeyID: c.accessKeyID, Region: c.region, SignedAt: c.time,
		date: c.date, scope: c.scope, signature: c.signature, key: key.key,
	}, nil
}

// Unsigned stands in for Verify where a request is allowed without a signature, so
// that its content can be read: as it is, or with the SHA-256 that it states, or
// aws-chunked without chunk signatures. Nothing of r is authenticated by it.
func Unsigned(r *http.Request) (*Verified, error) {
	c := &claim{payloadHash: only(r.Header["X-Amz-Content-Sha256"])}
	if len(r.Header["X-Amz-Content-Sha256"]) > 1 {
		return nil, refuse(InvalidPayloadHash, "X-Amz-Content-Sha256 is given more than once")
	}
	if c.payloadHash == "" {
		c.payloadHash = payloadNames[PayloadUnsigned]
		// Clients that state the form when they sign do not when they do not.
		if chunked(r.Header) && len(r.Header["X-Amz-Trailer"]) > 0 {
			c.payloadHash = payloadNames[PayloadUnsignedTrailer]
		}
	}
	out := &Verified{}
	if err := out.setPayload(r, c, "s3"); err != nil {
		return nil, err
	}
	if out.Payload.chunkSigned() {
		return nil, refuse(InvalidPayloadHash, "a request without a signature cannot have a signed stream")
	}
	return out, nil
}

// chunked reports whether the content is said to be aws-chunked.
func chunked(header http.Header) bool {
	return slices.ContainsFunc(header["Content-Encoding"], func(value string) bool {
		return strings.Contains(strings.ToLower(value), "aws-chunked")
	})
}
