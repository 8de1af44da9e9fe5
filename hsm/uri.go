// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/pkcs11"
	pkcs11uri "github.com/stefanberger/go-pkcs11uri"
)

// address is what a PKCS#11 URI of RFC 7512 says. Empty fields match anything.
type address struct {
	token, serial, manufacturer, model string
	slot                               *uint
	object                             string
	module                             string // absolute path
	pin                                string // absolute path of the PIN file
}

var (
	pathNames  = []string{"token", "serial", "manufacturer", "model", "slot-id", "object", "type"}
	queryNames = []string{"module-path", "pin-source"}
)

// parseURI is strict: an attribute that would not be honoured is an error,
// because a selector that is ignored selects the wrong token.
func parseURI(s string, pinGiven bool) (*address, error) {
	if err := checkNames(s); err != nil {
		return nil, err
	}
	u := pkcs11uri.New()
	if err := u.Parse(withoutType(s)); err != nil {
		return nil, err
	}
	a := &address{}
	a.token, _ = u.GetPathAttribute("token", false)
	a.serial, _ = u.GetPathAttribute("serial", false)
	a.manufacturer, _ = u.GetPathAttribute("manufacturer", false)
	a.model, _ = u.GetPathAttribute("model", false)
	a.object, _ = u.GetPathAttribute("object", false)
	a.module, _ = u.GetQueryAttribute("module-path", false)
	if v, ok := u.GetPathAttribute("slot-id", false); ok {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("slot-id is not a slot number")
		}
		slot := uint(n)
		a.slot = &slot
	}
	source, has := u.GetQueryAttribute("pin-source", false)
	if pinGiven {
		if has {
			return nil, errors.New("pin-source= names a PIN file, but the PIN is given")
		}
		return a, a.complete()
	}
	pin, err := pinPath(source)
	if err != nil {
		return nil, err
	}
	a.pin = pin
	return a, a.complete()
}

func (a *address) complete() error {
	switch {
	case a.object == "":
		return errors.New("object= is missing: it is the label of the root key")
	case a.token == "" && a.serial == "" && a.slot == nil:
		return errors.New("one of token=, serial=, slot-id= is needed to choose the token")
	case a.module == "":
		return errors.New("module-path= is missing")
	}
	return nil
}

// checkNames runs before the library's parser so that no message about a
// malformed URI can carry a PIN.
func checkNames(s string) error {
	rest, ok := strings.CutPrefix(s, "pkcs11:")
	if !ok {
		return errors.New("does not start with pkcs11:")
	}
	path, query, _ := strings.Cut(rest, "?")
	for _, part := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		switch {
		case name == "pin-value":
			return errors.New("pin-value puts the PIN into the configuration: use pin-source=file:/path")
		case name == "module-name":
			return errors.New("module-name is not supported: use module-path=/path/of/module.so")
		case query != "" && !slices.Contains(queryNames, name):
			return fmt.Errorf("query attribute %q is not supported (supported: %s)", name, strings.Join(queryNames, ", "))
		}
	}
	for _, part := range strings.Split(path, ";") {
		name, value, _ := strings.Cut(part, "=")
		if path != "" && !slices.Contains(pathNames, name) {
			return fmt.Errorf("path attribute %q is not supported (supported: %s)", name, strings.Join(pathNames, ", "))
		}
		if name == "type" && value != "secret-key" {
			return errors.New("type= must be secret-key: the root key is an AES key")
		}
	}
	return nil
}

// withoutType drops type=secret-key, which the library refuses although
// RFC 7512 section 2.3 has it; checkNames has seen that it is nothing else.
func withoutType(s string) string {
	path, query, found := strings.Cut(strings.TrimPrefix(s, "pkcs11:"), "?")
	parts := slices.DeleteFunc(strings.Split(path, ";"), func(p string) bool {
		return p == "type=secret-key"
	})
	s = "pkcs11:" + strings.Join(parts, ";")
	if found {
		s += "?" + query
	}
	return s
}

func pinPath(source string) (string, error) {
	if source == "" {
		return "", errors.New("pin-source= is missing: it names the file that holds the PIN")
	}
	u, err := url.Parse(source)
	if err != nil || strings.HasPrefix(source, "|") {
		return "", errors.New("pin-source must be file:/path")
	}
	path := u.Path
	if u.Opaque != "" {
		path = u.Opaque
	}
	switch {
	case u.Scheme != "" && u.Scheme != "file":
		return "", fmt.Errorf("pin-source scheme %q is not supported: use file:/path", u.Scheme)
	case u.Host != "" && u.Host != "localhost":
		return "", errors.New("pin-source names another host: use file:/path")
	case !filepath.IsAbs(path):
		return "", errors.New("pin-source path is not absolute")
	}
	return path, nil
}

func (a *address) matches(slot uint, info pkcs11.TokenInfo) bool {
	return (a.slot == nil || *a.slot == slot) &&
		(a.token == "" || a.token == info.Label) &&
		(a.serial == "" || a.serial == info.SerialNumber) &&
		(a.manufacturer == "" || a.manufacturer == info.ManufacturerID) &&
		(a.model == "" || a.model == info.Model)
}

// String says which token is meant, for errors.
func (a *address) String() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", name, value))
		}
	}
	add("token", a.token)
	add("serial", a.serial)
	add("manufacturer", a.manufacturer)
	add("model", a.model)
	if a.slot != nil {
		parts = append(parts, fmt.Sprintf("slot-id %d", *a.slot))
	}
	return strings.Join(parts, ", ") + " in " + a.module
}
