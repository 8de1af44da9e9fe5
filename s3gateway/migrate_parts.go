// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// plannedPart is a part of the object to be.
type plannedPart struct {
	number int
	size   int64
}

// leastPart is the size of the parts of an object whose own are not known.
const leastPart = 64 << 20

// maxPlanned is one part fewer than an upload can have: the part table is one, too.
const maxPlanned = envelope.MaxParts - 1

// replaceParts seals an object as a multipart object. Its upload runs under the
// upload ID of the store alone: no other process takes part, so that nothing of it is
// kept in the bucket.
func (m *Migrator) replaceParts(ctx context.Context, x *exchange, l *looked, sse encryption) (*sealedObject, error) {
	plan, original, err := m.plan(ctx, l)
	if err != nil {
		return nil, err
	}
	algorithm, want, kind := storedChecksum(l.found.resp.Header)
	algorithm = strings.ToUpper(algorithm)
	if strings.HasPrefix(algorithm, "SHA") {
		kind = composite // there is no other of parts
	}
	if !original && kind == composite {
		want = "" // it is that of other parts
	}
	object := proxy.Object{Bucket: x.bucket, Key: x.key, KeyID: sse.keyID, Multipart: true}
	if algorithm != "" {
		object.Checksums = map[string]string{envelope.TypeName: algorithm + " " + kind}
	}
	sealer, err := m.g.cipher.SealObject(ctx, object)
	if err != nil {
		return nil, err
	}
	x.op.Set(audit.KeyARN.String(sealer.KeyARN()))
	header := maps.Clone(l.kept)
	header[sealedHeader] = []string{sealer.Header()}
	if err := checkMetadata(header); err != nil {
		return nil, err
	}
	id, _, err := x.createUpstream(ctx, sealer.Header(), header)
	if err != nil {
		return nil, err
	}
	x.op.Set(audit.S3UploadID.String(id))
	u := &upload{id: id, sum: sha256.Sum256([]byte(id)), header: sealer.Header(), algorithm: algorithm, kind: kind}
	now, err := m.runUpload(ctx, x, l, u, plan, want)
	if err != nil {
		return nil, errors.Join(err, m.abort(ctx, id, x.key))
	}
	return now, m.state.uploaded(id)
}

// abort ends an upload without an object.
func (m *Migrator) abort(ctx context.Context, id, key string) error {
	u := &upload{id: id}
	resp, err := m.g.upstream.do(ctx, call{method: http.MethodDelete, bucket: m.o.Bucket, key: key, query: u.query(0)})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("ending the upload of %q, which stays behind: %w", key, err)
	}
	if err == nil {
		drain(resp.Body)
	}
	return m.state.uploaded(id)
}

// runUpload sends the parts and the table, and completes the upload.
func (m *Migrator) runUpload(ctx context.Context, x *exchange, l *looked, u *upload, plan []plannedPart, want string) (*sealedObject, error) {
	if err := m.state.uploading(u.id, x.key); err != nil {
		return nil, err
	}
	var err error
	if u.opener, err = m.g.cipher.OpenObject(ctx, x.bucket, x.key, u.header, nil); err != nil {
		return nil, err
	}
	check, err := m.g.cipher.OpenObject(ctx, x.bucket, x.key, u.header, nil)
	if err != nil {
		return nil, err
	}
	job := &partsJob{m: m, x: x, l: l, u: u, check: check, table: &envelope.Table{UploadID: u.sum, Algorithm: u.algorithm, Composite: u.kind == composite}}
	off := int64(0)
	for i, p := range plan {
		send := job.send
		if i == len(plan)-1 && p.size < envelope.MinPart {
			send = job.hold
		}
		if err := m.retrying(ctx, func() error { return send(ctx, p, off) }); err != nil {
			return nil, fmt.Errorf("part %d: %w", p.number, err)
		}
		off += p.size
	}
	if err := job.finish(ctx, want); err != nil {
		return nil, err
	}
	if err := m.confirm(ctx, x, l); err != nil {
		return nil, err
	}
	done, err := x.completeUpstream(ctx, u.query(0), &job.list)
	if err != nil {
		return nil, err
	}
	return &sealedObject{etag: done.ETag, version: done.header.Get("X-Amz-Version-Id"), pieces: job.pieces}, nil
}

// partsJob is an upload on its way.
type partsJob struct {
	m      *Migrator
	x      *exchange
	l      *looked
	u      *upload
	check  *proxy.ObjectOpener // opens each part before its end is sent
	table  *envelope.Table
	list   completeList
	pieces []piece
	held   []byte // the last part, sealed, if it is too small to stand before the table
}

// source is the plaintext of a part.
func (j *partsJob) source(ctx context.Context, p plannedPart, off int64) (*source, *plainReader, error) {
	plain, err := j.m.openPlain(ctx, j.x, j.l, off, p.size)
	if err != nil {
		return nil, nil, err
	}
	src := &source{ctx: ctx, body: plain, length: p.size, digests: &digests{}, record: j.x.op}
	return src, plain, j.u.declare(src.digests)
}

// send seals a part and sends it.
func (j *partsJob) send(ctx context.Context, p plannedPart, off int64) error {
	src, plain, err := j.source(ctx, p, off)
	if err != nil {
		return err
	}
	defer plain.close()
	sealer, err := j.u.opener.Part(p.number)
	if err != nil {
		return err
	}
	c := call{method: http.MethodPut, bucket: j.x.bucket, key: j.x.key, query: j.u.query(p.number), header: http.Header{}, length: proxy.PartSize(p.size)}
	var proven *proof
	resp, err := j.x.ship(ctx, src, c, func(content io.Reader) (io.Reader, error) {
		proven = newProof(sealer.Reader(content), openPart(j.check, p.number, p.size, sealer.Salt), plain.piece)
		return proven, nil
	})
	if proven != nil {
		proven.close()
	}
	if err != nil {
		return err
	}
	drain(resp.Body)
	j.list.Part = append(j.list.Part, completePart{PartNumber: p.number, ETag: resp.Header.Get("Etag")})
	return j.add(p, sealer.Salt, src, plain)
}

// hold seals the last part, to be sent together with the table.
func (j *partsJob) hold(ctx context.Context, p plannedPart, off int64) error {
	src, plain, err := j.source(ctx, p, off)
	if err != nil {
		return err
	}
	defer plain.close()
	sealer, err := j.u.opener.Part(p.number)
	if err != nil {
		return err
	}
	proven := newProof(sealer.Reader(src), openPart(j.check, p.number, p.size, sealer.Salt), plain.piece)
	defer proven.close()
	if j.held, err = io.ReadAll(proven); err != nil {
		return err
	}
	return j.add(p, sealer.Salt, src, plain)
}

func (j *partsJob) add(p plannedPart, salt [24]byte, src *source, plain *plainReader) error {
	part := envelope.TablePart{Number: p.number, Size: p.size, Salt: salt}
	if j.u.algorithm != "" {
		var err error
		if part.Checksum, err = src.digests.raw(j.u.algorithm); err != nil {
			return err
		}
	}
	j.table.Parts = append(j.table.Parts, part)
	j.pieces = append(j.pieces, plain.piece())
	return nil
}

// finish compares the checksum of the whole with the one that the object had, and
// sends what ends the object.
func (j *partsJob) finish(ctx context.Context, want string) error {
	j.table.Checksum = wholeChecksum(j.table)
	if have := tableChecksums(j.table).values[j.table.Algorithm]; want != "" && have != want {
		return badDigest(j.table.Algorithm)
	}
	tail, err := j.u.opener.SealTable(j.table)
	if err != nil {
		return err
	}
	last := j.table.Parts[len(j.table.Parts)-1].Number
	if j.held == nil {
		last++
	}
	tail = append(j.held, tail...)
	return j.m.retrying(ctx, func() error { return j.sendTail(ctx, last, tail) })
}

func (j *partsJob) sendTail(ctx context.Context, number int, tail []byte) error {
	c := call{
		method: http.MethodPut, bucket: j.x.bucket, key: j.x.key, query: j.u.query(number), header: http.Header{},
		body: bytes.NewReader(tail), length: int64(len(tail)),
		replay: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tail)), nil },
	}
	if j.m.g.upstream.checksum {
		c.header.Set("X-Amz-Checksum-Crc64nvme", crc64Of(tail))
	}
	resp, err := j.m.g.upstream.do(ctx, c)
	if err != nil {
		return err
	}
	drain(resp.Body)
	j.list.Part = append(j.list.Part, completePart{PartNumber: number, ETag: resp.Header.Get("Etag")})
	return nil
}

// plan finds out the parts of the object, or else makes some. It reports whether they
// are the object's own.
func (m *Migrator) plan(ctx context.Context, l *looked) ([]plannedPart, bool, error) {
	if isMultipart(l.etag()) {
		parts, err := m.attributeParts(ctx, l)
		if err == nil && !usable(parts, l.found.size) {
			parts, err = m.headParts(ctx, l)
		}
		if err != nil {
			return nil, false, err
		}
		if usable(parts, l.found.size) {
			return parts, true, nil
		}
	}
	return evenParts(l.found.size), false, nil
}

// usable says that an upload can have these parts, sealed, and that they are all of
// the object.
func usable(parts []plannedPart, size int64) bool {
	if len(parts) == 0 || len(parts) > maxPlanned || parts[len(parts)-1].number > maxPlanned {
		return false
	}
	number := 0
	for i, p := range parts {
		if p.number <= number || proxy.PartSize(p.size) > maxObject || i < len(parts)-1 && p.size < envelope.MinPart {
			return false
		}
		number, size = p.number, size-p.size
	}
	return size == 0
}

// evenParts are parts of one size, but the last.
func evenParts(size int64) []plannedPart {
	each := int64(leastPart)
	if least := (size + maxPlanned - 1) / maxPlanned; least > each {
		each = (least + 1<<20 - 1) >> 20 << 20
	}
	parts := []plannedPart{{number: 1, size: min(size, each)}}
	for off := each; off < size; off += each {
		parts = append(parts, plannedPart{number: len(parts) + 1, size: min(size-off, each)})
	}
	return parts
}

// attributeParts asks GetObjectAttributes. AWS has the parts of uploads that were made
// with a checksum only.
func (m *Migrator) attributeParts(ctx context.Context, l *looked) ([]plannedPart, error) {
	var parts []plannedPart
	c := call{method: http.MethodGet, bucket: l.found.bucket, key: l.found.key, query: url.Values{"attributes": {""}}}
	if l.version != "" {
		c.query.Set("versionId", l.version)
	}
	for marker := 0; ; {
		c.header = http.Header{"X-Amz-Object-Attributes": {"ObjectParts"}, "X-Amz-Max-Parts": {"1000"}, "X-Amz-Part-Number-Marker": {strconv.Itoa(marker)}}
		var answer struct {
			ObjectParts struct {
				IsTruncated          bool
				NextPartNumberMarker int
				Part                 []struct {
					PartNumber int
					Size       int64
				}
			}
		}
		if err := m.g.ask(ctx, c, &answer); err != nil {
			if isUnknownHere(err) {
				return nil, nil
			}
			return nil, err
		}
		for _, p := range answer.ObjectParts.Part {
			parts = append(parts, plannedPart{number: p.PartNumber, size: p.Size})
		}
		next := answer.ObjectParts.NextPartNumberMarker
		if !answer.ObjectParts.IsTruncated || next <= marker {
			return parts, nil
		}
		marker = next
	}
}

// headParts asks for one part after the other. A store that does not tell has no
// parts to keep.
func (m *Migrator) headParts(ctx context.Context, l *looked) ([]plannedPart, error) {
	var parts []plannedPart
	for number, count := 1, 1; number <= count; number++ {
		c := l.found.again("")
		c.method = http.MethodHead
		c.query.Set("partNumber", strconv.Itoa(number))
		resp, err := m.g.upstream.do(ctx, c)
		if isUnknownHere(err) || isInvalidRange(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		count, err = strconv.Atoi(resp.Header.Get("X-Amz-Mp-Parts-Count"))
		if err != nil || count < 1 || count > envelope.MaxParts || resp.ContentLength < 0 {
			return nil, nil
		}
		parts = append(parts, plannedPart{number: number, size: resp.ContentLength})
	}
	return parts, nil
}
