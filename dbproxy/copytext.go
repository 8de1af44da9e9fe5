// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"slices"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// newline is how lines of COPY's data end; the first line decides.
type newline int

const (
	newlineUnknown newline = iota
	newlineLF
	newlineCR
	newlineCRLF
)

func (n newline) bytes() []byte {
	switch n {
	case newlineCR:
		return []byte{'\r'}
	case newlineCRLF:
		return []byte{'\r', '\n'}
	}
	return []byte{'\n'}
}

// copyLines splits COPY's text and CSV data into lines, as the server's
// CopyReadLineText does: what it takes for one line must be what the server
// takes for one, however it arrives in pieces.
type copyLines struct {
	opt *plan.Copy
	// alone is as PostgreSQL 18 and later: \. ends the data only in text, and
	// must stand alone on its line.
	alone bool
	// raw is what the server itself wrote: \. is data.
	raw bool

	buf     []byte
	start   int // of the current line
	at      int // what comes before it was looked at
	style   newline
	quoted  bool // within quotes of CSV
	escaped bool // likewise, behind an odd number of escapes
	began   bool // the current line has its number
	number  int  // of the current line, as messages count
	over    bool // behind \.
}

// feed takes the next piece of the data.
func (l *copyLines) feed(data []byte) {
	if l.over {
		return
	}
	l.compact()
	l.buf = append(l.buf, data...)
}

func (l *copyLines) compact() {
	l.buf, l.at = compact(l.buf, l.start), l.at-l.start
	l.start = 0
}

// compact drops what was read. It does not keep what one long line needed.
func compact(buf []byte, read int) []byte {
	if read == 0 {
		return buf
	}
	rest := buf[read:]
	if cap(buf) > largeMessage && len(rest) < bufferSize {
		return append(make([]byte, 0, 2*bufferSize), rest...)
	}
	return append(buf[:0], rest...)
}

// next gives the next line without its end, and its end. ok is false if more
// data is needed or, at the end of the data, none is left. The line is valid
// until feed.
func (l *copyLines) next(eof bool) (line, end []byte, ok bool, err *pgError) {
	if l.over {
		return nil, nil, false, nil
	}
	if !l.began {
		l.began = true
		l.number++
	}
	for {
		l.skipPlain()
		if l.at >= len(l.buf) {
			if eof && len(l.buf) > l.start {
				return l.take(len(l.buf), len(l.buf))
			}
			return nil, nil, false, nil
		}
		c := l.buf[l.at]
		if l.at+1 == len(l.buf) && !eof && (c == '\r' || c == '\\') {
			return nil, nil, false, nil
		}
		if l.atMarker() {
			wait, marks, err := l.marker(eof)
			if wait || err != nil {
				return nil, nil, false, err
			}
			if marks {
				l.over = true
				line := l.buf[l.start:l.at]
				return line, nil, len(line) > 0, nil
			}
		}
		if l.opt.Format == plan.CopyCSV {
			l.quotes(c)
		}
		switch {
		case c == '\r' && !l.quoted && !l.raw:
			return l.carriageReturn()
		case c == '\n' && !l.quoted:
			return l.lineFeed()
		case c == '\\' && l.opt.Format != plan.CopyCSV:
			// What follows is no end of line. At the end of the data nothing does.
			l.at = min(l.at+2, len(l.buf))
		default:
			l.at++
		}
	}
}

// atMarker says whether \. stands here, where it can end the data.
func (l *copyLines) atMarker() bool {
	if l.raw || l.at+1 >= len(l.buf) || l.buf[l.at] != '\\' || l.buf[l.at+1] != '.' {
		return false
	}
	return l.opt.Format != plan.CopyCSV || l.at == l.start && !l.alone
}

// lineFeed ends the line at a newline, if lines end so.
func (l *copyLines) lineFeed() (line, end []byte, ok bool, err *pgError) {
	if l.style == newlineCR || l.style == newlineCRLF {
		return nil, nil, false, l.stray("newline", `\n`)
	}
	l.style = newlineLF
	return l.take(l.at, l.at+1)
}

// skipPlain passes over what has no meaning for lines.
func (l *copyLines) skipPlain() {
	if l.opt.Format != plan.CopyCSV {
		for l.at < len(l.buf) {
			switch l.buf[l.at] {
			case '\n', '\r', '\\':
				return
			}
			l.at++
		}
		return
	}
	quote, escape := l.opt.Quote, l.opt.Escape
	for l.at < len(l.buf) {
		switch c := l.buf[l.at]; c {
		case '\n', '\r', '\\', quote, escape:
			return
		}
		l.escaped = false
		l.at++
	}
}

// quotes follows the quotes of CSV. An escape counts within quotes only, and
// not the second of two.
func (l *copyLines) quotes(c byte) {
	quote, escape := l.opt.Quote, l.opt.Escape
	distinct := quote != escape
	if distinct && l.quoted && c == escape {
		l.escaped = !l.escaped
	}
	if c == quote && !l.escaped {
		l.quoted = !l.quoted
	}
	if !distinct || c != escape {
		l.escaped = false
	}
	lineEnd := byte('\r')
	if l.style == newlineLF {
		lineEnd = '\n'
	}
	if l.quoted && c == lineEnd {
		l.number++
	}
}

// take ends the current line.
func (l *copyLines) take(end, next int) ([]byte, []byte, bool, *pgError) {
	line, nl := l.buf[l.start:end], l.buf[end:next]
	l.start, l.at, l.began, l.quoted, l.escaped = next, next, false, false, false
	return line, nl, true, nil
}

// carriageReturn ends the line at a carriage return, if lines end so.
func (l *copyLines) carriageReturn() (line, end []byte, ok bool, err *pgError) {
	if l.style == newlineLF {
		return nil, nil, false, l.stray("carriage return", `\r`)
	}
	if l.style != newlineCR {
		if l.at+1 < len(l.buf) && l.buf[l.at+1] == '\n' {
			l.style = newlineCRLF
			return l.take(l.at, l.at+2)
		}
		if l.style == newlineCRLF {
			return nil, nil, false, l.stray("carriage return", `\r`)
		}
		l.style = newlineCR
	}
	return l.take(l.at, l.at+1)
}

func (l *copyLines) stray(what, escape string) *pgError {
	if l.opt.Format == plan.CopyCSV {
		return &pgError{Code: codeBadCopy, Message: "unquoted " + what + " found in data", Hint: "Use quoted CSV field to represent " + what + "."}
	}
	return &pgError{Code: codeBadCopy, Message: "literal " + what + " found in data", Hint: `Use "` + escape + `" to represent ` + what + "."}
}

// marker says whether \. at the current place ends the data; wait that what
// follows has to be seen first.
func (l *copyLines) marker(eof bool) (wait, marks bool, err *pgError) {
	csv := l.opt.Format == plan.CopyCSV
	rest := l.buf[l.at+2:]
	bad := func(message string) (bool, bool, *pgError) {
		if csv {
			return false, false, nil
		}
		return false, false, failf(codeBadCopy, "%s", message)
	}
	corrupt := "end-of-copy marker corrupt"
	if l.alone {
		corrupt = "end-of-copy marker is not alone on its line"
	}
	const mismatch = "end-of-copy marker does not match previous newline style"
	if l.style == newlineCRLF {
		switch {
		case len(rest) == 0 && !eof:
			return true, false, nil
		case len(rest) > 0 && rest[0] == '\n':
			return bad(mismatch)
		case len(rest) == 0 || rest[0] != '\r':
			return bad(corrupt)
		}
		rest = rest[1:]
	}
	if len(rest) == 0 && !eof {
		return true, false, nil
	}
	if len(rest) == 0 || rest[0] != '\r' && rest[0] != '\n' {
		return bad(corrupt)
	}
	if l.style == newlineLF && rest[0] != '\n' || l.style == newlineCRLF && rest[0] != '\n' || l.style == newlineCR && rest[0] != '\r' {
		return false, false, failf(codeBadCopy, mismatch)
	}
	if l.alone && l.at > l.start {
		return bad(corrupt)
	}
	return false, true, nil
}

// copyField is one field of a line, as a byte range of it.
type copyField struct {
	start, end int
	null       bool
	quoted     bool // some of it is quoted
}

// copyFields splits a line.
func copyFields(fields []copyField, opt *plan.Copy, line []byte) ([]copyField, *pgError) {
	if opt.Format == plan.CopyCSV {
		return csvFields(fields, opt, line)
	}
	return textFields(fields, opt, line), nil
}

func textFields(fields []copyField, opt *plan.Copy, line []byte) []copyField {
	f := copyField{}
	for at := 0; ; at++ {
		content := at // without a backslash that nothing follows
		switch {
		case at < len(line) && line[at] == '\\':
			if at++; at < len(line) {
				continue
			}
		case at < len(line) && line[at] != opt.Delimiter:
			continue
		}
		f.end = min(at, len(line))
		f.null = string(line[f.start:content]) == opt.Null
		fields = append(fields, f)
		if at >= len(line) {
			return fields
		}
		f = copyField{start: at + 1}
	}
}

func csvFields(fields []copyField, opt *plan.Copy, line []byte) ([]copyField, *pgError) {
	f, quoted := copyField{}, false
	for at := 0; ; at++ {
		switch {
		case at >= len(line) && quoted:
			return nil, failf(codeBadCopy, "unterminated CSV quoted field")
		case at >= len(line), !quoted && line[at] == opt.Delimiter:
			f.end = at
			f.null = !f.quoted && string(line[f.start:f.end]) == opt.Null
			fields = append(fields, f)
			if at >= len(line) {
				return fields, nil
			}
			f = copyField{start: at + 1}
		case !quoted && line[at] == opt.Quote:
			quoted, f.quoted = true, true
		case quoted && line[at] == opt.Escape && at+1 < len(line) && (line[at+1] == opt.Escape || line[at+1] == opt.Quote):
			at++
		case quoted && line[at] == opt.Quote:
			quoted = false
		}
	}
}

// appendField appends the value of a field.
func appendField(dst []byte, opt *plan.Copy, raw []byte) []byte {
	if opt.Format == plan.CopyCSV {
		return unquoteCSV(dst, opt, raw)
	}
	return unescapeCopy(dst, raw)
}

func unquoteCSV(dst []byte, opt *plan.Copy, raw []byte) []byte {
	quoted := false
	for at := 0; at < len(raw); at++ {
		c := raw[at]
		switch {
		case !quoted && c == opt.Quote:
			quoted = true
		case quoted && c == opt.Escape && at+1 < len(raw) && (raw[at+1] == opt.Escape || raw[at+1] == opt.Quote):
			at++
			dst = append(dst, raw[at])
		case quoted && c == opt.Quote:
			quoted = false
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// unescapeCopy reads the backslash sequences of COPY's text format.
func unescapeCopy(dst, raw []byte) []byte {
	for at := 0; at < len(raw); at++ {
		c := raw[at]
		if c != '\\' {
			dst = append(dst, c)
			continue
		}
		if at++; at >= len(raw) {
			break
		}
		switch c = raw[at]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'v':
			c = '\v'
		case 'x':
			if n, v := digits(raw[at+1:], 2, hexDigit); n > 0 {
				at, c = at+n, v
			}
		case '0', '1', '2', '3', '4', '5', '6', '7':
			n, v := digits(raw[at:], 3, octalDigit)
			at, c = at+n-1, v
		}
		dst = append(dst, c)
	}
	return dst
}

// digits reads at most limit digits and says how many there are.
func digits(raw []byte, limit int, digit func(byte) (value, base int)) (n int, v byte) {
	for n < limit && n < len(raw) {
		d, base := digit(raw[n])
		if d < 0 {
			break
		}
		v = v*byte(base) + byte(d)
		n++
	}
	return n, v
}

func octalDigit(c byte) (int, int) {
	if octal(c) {
		return int(c - '0'), 8
	}
	return -1, 8
}

func hexDigit(c byte) (int, int) {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0'), 16
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10, 16
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10, 16
	}
	return -1, 16
}

// appendText writes a value in COPY's text format, as CopyAttributeOutText does.
func appendText(dst []byte, delimiter byte, value []byte) []byte {
	for _, c := range value {
		switch c {
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\v':
			dst = append(dst, '\\', 'v')
		case '\\', delimiter:
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendCSV writes a value in COPY's CSV format, as CopyAttributeOutCSV does.
// quote has it quoted whatever it is; alone says that it is the only field.
func appendCSV(dst []byte, opt *plan.Copy, value []byte, quote, alone bool) []byte {
	quote = quote || string(value) == opt.Null || alone && string(value) == `\.` ||
		bytes.IndexByte(value, opt.Delimiter) >= 0 || bytes.IndexByte(value, opt.Quote) >= 0 ||
		bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0
	if !quote {
		return append(dst, value...)
	}
	dst = append(dst, opt.Quote)
	for _, c := range value {
		if c == opt.Quote || c == opt.Escape {
			dst = append(dst, opt.Escape)
		}
		dst = append(dst, c)
	}
	return append(dst, opt.Quote)
}

// listed says whether an option that lists columns applies to one.
func listed(names []string, all bool, name string) bool { return all || slices.Contains(names, name) }
