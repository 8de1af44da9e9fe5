// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxLifecycle fits 1000 rules, S3's limit.
const maxLifecycle = 1 << 20

// maxElements is how deep the elements of a document may be nested.
const maxElements = 16

// schema is the form of a request body that is no object's content.
type schema struct {
	root  string // of the XML document
	limit int64  // in bytes; 0 is maxConfiguration

	// paths are all elements below the root, joined by slashes. With them, text
	// stands in the named leaves only, so that a document of an object cannot
	// hold what belongs into the object. Nil allows any.
	paths []string

	// optional is a document that may be left out, for headers say the same.
	optional bool

	// refused are elements, as paths, whose presence is not implemented, with
	// the reason.
	refused map[string]string
}

// xmlSpaces are the name spaces of S3; some clients give none.
var xmlSpaces = []string{"", "http://s3.amazonaws.com/doc/2006-03-01/", "http://doc.s3.amazonaws.com/2006-03-01"}

// check wants well-formed XML with the schema's root, without a document type
// and so without entities of its own.
func (s *schema) check(operation string, text []byte) error {
	if s.optional && len(text) == 0 {
		return nil
	}
	w := xmlWalk{schema: s, operation: operation}
	d := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := d.Token()
		if err == io.EOF && w.rooted {
			return nil
		}
		if err != nil {
			return malformedXML
		}
		if err := w.take(token); err != nil {
			return err
		}
	}
}

// xmlWalk is the place in a document that is being checked.
type xmlWalk struct {
	*schema
	operation string
	path      []string // of the open elements
	rooted    bool     // the root was there
}

func (w *xmlWalk) take(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		return w.open(token)
	case xml.EndElement:
		w.path = w.path[:len(w.path)-1]
		return nil
	case xml.CharData:
		if len(bytes.TrimSpace(token)) == 0 || len(w.path) > 1 && w.leaf() {
			return nil
		}
	case xml.Comment:
		if w.paths == nil {
			return nil
		}
	case xml.ProcInst:
		if token.Target == "xml" && !w.rooted {
			return nil
		}
	}
	return malformedXML
}

func (w *xmlWalk) open(element xml.StartElement) error {
	if !slices.Contains(xmlSpaces, element.Name.Space) || len(w.path) == maxElements {
		return malformedXML
	}
	w.path = append(w.path, element.Name.Local)
	if len(w.path) == 1 {
		if w.rooted || element.Name.Local != w.root {
			return malformedXML
		}
		w.rooted = true
		return nil
	}
	at := w.at()
	if why, ok := w.refused[at]; ok {
		return because(notImplemented(w.operation, "the element "+element.Name.Local), why)
	}
	if w.paths != nil && (!slices.Contains(w.paths, at) || !plainAttributes(element.Attr)) {
		return malformedXML
	}
	return nil
}

// at is the path below the root.
func (w *xmlWalk) at() string { return strings.Join(w.path[1:], "/") }

func (w *xmlWalk) leaf() bool {
	if w.paths == nil {
		return true
	}
	inner := w.at() + "/"
	return !slices.ContainsFunc(w.paths, func(p string) bool { return strings.HasPrefix(p, inner) })
}

// plainAttributes allows name spaces and the type of a grantee.
func plainAttributes(attributes []xml.Attr) bool {
	return !slices.ContainsFunc(attributes, func(a xml.Attr) bool {
		return a.Name.Space != "xmlns" && a.Name.Local != "xmlns" && a.Name.Local != "type" || len(a.Value) > 128
	})
}

// maxPolicy is S3's limit on a bucket policy.
const maxPolicy = 20 << 10

// checkPolicy wants a JSON object; what it means is for the store to judge.
func checkPolicy(text []byte) error {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] != '{' || !json.Valid(text) {
		return &s3Error{code: "MalformedPolicy", status: http.StatusBadRequest, message: "Policies must be valid JSON and the first byte must be '{'"}
	}
	return nil
}
