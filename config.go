// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loadConfig reads the YAML file at path into out, which points to a struct.
// Every key must be known: an unknown one is refused with its line and the
// nearest known name, so that a misspelt setting never silently means its
// default. Values of the wrong type name their key and line too.
func loadConfig(path string, out any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if err := parseConfig(text, out); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func parseConfig(text []byte, out any) error {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	if len(document.Content) == 0 {
		return errors.New("the file is empty")
	}
	return decodeNode(document.Content[0], reflect.ValueOf(out).Elem(), "")
}

// decodeNode stores node in v. path is the dotted key that leads to it.
func decodeNode(node *yaml.Node, v reflect.Value, path string) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return decodeNode(node, v.Elem(), path)
	}
	switch {
	case v.Kind() == reflect.Struct:
		return decodeStruct(node, v, path)
	case v.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		items := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
		for i, item := range node.Content {
			if err := decodeNode(item, items.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		v.Set(items)
		return nil
	}
	if err := node.Decode(v.Addr().Interface()); err != nil {
		return fmt.Errorf("line %d: %s: want %s", node.Line, path, describeType(v.Type()))
	}
	return nil
}

func decodeStruct(node *yaml.Node, v reflect.Value, path string) error {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: %s: want a group of settings", node.Line, keyName(path))
	}
	fields := yamlFields(v)
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field, ok := fields[key.Value]
		if !ok {
			return unknownKey(key, path, fields)
		}
		if seen[key.Value] {
			return fmt.Errorf("line %d: %s is set twice", key.Line, join(path, key.Value))
		}
		seen[key.Value] = true
		if err := decodeNode(value, field, join(path, key.Value)); err != nil {
			return err
		}
	}
	return nil
}

// yamlFields lists the settable fields of v by their YAML names; the fields of
// inlined structs are listed as v's own.
func yamlFields(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			for inner, field := range yamlFields(v.Field(i)) {
				fields[inner] = field
			}
		case name != "" && name != "-":
			fields[name] = v.Field(i)
		}
	}
	return fields
}

func unknownKey(key *yaml.Node, path string, fields map[string]reflect.Value) error {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	message := fmt.Sprintf("line %d: unknown key %s", key.Line, join(path, key.Value))
	if nearest := nearestName(key.Value, names); nearest != "" {
		return fmt.Errorf("%s; did you mean %s?", message, join(path, nearest))
	}
	return fmt.Errorf("%s; known here: %s", message, strings.Join(names, ", "))
}

// nearestName returns the name with the fewest edits from want, or "" where
// none is near enough to be what was meant.
func nearestName(want string, names []string) string {
	best, bestDistance := "", len(want)/2+2
	for _, name := range names {
		if d := editDistance(want, name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func describeType(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return "a duration like 5s or 10m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Map:
		return "a group of names and values"
	}
	return "a text"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func keyName(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
