// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// array is a PostgreSQL array. Its canonical form is that of array_send, with
// elements in their canonical form:
//
//	dimensions 4 | 1 if there are NULLs 4 | element type 4
//	| for each dimension: size 4, lower bound 4
//	| for each element: length 4 (-1: NULL), bytes
type array struct {
	elem     uint32
	dims     []dimension
	elements [][]byte // nil is NULL
}

type dimension struct{ size, lower int32 }

const (
	maxDimensions = 6 // MAXDIM
	maxElements   = 1 << 27
)

func (a *array) append(dst []byte) []byte {
	be := binary.BigEndian
	nulls := uint32(0)
	for _, e := range a.elements {
		if e == nil {
			nulls = 1
		}
	}
	dst = be.AppendUint32(be.AppendUint32(be.AppendUint32(dst, uint32(len(a.dims))), nulls), a.elem)
	for _, d := range a.dims {
		dst = be.AppendUint32(be.AppendUint32(dst, uint32(d.size)), uint32(d.lower))
	}
	for _, e := range a.elements {
		if e == nil {
			dst = be.AppendUint32(dst, math.MaxUint32)
			continue
		}
		dst = append(be.AppendUint32(dst, uint32(len(e))), e...)
	}
	return dst
}

// readArray reads the canonical form, or the binary format of a client.
func readArray(data []byte) (*array, bool) {
	word := func() (int32, bool) {
		if len(data) < 4 {
			return 0, false
		}
		v := int32(binary.BigEndian.Uint32(data))
		data = data[4:]
		return v, true
	}
	dims, _ := word()
	nulls, _ := word()
	elem, ok := word()
	if !ok || dims < 0 || dims > maxDimensions || nulls&^1 != 0 {
		return nil, false
	}
	a, n := &array{elem: uint32(elem)}, 0
	for range dims {
		size, _ := word()
		lower, ok := word()
		if !ok || size < 0 || size > maxElements || int64(lower)+int64(size) > math.MaxInt32 {
			return nil, false
		}
		a.dims = append(a.dims, dimension{size, lower})
	}
	if dims > 0 {
		n = product(a.dims)
	}
	if n < 0 || n > len(data)/4 {
		return nil, false
	}
	if n == 0 {
		a.dims = nil // as PostgreSQL keeps it
	}
	for range n {
		size, ok := word()
		if size == -1 {
			a.elements = append(a.elements, nil)
			continue
		}
		if !ok || size < 0 || int(size) > len(data) {
			return nil, false
		}
		a.elements = append(a.elements, data[:size:size])
		data = data[size:]
	}
	return a, len(data) == 0
}

// product is the number of elements, -1 if there are too many.
func product(dims []dimension) int {
	n := int64(1)
	for _, d := range dims {
		if n *= int64(d.size); n > maxElements {
			return -1
		}
	}
	return int(n)
}

// decodeArray is decodeValue for an array type.
func decodeArray(t plan.Type, oid uint32, format int16, data []byte, loc locale) ([]byte, error) {
	elem, _ := t.Element()
	from := elem.OID
	if oid != plan.Unspecified && oid != plan.Unknown {
		if from = plan.ElementOf(oid); !assignable(from, elem.OID) {
			return nil, mismatch(t, oid)
		}
	}
	var a *array
	if format == formatBinary {
		var ok bool
		if a, ok = readArray(data); !ok {
			return nil, badBinary(t.OID)
		}
		if a.elem != from {
			return nil, failf(codeTypeMismatch, "binary data has array element type %d instead of expected %d", a.elem, from)
		}
	} else {
		bad := badSyntax(t, string(data))
		bad.Message = "malformed array literal: \"" + string(data) + "\""
		var err error
		if a, err = parseArray(string(data), bad, loc.version); err != nil {
			return nil, err
		}
	}
	a.elem = elem.OID
	for i, e := range a.elements {
		if e == nil {
			continue
		}
		v, err := decodeValue(elem, from, format, e, loc)
		if err != nil {
			return nil, err
		}
		a.elements[i] = nonNil(v)
	}
	return a.append(nil), nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// encodeArray is encodeValue for an array type.
func encodeArray(dst []byte, t plan.Type, format int16, canonical []byte, loc *time.Location) ([]byte, error) {
	elem, _ := t.Element()
	a, ok := readArray(canonical)
	if !ok || a.elem != elem.OID {
		return nil, errForm()
	}
	for i, e := range a.elements {
		if e == nil {
			continue
		}
		v, err := encodeValue(nil, elem, format, e, loc)
		if err != nil {
			return nil, err
		}
		a.elements[i] = nonNil(v)
	}
	if format == formatBinary {
		return a.append(dst), nil
	}
	return a.appendText(dst), nil
}

// appendText writes what array_out writes.
func (a *array) appendText(dst []byte) []byte {
	if len(a.dims) == 0 {
		return append(dst, "{}"...)
	}
	shifted := false
	for _, d := range a.dims {
		shifted = shifted || d.lower != 1
	}
	if shifted {
		for _, d := range a.dims {
			dst = strconv.AppendInt(append(dst, '['), int64(d.lower), 10)
			dst = append(strconv.AppendInt(append(dst, ':'), int64(d.lower)+int64(d.size)-1, 10), ']')
		}
		dst = append(dst, '=')
	}
	rest := a.elements
	dst, _ = appendDimension(dst, a.dims, rest)
	return dst
}

func appendDimension(dst []byte, dims []dimension, elements [][]byte) ([]byte, [][]byte) {
	dst = append(dst, '{')
	for i := range dims[0].size {
		if i > 0 {
			dst = append(dst, ',')
		}
		if len(dims) > 1 {
			dst, elements = appendDimension(dst, dims[1:], elements)
			continue
		}
		dst = appendElement(dst, elements[0])
		elements = elements[1:]
	}
	return append(dst, '}'), elements
}

func appendElement(dst, e []byte) []byte {
	if e == nil {
		return append(dst, "NULL"...)
	}
	if len(e) > 0 && !bytes.ContainsAny(e, "\"\\{}, \t\n\v\f\r") && !bytes.EqualFold(e, []byte("NULL")) {
		return append(dst, e...)
	}
	dst = append(dst, '"')
	for _, c := range e {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// arrayText reads the text form of an array, as array_in does.
type arrayText struct {
	text string
	at   int
	bad  *pgError
	// full says that no dimension of several is empty.
	full bool
	out  [][]byte
}

// parseArray reads the text form of an array as the server of a major version does;
// bad is the error if it is none. Since PostgreSQL 17 {{}} is an empty array.
func parseArray(text string, bad *pgError, version int) (*array, error) {
	p := arrayText{text: text, bad: bad, full: version < 17}
	a, err := p.parse()
	if err == bad && p.at >= len(text) && strings.Contains(text, "{") {
		bad.Detail = "Unexpected end of input."
	}
	return a, err
}

func (p *arrayText) parse() (*array, error) {
	declared, err := p.bounds()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.peek() != '{' {
		return nil, p.bad
	}
	var sizes []int32
	for depth := p.at; depth < len(p.text) && (p.text[depth] == '{' || strings.IndexByte(" \t\n\v\f\r", p.text[depth]) >= 0); depth++ {
		if p.text[depth] == '{' {
			sizes = append(sizes, -1)
		}
	}
	if len(sizes) > maxDimensions {
		return nil, failf(codeTooLarge, "number of array dimensions (%d) exceeds the maximum allowed (%d)", len(sizes), maxDimensions)
	}
	p.full = p.full && len(sizes) > 1
	if err := p.list(sizes); err != nil {
		return nil, err
	}
	if p.space(); p.at != len(p.text) {
		return nil, p.bad
	}
	a := &array{elements: p.out}
	if len(p.out) == 0 {
		if declared != nil {
			return nil, p.bad
		}
		return a, nil
	}
	for i, n := range sizes {
		d := dimension{size: n, lower: 1}
		if declared != nil {
			if len(declared) != len(sizes) || declared[i].size != n {
				return nil, p.bad
			}
			d = declared[i]
		}
		a.dims = append(a.dims, d)
	}
	return a, nil
}

func (p *arrayText) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *arrayText) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\v\f\r", p.text[p.at]) >= 0 {
		p.at++
	}
}

// bounds reads [1:2][3]= before the array, if it is there.
func (p *arrayText) bounds() ([]dimension, error) {
	var dims []dimension
	for p.space(); p.peek() == '['; p.space() {
		end := strings.IndexByte(p.text[p.at:], ']')
		if end < 0 || len(dims) == maxDimensions {
			return nil, p.bad
		}
		low, high, ranged := strings.Cut(p.text[p.at+1:p.at+end], ":")
		if !ranged {
			low, high = "1", low
		}
		p.at += end + 1
		l, err1 := strconv.ParseInt(low, 10, 32)
		h, err2 := strconv.ParseInt(high, 10, 32)
		if err1 != nil || err2 != nil {
			return nil, p.bad
		}
		if h < l {
			return nil, failf("2202E", "upper bound cannot be less than lower bound")
		}
		if h-l >= maxElements {
			return nil, failf(codeTooLarge, "array size exceeds the maximum allowed (%d)", maxElements)
		}
		dims = append(dims, dimension{size: int32(h - l + 1), lower: int32(l)})
	}
	if dims != nil {
		if p.peek() != '=' {
			return nil, p.bad
		}
		p.at++
	}
	return dims, nil
}

// list reads {..} of the dimensions that are left; the first list of a dimension
// sets its size, and all others must have the same.
func (p *arrayText) list(sizes []int32) error {
	p.space()
	if p.peek() != '{' {
		return p.bad
	}
	p.at++
	n := int32(0)
	for p.space(); p.peek() != '}' || n > 0; p.space() {
		var err error
		if len(sizes) > 1 {
			err = p.list(sizes[1:])
		} else {
			err = p.element()
		}
		if err != nil {
			return err
		}
		n++
		p.space()
		c := p.peek()
		if c == '}' {
			break
		}
		if c != ',' {
			return p.bad
		}
		p.at++
	}
	p.at++
	if sizes[0] >= 0 && sizes[0] != n || n == 0 && p.full {
		return p.bad
	}
	sizes[0] = n
	return nil
}

func (p *arrayText) element() error {
	var e []byte
	if p.peek() == '"' {
		e = []byte{}
		for p.at++; p.peek() != '"'; p.at++ {
			if p.peek() == '\\' {
				p.at++
			}
			if p.at >= len(p.text) {
				return p.bad
			}
			e = append(e, p.text[p.at])
		}
		p.at++
		p.out = append(p.out, e)
		return nil
	}
	escaped, keep := false, 0
	for p.at < len(p.text) && strings.IndexByte(`,{}"`, p.text[p.at]) < 0 {
		if p.text[p.at] == '\\' {
			if p.at++; p.at >= len(p.text) {
				return p.bad
			}
			escaped, keep = true, len(e)+1
		}
		e = append(e, p.text[p.at])
		p.at++
	}
	for len(e) > keep && strings.IndexByte(" \t\n\v\f\r", e[len(e)-1]) >= 0 {
		e = e[:len(e)-1]
	}
	switch {
	case len(e) == 0:
		return p.bad
	case !escaped && bytes.EqualFold(e, []byte("NULL")):
		e = nil
	}
	p.out = append(p.out, e)
	return nil
}
