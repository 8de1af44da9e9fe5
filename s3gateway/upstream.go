// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	checksumNone      = "none"
	checksumCRC64NVME = "crc64nvme"

	unsignedPayload = "UNSIGNED-PAYLOAD"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

	// expectFrom is the size from which the upstream is asked first whether it
	// will take the body: a refusal then costs a round trip, not an upload.
	expectFrom = 1 << 20
)

// upstream sends requests, signed anew, to the store.
type upstream struct {
	scheme, host string
	pathStyle    bool
	checksum     bool // send x-amz-checksum-crc64nvme of the ciphertext
	region       string
	credentials  aws.Credentials
	signer       *v4.Signer
	transport    *http.Transport
}

func newUpstream(cfg Upstream) (*upstream, error) {
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("s3.upstream.endpoint: %w", err)
	}
	secret, err := readSecret(cfg.SecretAccessKeyFile)
	if err != nil {
		return nil, fmt.Errorf("s3.upstream.secret_access_key_file: %w", err)
	}
	u := &upstream{
		scheme: endpoint.Scheme, host: endpoint.Host,
		pathStyle:   cfg.PathStyle == nil || *cfg.PathStyle,
		checksum:    cfg.Checksum == checksumCRC64NVME || cfg.Checksum == "" && endpoint.Scheme == "https",
		region:      cfg.Region,
		credentials: aws.Credentials{AccessKeyID: cfg.AccessKeyID, SecretAccessKey: secret},
		signer: v4.NewSigner(func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true
		}),
	}
	if u.region == "" {
		u.region = "us-east-1"
	}
	tlsConfig, err := upstreamTLS(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	u.transport = &http.Transport{
		DialContext:           dialStore,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   10 * time.Second,
		DisableCompression:    true,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       60 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Counted from the end of the request; a store may take long to commit.
		ResponseHeaderTimeout:  5 * time.Minute,
		ReadBufferSize:         32 << 10,
		WriteBufferSize:        32 << 10,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return u, nil
}

func upstreamTLS(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("s3.upstream.ca_file: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("s3.upstream.ca_file: %s holds no certificate", caFile)
	}
	return cfg, nil
}

// call is a request to the upstream.
type call struct {
	method      string
	bucket, key string
	query       url.Values
	header      http.Header
	body        io.Reader // nil for none
	length      int64     // of body
	payload     string    // X-Amz-Content-Sha256; "" for the hash of no body, or unsigned
	replay      func() (io.ReadCloser, error)
	close       func() // called once body is not read any more, perhaps after do; nil for nothing
}

// callBody is the body of a call.
type callBody struct {
	io.Reader
	close func()
}

func (b callBody) Close() error {
	if b.close != nil {
		b.close()
	}
	return nil
}

// do signs and sends c. Answers that are neither success nor a condition that
// was not met (304) become errors.
func (u *upstream) do(ctx context.Context, c call) (*http.Response, error) {
	req := (&http.Request{
		Method: c.method, URL: u.url(c), Host: u.hostOf(c.bucket),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header,
	}).WithContext(ctx)
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if c.payload == "" {
		c.payload = emptyHash
	}
	if c.body != nil {
		if c.payload == emptyHash {
			c.payload = unsignedPayload
		}
		req.ContentLength = c.length
		req.Body = http.NoBody
		if c.length > 0 {
			req.Body, req.GetBody = callBody{c.body, c.close}, c.replay
		}
		if c.length >= expectFrom {
			req.Header.Set("Expect", "100-continue")
		}
	}
	req.Header.Set("X-Amz-Content-Sha256", c.payload)
	req.Header.Set("User-Agent", "sidekey")
	if err := u.signer.SignHTTP(ctx, u.credentials, req, c.payload, "s3", u.region, time.Now()); err != nil {
		callBody{close: c.close}.Close()
		return nil, fmt.Errorf("signing the upstream request: %w", err)
	}
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return nil, unreachable(err)
	}
	resp.Body = storeBody{resp.Body}
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusNotModified {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, u.readError(resp, c.method)
}

// unreachable is what the store's silence is to the client, unless it was the
// client who went away.
func unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("asking the store: %w", err)
	}
	return &s3Error{code: "ServiceUnavailable", status: http.StatusServiceUnavailable, message: "The store behind the gateway cannot be reached. Please try again.", cause: err}
}

// storeBody is an answer of the store. That it breaks off is the store's doing:
// without the mark it could be taken for a request body that did.
type storeBody struct{ io.ReadCloser }

func (b storeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = unreachable(err)
	}
	return n, err
}

var emptyHash = func() string {
	sum := sha256.Sum256(nil)
	return hex.EncodeToString(sum[:])
}()

func (u *upstream) hostOf(bucket string) string {
	if bucket == "" || u.pathStyle {
		return u.host
	}
	return bucket + "." + u.host
}

func (u *upstream) url(c call) *url.URL {
	path := "/"
	if c.bucket != "" && u.pathStyle {
		path += c.bucket
		if c.key != "" {
			path += "/"
		}
	}
	path += c.key
	return &url.URL{
		Scheme: u.scheme, Host: u.hostOf(c.bucket),
		Path: path, RawPath: encodePath(path), RawQuery: c.query.Encode(),
	}
}

// encodePath is the one encoding that every S3 service signs: all but the
// unreserved characters and the slash.
func encodePath(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// ours are the codes that blame the gateway's own request; to the client they
// are errors of the service.
var ours = []string{
	"SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed",
	"InvalidToken", "ExpiredToken", "XAmzContentSHA256Mismatch", "MissingContentLength", "IncompleteBody",
	"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "PermanentRedirect", "TemporaryRedirect", "AccessForbidden",
}

// What is taken over of an upstream's error: it is shown to the client and put
// on record.
const maxErrorMessage = 1 << 10

var errorCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.]{0,63}$`)

// elements of an upstream's error, besides code and message, that mean the same
// to the client. Sizes are of ciphertext, and hosts, resources, keys and request
// IDs are the gateway's own.
var errorElements = []string{
	"Condition", "ArgumentName", "ArgumentValue", "Method", "ResourceType", "Header", "TagKey", "Detail",
	"UploadId", "PartNumber", "VersionId", "StorageClass", "AccessTier",
}

type errorBody struct {
	Code     string
	Message  string
	Elements []struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	} `xml:",any"`
}

func (b *errorBody) fields(secret func(string) bool) (fields [][2]string) {
	for _, e := range b.Elements {
		if slices.Contains(errorElements, e.XMLName.Local) && len(e.Text) <= maxErrorMessage && !secret(e.Text) && len(fields) < len(errorElements) {
			fields = append(fields, [2]string{e.XMLName.Local, e.Text})
		}
	}
	return fields
}

// gatewayARN is who the gateway is at the upstream.
var gatewayARN = regexp.MustCompile(`arn:aws[a-z-]*:(iam|sts)::`)

// own says whether a text of the upstream names the gateway there, or its host.
func (u *upstream) own(text string) bool {
	if strings.Contains(text, u.credentials.AccessKeyID) || strings.Contains(text, u.host) || gatewayARN.MatchString(text) {
		return true
	}
	// A bare name such as "minio" is a word as well.
	host, _, _ := strings.Cut(u.host, ":")
	return strings.Contains(host, ".") && strings.Contains(text, host)
}

// readError makes the upstream's error the client's, without what it says of
// hosts and resources upstream.
func (u *upstream) readError(resp *http.Response, method string) *s3Error {
	var body errorBody
	if method != http.MethodHead && resp.StatusCode >= 200 {
		xml.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body)
	}
	if len(body.Message) > maxErrorMessage {
		body.Message = strings.ToValidUTF8(body.Message[:maxErrorMessage], "")
	}
	e := &s3Error{code: body.Code, status: resp.StatusCode, message: body.Message, fields: body.fields(u.own), header: http.Header{}}
	if !errorCode.MatchString(e.code) {
		e.code, e.message = codeOf(resp.StatusCode), http.StatusText(resp.StatusCode)
	}
	if e.message == "" || u.own(e.message) {
		e.message = http.StatusText(resp.StatusCode)
	}
	if e.code == "AccessDenied" && e.message == http.StatusText(http.StatusForbidden) {
		e.message = "Access Denied"
	}
	for _, name := range []string{"X-Amz-Delete-Marker", "X-Amz-Version-Id", "Retry-After", "Etag", "Last-Modified"} {
		if values := resp.Header[name]; values != nil {
			e.header[name] = values
		}
	}
	copyHeaders(e.header, resp.Header, corsHeaders)
	if slices.Contains(ours, e.code) || e.status < 400 || e.status == http.StatusUnauthorized {
		return &s3Error{
			code: "InternalError", status: http.StatusInternalServerError, message: "The store behind the gateway refused its request.",
			cause: fmt.Errorf("upstream: %d %s: %s", resp.StatusCode, e.code, e.message),
		}
	}
	return e
}

// asUpstreamError is an error that the upstream gave in an answer that had begun as a
// success.
func asUpstreamError(code, message string) *s3Error {
	status := http.StatusInternalServerError
	switch code {
	case "InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge", "InvalidRequest", "InvalidArgument", "MalformedXML":
		status = http.StatusBadRequest
	case "NoSuchUpload", "NoSuchKey":
		status = http.StatusNotFound
	case "PreconditionFailed":
		status = http.StatusPreconditionFailed
	case "ConditionalRequestConflict", "OperationAborted":
		status = http.StatusConflict
	case "SlowDown", "ServiceUnavailable":
		status = http.StatusServiceUnavailable
	}
	if !errorCode.MatchString(code) || slices.Contains(ours, code) {
		code, message = "InternalError", "The store behind the gateway refused its request."
	}
	return &s3Error{code: code, status: status, message: message}
}

func codeOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return "NoSuchKey"
	case http.StatusForbidden:
		return "AccessDenied"
	case http.StatusPreconditionFailed:
		return "PreconditionFailed"
	case http.StatusRequestedRangeNotSatisfiable:
		return "InvalidRange"
	case http.StatusMethodNotAllowed:
		return "MethodNotAllowed"
	case http.StatusConflict:
		return "OperationAborted"
	case http.StatusBadRequest:
		return "InvalidRequest"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return "SlowDown"
	case http.StatusLengthRequired:
		return "MissingContentLength"
	case http.StatusNotImplemented:
		return "NotImplemented"
	}
	return "InternalError"
}
