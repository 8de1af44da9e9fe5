// SPDX-License-Identifier: Apache-2.0

// Package sigv4 verifies requests signed with AWS Signature Version 4: the
// Authorization header form, the presigned form, and the bodies that go with
// them (signed payload hash, unsigned payload, aws-chunked with and without
// chunk signatures and trailers).
//
// The canonical request is built from the request line as it was received, not
// from a path or query that was cleaned on the way. Sources: "Signature Version
// 4 signing process" of the IAM user guide and "Authenticating Requests" of the
// Amazon S3 API reference.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm      = "AWS4-HMAC-SHA256"
	terminator     = "aws4_request"
	timeFormat     = "20060102T150405Z"
	defaultMaxSkew = 15 * time.Minute
	maxExpires     = 7 * 24 * time.Hour

	// A header or query signature longer than this is not one of any client.
	maxAuthorization = 8 << 10
)

// Verifier authenticates requests to one service. Its methods may be called by
// many goroutines at once; its fields may not be changed then. It must not be
// copied after its first use.
type Verifier struct {
	Service string // the service name in the credential scope: "s3", "kms"
	Region  string // the region in the credential scope; "" accepts any

	// Secret returns the secret access key of an access key ID.
	Secret func(accessKeyID string) (secret string, ok bool)

	Now     func() time.Time // nil means time.Now
	MaxSkew time.Duration    // between the signer's clock and ours; 0 means 15 minutes

	keys keyCache
}

// Verified is an authenticated request.
type Verified struct {
	AccessKeyID   string
	Region        string
	Presigned     bool
	Payload       PayloadMode
	SignedAt      time.Time
	SignedHeaders []string // lower case, in the order signed
	SecurityToken string   // X-Amz-Security-Token as signed, "" if none; not checked here

	payloadHash string // the value that was signed: hex or a mode's name
	date        string // X-Amz-Date form of SignedAt
	scope       string // date/region/service/aws4_request
	key         []byte // signing key
	signature   string // hex; the seed of the chunk signatures
}

// Verify authenticates the header form or the presigned form of r. It does not
// read the body: for the body to be the signed one it must be read through
// [Verified.Body] to io.EOF.
func (v *Verifier) Verify(r *http.Request) (*Verified, error) {
	return v.verify(r, nil, false)
}

// VerifyBody authenticates a request whose whole body is known, as JSON
// services have it. The hash that must have been signed is that of body,
// whether or not X-Amz-Content-Sha256 states it.
func (v *Verifier) VerifyBody(r *http.Request, body []byte) (*Verified, error) {
	return v.verify(r, body, true)
}

func (v *Verifier) verify(r *http.Request, body []byte, whole bool) (*Verified, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	c, err := readClaim(r, query)
	if err != nil {
		return nil, err
	}
	if err := v.checkScope(c); err != nil {
		return nil, err
	}
	if err := v.checkTime(c); err != nil {
		return nil, err
	}
	if err := checkSignedHeaders(r, c); err != nil {
		return nil, err
	}
	out := &Verified{
		AccessKeyID: c.accessKeyID, Region: c.region, Presigned: c.presigned,
		SignedAt: c.time, SignedHeaders: c.signedHeaders, SecurityToken: c.securityToken,
		date: c.date, scope: c.scope(), signature: c.signature,
	}
	if whole {
		err = out.setPayloadOf(body, c.payloadHash)
	} else {
		err = out.setPayload(r, c, v.Service)
	}
	if err != nil {
		return nil, err
	}
	if err := v.checkSignature(r, query, c, out); err != nil {
		return nil, err
	}
	return out, nil
}

func (v *Verifier) checkScope(c *claim) error {
	malformed := AuthorizationHeaderMalformed
	if c.presigned {
		malformed = AuthorizationQueryMalformed
	}
	switch {
	case c.terminator != terminator:
		return refuse(malformed, "the credential scope must end in %q", terminator)
	case c.service != v.Service:
		return refuse(malformed, "the credential scope must name the service %q", v.Service)
	case c.scopeDate != c.date[:8]:
		return refuse(malformed, "the date of the credential scope is not that of the request")
	case v.Region != "" && c.region != v.Region:
		return refuse(WrongRegion, "the region %q is wrong; expecting %q", c.region, v.Region)
	}
	return nil
}

func (v *Verifier) checkTime(c *claim) error {
	now, skew := time.Now, v.MaxSkew
	if v.Now != nil {
		now = v.Now
	}
	if skew == 0 {
		skew = defaultMaxSkew
	}
	age := now().Sub(c.time)
	switch {
	case age < -skew:
		return refuse(RequestTimeTooSkewed, "the request was signed for a time that is yet to come")
	case c.presigned && age > c.expires:
		return refuse(Expired, "the request has expired")
	case !c.presigned && age > skew:
		return refuse(RequestTimeTooSkewed, "the difference between the request time and the server's time is too large")
	}
	return nil
}

// checkSignature compares against every spelling of the path that a signer may
// have used: they all mean the same resource.
func (v *Verifier) checkSignature(r *http.Request, query []param, c *claim, out *Verified) error {
	secret, ok := v.Secret(c.accessKeyID)
	if !ok || secret == "" {
		return refuse(InvalidAccessKeyID, "the access key ID is not known here")
	}
	got, err := hex.DecodeString(c.signature)
	if err != nil || len(got) != sha256.Size {
		return refuse(SignatureDoesNotMatch, "the signature is not a SHA-256 HMAC in hex")
	}
	id := keyID{secret: secret, date: c.scopeDate, region: c.region}
	key, cached := v.keys.get(id)
	if !cached {
		key = deriveKey(secret, c.scopeDate, c.region, v.Service)
	}
	canonicalQuery := canonicalQuery(query, c.presigned)
	headers := canonicalHeaders(r, c.signedHeaders)
	for _, path := range canonicalPaths(r, v.Service) {
		request := strings.Join([]string{
			r.Method, path, canonicalQuery, headers, strings.Join(c.signedHeaders, ";"), out.payloadHash,
		}, "\n")
		sum := sha256.Sum256([]byte(request))
		want := mac(key, algorithm+"\n"+c.date+"\n"+out.scope+"\n"+hex.EncodeToString(sum[:]))
		if hmac.Equal(got, want) {
			// Kept only now: nobody without the secret can fill the cache.
			if !cached {
				v.keys.put(id, key)
			}
			out.key = key
			return nil
		}
	}
	return refuse(SignatureDoesNotMatch, "the signature calculated from the request does not match the one provided")
}

// claim is what a request says about its own signature.
type claim struct {
	presigned     bool
	accessKeyID   string
	scopeDate     string
	region        string
	service       string
	terminator    string
	signedHeaders []string
	signature     string
	date          string
	time          time.Time
	expires       time.Duration
	payloadHash   string // "" if not stated
	securityToken string
}

func (c *claim) scope() string {
	return c.scopeDate + "/" + c.region + "/" + c.service + "/" + c.terminator
}

func readClaim(r *http.Request, query []param) (*claim, error) {
	auth := r.Header["Authorization"]
	presigned := hasParam(query, "X-Amz-Algorithm") || hasParam(query, "X-Amz-Signature") || hasParam(query, "X-Amz-Credential")
	switch {
	case len(auth) > 1 || len(auth) == 1 && presigned:
		return nil, refuse(AuthorizationHeaderMalformed, "only one signature is allowed")
	case len(auth) == 1:
		return readHeaderClaim(r, auth[0])
	case presigned:
		return readQueryClaim(r, query)
	case hasParam(query, "Signature") && hasParam(query, "AWSAccessKeyId"):
		return nil, refuse(UnsupportedAlgorithm, "signature version 2 is not supported; use AWS4-HMAC-SHA256")
	}
	return nil, refuse(MissingAuthentication, "the request is not signed")
}

func readHeaderClaim(r *http.Request, auth string) (*claim, error) {
	if len(auth) > maxAuthorization {
		return nil, refuse(AuthorizationHeaderMalformed, "the Authorization header is too long")
	}
	name, rest, _ := strings.Cut(auth, " ")
	if name != algorithm {
		if strings.HasPrefix(name, "AWS") {
			return nil, refuse(UnsupportedAlgorithm, "the algorithm is not supported; use AWS4-HMAC-SHA256")
		}
		return nil, refuse(AuthorizationHeaderMalformed, "the Authorization header must begin with AWS4-HMAC-SHA256")
	}
	c := &claim{}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok || seen[key] {
			return nil, refuse(IncompleteSignature, "the Authorization header cannot be read")
		}
		seen[key] = true
		if err := c.setField(key, value, AuthorizationHeaderMalformed); err != nil {
			return nil, err
		}
	}
	if !seen["Credential"] || !seen["SignedHeaders"] || !seen["Signature"] {
		return nil, refuse(IncompleteSignature, "the Authorization header requires Credential, SignedHeaders and Signature")
	}
	if err := c.setHeaderTime(r); err != nil {
		return nil, err
	}
	if len(r.Header["X-Amz-Content-Sha256"]) > 1 || len(r.Header["X-Amz-Security-Token"]) > 1 {
		return nil, refuse(IncompleteSignature, "a header of the signature is given more than once")
	}
	c.payloadHash = r.Header.Get("X-Amz-Content-Sha256")
	c.securityToken = r.Header.Get("X-Amz-Security-Token")
	return c, nil
}

func (c *claim) setField(key, value string, malformed ErrorCode) error {
	switch key {
	case "Credential":
		// The access key may contain slashes, the scope has exactly four.
		parts := strings.Split(value, "/")
		n := len(parts)
		if n < 5 {
			return refuse(malformed, "the credential must be ACCESS-KEY-ID/DATE/REGION/SERVICE/aws4_request")
		}
		c.accessKeyID = strings.Join(parts[:n-4], "/")
		c.scopeDate, c.region, c.service, c.terminator = parts[n-4], parts[n-3], parts[n-2], parts[n-1]
		if c.accessKeyID == "" {
			return refuse(malformed, "the credential has no access key ID")
		}
	case "SignedHeaders":
		c.signedHeaders = strings.Split(value, ";")
	case "Signature":
		c.signature = value
	default:
		return refuse(malformed, "the signature has an unknown field")
	}
	return nil
}

func (c *claim) setHeaderTime(r *http.Request) error {
	if len(r.Header["X-Amz-Date"]) > 1 || len(r.Header["Date"]) > 1 {
		return refuse(IncompleteSignature, "the date is given more than once")
	}
	if date := r.Header.Get("X-Amz-Date"); date != "" {
		return c.setTime(date)
	}
	date := r.Header.Get("Date")
	if date == "" {
		return refuse(IncompleteSignature, "the request has neither X-Amz-Date nor Date")
	}
	t, err := http.ParseTime(date)
	if err != nil {
		return c.setTime(date)
	}
	c.time, c.date = t.UTC(), t.UTC().Format(timeFormat)
	return nil
}

func (c *claim) setTime(date string) error {
	t, err := time.Parse(timeFormat, date)
	if err != nil {
		return refuse(IncompleteSignature, "the date is not in the form YYYYMMDDTHHMMSSZ")
	}
	c.date, c.time = date, t
	return nil
}

func readQueryClaim(r *http.Request, query []param) (*claim, error) {
	c := &claim{presigned: true}
	values := map[string]string{}
	for _, p := range query {
		name := p.name
		if len(name) < 6 || !strings.EqualFold(name[:6], "X-Amz-") {
			continue
		}
		if _, twice := values[name]; twice {
			return nil, refuse(AuthorizationQueryMalformed, "%s is given more than once", name)
		}
		values[name] = p.value
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if values[name] == "" {
			return nil, refuse(AuthorizationQueryMalformed, "a presigned request requires %s", name)
		}
	}
	if values["X-Amz-Algorithm"] != algorithm {
		return nil, refuse(UnsupportedAlgorithm, "X-Amz-Algorithm only supports AWS4-HMAC-SHA256")
	}
	if err := c.setField("Credential", values["X-Amz-Credential"], AuthorizationQueryMalformed); err != nil {
		return nil, err
	}
	if err := c.setTime(values["X-Amz-Date"]); err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseUint(values["X-Amz-Expires"], 10, 32)
	if c.expires = time.Duration(seconds) * time.Second; err != nil || seconds < 1 || c.expires > maxExpires {
		return nil, refuse(AuthorizationQueryMalformed, "X-Amz-Expires must be between 1 and 604800 seconds")
	}
	c.signedHeaders = strings.Split(values["X-Amz-SignedHeaders"], ";")
	c.signature = values["X-Amz-Signature"]
	c.securityToken = values["X-Amz-Security-Token"]
	c.payloadHash = values["X-Amz-Content-Sha256"]
	if header := r.Header["X-Amz-Content-Sha256"]; len(header) > 1 || len(header) == 1 && c.payloadHash != "" && c.payloadHash != header[0] {
		return nil, refuse(AuthorizationQueryMalformed, "X-Amz-Content-Sha256 is given more than once")
	} else if len(header) == 1 {
		c.payloadHash = header[0]
	}
	return c, nil
}

// checkSignedHeaders makes sure that every header that may change what the
// request means is covered: the host, the date, and all x-amz-*, so that
// nobody on the way can add, say, x-amz-copy-source.
func checkSignedHeaders(r *http.Request, c *claim) error {
	signed := make(map[string]bool, len(c.signedHeaders))
	for _, name := range c.signedHeaders {
		if name == "" || signed[name] || strings.ToLower(name) != name {
			return refuse(IncompleteSignature, "SignedHeaders must be distinct lower-case names")
		}
		signed[name] = true
	}
	if !slices.IsSorted(c.signedHeaders) {
		return refuse(IncompleteSignature, "SignedHeaders must be sorted")
	}
	if !signed["host"] {
		return refuse(UnsignedHeaders, "the host header must be signed")
	}
	if !c.presigned && r.Header.Get("X-Amz-Date") == "" && !signed["date"] {
		return refuse(UnsignedHeaders, "the date must be signed")
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") || signed[lower] {
			continue
		}
		if lower == "x-amz-content-sha256" && c.presigned {
			continue // it is the canonical request's last line
		}
		return refuse(UnsignedHeaders, "the header %s is present but not signed", lower)
	}
	for _, name := range c.signedHeaders {
		if _, ok := headerValue(r, name); !ok {
			return refuse(UnsignedHeaders, "the header %s is signed but not present", name)
		}
	}
	return nil
}

func hasParam(query []param, name string) bool {
	return slices.ContainsFunc(query, func(p param) bool { return p.name == name })
}

// unescape decodes %XX only: "+" is a plus in a path.
func unescape(s string) (string, error) { return url.PathUnescape(s) }
