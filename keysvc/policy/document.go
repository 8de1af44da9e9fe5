// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxDocument is the length of the longest key policy, in bytes: AWS's quota.
const MaxDocument = 32 << 10

// The versions of the policy language.
const (
	Version2012 = "2012-10-17"
	Version2008 = "2008-10-17" // knows no policy variables
)

// Default is the key policy of a key that was given none: it leaves the
// decision to the identity policies of the account. It is written as AWS
// writes it.
func Default(account string) string {
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::%s:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`, account)
}

// A Malformed document is no key policy. The text is for whoever wrote it.
type Malformed string

func (m Malformed) Error() string { return string(m) }

const (
	errSyntax     = Malformed("Syntax errors in policy.")
	errPrincipals = Malformed("Policy contains a statement with one or more invalid principals.")
	errNobody     = Malformed("Policy contains a statement with no principal.")
	errActions    = Malformed("Policy contains a statement with one or more invalid actions.")
	errResources  = Malformed("Policy contains a statement with one or more invalid resources.")
)

// Document is a key policy: AWS's policy language, with principals.
type Document struct {
	Version    string
	ID         string
	Statements []Statement
}

// Statement allows or denies some principals some actions. One without
// actions or without resources is valid and has no effect.
type Statement struct {
	Sid        string
	Deny       bool
	Principals Principals
	Actions    Patterns
	Resources  Patterns
	Conditions []Condition // all must hold
}

// Principals are those that a statement is about.
type Principals struct {
	Not       bool // NotPrincipal: all others
	Anybody   bool // "*", which is not the same as the AWS principal "*"
	AWS       []string
	Service   []string
	Federated []string
	Canonical []string
}

// Patterns are of actions or resources, with * and ?.
type Patterns struct {
	Not  bool // NotAction, NotResource: all others
	List []string
}

// ParseDocument reads a key policy. Everything that it does not know is an
// error, a Malformed one, because what is ignored is not enforced.
func ParseDocument(text string) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, Malformed(fmt.Sprintf("Policy is longer than %d bytes.", MaxDocument))
	}
	raw := rawDocument{Version: Version2008}
	if err := raw.parse([]byte(text)); err != nil {
		var m Malformed
		if errors.As(err, &m) {
			return nil, m
		}
		return nil, errSyntax
	}
	switch {
	case raw.Version != Version2012 && raw.Version != Version2008:
		return nil, Malformed("Policy has an invalid version.")
	case len(raw.Statement) == 0:
		return nil, Malformed("Policy contains no statement.")
	}
	d := &Document{Version: raw.Version, ID: raw.ID}
	sids := map[string]bool{}
	for _, r := range raw.Statement {
		st, err := r.statement()
		if err != nil {
			return nil, err
		}
		if st.Sid != "" && sids[st.Sid] {
			return nil, Malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[st.Sid] = true
		d.Statements = append(d.Statements, st)
	}
	return d, nil
}

// The raw types have the form of the JSON. Duplicate names are refused by the
// decoder.
type rawDocument struct {
	Version   string        `json:"Version"`
	ID        string        `json:"Id"`
	Statement rawStatements `json:"Statement"`
}

// parse refuses null first: nothing in a policy may be null, and the decoder
// would take it for an absent member.
func (d *rawDocument) parse(text []byte) error {
	for dec := jsontext.NewDecoder(bytes.NewReader(text)); ; {
		switch tok, err := dec.ReadToken(); {
		case errors.Is(err, io.EOF):
			return json.Unmarshal(text, d, json.RejectUnknownMembers(true))
		case err != nil:
			return err
		case tok.Kind() == 'n' || dec.StackDepth() > maxDepth:
			return errSyntax
		}
	}
}

// maxDepth is the deepest nesting of a valid policy: the values of a condition.
const maxDepth = 6

type rawStatements []rawStatement

type rawStatement struct {
	Sid          string                       `json:"Sid"`
	Effect       string                       `json:"Effect"`
	Principal    *rawPrincipal                `json:"Principal"`
	NotPrincipal *rawPrincipal                `json:"NotPrincipal"`
	Action       *oneOrMore                   `json:"Action"`
	NotAction    *oneOrMore                   `json:"NotAction"`
	Resource     *oneOrMore                   `json:"Resource"`
	NotResource  *oneOrMore                   `json:"NotResource"`
	Condition    map[string]map[string]values `json:"Condition"`
}

// UnmarshalJSONFrom takes one statement for a list of one.
func (s *rawStatements) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '[' {
		return json.UnmarshalDecode(dec, (*[]rawStatement)(s))
	}
	*s = make(rawStatements, 1)
	return json.UnmarshalDecode(dec, &(*s)[0])
}

func (r *rawStatement) statement() (Statement, error) {
	st := Statement{Sid: r.Sid, Deny: r.Effect == "Deny"}
	if r.Effect != "Allow" && r.Effect != "Deny" {
		return st, Malformed("Policy contains a statement with an invalid effect.")
	}
	var err error
	if st.Principals, err = principalsOf(r.Principal, r.NotPrincipal); err != nil {
		return st, err
	}
	if st.Actions, err = patternsOf(r.Action, r.NotAction, actionForm, errActions); err != nil {
		return st, err
	}
	if st.Resources, err = patternsOf(r.Resource, r.NotResource, resourceForm, errResources); err != nil {
		return st, err
	}
	st.Conditions, err = conditionsOf(r.Condition)
	return st, err
}

// oneOrMore is a string or a list of strings.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case '[':
		return json.UnmarshalDecode(dec, (*[]string)(l))
	case '"':
		*l = make(oneOrMore, 1)
		return json.UnmarshalDecode(dec, &(*l)[0])
	}
	return errSyntax
}

var (
	actionForm   = regexp.MustCompile(`^(\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+)$`)
	resourceForm = regexp.MustCompile(`^(\*|arn:[^:]*:[^:]*:[^:]*:[^:]*:.+)$`)
)

func patternsOf(these, others *oneOrMore, form *regexp.Regexp, wrong Malformed) (Patterns, error) {
	p := Patterns{Not: others != nil}
	switch {
	case these != nil && others != nil:
		return p, errSyntax
	case these != nil:
		p.List = *these
	case others != nil:
		p.List = *others
	}
	for _, pattern := range p.List {
		if !form.MatchString(pattern) {
			return p, wrong
		}
	}
	return p, nil
}

// rawPrincipal is "*" or an object of lists by the kind of principal.
type rawPrincipal struct {
	anybody   bool
	AWS       oneOrMore `json:"AWS"`
	Service   oneOrMore `json:"Service"`
	Federated oneOrMore `json:"Federated"`
	Canonical oneOrMore `json:"CanonicalUser"`
}

func (p *rawPrincipal) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '"' {
		type plain rawPrincipal
		return json.UnmarshalDecode(dec, (*plain)(p))
	}
	var s string
	if err := json.UnmarshalDecode(dec, &s); err != nil {
		return err
	}
	if p.anybody = s == "*"; !p.anybody {
		return errPrincipals
	}
	return nil
}

var (
	accountForm   = regexp.MustCompile(`^[0-9]{12}$`)
	identityForm  = regexp.MustCompile(`^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(user|role|federated-user|assumed-role)/[\w+=,.@/-]+)$`)
	serviceForm   = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws\.com(\.cn)?|aws\.internal)$`)
	federatedForm = regexp.MustCompile(`^(arn:aws[a-z-]*:iam::[0-9]{12}:(saml|oidc)-provider/.+|[a-z0-9-]+(\.[a-z0-9-]+)+)$`)
	canonicalForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// IsPrincipal reports whether arn is that of an account, a user, a role or a
// session.
func IsPrincipal(arn string) bool { return identityForm.MatchString(arn) }

func principalsOf(these, others *rawPrincipal) (Principals, error) {
	p := these
	switch {
	case these != nil && others != nil:
		return Principals{}, errSyntax
	case these == nil && others == nil:
		return Principals{}, errNobody
	case these == nil:
		p = others
	}
	if !p.anybody && len(p.AWS)+len(p.Service)+len(p.Federated)+len(p.Canonical) == 0 {
		return Principals{}, errNobody
	}
	for _, arn := range p.AWS {
		if arn != "*" && !accountForm.MatchString(arn) && !identityForm.MatchString(arn) {
			return Principals{}, errPrincipals
		}
	}
	if !allMatch(p.Service, serviceForm) || !allMatch(p.Federated, federatedForm) || !allMatch(p.Canonical, canonicalForm) {
		return Principals{}, errPrincipals
	}
	return Principals{
		Not: others != nil, Anybody: p.anybody, AWS: p.AWS, Service: p.Service, Federated: p.Federated, Canonical: p.Canonical,
	}, nil
}

func allMatch(list []string, form *regexp.Regexp) bool {
	for _, s := range list {
		if !form.MatchString(s) {
			return false
		}
	}
	return true
}
