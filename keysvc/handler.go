// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

const (
	contentType  = "application/x-amz-json-1.1"
	targetPrefix = "TrentService."
	maxSkew      = 5 * time.Minute

	// maxBody bounds a request's body. The largest legal one, a ReEncrypt with
	// two encryption contexts, is below 64 KiB.
	maxBody = 1 << 20
	// Bodies up to smallBody are read at once. Larger ones need one of
	// largeBodies places, so that slow senders cannot fill the memory.
	smallBody   = 32 << 10
	largeBodies = 16
	// answerBuffer holds every answer that contains plaintext without growing,
	// because growing would leave a copy behind.
	answerBuffer = 16 << 10
)

// Values of headers that all answers have; nobody changes them.
var (
	typeValues  = []string{contentType}
	cacheValues = []string{"no-cache, no-store, must-revalidate, private"}
)

// request is one call of an operation by an authenticated principal.
type request struct {
	id        string
	op        *operation
	principal *principal
	region    string // that the request was signed for
	peer      string
	audit     *audit.Op     // nil until the body was parsed
	keys      []string      // ARNs of keys and aliases that decisions were about
	tokens    []string      // grant tokens
	newGrant  *policy.Grant // that the operation is to create
	used      []store.Ref   // keys that a cryptographic operation has used
	secrets   [][]byte      // zeroed when the answer was written
	large     bool          // holds one of the places for large bodies
	forgotten uint64        // Service.forgotten when the request began
}

// wipe has b zeroed when the answer was written.
func (r *request) wipe(b []byte) { r.secrets = append(r.secrets, b) }

// use remembers a key that the operation has used.
func (r *request) use(k *store.Key) {
	if !slices.Contains(r.used, k.Ref) {
		r.used = append(r.used, k.Ref)
	}
}

// about puts a key or alias that a decision is about on the record.
func (r *request) about(arn string) {
	if !slices.Contains(r.keys, arn) {
		r.keys = append(r.keys, arn)
		r.audit.Set(keyAttr(slices.Clone(r.keys)))
	}
}

// finish gives back what the request held.
func (s *Service) finish(r *request) {
	for _, b := range r.secrets {
		clear(b)
	}
	if r.large {
		<-s.bodies
	}
}

// serveAPI answers one request, in this order: headers, body, signature, audit
// intent, decision, work, audit outcome on disk, answer.
func (s *Service) serveAPI(w http.ResponseWriter, hr *http.Request) {
	r := &request{id: uuid.NewString(), peer: hr.RemoteAddr, forgotten: s.forgotten.Load()}
	h := w.Header() // by canonical names
	h["X-Amzn-Requestid"] = []string{r.id}
	h["Content-Type"], h["Cache-Control"] = typeValues, cacheValues
	defer s.finish(r)

	buf := s.buffers.Get().(*[]byte)
	defer s.release(buf)
	out, err := s.call(hr, r, (*buf)[:0])
	if cap(out) <= answerBuffer {
		*buf = out
	} else {
		defer clear(out)
	}
	if ended := s.end(r, err); ended != nil {
		out, err = nil, fmt.Errorf("recording the outcome: %w", ended)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.noteUses(r)
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	w.WriteHeader(http.StatusOK)
	w.Write(out) // a failure is the peer's: it has gone away
}

func (s *Service) release(buf *[]byte) {
	clear((*buf)[:cap(*buf)])
	*buf = (*buf)[:0]
	s.buffers.Put(buf)
}

// call does everything up to the outcome. A panic is one more error of the
// work, so that it is recorded like one.
func (s *Service) call(hr *http.Request, r *request, dst []byte) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", slog.String("request_id", r.id), slog.String("kind", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
			out, err = dst, apiError(codeInternal, internalMessage)
		}
	}()
	if err := s.checkHead(hr, r); err != nil {
		return dst, err
	}
	body, err := s.readBody(hr, r)
	if err != nil {
		return dst, err
	}
	if err := s.authenticate(hr, r, body); err != nil {
		return dst, err
	}
	ctx := audit.Extract(hr.Context(), hr.Header)
	return r.op.serve(ctx, s, r, body, dst)
}

// checkHead looks at everything that does not need the body.
func (s *Service) checkHead(hr *http.Request, r *request) error {
	if hr.Method != http.MethodPost || hr.URL.Path != "/" {
		return apiError(codeUnknown, "Requests are made with POST to /")
	}
	name, ok := strings.CutPrefix(hr.Header.Get("X-Amz-Target"), targetPrefix)
	if !ok {
		return apiError(codeUnknown, "X-Amz-Target does not name an operation of %s", strings.TrimSuffix(targetPrefix, "."))
	}
	if r.op, ok = s.operations[name]; !ok {
		return apiError(codeUnknown, "Unknown operation")
	}
	if !isContentType(hr.Header.Get("Content-Type")) {
		return apiError(codeSerialization, "The Content-Type must be %s", contentType)
	}
	if hr.Header.Get("Content-Encoding") != "" {
		return apiError(codeSerialization, "Content-Encoding is not supported")
	}
	if hr.ContentLength > maxBody {
		return errTooLarge
	}
	if hr.Header.Get("Authorization") == "" {
		return apiError(codeMissingAuth, "Missing Authentication Token")
	}
	return nil
}

func isContentType(value string) bool {
	if value == contentType {
		return true
	}
	got, _, err := mime.ParseMediaType(value)
	return err == nil && got == contentType
}

// readBody reads the whole body. Memory grows with what arrives, not with what
// is announced.
func (s *Service) readBody(hr *http.Request, r *request) ([]byte, error) {
	size := 1 << 10
	if n := hr.ContentLength; n >= 0 {
		size = int(min(n, smallBody)) + 1
	}
	body := make([]byte, 0, size)
	defer func() { r.wipe(body[:cap(body)]) }()
	src := io.LimitReader(hr.Body, maxBody+1)
	for {
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case errors.Is(err, io.EOF):
			if len(body) > maxBody {
				return nil, errTooLarge
			}
			return body, nil
		case err != nil:
			return nil, apiError(codeSerialization, "The request body could not be read")
		case len(body) < cap(body):
			continue
		}
		if err := s.makeRoom(r, 2*cap(body)); err != nil {
			return nil, err
		}
		grown := make([]byte, len(body), min(2*cap(body), maxBody+1))
		copy(grown, body)
		clear(body)
		body = grown
	}
}

// makeRoom waits for a place if the body grows large, and refuses if none
// becomes free soon.
func (s *Service) makeRoom(r *request, size int) error {
	if size <= 2*smallBody || r.large {
		return nil
	}
	select {
	case s.bodies <- struct{}{}:
		r.large = true
		return nil
	case <-time.After(time.Second):
		return apiError(codeThrottling, "Rate exceeded")
	}
}

// begin writes the intent. The context it returns carries the audit operation.
func (s *Service) begin(ctx context.Context, r *request, subject subject) context.Context {
	attrs := append(subject.appendAttrs(make([]attribute.KeyValue, 0, 8)), // on the stack
		audit.Principal.String(r.principal.arn),
		audit.RequestID.String(r.id),
		audit.ClientAddress.String(r.peer))
	ctx, r.audit = s.audit.Begin(ctx, audit.SpanKMS(r.op.name), attrs...)
	return ctx
}

// end writes the outcome and waits for the disk. Requests that were refused
// before they had a principal have no record.
func (s *Service) end(r *request, err error) error {
	if r.audit == nil {
		return nil
	}
	if err == nil {
		return r.audit.End("")
	}
	a, _ := answerTo(err)
	return r.audit.End(a.code)
}

// refuse answers with an error. Internal ones are logged here and nowhere else.
func (s *Service) refuse(w http.ResponseWriter, r *request, err error) {
	a, internal := answerTo(err)
	name := ""
	if r.op != nil {
		name = r.op.name
	}
	switch {
	case internal:
		s.log.Error("request failed", slog.String("operation", name), slog.String("request_id", r.id), slog.Any("error", err))
	case r.principal == nil:
		s.log.Warn("request refused", slog.String("operation", name), slog.String("request_id", r.id),
			slog.String("code", a.code), slog.String("peer", r.peer))
	}
	body := appendString([]byte(`{"__type":`), a.code)
	if a.message != "" {
		body = appendString(append(body, `,"message":`...), a.message)
	}
	body = append(body, '}')
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	w.Write(body)
}
