// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// errNull says that a value becomes NULL.
var errNull = errors.New("the value is NULL for this role")

// copyCodec changes the protected values in a stream of COPY's data, and
// nothing else in it. It holds one row at most.
type copyCodec struct {
	opt   *plan.Copy
	lines copyLines // of text and CSV
	// version is the server's major one.
	version int
	// change appends to dst what takes the place of a value. Both are in the
	// stream's format, without the quotes and escapes of text and CSV. It fails
	// with errNull if NULL does.
	change func(dst []byte, r *plan.Rule, value []byte) ([]byte, error)

	fields []copyField
	value  []byte // plaintext of the field that is being changed
	out    []byte
	header bool // the header is behind
	// partial says that columns of a row that failed were appended: the server
	// looks at them first. In text and CSV it then fails for the missing one.
	partial bool
	missing string

	// Of the binary format.
	buf    []byte
	start  int // of the current row in buf
	number int // of the current row
	ended  bool
}

// feed takes the next piece of the data.
func (c *copyCodec) feed(data []byte) {
	if c.opt.Format != plan.CopyBinary {
		c.lines.feed(data)
		return
	}
	c.buf, c.start = append(compact(c.buf, c.start), data...), 0
}

// forget drops what is held.
func (c *copyCodec) forget() {
	c.buf, c.start, c.value, c.out = nil, 0, nil, nil
	c.lines.buf, c.lines.start, c.lines.at = nil, 0, 0
}

// shrink keeps nothing of what the rows have needed that are behind.
func (c *copyCodec) shrink() {
	c.value, c.out = trim(c.value), trim(c.out)
	if cap(c.buf)+cap(c.lines.buf) > largeMessage {
		c.buf, c.start = compact(c.buf, c.start), 0
		c.lines.compact()
	}
}

// held is how many bytes of an incomplete row are held.
func (c *copyCodec) held() int {
	return len(c.buf) - c.start + len(c.lines.buf) - c.lines.start
}

// next appends the next row to dst. ok is false if more data is needed or, at
// the end of the data, none is left; dst is not changed then. Of a row that
// fails at a column, it appends the columns before.
func (c *copyCodec) next(dst []byte, eof bool) (out []byte, ok bool, err error) {
	if c.opt.Format == plan.CopyBinary {
		out, ok, err = c.nextBinary(dst, eof)
	} else {
		out, ok, err = c.nextLine(dst, eof)
	}
	switch {
	case err != nil && c.partial:
		return out, false, err
	case !ok:
		return dst, false, err
	}
	return out, true, nil
}

func (c *copyCodec) nextLine(dst []byte, eof bool) ([]byte, bool, error) {
	line, end, ok, err := c.lines.next(eof)
	if err != nil {
		return dst, false, c.at(err, nil)
	}
	if !ok {
		return dst, false, nil
	}
	if !c.header && c.opt.Header != plan.NoHeader {
		c.header = true
		return c.headerLine(dst, line, end)
	}
	if dst, err = c.row(dst, line); err != nil {
		if len(end) == 0 {
			end = c.lines.style.bytes()
		}
		return append(dst, end...), false, err
	}
	return append(dst, end...), true, nil
}

// headerLine passes the header on that the server wrote. That of the client
// could be anything, were it no header, so that it is checked and replaced.
func (c *copyCodec) headerLine(dst, line, end []byte) ([]byte, bool, error) {
	if !c.opt.From {
		return append(append(dst, line...), end...), true, nil
	}
	if c.opt.Header == plan.HeaderMatch {
		if err := c.matchHeader(line); err != nil {
			return dst, false, c.at(err, line)
		}
	}
	for i, col := range c.opt.Columns {
		if i > 0 {
			dst = append(dst, c.opt.Delimiter)
		}
		if c.opt.Format == plan.CopyCSV {
			dst = appendCSV(dst, c.opt, []byte(col.Name), true, false)
		} else {
			dst = appendText(dst, c.opt.Delimiter, []byte(col.Name))
		}
	}
	return append(dst, end...), true, nil
}

func (c *copyCodec) matchHeader(line []byte) *pgError {
	fields, err := copyFields(c.fields[:0], c.opt, line)
	if err != nil {
		return err
	}
	c.fields = fields
	if len(fields) != len(c.opt.Columns) {
		return failf(codeBadCopy, "wrong number of fields in header line: got %d, expected %d", len(fields), len(c.opt.Columns))
	}
	for i, f := range fields {
		want := c.opt.Columns[i].Name
		if f.null {
			return failf(codeBadCopy, "column name mismatch in header line field %d: got null value (\"%s\"), expected \"%s\"", i+1, c.opt.Null, want)
		}
		if got := string(appendField(nil, c.opt, line[f.start:f.end])); got != want {
			return failf(codeBadCopy, "column name mismatch in header line field %d: got \"%s\", expected \"%s\"", i+1, got, want)
		}
	}
	return nil
}

// row appends a line with its protected values changed.
func (c *copyCodec) row(dst, line []byte) ([]byte, *pgError) {
	fields, err := copyFields(c.fields[:0], c.opt, line)
	if err != nil {
		return dst, c.at(err, line)
	}
	c.fields = fields
	if len(fields) > len(c.opt.Columns) {
		return dst, c.at(failf(codeBadCopy, "extra data after last expected column"), line)
	}
	if len(fields) < len(c.opt.Columns) {
		// Which field is of which column cannot be said: nothing is sent.
		return dst, c.at(failf(codeBadCopy, "missing data for column \"%s\"", c.opt.Columns[len(fields)].Name), line)
	}
	for i, col := range c.opt.Columns {
		before := len(dst)
		if i > 0 {
			dst = append(dst, c.opt.Delimiter)
		}
		if col.Rule == nil {
			dst = append(dst, line[fields[i].start:fields[i].end]...)
		} else if dst, err = c.field(dst, col, fields[i], line); err != nil {
			c.partial, c.missing = i > 0, col.Name
			return dst[:before], err
		}
	}
	return dst, nil
}

// field appends a field of a protected column.
func (c *copyCodec) field(dst []byte, col plan.CopyColumn, f copyField, line []byte) ([]byte, *pgError) {
	raw := line[f.start:f.end]
	csv := c.opt.Format == plan.CopyCSV
	if f.null && !(csv && c.opt.From && listed(c.opt.ForceNotNull, c.opt.ForceNotNullAll, col.Name)) {
		return append(dst, raw...), nil
	}
	if c.opt.From && c.opt.HasDefault && string(raw) == c.opt.Default {
		e := &pgError{Code: codeBadCopy, Message: "unexpected default marker in COPY data", Detail: "Column \"" + col.Name + "\" has no default value."}
		return dst, c.at(e, line)
	}
	c.value = appendField(c.value[:0], c.opt, raw)
	if c.opt.From && !plainText(c.value) {
		if !plainText(raw) {
			line = nil // the server finds it before it knows the line
		}
		return dst, c.at(invalidUTF8(c.value), line)
	}
	if csv && c.opt.From && f.quoted && string(c.value) == c.opt.Null && listed(c.opt.ForceNull, c.opt.ForceNullAll, col.Name) {
		return append(dst, raw...), nil
	}
	defer func() { clear(c.value) }()
	var err error
	if c.out, err = c.change(c.out[:0], col.Rule, c.value); err == errNull {
		return append(dst, c.opt.Null...), nil
	} else if err != nil {
		return dst, c.atValue(err, col.Name, c.value)
	}
	switch {
	case !csv:
		dst = appendText(dst, c.opt.Delimiter, c.out)
	case c.opt.From:
		dst = appendCSV(dst, c.opt, c.out, true, false)
	default:
		dst = appendCSV(dst, c.opt, c.out, listed(c.opt.ForceQuote, c.opt.ForceQuoteAll, col.Name), len(c.opt.Columns) == 1)
	}
	if !c.opt.From {
		clear(c.out)
	}
	return dst, nil
}

// at adds to an error where in the client's data it is; line is nil if its end
// was not found.
func (c *copyCodec) at(e *pgError, line []byte) *pgError {
	if !c.opt.From {
		return e
	}
	where := *e
	where.Where = fmt.Sprintf("COPY %s, line %d", c.opt.Table, c.lines.number)
	if line != nil {
		where.Where += ": \"" + shortened(string(line)) + "\""
	}
	return &where
}

func (c *copyCodec) atValue(err error, column string, value []byte) *pgError {
	e := *asPgError(err)
	if c.opt.From && badInput(e.Code) {
		e.Where = fmt.Sprintf("COPY %s, line %d, column %s: \"%s\"", c.opt.Table, c.lines.number, column, shortened(string(value)))
	}
	return &e
}

// plainText says whether bytes are text that the server takes.
func plainText(value []byte) bool { return utf8.Valid(value) && bytes.IndexByte(value, 0) < 0 }

// invalidUTF8 names the first bytes that are no character, as
// report_invalid_encoding of the server does.
func invalidUTF8(value []byte) *pgError {
	for len(value) > 0 {
		r, size := utf8.DecodeRune(value)
		if value[0] == 0 || r == utf8.RuneError && size <= 1 {
			break
		}
		value = value[size:]
	}
	size := 1
	switch c := value[0]; {
	case c&0xe0 == 0xc0:
		size = 2
	case c&0xf0 == 0xe0:
		size = 3
	case c&0xf8 == 0xf0:
		size = 4
	}
	message := "invalid byte sequence for encoding \"UTF8\":"
	for _, c := range value[:min(size, len(value))] {
		message += fmt.Sprintf(" 0x%02x", c)
	}
	return &pgError{Code: codeBadEncoding, Message: message}
}

// badInput says whether an error is of the class of data exceptions: others do
// not come from the value.
func badInput(code string) bool { return len(code) == 5 && code[:2] == "22" }

// shortened is what CONTEXT shows of a value: limit_printout_length.
func shortened(s string) string {
	const limit = 100 // MAX_COPY_DATA_DISPLAY
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// Signature and fixed header of the binary format.
//
//	off  len  field
//	  0   11  PGCOPY\n\377\r\n\0
//	 11    4  flags; bit 16: rows begin with an OID, until PostgreSQL 11
//	 15    4  length of an extension that follows
var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

func (c *copyCodec) nextBinary(dst []byte, eof bool) ([]byte, bool, error) {
	if !c.header {
		return c.binaryHeader(dst, eof)
	}
	row := c.buf[c.start:]
	if c.ended {
		if len(row) > 0 {
			c.number++
			return dst, false, c.atRow(failf(codeBadCopy, "received copy data after EOF marker"), "")
		}
		return dst, false, nil
	}
	if len(row) < 2 {
		return dst, false, nil
	}
	n := int(int16(binary.BigEndian.Uint16(row)))
	if n == -1 {
		c.ended = true
		c.start += 2
		return append(dst, row[:2]...), true, nil
	}
	if n != len(c.opt.Columns) {
		c.number++
		return dst, false, c.atRow(failf(codeBadCopy, "row field count is %d, expected %d", n, len(c.opt.Columns)), "")
	}
	fields, size, err := c.binaryFields(row, eof)
	if err == nil && fields < n {
		return dst, false, nil
	}
	c.number++
	c.partial = true
	dst, bad := c.binaryRow(append(dst, row[:2]...), row[2:], fields)
	if bad != nil {
		err = bad
	}
	if err != nil {
		return dst, false, err
	}
	c.start += size
	return dst, true, nil
}

// binaryHeader checks the header and writes one without an extension, in which
// there could be anything.
func (c *copyCodec) binaryHeader(dst []byte, eof bool) ([]byte, bool, error) {
	const fixed = 19
	head := c.buf[c.start:]
	have := min(len(head), len(copySignature))
	bad := func(message string) ([]byte, bool, error) { return dst, false, failf(codeBadCopy, "%s", message) }
	switch {
	case !bytes.Equal(head[:have], copySignature[:have]), eof && len(head) < len(copySignature):
		return bad("COPY file signature not recognized")
	case eof && len(head) < 15:
		return bad("invalid COPY file header (missing flags)")
	case eof && len(head) < fixed:
		return bad("invalid COPY file header (missing length)")
	case len(head) < fixed:
		return dst, false, nil
	}
	flags, extension := binary.BigEndian.Uint32(head[11:]), int(int32(binary.BigEndian.Uint32(head[15:])))
	switch {
	case flags&(1<<16) != 0:
		return bad("invalid COPY file header (WITH OIDS)")
	case flags>>16 != 0:
		return bad("unrecognized critical flags in COPY file header")
	case extension < 0:
		return bad("invalid COPY file header (missing length)")
	case eof && len(head)-fixed < extension:
		return bad("invalid COPY file header (wrong length)")
	case len(head)-fixed < extension:
		return dst, false, nil
	}
	c.header = true
	c.start += fixed + extension
	dst = append(dst, head[:15]...)
	return append(dst, 0, 0, 0, 0), true, nil
}

// binaryFields says how many fields of a row are complete, and their length.
//
//	Row: int16 fields, then for each an int32 length (-1: NULL) and bytes
func (c *copyCodec) binaryFields(row []byte, eof bool) (fields, size int, err error) {
	size = 2
	for _, col := range c.opt.Columns {
		n := 0
		if size+4 <= len(row) {
			n = int(int32(binary.BigEndian.Uint32(row[size:])))
		}
		switch short := size+4 > len(row) || max(n, 0) > len(row)-size-4; {
		case n < -1:
			return fields, size, c.fieldError(codeBadCopy, "invalid field size", "", col)
		case n >= maxAlloc:
			return fields, size, c.fieldError(codeTooLarge, c.tooLong(), fmt.Sprintf("Cannot enlarge string buffer containing 0 bytes by %d more bytes.", n), col)
		case short && eof:
			return fields, size, c.fieldError(codeBadCopy, "unexpected EOF in COPY data", "", col)
		case short:
			return fields, size, nil
		}
		fields++
		size += 4 + max(n, 0)
	}
	return fields, size, nil
}

// tooLong is the server's message for a field of maxAlloc bytes and more.
func (c *copyCodec) tooLong() string {
	if c.version >= 18 {
		return fmt.Sprintf("string buffer exceeds maximum allowed length (%d bytes)", maxAlloc)
	}
	return "out of memory"
}

// maxAlloc is the server's MaxAllocSize, beyond which no field can be.
const maxAlloc = 0x3fffffff

// fieldError is of the row that is being read.
func (c *copyCodec) fieldError(code, message, detail string, col plan.CopyColumn) error {
	e := &pgError{Code: code, Message: message, Detail: detail}
	if c.opt.From {
		e.Where = fmt.Sprintf("COPY %s, line %d, column %s", c.opt.Table, c.number+1, col.Name)
	}
	return e
}

// binaryRow appends the first fields of a row with their protected values
// changed.
func (c *copyCodec) binaryRow(dst, rest []byte, fields int) ([]byte, error) {
	for _, col := range c.opt.Columns[:fields] {
		n := int(int32(binary.BigEndian.Uint32(rest)))
		field := rest[4 : 4+max(n, 0)]
		if col.Rule == nil || n < 0 {
			dst, rest = append(dst, rest[:4+len(field)]...), rest[4+len(field):]
			continue
		}
		start := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		out, err := c.binaryValue(dst, col, field)
		if err == errNull {
			dst, rest = append(dst[:start], 0xff, 0xff, 0xff, 0xff), rest[4+len(field):]
			continue
		}
		if err != nil {
			return dst[:start], err
		}
		dst, rest = out, rest[4+len(field):]
		binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	}
	return dst, nil
}

func (c *copyCodec) binaryValue(dst []byte, col plan.CopyColumn, field []byte) ([]byte, error) {
	if c.opt.From && textual(col.Rule.Type.OID) && !plainText(field) {
		return dst, c.atRow(invalidUTF8(field), col.Name)
	}
	out, err := c.change(dst, col.Rule, field)
	if e := asPgError(err); err != nil && badInput(e.Code) {
		err = c.atRow(e, col.Name)
	}
	return out, err
}

func (c *copyCodec) atRow(e *pgError, column string) *pgError {
	if !c.opt.From {
		return e
	}
	where := *e
	where.Where = fmt.Sprintf("COPY %s, line %d", c.opt.Table, c.number)
	if column != "" {
		where.Where += ", column " + column
	}
	return &where
}
