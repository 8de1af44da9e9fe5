// SPDX-License-Identifier: Apache-2.0

package plan

// Shape appends to dst the text with its numbers and strings masked, so that
// texts which differ in them only have one shape. It is the key under which a
// plan that is Shared is found without parsing.
//
// It has to see every constant that it masks as the server's lexer (scan.l)
// sees it, and nothing else: a quote that is taken for the wrong end of a
// string would hide names. So it gives up, with ok false, on whatever gives
// quotes another meaning: prefixes such as E” and U&”, backslashes, dollar
// quotes, comments; and on bytes that are not printable ASCII or white space.
func Shape(dst []byte, sql string) (shape []byte, ok bool) {
	masked := false
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case wordStart(c):
			start := i
			for i < len(sql) && wordPart(sql[i]) {
				i++
			}
			if i < len(sql) && (sql[i] == '\'' || sql[i] == '&' || sql[i] == '"') {
				return nil, false
			}
			dst = append(dst, sql[start:i]...)
		case digit(c):
			start, whole := i, true
			for i < len(sql) && (wordPart(sql[i]) || sql[i] == '.') {
				whole = whole && digit(sql[i])
				i++
			}
			if i < len(sql) && (sql[i] == '\'' || sql[i] == '"') {
				return nil, false
			}
			if whole && (start == 0 || sql[start-1] != '.' && sql[start-1] != ':') {
				dst, masked = append(dst, '0'), true
			} else {
				dst = append(dst, sql[start:i]...)
			}
		case c == '\'':
			if i = quoteEnd(sql, i); i < 0 {
				return nil, false
			}
			dst, masked = append(dst, '\'', '\''), true
		case c == '"':
			start := i
			if i = quoteEnd(sql, i); i < 0 {
				return nil, false
			}
			dst = append(dst, sql[start:i]...)
		case c == '$':
			// A parameter; digits behind it are not a number.
			start := i
			for i++; i < len(sql) && digit(sql[i]); i++ {
			}
			if i == start+1 || i < len(sql) && (wordPart(sql[i]) || sql[i] == '\'') {
				return nil, false
			}
			dst = append(dst, sql[start:i]...)
		case c == '\\', c > '~', c < ' ' && c != '\n' && c != '\t' && c != '\r',
			i+1 < len(sql) && (c == '-' && sql[i+1] == '-' || c == '/' && sql[i+1] == '*'):
			return nil, false
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst, masked
}

// quoteEnd gives what is behind the quoted text that begins at i, or -1. What
// follows must not be a quote or continue a word.
func quoteEnd(sql string, i int) int {
	quote := sql[i]
	for i++; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == '\\' || c == 0 || c > '~':
			return -1
		case c == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case c == quote:
			if i+1 < len(sql) && (wordPart(sql[i+1]) || sql[i+1] == '\'' || sql[i+1] == '"') {
				return -1
			}
			return i + 1
		}
	}
	return -1
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func wordStart(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

func wordPart(c byte) bool { return wordStart(c) || digit(c) || c == '$' }
