// SPDX-License-Identifier: Apache-2.0

// Package policy decides whether a principal may perform an action on a key.
// It is pure: no I/O, no clock, no state. What is not allowed is denied.
package policy

// Allow permits some actions on some keys.
type Allow struct {
	// Actions are IAM action patterns such as kms:Decrypt, kms:GenerateDataKey*
	// or kms:*. As in IAM, their case does not matter.
	Actions []string
	// Keys are patterns of key IDs, key ARNs, alias names (alias/...) and alias
	// ARNs, or "*". An alias pattern covers the keys that such an alias points
	// to at the time of the request. Operations that have no key, such as
	// CreateKey, need "*".
	Keys []string
}

// Resource is what an action is performed on.
type Resource struct {
	// Names are all the names the resource goes by: for a key its ARN, its ID,
	// and the name and ARN of each alias that points to it; "*" alone for
	// operations without a key.
	Names []string
}

// Any is the resource of operations that have no key.
func Any() Resource { return Resource{Names: []string{"*"}} }

// Decide reports whether one of the principal's allow entries covers the
// action on the resource.
func Decide(allow []Allow, action string, res Resource) bool {
	for _, a := range allow {
		if matchAction(a.Actions, action) && matchKey(a.Keys, res) {
			return true
		}
	}
	return false
}

// MatchAction reports whether an IAM action pattern covers an action.
func MatchAction(pattern, action string) bool {
	return match(lower(pattern), lower(action))
}

func matchAction(patterns []string, action string) bool {
	for _, p := range patterns {
		if p == action || MatchAction(p, action) {
			return true
		}
	}
	return false
}

func matchKey(patterns []string, res Resource) bool {
	for _, p := range patterns {
		for _, name := range res.Names {
			if match(p, name) {
				return true
			}
		}
	}
	return false
}

// match implements IAM wildcards: * is any run of characters, ? any one. It is
// linear in the length of s for each * of the pattern, without recursion.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// lower folds ASCII only: action names have nothing else.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for j, c := range b {
				if 'A' <= c && c <= 'Z' {
					b[j] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
