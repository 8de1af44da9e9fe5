// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"go.yaml.in/yaml/v3"
)

// loadConfig reads the YAML file at path into out, which points to a struct,
// and checks it. Every key must be known: an unknown one is refused with its
// line and the nearest known name, so that a misspelt setting never silently
// means its default. Values that are wrong name their key and line too.
func loadConfig(path string, out validator) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if err := parseConfig(text, out); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// A validator's error begins with the dotted key of the setting that is wrong.
type validator interface{ Validate() error }

func parseConfig(text []byte, out validator) error {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	if len(document.Content) == 0 {
		return errors.New("the file is empty")
	}
	root := document.Content[0]
	if err := decodeNode(root, reflect.ValueOf(out).Elem(), ""); err != nil {
		return err
	}
	return withLines(root, out.Validate())
}

// validateGroup checks one group of the file; its errors get the group's name.
func validateGroup(name string, group validator) error {
	err := group.Validate()
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, name+".") && !strings.HasPrefix(line, name+":") {
			lines[i] = name + "." + line
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// withLines puts the line of the setting before each line of err that begins
// with a key. A setting that is missing gets the line of its group.
func withLines(root *yaml.Node, err error) error {
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		path, _, _ := strings.Cut(line, ":")
		if number := lineOf(root, path); number > 0 {
			lines[i] = fmt.Sprintf("line %d: %s", number, line)
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

var pathStep = regexp.MustCompile(`[^.\[\]]+`)

// lineOf follows a dotted path as far as the file has it; 0 if not at all.
func lineOf(node *yaml.Node, path string) int {
	line := 0
	for _, step := range pathStep.FindAllString(path, -1) {
		next := child(node, step)
		if next == nil {
			break
		}
		node, line = next, next.Line
	}
	return line
}

func child(node *yaml.Node, step string) *yaml.Node {
	switch node.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1]
			}
		}
	}
	return nil
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

// yamlFields lists the settable fields of v by their YAML names.
func yamlFields(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
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
		if d := levenshtein.Distance(want, name, nil); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
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
