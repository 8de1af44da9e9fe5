// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sidekey/sidekey/keysvc/policy"
)

const (
	alice  = "arn:aws:iam::111122223333:user/alice"
	root   = "arn:aws:iam::111122223333:root"
	keyARN = arn + "key/" + id
)

func TestParseDocument(t *testing.T) {
	got, err := policy.ParseDocument(`{"Version": "2012-10-17", "Id": "p", "Statement": {
		"Sid": "a b", "Effect": "Deny", "NotPrincipal": {"AWS": ["` + root + `", "111122223333"], "Service": "ec2.amazonaws.com"},
		"NotAction": "kms:Describe*", "Resource": ["*", "arn:aws:kms:*:*:key/x"],
		"Condition": {"ForAnyValue:StringLikeIfExists": {"kms:EncryptionContext:a b": ["x", "y*"]}, "Bool": {"aws:SecureTransport": false}, "Null": {"aws:TokenIssueTime": "true"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := &policy.Document{Version: "2012-10-17", ID: "p", Statements: []policy.Statement{{
		Sid: "a b", Deny: true,
		Principals: policy.Principals{Not: true, AWS: []string{root, "111122223333"}, Service: []string{"ec2.amazonaws.com"}},
		Actions:    policy.Patterns{Not: true, List: []string{"kms:Describe*"}},
		Resources:  policy.Patterns{List: []string{"*", "arn:aws:kms:*:*:key/x"}},
		Conditions: []policy.Condition{
			{Operator: "Bool", Key: "aws:SecureTransport", Values: []string{"false"}},
			{Operator: "StringLike", Set: policy.ForAnyValue, IfExists: true, Key: "kms:EncryptionContext:a b", Values: []string{"x", "y*"}},
			{Operator: "Null", Key: "aws:TokenIssueTime", Values: []string{"true"}},
		},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDefault(t *testing.T) {
	d, err := policy.ParseDocument(policy.Default("111122223333"))
	if err != nil {
		t.Fatal(err)
	}
	if !d.Allows(policy.Request{Principal: alice, Account: "111122223333", Action: "kms:PutKeyPolicy", Key: keyARN}) {
		t.Error("does not leave the decision to the account")
	}
	if d.Allows(policy.Request{Principal: "arn:aws:iam::999999999999:user/x", Account: "999999999999", Action: "kms:PutKeyPolicy", Key: keyARN}) {
		t.Error("allows another account")
	}
}

// statement is a policy with one statement that has the given members.
func statement(members string) string {
	return `{"Version":"2012-10-17","Statement":[{` + members + `}]}`
}

const (
	whom = `"Effect":"Allow","Principal":"*"`
	what = `,"Action":"kms:*","Resource":"*"`
)

func TestMalformed(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no JSON", `not a policy`, "Syntax errors in policy."},
		{"nothing", ``, "Syntax errors in policy."},
		{"a list", `[]`, "Syntax errors in policy."},
		{"two documents", `{"Statement":[]} {}`, "Syntax errors in policy."},
		{"no statement", `{"Version":"2012-10-17"}`, "Policy contains no statement."},
		{"empty statements", `{"Version":"2012-10-17","Statement":[]}`, "Policy contains no statement."},
		{"version", `{"Version":"2020-01-01","Statement":{` + whom + `}}`, "Policy has an invalid version."},
		{"unknown member", `{"Statment":[]}`, "Syntax errors in policy."},
		{"wrong case", `{"statement":[]}`, "Syntax errors in policy."},
		{"unknown member of a statement", statement(whom + what + `,"Actions":"kms:*"`), "Syntax errors in policy."},
		{"duplicate member", statement(whom + what + `,"Action":"kms:Encrypt"`), "Syntax errors in policy."},
		{"duplicate Sid", `{"Statement":[{"Sid":"a",` + whom + `},{"Sid":"a",` + whom + `}]}`, "Statement IDs (SID) in a single policy must be unique."},
		{"no effect", statement(`"Principal":"*"`), "Policy contains a statement with an invalid effect."},
		{"effect", statement(`"Effect":"allow","Principal":"*"`), "Policy contains a statement with an invalid effect."},
		{"no principal", statement(`"Effect":"Allow"` + what), "Policy contains a statement with no principal."},
		{"empty principal", statement(`"Effect":"Allow","Principal":{"AWS":[]}` + what), "Policy contains a statement with no principal."},
		{"both principals", statement(whom + `,"NotPrincipal":"*"`), "Syntax errors in policy."},
		{"name as principal", statement(`"Effect":"Allow","Principal":"alice"`), "Policy contains a statement with one or more invalid principals."},
		{"unique ID", statement(`"Effect":"Allow","Principal":{"AWS":"AIDACKCEVSQ6C2EXAMPLE"}`), "Policy contains a statement with one or more invalid principals."},
		{"wildcard in principal", statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/*"}`), "Policy contains a statement with one or more invalid principals."},
		{"principal of S3", statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:s3:::bucket"}`), "Policy contains a statement with one or more invalid principals."},
		{"kind of principal", statement(`"Effect":"Allow","Principal":{"Aws":"*"}`), "Syntax errors in policy."},
		{"number as principal", statement(`"Effect":"Allow","Principal":{"AWS":111122223333}`), "Syntax errors in policy."},
		{"action without vendor", statement(whom + `,"Action":"Decrypt"`), "Policy contains a statement with one or more invalid actions."},
		{"both actions", statement(whom + what + `,"NotAction":"kms:*"`), "Syntax errors in policy."},
		{"null action", statement(whom + `,"Action":null`), "Syntax errors in policy."},
		{"null in list", statement(whom + `,"Action":["kms:*",null]`), "Syntax errors in policy."},
		{"resource", statement(whom + `,"Resource":"my-key"`), "Policy contains a statement with one or more invalid resources."},
		{"operator", statement(whom + what + `,"Condition":{"StringIs":{"aws:x":"y"}}`), "Policy contains a statement with an invalid condition operator: StringIs."},
		{"NullIfExists", statement(whom + what + `,"Condition":{"NullIfExists":{"aws:x":"true"}}`), "Policy contains a statement with an invalid condition operator: NullIfExists."},
		{"prefix alone", statement(whom + what + `,"Condition":{"ForAllValues:":{"aws:x":"true"}}`), "Policy contains a statement with an invalid condition operator: ForAllValues:."},
		{"key", statement(whom + what + `,"Condition":{"Bool":{"secure":"true"}}`), "Policy contains a statement with an invalid condition key: secure."},
		{"empty condition", statement(whom + what + `,"Condition":{"Bool":{}}`), "Policy contains a statement with an empty condition: Bool."},
		{"Bool", statement(whom + what + `,"Condition":{"Bool":{"aws:x":"yes"}}`), "Policy contains a statement with an invalid value of condition key aws:x for operator Bool."},
		{"Numeric", statement(whom + what + `,"Condition":{"NumericLessThan":{"aws:x":"1e999999"}}`), "Policy contains a statement with an invalid value of condition key aws:x for operator NumericLessThan."},
		{"Date", statement(whom + what + `,"Condition":{"DateGreaterThan":{"aws:x":"yesterday"}}`), "Policy contains a statement with an invalid value of condition key aws:x for operator DateGreaterThan."},
		{"IpAddress", statement(whom + what + `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), "Policy contains a statement with an invalid value of condition key aws:SourceIp for operator IpAddress."},
		{"too long", statement(whom+what) + strings.Repeat(" ", policy.MaxDocument), "Policy is longer than 32768 bytes."},
		{"deep", `{"Statement":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "Syntax errors in policy."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := policy.ParseDocument(tc.text)
			var malformed policy.Malformed
			if !errors.As(err, &malformed) || string(malformed) != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestAccepted: what AWS accepts.
func TestAccepted(t *testing.T) {
	for name, text := range map[string]string{
		"no version":              `{"Statement":{` + whom + what + `}}`,
		"no action, no resource":  statement(whom),
		"white space":             " \n\t" + statement(whom+what) + "\n",
		"services":                statement(`"Effect":"Allow","Principal":{"Service":["s3.amazonaws.com","logs.eu-central-1.amazonaws.com"]}` + what),
		"assumed role":            statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/r/session"}` + what),
		"provider":                statement(`"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/example.org"}` + what),
		"alias as a condition":    statement(whom + what + `,"Condition":{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/x"}}`),
		"number":                  statement(whom + what + `,"Condition":{"NumericLessThanEquals":{"kms:ScheduleKeyDeletionPendingWindowInDays":[7, "9.5"]}}`),
		"date":                    statement(whom + what + `,"Condition":{"DateLessThan":{"aws:CurrentTime":["2030-01-01T00:00:00Z", 1924992000]}}`),
		"variable":                statement(whom + what + `,"Condition":{"ArnLike":{"aws:PrincipalArn":"${aws:userid}"}}`),
		"two operators of a kind": statement(whom + what + `,"Condition":{"StringLike":{"aws:x":"a"},"StringLikeIfExists":{"aws:x":"b"}}`),
	} {
		if _, err := policy.ParseDocument(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConditions follows AWS's table of what operators make of keys that are
// there, that are not, and that have several values.
func TestConditions(t *testing.T) {
	for _, tc := range []struct {
		condition string
		have      []string
		want      bool
	}{
		{`"StringEquals":{"aws:x":["a","b"]}`, []string{"b"}, true},
		{`"StringEquals":{"aws:x":"a"}`, []string{"A"}, false},
		{`"StringEquals":{"aws:x":"a"}`, nil, false},
		{`"StringEqualsIfExists":{"aws:x":"a"}`, nil, true},
		{`"StringEqualsIfExists":{"aws:x":"a"}`, []string{"b"}, false},
		{`"StringEqualsIgnoreCase":{"AWS:X":"a"}`, []string{"A"}, true},
		{`"StringNotEquals":{"aws:x":["a","b"]}`, []string{"b"}, false},
		{`"StringNotEquals":{"aws:x":["a","b"]}`, []string{"c"}, true},
		{`"StringNotEquals":{"aws:x":"a"}`, nil, true},
		{`"StringNotEqualsIgnoreCase":{"aws:x":"a"}`, []string{"A"}, false},
		{`"StringLike":{"aws:x":"a*c"}`, []string{"abc"}, true},
		{`"StringNotLike":{"aws:x":"a*c"}`, []string{"abc"}, false},
		{`"Bool":{"aws:x":true}`, []string{"true"}, true},
		{`"BoolIfExists":{"aws:x":"false"}`, nil, true},
		{`"Null":{"aws:x":"true"}`, nil, true},
		{`"Null":{"aws:x":"true"}`, []string{""}, false},
		{`"Null":{"aws:x":"false"}`, []string{""}, true},
		{`"BinaryEquals":{"aws:x":"QUJD"}`, []string{"QUJD"}, true},
		{`"NumericEquals":{"aws:x":"1.0"}`, []string{"1"}, true},
		{`"NumericNotEquals":{"aws:x":"1"}`, []string{"2"}, true},
		{`"NumericLessThan":{"aws:x":"10"}`, []string{"9"}, true},
		{`"NumericLessThanEquals":{"aws:x":"9"}`, []string{"9"}, true},
		{`"NumericGreaterThan":{"aws:x":"10"}`, []string{"9"}, false},
		{`"NumericGreaterThanEquals":{"aws:x":"9"}`, []string{"9"}, true},
		{`"NumericGreaterThan":{"aws:x":"10"}`, []string{"many"}, false},
		{`"DateLessThan":{"aws:x":"2030-01-01"}`, []string{"2029-12-31T23:59:59Z"}, true},
		{`"DateEquals":{"aws:x":"2030-01-01T01:00:00+01:00"}`, []string{"2030-01-01T00:00:00Z"}, true},
		{`"DateGreaterThan":{"aws:x":"1893456000"}`, []string{"2029-12-31T00:00:00Z"}, false},
		{`"IpAddress":{"aws:x":"10.0.0.0/8"}`, []string{"10.1.2.3"}, true},
		{`"IpAddress":{"aws:x":"10.1.2.3"}`, []string{"10.1.2.4"}, false},
		{`"IpAddress":{"aws:x":"2001:db8::/32"}`, []string{"2001:db8::1"}, true},
		{`"NotIpAddress":{"aws:x":["10.0.0.0/8","192.168.0.0/16"]}`, []string{"192.168.1.1"}, false},
		{`"ArnEquals":{"aws:x":"arn:aws:iam::*:role/a*"}`, []string{"arn:aws:iam::111122223333:role/abc"}, true},
		{`"ArnLike":{"aws:x":"arn:*:x:y:z:role/abc"}`, []string{"arn:aws:iam:x:y:z:role/abc"}, false},
		{`"ArnNotLike":{"aws:x":"arn:aws:iam::*:role/a*"}`, []string{"arn:aws:iam::111122223333:role/b"}, true},
		{`"ForAllValues:StringEquals":{"aws:x":["a","b"]}`, []string{"a", "b", "a"}, true},
		{`"ForAllValues:StringEquals":{"aws:x":["a","b"]}`, []string{"a", "c"}, false},
		{`"ForAllValues:StringEquals":{"aws:x":"a"}`, nil, true},
		{`"ForAnyValue:StringEquals":{"aws:x":"a"}`, []string{"c", "a"}, true},
		{`"ForAnyValue:StringEquals":{"aws:x":"a"}`, nil, false},
		{`"ForAnyValue:StringEqualsIfExists":{"aws:x":"a"}`, nil, true},
		{`"StringEquals":{"aws:x":"a","aws:y":"b"}`, []string{"a"}, false},
		{`"StringEquals":{"aws:x":"a"},"StringLike":{"aws:x":"b*"}`, []string{"a"}, false},
	} {
		d, err := policy.ParseDocument(statement(whom + what + `,"Condition":{` + tc.condition + `}`))
		if err != nil {
			t.Errorf("%s: %v", tc.condition, err)
			continue
		}
		r := policy.Request{Principal: alice, Account: "111122223333", Action: "kms:Decrypt", Key: keyARN, Context: map[string][]string{"aws:X": tc.have}}
		if tc.have == nil {
			r.Context = nil
		}
		if got := d.Allows(r); got != tc.want {
			t.Errorf("%s with %q: got %v", tc.condition, tc.have, got)
		}
	}
}

func TestAllows(t *testing.T) {
	const other = `{"Effect":"Deny","Principal":{"AWS":"` + alice + `"},"Action":"kms:Put*","Resource":"*"}`
	for name, tc := range map[string]struct {
		statements string
		want       bool
	}{
		"named":               {`{"Effect":"Allow","Principal":{"AWS":"` + alice + `"}` + what + `}`, true},
		"account number":      {`{"Effect":"Allow","Principal":{"AWS":"111122223333"}` + what + `}`, true},
		"somebody else":       {`{"Effect":"Allow","Principal":{"AWS":"` + alice + `2"}` + what + `}`, false},
		"all but me":          {`{"Effect":"Allow","NotPrincipal":{"AWS":"` + alice + `"}` + what + `}`, false},
		"service":             {`{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"}` + what + `}`, false},
		"other action":        {`{` + whom + `,"Action":"kms:GetKeyPolicy","Resource":"*"}`, false},
		"all actions but":     {`{` + whom + `,"NotAction":"kms:Decrypt","Resource":"*"}`, true},
		"no action":           {`{` + whom + `,"Resource":"*"}`, false},
		"no resource":         {`{` + whom + `,"Action":"kms:*"}`, false},
		"other key":           {`{` + whom + `,"Action":"kms:*","Resource":"arn:aws:kms:us-east-1:111122223333:key/x"}`, false},
		"denied":              {`{` + whom + what + `},` + other, false},
		"denied, other order": {other + `,{` + whom + what + `}`, false},
	} {
		d, err := policy.ParseDocument(`{"Statement":[` + tc.statements + `]}`)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := d.Allows(policy.Request{Principal: alice, Account: "111122223333", Action: "kms:PutKeyPolicy", Key: keyARN}); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// FuzzParseDocument: whatever is accepted can be asked, and has nothing in it
// that is not one of the known forms.
func FuzzParseDocument(f *testing.F) {
	f.Add(policy.Default("111122223333"))
	f.Add(statement(whom + what + `,"Condition":{"ForAllValues:StringEqualsIfExists":{"kms:EncryptionContextKeys":["a",1,true]},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`))
	f.Add(statement(whom + what + `,"Condition":{"NumericEquals":{"aws:x":[1e9,"0x10","1/3"]},"DateEquals":{"aws:x":"2030-01-01"},"ArnLike":{"aws:x":"arn:*:*:*:*:*"}}`))
	f.Fuzz(func(t *testing.T, text string) {
		d, err := policy.ParseDocument(text)
		if err != nil {
			var malformed policy.Malformed
			if !errors.As(err, &malformed) {
				t.Errorf("not a Malformed: %v", err)
			}
			return
		}
		for _, st := range d.Statements {
			if p := st.Principals; !p.Anybody && len(p.AWS)+len(p.Service)+len(p.Federated)+len(p.Canonical) == 0 {
				t.Error("a statement about nobody")
			}
			for _, c := range st.Conditions {
				if c.Key == "" || c.Operator == "" {
					t.Errorf("condition %+v", c)
				}
			}
		}
		for _, have := range []string{"", "1", "2030-01-01", "10.0.0.1", arn} {
			d.Allows(policy.Request{Principal: alice, Account: "111122223333", Action: "kms:Decrypt", Key: keyARN, Context: map[string][]string{"aws:x": {have}}})
		}
	})
}
