// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot work is refused before anything is opened.
func TestMigrateRefusesWhatCannotWork(t *testing.T) {
	text, err := os.ReadFile("deploy/proxy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), "\ns3:\n")
	_, after, more := strings.Cut(after, "\npostgres:\n")
	after, _, end := strings.Cut(after, "\nforward:\n")
	if !ok || !more || !end {
		t.Fatal("the example has other groups than this test knows")
	}
	without := filepath.Join(t.TempDir(), "proxy.yaml")
	if err := os.WriteFile(without, []byte(before+"\npostgres:\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no bucket": {[]string{"-c", "deploy/proxy.yaml"}, "bucket"},
		"no rate":   {[]string{"-c", "deploy/proxy.yaml", "--bucket", "docs", "--rate", "fast"}, "--rate"},
		"rate 0":    {[]string{"-c", "deploy/proxy.yaml", "--bucket", "docs", "--rate", "0"}, "--rate"},
		"no store":  {[]string{"-c", without, "--bucket", "docs"}, "no s3"},
	} {
		root := rootCommand()
		root.SetArgs(append([]string{"migrate", "s3"}, c.args...))
		if err := root.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

// The same for columns.
func TestMigratePgRefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no table":    {nil, "table"},
		"two ways":    {[]string{"--table", "t", "--decrypt", "--rotate"}, "none of the others can be"},
		"no source":   {[]string{"--table", "t", "--reencrypt"}, "from"},
		"no settings": {[]string{"-c", "nowhere.yaml", "--table", "t"}, "nowhere.yaml"},
	} {
		root := rootCommand()
		root.SetArgs(append([]string{"migrate", "pg"}, c.args...))
		if err := root.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}
