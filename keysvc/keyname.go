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
	keys    []string // ARNs, or names as they were sent
	context map[string]string
}

func (s subject) attrs() []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 8)
	if len(s.keys) > 0 {
		attrs = append(attrs, keyAttr(s.keys))
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

// keyAttr names the keys and aliases that a record is about: one as a string,
// several as a list.
func keyAttr(arns []string) attribute.KeyValue {
	if len(arns) == 1 {
		return audit.KeyARN.String(arns[0])
	}
	return audit.KeyARN.StringSlice(arns)
}

// subjectOf returns a function that reads the subject of an input of type t.
func subjectOf(t reflect.Type) func(s *Service, in reflect.Value) subject {
	indexes := func(names ...string) (all []int) {
		for _, name := range names {
			if f, ok := t.FieldByName(name); ok {
				all = append(all, f.Index[0])
			}
		}
		return all
	}
	source := indexes("SourceKeyId", "KeyId")
	others := indexes("AliasName", "TargetKeyId", "DestinationKeyId")
	blob := indexes("CiphertextBlob")
	context := indexes("EncryptionContext", "SourceEncryptionContext")
	return func(s *Service, in reflect.Value) subject {
		var sub subject
		for _, i := range context {
			sub.context, _ = in.Field(i).Interface().(map[string]string)
		}
		name := func(i int) {
			if name, _ := in.Field(i).Interface().(*string); name != nil {
				sub.keys = append(sub.keys, s.fullName(*name))
			}
		}
		for _, i := range source {
			name(i)
		}
		if len(blob) > 0 && len(sub.keys) == 0 {
			if b, err := parseBlob(in.Field(blob[0]).Bytes()); err == nil {
				sub.keys = append(sub.keys, s.keyARN(b.keyID))
			}
		}
		for _, i := range others {
			name(i)
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
