// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/proxy"
)

// span is a piece of a listing's text.
type span struct{ from, to int }

// listingPage is a page of a listing as the store sent it, and what is to change
// in it. It is looked at tag by tag rather than parsed and written anew: what S3 sends
// and XML forbids, such as control characters in names, passes, and so does all that
// is not known here.
type listingPage struct {
	text    []byte
	items   []listingItem
	values  map[string]span // of the elements of the page itself
	url     bool            // names are URL-encoded, as the client asked
	visible int
	dropped int
}

// listingItem is an object, a version, a delete marker, an upload or a common prefix.
type listingItem struct {
	kind      string
	block     span // the whole element
	key       string
	etag      string
	etagText  span   // of it
	newETag   string // "" to leave it
	versionID string
	size      span // of its text; zero if there is none
	sizeText  string
	newSize   string // "" to leave it
	hidden    bool
	uploadID  string
	idText    span   // of it
	newID     string // "" to leave it
}

var errListing = errors.New("reading the upstream's listing: it is not one")

const maxDepth = 32

// itemNames are the elements of a page that stand for something in the bucket.
var itemNames = map[string]bool{"Contents": true, "Version": true, "DeleteMarker": true, "Upload": true, "CommonPrefixes": true}

// parseListing finds the items of a page.
func parseListing(text []byte) (*listingPage, error) {
	p := &listingPage{text: text, values: map[string]span{}}
	var path []string
	var starts []int // of the open elements' content
	at := 0
	for {
		open := bytes.IndexByte(text[at:], '<')
		if open < 0 {
			break
		}
		from := at + open
		to, err := markupEnd(text, from)
		if err != nil {
			return nil, err
		}
		at = to
		name, closing, self := tagName(text[from:to])
		switch {
		case name == "" || self:
		case closing:
			if len(path) == 0 {
				return nil, errListing
			}
			p.element(path, span{starts[len(path)-1], from}, to)
			path, starts = path[:len(path)-1], starts[:len(path)-1]
		case len(path) == maxDepth:
			return nil, errListing
		default:
			path, starts = append(path, name), append(starts, to)
			if len(path) == 2 && itemNames[name] {
				p.items = append(p.items, listingItem{kind: name, block: span{from, 0}})
			}
		}
	}
	if len(path) > 0 {
		return nil, errListing
	}
	p.finish()
	return p, nil
}

// element takes the content of an element that ends.
func (p *listingPage) element(path []string, content span, end int) {
	switch {
	case len(path) == 2 && itemNames[path[1]]:
		p.items[len(p.items)-1].block.to = end
	case len(path) == 2:
		p.values[path[1]] = content
	case len(path) == 3 && itemNames[path[1]]:
		item, text := &p.items[len(p.items)-1], p.text[content.from:content.to]
		switch path[2] {
		case "Key", "Prefix":
			item.key = unescape(text)
		case "ETag":
			item.etag, item.etagText = unescape(text), content
		case "VersionId":
			item.versionID = unescape(text)
		case "UploadId":
			item.uploadID, item.idText = unescape(text), content
		case "Size":
			if path[1] == "Contents" || path[1] == "Version" {
				item.size, item.sizeText = content, string(bytes.TrimSpace(text))
			}
		}
	}
}

// finish finds out what is hidden.
func (p *listingPage) finish() {
	p.url = p.value("EncodingType") == "url"
	for i := range p.items {
		item := &p.items[i]
		if p.url {
			if key, err := url.QueryUnescape(item.key); err == nil {
				item.key = key
			}
		}
		p.visible++
		if hidden(item.key) {
			p.hide(item)
		}
	}
}

func (p *listingPage) hide(item *listingItem) {
	item.hidden = true
	p.dropped++
	p.visible--
}

// value is the text of an element of the page itself.
func (p *listingPage) value(name string) string {
	s := p.values[name]
	return strings.TrimSpace(unescape(p.text[s.from:s.to]))
}

func unescape(text []byte) string {
	if bytes.IndexByte(text, '&') < 0 {
		return string(text)
	}
	return html.UnescapeString(string(text))
}

// sections are what is between tags and is no text.
var sections = [...]struct{ start, end string }{{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}}

// markupEnd is where the tag, comment or section at from ends.
func markupEnd(text []byte, from int) (int, error) {
	rest := text[from:]
	if len(rest) > 1 && (rest[1] == '!' || rest[1] == '?') {
		for _, s := range sections {
			if !bytes.HasPrefix(rest, []byte(s.start)) {
				continue
			}
			i := bytes.Index(rest[len(s.start):], []byte(s.end))
			if i < 0 {
				return 0, errListing
			}
			return from + len(s.start) + i + len(s.end), nil
		}
	}
	quote := byte(0)
	for i, c := range rest {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return from + i + 1, nil
		}
	}
	return 0, errListing
}

// tagName is the local name of a tag, "" for what is none.
func tagName(markup []byte) (name string, closing, self bool) {
	inner := markup[1 : len(markup)-1]
	if len(inner) == 0 || inner[0] == '!' || inner[0] == '?' {
		return "", false, false
	}
	if closing = inner[0] == '/'; closing {
		inner = inner[1:]
	}
	self = len(inner) > 0 && inner[len(inner)-1] == '/'
	from, to := 0, 0
	for ; to < len(inner) && !endsName(inner[to]); to++ {
		if inner[to] == ':' && from == 0 {
			from = to + 1
		}
	}
	return nameOf(inner[from:to]), closing, self
}

func endsName(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '/' }

// nameOf is a name as a string, which costs nothing for those that a page has a
// thousand times.
func nameOf(name []byte) string {
	switch string(name) {
	case "Contents":
		return "Contents"
	case "Version":
		return "Version"
	case "Key":
		return "Key"
	case "LastModified":
		return "LastModified"
	case "ETag":
		return "ETag"
	case "Size":
		return "Size"
	case "StorageClass":
		return "StorageClass"
	case "Owner":
		return "Owner"
	case "ID":
		return "ID"
	case "DisplayName":
		return "DisplayName"
	case "VersionId":
		return "VersionId"
	case "IsLatest":
		return "IsLatest"
	}
	return string(name)
}

// multipartETag says that an ETag is what S3 makes of those of parts: it ends in a dash
// and their number.
func multipartETag(etag string) bool {
	etag = strings.TrimSuffix(etag, `"`)
	prefix := strings.TrimRight(etag, "0123456789")
	return len(prefix) < len(etag) && strings.HasSuffix(prefix, "-")
}

// plainSize sets the size of the plaintext. A size that no sealed object has stays:
// the object is not ours.
func (i *listingItem) plainSize() {
	stored, err := strconv.ParseInt(i.sizeText, 10, 64)
	if err != nil {
		return
	}
	if plain, err := proxy.PlainSize(stored, multipartETag(i.etag)); err == nil {
		i.newSize = strconv.FormatInt(plain, 10)
	}
}

// render is the page with what has changed.
func (p *listingPage) render() []byte {
	var out bytes.Buffer
	out.Grow(len(p.text) + 64)
	at := 0
	replace := func(s span, text string) {
		out.Write(p.text[at:s.from])
		out.WriteString(text)
		at = s.to
	}
	count, counted := p.values["KeyCount"], p.dropped == 0
	for i := range p.items {
		item := &p.items[i]
		if !counted && count.to > 0 && count.from < item.block.from {
			replace(count, p.keyCount())
			counted = true
		}
		switch {
		case item.hidden:
			replace(item.block, "")
		default:
			item.replace(replace)
		}
	}
	if !counted && count.to > 0 {
		replace(count, p.keyCount())
	}
	out.Write(p.text[at:])
	return out.Bytes()
}

// replace replaces what has changed of an item, in the order in which it stands there.
func (i *listingItem) replace(replace func(span, string)) {
	size := func() {
		if i.newSize != "" {
			replace(i.size, i.newSize)
		}
	}
	if i.size.from < i.etagText.from {
		size()
	}
	if i.newETag != "" {
		replace(i.etagText, html.EscapeString(i.newETag))
	}
	if i.size.from >= i.etagText.from {
		size()
	}
	if i.newID != "" {
		replace(i.idText, html.EscapeString(i.newID))
	}
}

// keyCount is the number of keys without the hidden ones.
func (p *listingPage) keyCount() string {
	n, err := strconv.Atoi(p.value("KeyCount"))
	if err != nil {
		return p.value("KeyCount")
	}
	return strconv.Itoa(n - p.dropped)
}

// usualListing is room for a page of 1000 objects with names of some length.
const usualListing = 384 << 10

// readListing reads a page of at most maxListing bytes.
func readListing(r io.Reader) (*listingPage, error) {
	text := make([]byte, 0, usualListing)
	for len(text) <= maxListing {
		if len(text) == cap(text) {
			text = append(make([]byte, 0, 2*cap(text)), text...)
		}
		n, err := r.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err == io.EOF {
			return parseListing(text)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the upstream's listing: %w", err)
		}
	}
	return nil, errListing
}
