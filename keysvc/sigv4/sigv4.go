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
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sort"
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

	// unsupported is S3's answer to every other algorithm.
	unsupported = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
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
	c := &claim{}
	if err := c.read(r, query); err != nil {
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
		date: c.date, scope: c.scope, signature: c.signature,
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
	malformed := c.malformed()
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
	at := now()
	age := at.Sub(c.time)
	switch {
	case c.presigned && age < -skew:
		return refuse(NotYetValid, "Request is not yet valid").with(Facts{SignedAt: c.time, Now: at, Expires: c.expires})
	case age < -skew:
		return refuse(RequestTimeTooSkewed, "the request was signed for a time that is yet to come").with(Facts{SignedAt: c.time, Now: at, MaxSkew: skew})
	case c.presigned && age > c.expires:
		return refuse(Expired, "Request has expired").with(Facts{SignedAt: c.time, Now: at, Expires: c.expires})
	case !c.presigned && age > skew:
		return refuse(RequestTimeTooSkewed, "the difference between the request time and the server's time is too large").with(Facts{SignedAt: c.time, Now: at, MaxSkew: skew})
	}
	return nil
}

// checkSignature compares against every spelling of the path that a signer may
// have used: they all mean the same resource.
func (v *Verifier) checkSignature(r *http.Request, query []param, c *claim, out *Verified) error {
	got, key, err := v.signingKey(c)
	if err != nil {
		return err
	}
	paths, n := canonicalPaths(r, v.Service)
	for _, path := range paths[:n] {
		if !hmac.Equal(got[:], signatureOf(r, path, query, c, out.payloadHash, key.key)) {
			continue
		}
		v.keep(key)
		out.key = key.key
		return nil
	}
	return refuse(SignatureDoesNotMatch, "the signature calculated from the request does not match the one provided").with(factsOf(r, paths[0], query, c, out.payloadHash))
}

// factsOf is what was signed here of a request whose signature is another.
func factsOf(r *http.Request, path string, query []param, c *claim, payloadHash string) Facts {
	canonical := appendCanonical(nil, r, path, query, c, payloadHash)
	return Facts{
		AccessKeyID: c.accessKeyID, Signature: c.signature, CanonicalRequest: string(canonical),
		StringToSign: string(appendStringToSign(nil, c, sha256.Sum256(canonical))),
	}
}

// signingKey is a derived key, and whether it was derived just now.
type signingKey struct {
	id     keyID
	key    []byte
	cached bool
}

// signingKey returns the signature that c claims, decoded, and the key with which
// it ought to have been made.
func (v *Verifier) signingKey(c *claim) (got [sha256.Size]byte, key signingKey, err error) {
	secret, ok := v.Secret(c.accessKeyID)
	if !ok || secret == "" {
		return got, key, refuse(InvalidAccessKeyID, "the access key ID is not known here").with(Facts{AccessKeyID: c.accessKeyID})
	}
	if got, ok = decodeSum(c.signature); !ok {
		return got, key, refuse(SignatureDoesNotMatch, "the signature is not a SHA-256 HMAC in hex").with(Facts{AccessKeyID: c.accessKeyID, Signature: c.signature})
	}
	key.id = keyID{secret: secret, date: c.scopeDate, region: c.region}
	if key.key, key.cached = v.keys.get(key.id); !key.cached {
		key.key = deriveKey(secret, c.scopeDate, c.region, v.Service)
	}
	return got, key, nil
}

// keep is called once a signature has verified, and not before: nobody without the
// secret can fill the cache.
func (v *Verifier) keep(key signingKey) {
	if !key.cached {
		v.keys.put(key.id, key.key)
	}
}

// signatureOf is the signature that the claim ought to have.
func signatureOf(r *http.Request, path string, query []param, c *claim, payloadHash string, key []byte) []byte {
	sum := sumOf(r, path, query, c, payloadHash)
	b := appendStringToSign(make([]byte, 0, 256), c, sum)
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(b[:0])
}

func appendStringToSign(b []byte, c *claim, sum [sha256.Size]byte) []byte {
	b = append(append(b, algorithm...), '\n')
	b = append(append(b, c.date...), '\n')
	b = append(append(b, c.scope...), '\n')
	return hex.AppendEncode(b, sum[:])
}

// sumOf is the hash of the canonical request, which is made on the stack unless it
// is long.
func sumOf(r *http.Request, path string, query []param, c *claim, payloadHash string) [sha256.Size]byte {
	return sha256.Sum256(appendCanonical(make([]byte, 0, 1<<10), r, path, query, c, payloadHash))
}

func appendCanonical(b []byte, r *http.Request, path string, query []param, c *claim, payloadHash string) []byte {
	b = append(append(b, r.Method...), '\n')
	b = append(append(b, path...), '\n')
	b = append(appendQuery(b, query, c.presigned), '\n')
	b = append(appendHeaders(b, r, c.signedHeaders), '\n')
	for i, name := range c.signedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	return append(append(b, '\n'), payloadHash...)
}

// decodeSum decodes a SHA-256 in hex.
func decodeSum(s string) (sum [sha256.Size]byte, ok bool) {
	var text [2 * sha256.Size]byte
	if len(s) != len(text) {
		return sum, false
	}
	copy(text[:], s)
	_, err := hex.Decode(sum[:], text[:])
	return sum, err == nil
}

// claim is what a request says about its own signature.
type claim struct {
	presigned     bool
	form          bool
	accessKeyID   string
	scope         string // date/region/service/terminator
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

// malformed is the reason for which a claim is refused that cannot be read.
func (c *claim) malformed() ErrorCode {
	switch {
	case c.form:
		return FormMalformed
	case c.presigned:
		return AuthorizationQueryMalformed
	}
	return AuthorizationHeaderMalformed
}

// read fills a new claim in.
func (c *claim) read(r *http.Request, query []param) error {
	auth := r.Header["Authorization"]
	presigned := hasParam(query, "X-Amz-Algorithm") || hasParam(query, "X-Amz-Signature") || hasParam(query, "X-Amz-Credential")
	switch {
	case len(auth) > 1 || len(auth) == 1 && presigned:
		return refuse(AuthorizationHeaderMalformed, "only one signature is allowed")
	case len(auth) == 1:
		return c.readHeader(r, auth[0])
	case presigned:
		return c.readQuery(r, query)
	case hasParam(query, "AWSAccessKeyId"): // signature version 2
		return refuse(UnsupportedAlgorithm, unsupported)
	}
	return refuse(MissingAuthentication, "the request is not signed")
}

func (c *claim) readHeader(r *http.Request, auth string) error {
	if len(auth) > maxAuthorization {
		return refuse(AuthorizationHeaderMalformed, "the Authorization header is too long")
	}
	name, rest, _ := strings.Cut(auth, " ")
	if name != algorithm {
		if strings.HasPrefix(name, "AWS") {
			return refuse(UnsupportedAlgorithm, unsupported)
		}
		return refuse(AuthorizationHeaderMalformed, "the Authorization header must begin with AWS4-HMAC-SHA256")
	}
	if err := c.readFields(rest); err != nil {
		return err
	}
	if err := c.setHeaderTime(r); err != nil {
		return err
	}
	if len(r.Header["X-Amz-Content-Sha256"]) > 1 || len(r.Header["X-Amz-Security-Token"]) > 1 {
		return refuse(IncompleteSignature, "a header of the signature is given more than once")
	}
	c.payloadHash = only(r.Header["X-Amz-Content-Sha256"])
	c.securityToken = only(r.Header["X-Amz-Security-Token"])
	return nil
}

// readFields reads the fields of the Authorization header, each of which is there
// once.
func (c *claim) readFields(list string) error {
	var seen [len(fieldNames)]bool
	for field := range strings.SplitSeq(list, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		i := slices.Index(fieldNames[:], key)
		if !ok || i >= 0 && seen[i] {
			return refuse(IncompleteSignature, "the Authorization header cannot be read")
		}
		if err := c.setField(key, value, AuthorizationHeaderMalformed); err != nil {
			return err
		}
		seen[i] = true
	}
	if slices.Contains(seen[:], false) {
		return refuse(IncompleteSignature, "the Authorization header requires Credential, SignedHeaders and Signature")
	}
	return nil
}

// only is the one value of a header, "" if it has none.
func only(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// fieldNames are the fields that setField knows.
var fieldNames = [...]string{"Credential", "SignedHeaders", "Signature"}

func (c *claim) setField(key, value string, malformed ErrorCode) error {
	switch key {
	case "Credential":
		if !c.setCredential(value) {
			return refuse(malformed, "the credential must be ACCESS-KEY-ID/DATE/REGION/SERVICE/aws4_request")
		}
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

// setCredential takes a credential apart from its end: the access key may contain
// slashes, the scope has exactly three.
func (c *claim) setCredential(value string) bool {
	end := len(value)
	for _, part := range [...]*string{&c.terminator, &c.service, &c.region, &c.scopeDate} {
		slash := strings.LastIndexByte(value[:end], '/')
		if slash < 0 {
			return false
		}
		*part, end = value[slash+1:end], slash
	}
	c.accessKeyID, c.scope = value[:end], value[end+1:]
	return true
}

func (c *claim) setHeaderTime(r *http.Request) error {
	if len(r.Header["X-Amz-Date"]) > 1 || len(r.Header["Date"]) > 1 {
		return refuse(IncompleteSignature, "the date is given more than once")
	}
	if date := only(r.Header["X-Amz-Date"]); date != "" {
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

func (c *claim) readQuery(r *http.Request, query []param) error {
	c.presigned = true
	values := map[string]string{}
	for _, p := range query {
		name := p.name
		if len(name) < 6 || !strings.EqualFold(name[:6], "X-Amz-") {
			continue
		}
		if _, twice := values[name]; twice {
			return refuse(AuthorizationQueryMalformed, "%s is given more than once", name)
		}
		values[name] = p.value
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if values[name] == "" {
			return refuse(AuthorizationQueryMalformed, "a presigned request requires %s", name)
		}
	}
	if values["X-Amz-Algorithm"] != algorithm {
		return refuse(UnsupportedAlgorithm, unsupported)
	}
	if err := c.setField("Credential", values["X-Amz-Credential"], AuthorizationQueryMalformed); err != nil {
		return err
	}
	if err := c.setTime(values["X-Amz-Date"]); err != nil {
		return err
	}
	if err := c.setExpires(values["X-Amz-Expires"]); err != nil {
		return err
	}
	c.signedHeaders = strings.Split(values["X-Amz-SignedHeaders"], ";")
	c.signature = values["X-Amz-Signature"]
	c.securityToken = values["X-Amz-Security-Token"]
	c.payloadHash = values["X-Amz-Content-Sha256"]
	if header := r.Header["X-Amz-Content-Sha256"]; len(header) > 1 || len(header) == 1 && c.payloadHash != "" && c.payloadHash != header[0] {
		return refuse(AuthorizationQueryMalformed, "X-Amz-Content-Sha256 is given more than once")
	} else if len(header) == 1 {
		c.payloadHash = header[0]
	}
	return nil
}

// setExpires takes 1 second to 7 days, and refuses others in S3's words.
func (c *claim) setExpires(text string) error {
	seconds, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return refuse(AuthorizationQueryMalformed, "X-Amz-Expires should be a number")
	case seconds < 0:
		return refuse(AuthorizationQueryMalformed, "X-Amz-Expires must be non-negative")
	case seconds == 0:
		return refuse(AuthorizationQueryMalformed, "X-Amz-Expires must be at least 1 second")
	}
	if c.expires = time.Duration(seconds) * time.Second; c.expires > maxExpires {
		return refuse(AuthorizationQueryMalformed, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	return nil
}

// checkSignedHeaders makes sure that every header that may change what the
// request means is covered: the host, the date, and all x-amz-*, so that
// nobody on the way can add, say, x-amz-copy-source.
func checkSignedHeaders(r *http.Request, c *claim) error {
	if err := checkNames(c.signedHeaders); err != nil {
		return err
	}
	if !c.signed("host") {
		return refuse(UnsignedHeaders, "the host header must be signed")
	}
	if !c.presigned && only(r.Header["X-Amz-Date"]) == "" && !c.signed("date") {
		return refuse(UnsignedHeaders, "the date must be signed")
	}
	for name := range r.Header {
		if len(name) < len("x-amz-") || !strings.EqualFold(name[:len("x-amz-")], "x-amz-") {
			continue
		}
		if c.signed(name) || c.presigned && strings.ToLower(name) == "x-amz-content-sha256" {
			continue // the latter is the canonical request's last line
		}
		return refuse(UnsignedHeaders, "the header %s is present but not signed", strings.ToLower(name))
	}
	for _, name := range c.signedHeaders {
		if _, ok := headerValue(r, name); !ok {
			return refuse(UnsignedHeaders, "the header %s is signed but not present", name)
		}
	}
	return nil
}

// checkNames returns nil only for a list that can be searched: ascending, and so
// without any name twice.
func checkNames(names []string) error {
	ascending := true
	for i, name := range names {
		if name == "" || strings.ToLower(name) != name {
			return refuse(IncompleteSignature, "SignedHeaders must be distinct lower-case names")
		}
		ascending = ascending && (i == 0 || names[i-1] < name)
	}
	if ascending {
		return nil
	}
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) < len(names) {
		return refuse(IncompleteSignature, "SignedHeaders must be distinct lower-case names")
	}
	return refuse(IncompleteSignature, "SignedHeaders must be sorted")
}

// signed reports whether the header, in any case, is covered.
func (c *claim) signed(header string) bool {
	var buf [64]byte
	lower := appendLower(buf[:0], header)
	i := sort.Search(len(c.signedHeaders), func(i int) bool { return c.signedHeaders[i] >= string(lower) })
	return i < len(c.signedHeaders) && c.signedHeaders[i] == string(lower)
}

func hasParam(query []param, name string) bool {
	return slices.ContainsFunc(query, func(p param) bool { return p.name == name })
}

// unescape decodes %XX only: "+" is a plus in a path.
func unescape(s string) (string, error) { return url.PathUnescape(s) }
