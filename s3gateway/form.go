// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxFormFields is S3's limit on a form without its file: all before the
	// file's first byte.
	maxFormFields = 20 << 10

	// maxBoundary is that of RFC 2046.
	maxBoundary = 70
)

var (
	malformedPost = &s3Error{
		code: "MalformedPOSTRequest", status: http.StatusBadRequest,
		message: "The body of your POST request is not well-formed multipart/form-data.",
	}
	errFormFields = &s3Error{
		code: "MaxPostPreDataLengthExceeded", status: http.StatusBadRequest,
		message: "Your POST request fields preceding the upload file were too large.",
	}
	errFileCount = &s3Error{
		code: "InvalidArgument", status: http.StatusBadRequest,
		message: "POST requires exactly one file upload per request.",
		fields:  [][2]string{{"ArgumentName", "file"}},
	}
)

// form is what a browser uploads: fields, and the file as the last of them.
type form struct {
	fields map[string]string // by name in lower case, with the file's name put in
	file   *formFile
}

// isForm says whether a request is an upload from a browser, which is signed, if at
// all, by its fields.
func (x *exchange) isForm() bool {
	if x.r.Method != http.MethodPost || x.r.URL.RawQuery != "" || len(x.r.Header["Authorization"]) > 0 {
		return false
	}
	bucket, key, err := x.g.hosts.target(x.r)
	if err != nil || bucket == "" || key != "" {
		return false
	}
	kind, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "multipart/form-data")
}

// readForm reads up to the file's first byte.
func (x *exchange) readForm() (*form, error) {
	if x.r.ContentLength < 0 {
		return nil, checkSize(-1)
	}
	_, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	boundary := params["boundary"]
	if err != nil || boundary == "" || len(boundary) > maxBoundary || len(x.r.Header["Content-Type"]) > 1 {
		return nil, malformedPost
	}
	conn := http.NewResponseController(x.w)
	conn.SetReadDeadline(time.Now().Add(stall)) // for all of the fields
	defer conn.SetReadDeadline(time.Time{})
	in := &formReader{src: bufio.NewReaderSize(x.r.Body, 32<<10), single: true}
	f := &form{fields: map[string]string{}}
	parts := multipart.NewReader(in, boundary)
	filename, err := f.readFields(in, parts)
	if err != nil {
		return nil, err
	}
	in.single = false
	f.file.in, f.file.parts, f.file.left = in, parts, x.r.ContentLength-in.n
	f.file.closing = "--" + boundary + "--"
	for name, value := range f.fields {
		if name != "policy" {
			f.fields[name] = strings.ReplaceAll(value, "${filename}", filename)
		}
	}
	if err := f.hasKey(); err != nil {
		return nil, err // of a file without a name
	}
	return f, checkKey(f.fields["key"])
}

// readFields returns the name of the file once it is the file's turn.
func (f *form) readFields(in *formReader, parts *multipart.Reader) (string, error) {
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return "", errFileCount
		}
		if err != nil {
			return "", in.refusal()
		}
		name, filename, err := partName(part)
		if err != nil {
			return "", err
		}
		if name == "file" {
			f.file = &formFile{part: part}
			return filename, f.hasKey()
		}
		if _, twice := f.fields[name]; twice {
			return "", invalidArgument("The form field " + name + " is given more than once.")
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return "", in.refusal()
		}
		if !utf8.Valid(value) {
			return "", invalidArgument("The form field " + name + " is not UTF-8.")
		}
		f.fields[name] = string(value)
	}
}

func (f *form) hasKey() error {
	if f.fields["key"] != "" {
		return nil
	}
	return missingField("key")
}

func missingField(name string) error {
	e := invalidArgument("Bucket POST must contain a field named '" + name + "'.  If it is specified, please check the order of the fields.")
	e.fields = [][2]string{{"ArgumentName", name}}
	return e
}

// partName returns the name of a field in lower case, and for a file its own name,
// of which only what follows the last slash or backslash counts.
func partName(part *multipart.Part) (name, filename string, err error) {
	kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || kind != "form-data" || params["name"] == "" {
		return "", "", malformedPost
	}
	switch strings.ToLower(part.Header.Get("Content-Transfer-Encoding")) {
	case "", "7bit", "8bit", "binary":
	default:
		return "", "", malformedPost
	}
	name = strings.ToLower(params["name"])
	filename, isFile := params["filename"]
	if isFile && name != "file" {
		return "", "", errFileCount
	}
	if !utf8.ValidString(name + filename) {
		return "", "", invalidArgument("A name in the form is not UTF-8.")
	}
	return name, filename[strings.LastIndexAny(filename, `/\`)+1:], nil
}

// formReader counts what is read of the body. As long as single is set it gives
// one byte at a time: the reader of the parts then reads no byte ahead, and at the
// end of a part's header n is where its content begins.
type formReader struct {
	src    io.Reader
	n      int64
	single bool
	err    error
}

func (r *formReader) Read(p []byte) (int, error) {
	if r.single {
		if r.n == maxFormFields {
			r.err = errFormFields
			return 0, r.err
		}
		p = p[:1]
	}
	n, err := r.src.Read(p)
	r.n += int64(n)
	r.err = err
	return n, err
}

// refusal is why the form cannot be read: the connection's error, or its form.
func (r *formReader) refusal() error {
	switch {
	case r.err == nil || r.err == io.EOF:
		return malformedPost
	case errors.Is(r.err, os.ErrDeadlineExceeded):
		return errStalled
	}
	return r.err
}

// formFile is the content of the file, which ends in io.EOF only where the whole
// form ends: with the closing boundary, and that with the body.
type formFile struct {
	in      *formReader
	parts   *multipart.Reader
	part    *multipart.Part
	closing string
	left    int64 // of the body from the file's first byte
	size    int64 // of the file, once measured
	read    int64
	err     error // sticky
}

// measure computes the size of the file, which nothing in the form states, from
// that of the body. The line break after the closing boundary is optional: a small
// file's form is looked at, a large one's must have it.
func (f *formFile) measure() error {
	f.size = f.left - int64(len("\r\n"+f.closing+"\r\n"))
	if f.size <= smallObject {
		rest, err := io.ReadAll(io.LimitReader(f.in.src, f.left))
		if err == nil && int64(len(rest)) < f.left {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			f.in.err = err
			return f.in.refusal()
		}
		if bytes.HasSuffix(rest, []byte(f.closing)) {
			f.size += int64(len("\r\n"))
		}
		f.in.src = bytes.NewReader(rest)
	}
	if f.size < 0 {
		return malformedPost
	}
	return nil
}

// DecodedLength is the size of the file in bytes.
func (f *formFile) DecodedLength() int64 { return f.size }

// Trailer returns nil: a form has none.
func (f *formFile) Trailer() http.Header { return nil }

func (f *formFile) Read(p []byte) (n int, err error) {
	if f.err != nil {
		return 0, f.err
	}
	n, f.err = f.readPart(p)
	return n, f.err
}

func (f *formFile) readPart(p []byte) (int, error) {
	n, err := f.part.Read(p)
	f.read += int64(n)
	switch {
	case f.read > f.size:
		return 0, malformedPost
	case err == io.EOF:
		return n, f.end()
	case err != nil:
		return n, f.in.refusal()
	}
	return n, nil
}

// end returns io.EOF if nothing but the closing boundary follows the file.
func (f *formFile) end() error {
	if f.read != f.size {
		return malformedPost
	}
	if _, err := f.parts.NextRawPart(); err != io.EOF {
		return f.in.refusal()
	}
	return io.EOF
}
