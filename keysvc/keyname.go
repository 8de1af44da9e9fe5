// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"

	"github.com/sidekey/sidekey/keysvc/audit"
)

const aliasPrefix = "alias/"

// keyName is how a caller named a key: by its ID or by an alias.
type keyName struct {
	id    uuid.UUID
	alias string // with its prefix; "" if by ID
}

// parseKeyName understands a key ID, a key ARN, an alias name and an alias ARN.
func (s *Service) parseKeyName(name string) (keyName, error) {
	resource := name
	if strings.HasPrefix(name, "arn:") {
		rest, ours := strings.CutPrefix(name, s.arnPrefix)
		id, isKey := strings.CutPrefix(rest, "key/")
		switch {
		case !ours || !isKey && !strings.HasPrefix(rest, aliasPrefix):
			return keyName{}, notFoundError("Invalid arn %s", s.cfg.Region)
		case isKey:
			resource = id
		default:
			resource = rest
		}
	}
	if strings.HasPrefix(resource, aliasPrefix) {
		return keyName{alias: resource}, nil
	}
	id, ok := parseID(resource)
	if !ok {
		return keyName{}, notFoundError("Invalid keyId '%s'", name)
	}
	return keyName{id: id}, nil
}

// parseKeyID understands a key ID and a key ARN: what control operations take.
func (s *Service) parseKeyID(name string) (keyName, error) {
	n, err := s.parseKeyName(name)
	if err == nil && n.alias != "" {
		err = notFoundError("Invalid keyId '%s'", name)
	}
	return n, err
}

// parseID accepts the one spelling of a UUID that the service uses itself.
func parseID(s string) (uuid.UUID, bool) {
	id, err := uuid.Parse(s)
	if err != nil || len(s) != 36 || id.String() != s || id == uuid.Nil {
		return uuid.Nil, false
	}
	return id, true
}

// subject is what a request is about, as far as its input tells before
// anything was looked up. It goes into the intent record.
type subject struct {
	key     string
	context map[string]string
	isKey   bool
}

func (s subject) attrs() []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 8)
	if s.isKey {
		attrs = append(attrs, audit.KeyARN.String(s.key))
	}
	if len(s.context) > 0 && contextSize(s.context) <= maxContext { // a larger one is refused
		names := slices.Sorted(maps.Keys(s.context))
		pairs := make([]string, len(names))
		for i, name := range names {
			pairs[i] = name + "=" + s.context[name]
		}
		attrs = append(attrs, audit.EncryptionContextKeys.StringSlice(names), audit.EncryptionContext.StringSlice(pairs))
	}
	return attrs
}

// subjectOf returns a function that reads the subject of an input of type t.
func subjectOf(t reflect.Type) func(s *Service, in reflect.Value) subject {
	index := func(names ...string) int {
		for _, name := range names {
			if f, ok := t.FieldByName(name); ok {
				return f.Index[0]
			}
		}
		return -1
	}
	key := index("SourceKeyId", "KeyId", "TargetKeyId", "AliasName")
	blob := index("CiphertextBlob")
	context := index("EncryptionContext", "SourceEncryptionContext")
	return func(s *Service, in reflect.Value) subject {
		var sub subject
		if context >= 0 {
			sub.context, _ = in.Field(context).Interface().(map[string]string)
		}
		if key >= 0 {
			if name, _ := in.Field(key).Interface().(*string); name != nil {
				sub.key, sub.isKey = s.fullName(*name), true
			}
		}
		if blob >= 0 && !sub.isKey {
			if b, err := parseBlob(in.Field(blob).Bytes()); err == nil {
				sub.key, sub.isKey = s.keyARN(b.keyID), true
			}
		}
		return sub
	}
}

// fullName is the ARN that a name stands for, or the name as it was sent.
func (s *Service) fullName(name string) string {
	n, err := s.parseKeyName(name)
	if err != nil {
		return name
	}
	return s.arnOf(n)
}

// materialID names one version of a key's material, in AWS's form of 64
// hexadecimal digits. It is an identifier, not derived from the material.
func materialID(id uuid.UUID, version uint32) *string {
	b := append([]byte("sidekey key material ID"), id[:]...)
	return hexSum(binary.BigEndian.AppendUint32(b, version))
}
