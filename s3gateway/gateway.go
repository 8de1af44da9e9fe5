// SPDX-License-Identifier: Apache-2.0

// Package s3gateway is the S3 service that applications talk to. It verifies
// their signatures, seals what they put and opens what they get, and stores
// only ciphertext upstream.
//
// The client's view is S3 with SSE-KMS: sizes and checksums are those of the
// plaintext, ETags are the upstream's and opaque. What the gateway does not
// know, and what could carry data past the cipher, is refused with
// NotImplemented; operation.go has the table.
//
// Stated limits. An object that was not written through the gateway cannot be
// read through it (InvalidObjectState), and its size in listings is shown as it
// is stored, or shorter if that length could be one of ours. Sizes in HEAD and
// in listings follow from stored lengths and are authenticated only when the
// object is read. A client has 2 KiB of user metadata less the length of one
// sidekey header.
//
// Only content is encrypted. Names, user metadata, tags, the content headers
// (Content-Type, Content-Disposition and the like), ACLs and the website
// redirect are stored as the client sent them, and the store may change them
// unnoticed. The upstream credentials are used for every client: they should be
// those of a user with rights to objects and buckets, not of an administrator.
package s3gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/net/http/httpguts"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/sigv4"
	"github.com/sidekey/sidekey/proxy"
)

// Gateway is an http.Handler.
type Gateway struct {
	cipher   *proxy.Cipher
	audit    *audit.Log
	log      *slog.Logger
	region   string
	hosts    hosts
	upstream *upstream
	verifier *sigv4.Verifier
	clients  map[string]client // by access key ID
	md5      bool              // ETags are those of the plaintext
	legacy   bool              // instruction files without commitment are read
	tables   *tables
	defaults *defaults
	uploads  *lru.Cache[string, string] // headers of running uploads, by bucket and ID
	sizes    *sizes
	swept    *lru.Cache[string, time.Time] // buckets, and when they were last swept
	known    sync.Map                      // of route: sub-resources that the store has shown to know
	slots    slots

	anonymous []Anonymous
}

type client struct{ name, secret string }

// New reads the secrets that cfg names and makes a gateway.
func New(cfg Config, cipher *proxy.Cipher, al *audit.Log, log *slog.Logger) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	up, err := newUpstream(cfg.Upstream)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cipher: cipher, audit: al, log: log,
		region: cfg.Region, hosts: newHosts(cfg.Domains), upstream: up,
		clients: make(map[string]client, len(cfg.Clients)), md5: cfg.ETag == etagMD5, legacy: cfg.InstructionFiles, anonymous: cfg.Anonymous,
		slots: newSlots(cfg.MaxRequests),
	}
	if err := g.makeCaches(); err != nil {
		return nil, err
	}
	for i, c := range cfg.Clients {
		secret, err := readSecret(c.SecretAccessKeyFile)
		if err != nil {
			return nil, fmt.Errorf("s3.clients[%d].secret_access_key_file: %w", i, err)
		}
		g.clients[c.AccessKeyID] = client{name: c.Name, secret: secret}
	}
	g.verifier = &sigv4.Verifier{
		Service: "s3", Region: cfg.Region,
		Secret: func(id string) (string, bool) {
			c, ok := g.clients[id]
			return c.secret, ok
		},
	}
	return g, nil
}

// makeCaches makes what the gateway remembers. All of it is in the store, too.
func (g *Gateway) makeCaches() (err error) {
	if g.tables, err = newTables(); err != nil {
		return err
	}
	if g.defaults, err = newDefaults(); err != nil {
		return err
	}
	if g.sizes, err = newSizes(); err != nil {
		return err
	}
	if g.swept, err = lru.New[string, time.Time](4096); err != nil {
		return err
	}
	g.uploads, err = lru.New[string, string](4096)
	return err
}

// exchange is one request and its answer.
type exchange struct {
	g         *Gateway
	w         http.ResponseWriter
	r         *http.Request
	id        string
	op        *audit.Op
	verified  *sigv4.Verified
	name      string // of the operation
	bucket    string
	key       string
	sub       string      // the parameter that selected the operation
	header    http.Header // of the request, with x-amz-* that a presigned URL holds in its query
	query     url.Values  // without those
	shownETag string      // of the object as the client named it in a condition that holds
	started   bool        // the status line is out
	late      bool        // and the answer, of XML, is still to say whether it is a success
	status    int
	extended  time.Time // when the client was last given time to take the answer

	anonymous bool  // there is no signature
	form      *form // of a browser's upload, else nil
}

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{g: g, w: w, r: r, id: newRequestID()}
	w.Header().Set("X-Amz-Request-Id", x.id)
	start := time.Now()
	x.extend() // the last one was for the request before on this connection
	err := x.serve()
	if err != nil {
		err = x.fail(err)
	}
	g.log.LogAttrs(r.Context(), slog.LevelDebug, "s3 request",
		slog.String("operation", x.name), slog.String("request_id", x.id),
		slog.Int("status", x.status), slog.Duration("took", time.Since(start)))
	if errors.Is(err, errAbort) {
		// Ends the connection: the client sees a short body, never a whole one.
		panic(http.ErrAbortHandler)
	}
}

// continueEmpty sends the 100 that a client asked for before a body of no bytes,
// as S3 does. net/http sends it when a body is first read, which such a one
// never is, and botocore up to 1.29 takes no further answer on a connection on
// which a final one came in its place.
func (x *exchange) continueEmpty() {
	if x.r.ContentLength == 0 && strings.EqualFold(x.r.Header.Get("Expect"), "100-continue") {
		x.w.WriteHeader(http.StatusContinue)
	}
}

func (x *exchange) serve() error {
	if err := x.checkHTTP(); err != nil {
		return err
	}
	if x.r.Method == http.MethodOptions {
		return x.preflight()
	}
	if err := x.authenticate(); err != nil {
		return err
	}
	x.continueEmpty()
	addressErr := x.address()
	op, known := recognise(x)
	x.name = op.name
	if err := x.checkAnonymous(op); err != nil {
		return x.refused(err)
	}
	ctx := x.begin(op)
	if !x.g.slots.take() {
		return errSlowDown
	}
	defer x.g.slots.free()
	if addressErr != nil {
		return addressErr
	}
	if !known || op.serve == nil {
		return refusal(op)
	}
	if err := checkRequest(x, op); err != nil {
		return err
	}
	if op.conditional {
		if err := x.translateConditions(ctx); err != nil {
			return err
		}
	}
	if op.mutates {
		if err := x.op.Durable(ctx); err != nil {
			return err
		}
	}
	if err := op.serve(ctx, x); err != nil {
		return err
	}
	// Every operation ends its record before its last byte; this is for those
	// that have no bytes.
	return x.op.End("")
}

// authenticate verifies the signature before anything else is looked at, and
// long before a byte of the body is used.
func (x *exchange) authenticate() error {
	verified, err := x.verify()
	if err != nil {
		return x.refused(err)
	}
	x.verified = verified
	return nil
}

func (x *exchange) verify() (*sigv4.Verified, error) {
	if x.isForm() {
		return x.verifyForm()
	}
	verified, err := x.g.verifier.Verify(x.r)
	if isUnsigned(err) && len(x.g.anonymous) > 0 {
		if verified, err = sigv4.Unsigned(x.r); err == nil {
			return x.unsigned(verified)
		}
	}
	return verified, err
}

// refused logs what nobody authenticated, which goes on no record.
func (x *exchange) refused(err error) error {
	x.g.log.LogAttrs(x.r.Context(), slog.LevelInfo, "refused an S3 request",
		slog.String("request_id", x.id), slog.String("client", x.r.RemoteAddr), slog.String("reason", err.Error()))
	return err
}

// principal is who the audit log says makes the request.
func (x *exchange) principal() string {
	if x.anonymous {
		return anonymousPrincipal
	}
	return x.g.clients[x.verified.AccessKeyID].name
}

// address finds out what the request is about. Without an address a request is
// still put on record.
func (x *exchange) address() (err error) {
	if x.verified.SecurityToken != "" {
		return &s3Error{code: "InvalidToken", status: http.StatusBadRequest, message: "The clients of this gateway have no session tokens."}
	}
	if x.bucket, x.key, err = x.g.hosts.target(x.r); err != nil {
		return err
	}
	if x.form != nil {
		if err := x.useForm(); err != nil {
			return err
		}
	}
	if namesHidden(x.key) {
		return errHidden
	}
	if x.form != nil {
		return nil
	}
	return x.splitQuery()
}

// splitQuery separates the parameters of the signature from the request's own
// and moves x-amz-* headers that a presigned URL carries back to the headers.
func (x *exchange) splitQuery() error {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return &s3Error{code: "InvalidURI", status: http.StatusBadRequest, message: "The query string cannot be parsed."}
	}
	x.header, x.query = x.r.Header.Clone(), url.Values{}
	for name, list := range values {
		lower := strings.ToLower(name)
		switch {
		case signatureParameters[lower], lower == "x-id":
		case strings.HasPrefix(lower, "x-amz-"):
			if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(list, invalidFieldValue) {
				return invalidArgument("A parameter of the query string cannot be a header.")
			}
			if have := x.header.Values(name); len(have) > 0 && (len(list) != 1 || have[0] != list[0]) {
				return invalidArgument("The header " + lower + " contradicts the query string.")
			}
			x.header[http.CanonicalHeaderKey(name)] = list
		default:
			x.query[name] = list
		}
	}
	return nil
}

func invalidFieldValue(value string) bool { return !httpguts.ValidHeaderFieldValue(value) }

var signatureParameters = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-expires": true,
	"x-amz-signedheaders": true, "x-amz-signature": true, "x-amz-security-token": true, "x-amz-content-sha256": true,
}

func (x *exchange) begin(op operation) context.Context {
	attrs := []attribute.KeyValue{
		audit.Principal.String(x.principal()),
		audit.HTTPMethod.String(x.r.Method),
		audit.ClientAddress.String(x.r.RemoteAddr),
		audit.RequestID.String(x.id),
	}
	if x.bucket != "" {
		attrs = append(attrs, audit.S3Bucket.String(x.bucket))
	}
	if x.key != "" {
		attrs = append(attrs, audit.S3Key.String(x.key))
	}
	ctx, record := x.g.audit.Begin(audit.Extract(x.r.Context(), x.r.Header), audit.SpanS3(op.name), attrs...)
	x.op = record
	return ctx
}

// writeHeader sends the status line and the headers set so far.
func (x *exchange) writeHeader(status int) {
	x.started, x.status = true, status
	x.extend()
	x.w.WriteHeader(status)
}

// done ends the record as a success; only then may the last byte of an answer
// leave.
func (x *exchange) done(status int) error {
	return x.op.End("", audit.HTTPStatus.Int(status))
}

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}
