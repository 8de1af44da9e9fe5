// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// maxComplete bounds the list of parts: 10,000 of them with checksums.
const maxComplete = 4 << 20

// completeList is the client's list of parts.
type completeList struct {
	XMLName xml.Name `xml:"CompleteMultipartUpload"`
	Part    []completePart
}

// UnmarshalXML stops at more parts than there can be: a body of small elements would
// become many times its size.
func (l *completeList) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if start.Name.Local != "CompleteMultipartUpload" {
		return malformedXML
	}
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if err := l.element(d, &token); err != nil {
				return err
			}
		}
	}
}

func (l *completeList) element(d *xml.Decoder, start *xml.StartElement) error {
	if start.Name.Local != "Part" {
		return d.Skip()
	}
	if len(l.Part) == envelope.MaxParts {
		return malformedXML
	}
	var part completePart
	if err := d.DecodeElement(&part, start); err != nil {
		return err
	}
	l.Part = append(l.Part, part)
	return nil
}

type completePart struct {
	PartNumber int
	ETag       string
	partChecksums
}

// completeMultipartUpload writes the part table behind the last part and has the
// store make an object of them.
func completeMultipartUpload(ctx context.Context, x *exchange) error {
	// The checksums of this request's headers are those of the object.
	declared := x.header.Clone()
	for algorithm := range algorithms {
		declared.Del(checksumPrefix + algorithm)
	}
	declared.Del("X-Amz-Checksum-Type")
	text, err := x.documentOf(ctx, declared, maxComplete)
	if err != nil {
		return err
	}
	var list completeList
	if xml.Unmarshal(text, &list) != nil || len(list.Part) == 0 {
		return malformedXML
	}
	u, err := x.uploadTables(ctx)
	if err != nil {
		return x.completedBefore(ctx, &list, err)
	}
	a, err := x.assemble(ctx, u, &list)
	if err != nil {
		return x.completedBefore(ctx, &list, err)
	}
	if err := x.checkWhole(a.table); err != nil {
		return err
	}
	x.op.Set(audit.Bytes.Int64(a.table.Size()))
	done, err := x.keepAlive(ctx, func(ctx context.Context) (*completed, error) { return x.finish(ctx, u, a) })
	if err != nil {
		return x.completedBefore(ctx, &list, err)
	}
	x.forget(context.WithoutCancel(ctx), u)
	return x.answerComplete(done, a.table, u.opener.KeyARN(), u.header)
}

func invalidPart(number int) *s3Error {
	return &s3Error{
		code: "InvalidPart", status: http.StatusBadRequest,
		message: "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
		fields:  [][2]string{{"PartNumber", strconv.Itoa(number)}},
	}
}

// assembly is what an object will be made of.
type assembly struct {
	table *envelope.Table
	parts []part
	last  int // number of the store's part that ends with the table
}

// assemble makes the part table of the client's list.
func (x *exchange) assemble(ctx context.Context, u *upload, list *completeList) (*assembly, error) {
	records, err := x.parts(ctx, u)
	if err != nil {
		return nil, err
	}
	stored, err := x.storedParts(ctx, u, nil)
	if err != nil {
		return nil, err
	}
	a := &assembly{table: &envelope.Table{UploadID: u.sum, Algorithm: u.checksum(), Composite: u.kind == composite}}
	for i, wanted := range list.Part {
		if i > 0 && wanted.PartNumber <= list.Part[i-1].PartNumber {
			return nil, &s3Error{
				code: "InvalidPartOrder", status: http.StatusBadRequest,
				message: "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
			}
		}
		p, err := choosePart(u, &wanted, records[wanted.PartNumber], stored[wanted.PartNumber])
		if err != nil {
			return nil, err
		}
		if p.Size < envelope.MinPart && i < len(list.Part)-1 {
			return nil, &s3Error{
				code: "EntityTooSmall", status: http.StatusBadRequest,
				message: "Your proposed upload is smaller than the minimum allowed size",
				fields:  [][2]string{{"ProposedSize", strconv.FormatInt(p.Size, 10)}, {"MinSizeAllowed", strconv.Itoa(envelope.MinPart)}, {"PartNumber", strconv.Itoa(p.number)}, {"ETag", wanted.ETag}},
			}
		}
		a.parts = append(a.parts, *p)
		a.table.Parts = append(a.table.Parts, envelope.TablePart{Number: p.number, Size: p.Size, Salt: p.Salt, Checksum: p.Checksum, MD5: p.MD5})
	}
	a.last = tableNumber(&a.parts[len(a.parts)-1], records)
	return a, nil
}

// choosePart finds the part that the client lists, of all that were sent for its
// number: one that is there still, since the same content, which has the same MD5, may
// have come twice.
func choosePart(u *upload, wanted *completePart, sent []part, stored listedPart) (*part, error) {
	at := slices.IndexFunc(sent, func(p part) bool {
		return namesPart(wanted.ETag, p.Salt, p.MD5) && (len(p.Held) > 0 || p.ETag == etagSum(stored.ETag))
	})
	if at < 0 {
		return nil, invalidPart(wanted.PartNumber)
	}
	p := sent[at]
	p.storedETag = stored.ETag
	return &p, checkPart(u, wanted, &p)
}

// tableNumber is the number of the store's part that the table ends. It takes the place
// of no part that the client may list if this completion fails: number 10000 is always
// free, since a part of that number is held back.
func tableNumber(last *part, records map[int][]part) int {
	switch {
	case len(last.Held) > 0:
		return last.number
	case len(records[last.number+1]) > 0:
		return envelope.MaxParts
	}
	return last.number + 1
}

// checkPart compares the checksums that the client lists for a part with what was
// verified when it came.
func checkPart(u *upload, wanted *completePart, p *part) error {
	for name := range algorithms {
		algorithm := strings.ToUpper(name)
		value := *wanted.of(algorithm)
		if value == "" || u.algorithm == "" && (algorithm != defaultChecksum || len(p.Checksum) == 0) {
			continue
		}
		if algorithm != u.checksum() || value != base64.StdEncoding.EncodeToString(p.Checksum) {
			return invalidPart(p.number)
		}
	}
	return nil
}

// checkWhole computes the checksum of the whole object and compares it and the size
// with what the client says of them.
func (x *exchange) checkWhole(table *envelope.Table) error {
	table.Checksum = wholeChecksum(table)
	if x.g.md5 {
		table.MD5 = wholeMD5(table)
	}
	if kind := x.header.Get("X-Amz-Checksum-Type"); kind != "" && table.Algorithm != "" && !strings.EqualFold(kind, tableChecksums(table).kind) {
		return invalidRequest("The upload was created using the " + tableChecksums(table).kind + " checksum mode. The complete request must use the same checksum mode.")
	}
	for algorithm := range algorithms {
		value := x.header.Get(checksumPrefix + algorithm)
		if value == "" {
			continue
		}
		if !strings.EqualFold(algorithm, table.Algorithm) {
			return invalidRequest("Checksum Type mismatch occurred, expected checksum Type: " + strings.ToLower(cmp.Or(table.Algorithm, "null")) + ", actual checksum Type: " + algorithm)
		}
		have := tableChecksums(table).values[strings.ToUpper(algorithm)]
		plain, _, _ := strings.Cut(have, "-")
		if value != have && !(table.Composite && value == plain) {
			return badDigest(strings.ToUpper(algorithm))
		}
	}
	if size := x.header.Get("X-Amz-Mp-Object-Size"); size != "" && size != strconv.FormatInt(table.Size(), 10) {
		return invalidRequest("The provided 'x-amz-mp-object-size' header value " + size + " does not match what was computed: " + strconv.FormatInt(table.Size(), 10))
	}
	return nil
}

// completed is the store's answer.
type completed struct {
	XMLName xml.Name
	ETag    string
	Code    string
	Message string
	header  http.Header
}

// finish stores the table and has the store complete its upload.
func (x *exchange) finish(ctx context.Context, u *upload, a *assembly) (*completed, error) {
	etag, err := x.storeTable(ctx, u, a)
	if err != nil {
		return nil, err
	}
	list := completeList{}
	for i := range a.parts {
		if p := &a.parts[i]; len(p.Held) == 0 { // else it is in the part that the table ends
			list.Part = append(list.Part, completePart{PartNumber: p.number, ETag: p.storedETag})
		}
	}
	list.Part = append(list.Part, completePart{PartNumber: a.last, ETag: etag})
	return x.completeUpstream(ctx, u.query(0), &list)
}

// completeUpstream completes an upload of the store.
func (x *exchange) completeUpstream(ctx context.Context, query url.Values, list *completeList) (*completed, error) {
	text, err := s3XML("CompleteMultipartUpload", list)
	if err != nil {
		return nil, err
	}
	c := call{
		method: http.MethodPost, bucket: x.bucket, key: x.key, query: query,
		header: http.Header{"Content-Type": {"application/xml"}},
		body:   bytes.NewReader(text), length: int64(len(text)),
	}
	copyHeaders(c.header, x.header, writeConditions, ownerHeaders)
	done := &completed{}
	if done.header, err = x.g.askFor(ctx, c, maxAnswer, done); err != nil {
		return nil, err
	}
	if done.XMLName.Local == "Error" {
		// An error that the store found once its answer had begun.
		return nil, asUpstreamError(done.Code, done.Message)
	}
	return done, nil
}

// storeTable stores what ends the object: the part that was held back if there is
// one, and the table.
func (x *exchange) storeTable(ctx context.Context, u *upload, a *assembly) (etag string, err error) {
	tail, err := u.opener.SealTable(a.table)
	if err != nil {
		return "", err
	}
	body, length := io.Reader(bytes.NewReader(tail)), int64(len(tail))
	if last := &a.parts[len(a.parts)-1]; len(last.Held) > 0 {
		held, err := x.openHeld(ctx, u, last)
		if err != nil {
			return "", err
		}
		defer held.Close()
		body, length = io.MultiReader(held, body), length+proxy.PartSize(last.Size)
	}
	c := call{method: http.MethodPut, bucket: x.bucket, key: x.key, query: u.query(a.last), header: http.Header{}, body: body, length: length}
	if x.g.upstream.checksum {
		c.withTrailer()
	}
	resp, err := x.g.upstream.do(ctx, c)
	if err != nil {
		return "", err
	}
	drain(resp.Body)
	return resp.Header.Get("Etag"), nil
}

// beat is how often a client that waits for a store gets a sign of life.
const beat = 5 * time.Second

// keepAlive runs work and sends the client white space while it lasts: completing a
// large object takes some stores minutes.
func (x *exchange) keepAlive(ctx context.Context, work func(context.Context) (*completed, error)) (*completed, error) {
	type result struct {
		done *completed
		err  error
	}
	results := make(chan result, 1)
	go func() {
		done, err := work(ctx)
		results <- result{done, err}
	}()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case r := <-results:
			return r.done, r.err
		case <-ticker.C:
			sign := " "
			if !x.started {
				x.w.Header().Set("Content-Type", "application/xml")
				x.writeHeader(http.StatusOK)
				x.late, sign = true, xml.Header
			}
			if _, err := x.Write([]byte(sign)); err == nil {
				http.NewResponseController(x.w).Flush()
			}
		}
	}
}

type completeAnswer struct {
	Location     string
	Bucket       string
	Key          string
	ETag         string
	ChecksumType string `xml:",omitempty"`
	partChecksums
}

func (x *exchange) answerComplete(done *completed, table *envelope.Table, keyARN, header string) error {
	answer := completeAnswer{Location: x.location(), Bucket: x.bucket, Key: x.key, ETag: tableETag(table, quoted(strings.Trim(done.ETag, `"`)))}
	sums := tableChecksums(table)
	for algorithm, value := range sums.values {
		*answer.of(algorithm), answer.ChecksumType = value, sums.kind
	}
	text, err := s3XML("CompleteMultipartUploadResult", answer)
	if err != nil {
		return err
	}
	if x.started {
		text = bytes.TrimPrefix(text, []byte(xml.Header))
		if err := x.done(http.StatusOK); err != nil {
			return err
		}
		_, err := x.Write(text)
		return err
	}
	x.copyAnswer(done.header)
	x.w.Header().Del("Etag")
	if h, err := envelope.ParseHeader(header); err != nil || !h.HasCustomerKey {
		x.setEncryption(keyARN, nil) // S3 says nothing of SSE-C here
	}
	return x.sendDocument(text)
}

// completedBefore answers a request that was made once more, perhaps because the
// first answer was lost, or that came at the same time as another: if the object is the
// one of this upload, made of these parts. Else failed is the answer. That parts are
// missing may be what is left of an upload that another replica completed.
func (x *exchange) completedBefore(ctx context.Context, list *completeList, failed error) error {
	var e *s3Error
	if !errors.As(failed, &e) || e.code != "InvalidPart" && e.code != "NoSuchUpload" {
		return failed
	}
	f, err := x.headTables(ctx)
	if isNotFound(err) {
		return failed
	}
	if err != nil {
		return err
	}
	if !f.opener.Multipart() {
		return failed
	}
	if err := x.openTable(ctx, f); err != nil {
		return err
	}
	table := f.opener.Table()
	same := func(a envelope.TablePart, b completePart) bool {
		return a.Number == b.PartNumber && namesPart(b.ETag, a.Salt, a.MD5)
	}
	if table.UploadID != sumOf(storeID(x.query.Get("uploadId"))) || !slices.EqualFunc(table.Parts, list.Part, same) {
		return failed
	}
	return x.answerComplete(&completed{ETag: f.resp.Header.Get("Etag"), header: f.resp.Header}, table, f.opener.KeyARN(), f.header)
}

// headTables looks at the object, without its content and so without a customer key.
func (x *exchange) headTables(ctx context.Context) (*found, error) {
	f, err := x.peek(ctx)
	if err != nil {
		return nil, err
	}
	if f == nil || f.header == "" {
		return nil, errNoSuchUpload
	}
	f.opener, err = x.g.cipher.OpenTables(ctx, x.bucket, x.key, f.header)
	return f, err
}
