// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"os"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The example files are the documentation of the configuration: they are
// valid, and they show every setting there is.
func TestExamplesShowEverySetting(t *testing.T) {
	for path, config := range map[string]validator{
		"deploy/keysvc.yaml": &KeysvcConfig{}, "deploy/proxy.yaml": &ProxyConfig{},
	} {
		if err := loadConfig(path, config); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var document yaml.Node
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		for _, missing := range missingSettings(document.Content[0], reflect.TypeOf(config), "") {
			t.Errorf("%s does not show %s", path, missing)
		}
	}
}

// missingSettings lists the settings of a struct that no item of node has.
func missingSettings(node *yaml.Node, t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		return missingFromAll(node.Content, t.Elem(), path+"[]")
	case t.Kind() != reflect.Struct || t.PkgPath() == "time":
		return nil
	}
	return missingFromAll([]*yaml.Node{node}, t, path)
}

// missingFromAll lists the settings of a struct that none of the items shows.
func missingFromAll(items []*yaml.Node, t reflect.Type, path string) []string {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var missing []string
	for name, field := range yamlFields(reflect.New(t).Elem()) {
		var shown []*yaml.Node
		for _, item := range items {
			if value := child(item, name); value != nil {
				shown = append(shown, value)
			}
		}
		switch {
		case len(shown) == 0:
			missing = append(missing, join(path, name))
		default:
			missing = append(missing, missingSettings(shown[0], field.Type(), join(path, name))...)
		}
	}
	return missing
}
