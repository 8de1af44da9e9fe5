// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
)

// maxTokens bounds the tokens of a text that is parsed: the trees of the parser and
// of the planner take some 250 bytes for each, so that 4 MiB of VALUES (1), (1), …
// would take a GiB.
const maxTokens = 1 << 21

var errTooLong = &Refusal{Code: codeTooComplex, Message: "the statement is too long for the encrypting proxy to read",
	Detail: fmt.Sprintf("It may have more than %d words and signs outside of strings.", maxTokens), Hint: "Send fewer rows in one statement, or use COPY."}

// tooLong says that a text may have more than maxTokens tokens. It does not count
// what is in strings, as long as it is certain where they end.
func tooLong(sql string) bool {
	return len(sql) > maxTokens && countTokens(sql) > maxTokens
}

// countTokens is at least the number of tokens of a text. From the first thing on
// that gives quotes another meaning, an E before one or a dollar quote, it counts what is in
// strings and comments too.
func countTokens(sql string) (n int) {
	certain := true
	for i := 0; i < len(sql); {
		c := sql[i]
		end := i + 1
		switch {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			i++
			continue
		case wordByte(c):
			for end < len(sql) && wordByte(sql[end]) {
				end++
			}
			certain = certain && !(end < len(sql) && sql[end] == '\'' && sql[end-1]|0x20 == 'e')
		case c == '$' && !(end < len(sql) && digit(sql[end])):
			certain = false
		case certain:
			end = i + skipped(sql[i:])
		}
		i = end
		n++
	}
	return n
}

// skipped is the length of the string, quoted identifier, comment or sign with which
// a text begins. Comments nest.
func skipped(sql string) int {
	switch {
	case sql[0] == '\'' || sql[0] == '"':
		if end := strings.IndexByte(sql[1:], sql[0]); end >= 0 {
			return end + 2
		}
		return len(sql)
	case strings.HasPrefix(sql, "--"):
		if end := strings.IndexAny(sql, "\r\n"); end >= 0 {
			return end
		}
		return len(sql)
	case strings.HasPrefix(sql, "/*"):
		depth := 1
		for i := 2; i < len(sql); i++ {
			switch {
			case strings.HasPrefix(sql[i:], "/*"):
				depth, i = depth+1, i+1
			case strings.HasPrefix(sql[i:], "*/"):
				if depth, i = depth-1, i+1; depth == 0 {
					return i + 1
				}
			}
		}
		return len(sql)
	}
	return 1
}

func wordByte(c byte) bool { return wordPart(c) && c != '$' || c >= 0x80 }
