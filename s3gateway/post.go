// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/sigv4"
)

// postFields of a form are what a PUT has in headers of these names.
var postFields = map[string]string{
	"acl": "X-Amz-Acl", "cache-control": "Cache-Control", "content-disposition": "Content-Disposition",
	"content-encoding": "Content-Encoding", "content-language": "Content-Language", "content-md5": "Content-Md5",
	"content-type": "Content-Type", "expires": "Expires",
}

// signatureFields of a form are for the verifier, not for the object.
var signatureFields = []string{"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"}

// verifyForm reads the form's fields and verifies their signature. A form without
// a policy is an anonymous request.
func (x *exchange) verifyForm() (*sigv4.Verified, error) {
	f, err := x.readForm()
	if err != nil {
		return nil, err
	}
	x.form = f
	has := func(name string) bool { _, ok := f.fields[name]; return ok }
	if has("awsaccesskeyid") || has("signature") {
		return nil, signatureVersion2
	}
	if !has("policy") && !slices.ContainsFunc(signatureFields, has) {
		return x.unsigned(&sigv4.Verified{})
	}
	for _, name := range append([]string{"policy"}, signatureFields...) {
		if f.fields[name] == "" {
			return nil, missingField(name)
		}
	}
	verified, err := x.g.verifier.VerifyPost(sigv4.Post{
		Policy: f.fields["policy"], Algorithm: f.fields["x-amz-algorithm"], Credential: f.fields["x-amz-credential"],
		Date: f.fields["x-amz-date"], Signature: f.fields["x-amz-signature"],
	})
	if err != nil {
		return nil, err
	}
	verified.SecurityToken = f.fields["x-amz-security-token"]
	return verified, nil
}

var signatureVersion2 = invalidRequest("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")

// useForm puts the fields of the form in the place of the request's own headers,
// which nobody signed: of those it keeps what can only make the request fail.
func (x *exchange) useForm() error {
	header := http.Header{}
	x.key = x.form.fields["key"]
	copyHeaders(header, x.r.Header, conditionHeaders)
	for name, values := range x.r.Header {
		lower := strings.ToLower(name)
		switch {
		case !strings.HasPrefix(lower, "x-amz-"):
		case allowedHeader(lower, commonHeaders):
			header[name] = values
		default:
			return &s3Error{
				code: "AccessDenied", status: http.StatusForbidden,
				message: "There were headers present in the request which were not signed",
				fields:  [][2]string{{"HeadersNotSigned", lower}},
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.form.fields)) {
		if err := setField(header, name, x.form.fields[name]); err != nil {
			return err
		}
	}
	x.header = header
	return nil
}

// setField sets the header that a field stands for, if it does for one.
func setField(header http.Header, name, value string) error {
	target, known := postFields[name]
	switch {
	case slices.Contains(signatureFields, name):
		return nil
	case name == "x-amz-content-sha256":
		return notImplemented("PostObject", "the field "+name)
	case name == "tagging" && value != "":
		tags, err := tagsOf(value)
		if err != nil {
			return err
		}
		target, value = "X-Amz-Tagging", tags
	case strings.HasPrefix(name, "x-amz-"), strings.HasPrefix(name, "x-minio-"):
		target = http.CanonicalHeaderKey(name)
	case !known || value == "":
		return nil
	}
	if !httpguts.ValidHeaderFieldName(target) || !httpguts.ValidHeaderFieldValue(value) {
		return invalidArgument("The form field " + name + " cannot be a header.")
	}
	if (target == "X-Amz-Acl" || target == "X-Amz-Tagging") && len(header[target]) > 0 {
		return invalidArgument("The form has both " + name + " and another field that means the same.")
	}
	header[target] = []string{value}
	return nil
}

// tagsOf makes the value of x-amz-tagging from a form's XML.
func tagsOf(text string) (string, error) {
	var tagging struct {
		XMLName xml.Name `xml:"Tagging"`
		Tags    []struct {
			Key   *string
			Value string
		} `xml:"TagSet>Tag"`
	}
	if xml.Unmarshal([]byte(text), &tagging) != nil {
		return "", malformedXML
	}
	var pairs []string
	for _, tag := range tagging.Tags {
		if tag.Key == nil {
			return "", malformedXML
		}
		pairs = append(pairs, url.QueryEscape(*tag.Key)+"="+url.QueryEscape(tag.Value))
	}
	return strings.Join(pairs, "&"), nil
}

// postObject seals the file of a browser's form as a PUT is sealed.
func postObject(ctx context.Context, x *exchange) error {
	if x.form == nil {
		return notAForm(x.r)
	}
	f := x.form.file
	if encoded, ok := x.form.fields["policy"]; ok {
		policy, err := parsePolicy(encoded)
		if err != nil {
			return err
		}
		if err := policy.check(x.conditioned(), time.Now()); err != nil {
			return err
		}
		if err := x.measure(f); err != nil {
			return err
		}
		if err := policy.checkSize(f.size); err != nil {
			return err
		}
	} else if err := x.measure(f); err != nil {
		return err
	}
	sums, err := newDigests(x.header)
	if err != nil {
		return err
	}
	header, sse, err := x.storedAs(ctx)
	if err != nil {
		return err
	}
	src := &source{ctx: ctx, body: f, length: f.size, digests: sums, record: x.op, conn: http.NewResponseController(x.w)}
	return x.put(ctx, src, sse, header)
}

func notAForm(r *http.Request) error {
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/form-data") {
		return notImplemented("PostObject", "a signature outside of the form")
	}
	return &s3Error{
		code: "PreconditionFailed", status: http.StatusPreconditionFailed,
		message: "At least one of the pre-conditions you specified did not hold",
		fields:  [][2]string{{"Condition", "Bucket POST must be of the enclosure-type multipart/form-data"}},
	}
}

// conditioned is what a policy has conditions on: the fields, and the bucket that
// the request itself names.
func (x *exchange) conditioned() map[string]string {
	fields := maps.Clone(x.form.fields)
	fields["bucket"] = x.bucket
	return fields
}

func (x *exchange) measure(f *formFile) error {
	conn := http.NewResponseController(x.w)
	conn.SetReadDeadline(time.Now().Add(stall))
	defer conn.SetReadDeadline(time.Time{})
	return f.measure()
}

// answerPost answers as the form wishes. The headers of a PUT are set.
func (x *exchange) answerPost(keyARN string) error {
	fields, header := x.form.fields, x.w.Header()
	header.Set("Location", x.location())
	status, text := http.StatusNoContent, []byte(nil)
	switch fields["success_action_status"] {
	case "200":
		status = http.StatusOK
	case "201":
		status, text = http.StatusCreated, x.postResponse()
	}
	redirect, ok := fields["success_action_redirect"]
	if !ok {
		redirect = fields["redirect"]
	}
	if target, ok := x.redirection(redirect); ok {
		status, text = http.StatusSeeOther, nil
		header.Set("Location", target)
	}
	if status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(len(text)))
	}
	if len(text) > 0 {
		header.Set("Content-Type", "application/xml")
	}
	if err := x.op.End("", audit.HTTPStatus.Int(status), audit.KeyARN.String(keyARN)); err != nil {
		return err
	}
	x.writeHeader(status)
	if len(text) == 0 {
		return nil
	}
	_, err := x.Write(text)
	return err
}

// redirection adds to the URL what it is told of the object. As S3 does, what is
// no URL of the web counts as none.
func (x *exchange) redirection(to string) (string, bool) {
	target, err := url.Parse(to)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return "", false
	}
	added := "bucket=" + url.QueryEscape(x.bucket) + "&key=" + url.QueryEscape(x.key) +
		"&etag=" + url.QueryEscape(x.w.Header().Get("Etag"))
	if target.RawQuery != "" {
		added = target.RawQuery + "&" + added
	}
	target.RawQuery = added
	return target.String(), true
}

// location is the URL of the object in the style of the request.
func (x *exchange) location() string {
	u := url.URL{Scheme: "http", Host: x.r.Host, Path: "/" + x.key}
	if x.r.TLS != nil {
		u.Scheme = "https"
	}
	if inHost, _ := x.g.hosts.bucket(x.r.Host); inHost == "" {
		u.Path = "/" + x.bucket + u.Path
	}
	u.RawPath = encodePath(u.Path)
	return u.String()
}

func (x *exchange) postResponse() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<PostResponse>")
	for _, element := range [][2]string{
		{"Location", x.w.Header().Get("Location")}, {"Bucket", x.bucket}, {"Key", x.key}, {"ETag", x.w.Header().Get("Etag")},
	} {
		b.WriteString("<" + element[0] + ">")
		xml.EscapeText(&b, []byte(element[1]))
		b.WriteString("</" + element[0] + ">")
	}
	b.WriteString("</PostResponse>")
	return b.Bytes()
}
