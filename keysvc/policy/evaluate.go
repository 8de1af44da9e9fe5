// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
)

// Request is an action that a key policy is asked about.
type Request struct {
	Principal string // ARN of the caller
	Account   string // of the caller, 12 digits
	Action    string // such as kms:PutKeyPolicy
	Key       string // ARN
	// Context are the values of the condition keys that the request has. The
	// case of their names does not matter.
	Context map[string][]string
}

// Allows reports whether a statement allows the request and none denies it. A
// statement about an account counts for everybody in it.
func (d *Document) Allows(r Request) bool {
	allowed := false
	for i := range d.Statements {
		if st := &d.Statements[i]; st.covers(&r) {
			if st.Deny {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

func (st *Statement) covers(r *Request) bool {
	if !st.Principals.cover(r) {
		return false
	}
	if !st.Actions.cover(func(p string) bool { return MatchAction(p, r.Action) }) {
		return false
	}
	if !st.Resources.cover(func(p string) bool { return matchARN(p, r.Key) }) {
		return false
	}
	for i := range st.Conditions {
		if !st.Conditions[i].holds(r.values(st.Conditions[i].Key)) {
			return false
		}
	}
	return true
}

// cover: a list that is not there covers nothing, whether negated or not.
func (p Patterns) cover(matches func(pattern string) bool) bool {
	return len(p.List) > 0 && p.Not != slices.ContainsFunc(p.List, matches)
}

func (p Principals) cover(r *Request) bool {
	named := p.Anybody || slices.ContainsFunc(p.AWS, func(arn string) bool {
		return arn == "*" || arn == r.Principal || arn == r.Account ||
			strings.HasSuffix(arn, ":iam::"+r.Account+":root")
	})
	return named != p.Not
}

func (r *Request) values(key string) []string {
	for name, values := range r.Context {
		if strings.EqualFold(name, key) {
			return values
		}
	}
	return nil
}
