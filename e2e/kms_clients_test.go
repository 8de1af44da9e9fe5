// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What unmodified clients do to keys; over TLS what TLS could change, which is
// what they do with bytes and with errors.
var (
	clientSections = []string{"symmetric", "aliases", "states", "lists", "errors", "sign", "rsa_encryption", "mac", "data_key_pairs",
		"ecdh", "grants", "tags", "policies", "rotation", "imports", "multi_region"}
	clientSectionsOverTLS = []string{"symmetric", "errors", "sign", "imports"}
)

// Unmodified clients go through the lives of keys: the aws command, boto3 and
// the AWS SDK for JavaScript, in programs of testers' own under kmsclients, and
// the SDK for Go in the tests beside this one.
func TestClientsOfTheKeyService(t *testing.T) {
	overHTTPAndTLS(t, twoRegions, func(t *testing.T, s *kmsService) {
		if s.caFile != "" {
			runKMSClients(t, s, clientSectionsOverTLS...)
		} else {
			runKMSClients(t, s, clientSections...)
		}
	})
}

// runKMSClients has every client run the sections that its program knows.
func runKMSClients(t *testing.T, s *kmsService, sections ...string) {
	t.Helper()
	modules := javaScriptSDK(t, "kmsclients")
	for name, program := range map[string][]string{
		"boto3":      {"/usr/bin/python3", "lifecycle.py"},
		"aws":        {"/bin/sh", "lifecycle.sh"},
		"javascript": {"node", "lifecycle.mjs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs("kmsclients/" + program[1])
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{path}, knownTo(t, path, sections)...)
			runKMSClient(t, append(s.environment(), "KMS_MODULES="+modules), program[0], args...)
		})
	}
}

// knownTo leaves out the sections that a program does not have because its
// client is older than they are.
func knownTo(t *testing.T, program string, sections []string) (known []string) {
	t.Helper()
	text := readFile(t, program)
	for _, section := range sections {
		for _, form := range []string{"\ndef " + section + "():", "\n" + section + "() {", "\n  async " + section + "() {"} {
			if strings.Contains(text, form) {
				known = append(known, section)
			}
		}
	}
	if len(known) == 0 {
		t.Fatalf("%s has none of %v", program, sections)
	}
	return known
}

func runKMSClient(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = t.TempDir()
	command.Env = append(os.Environ(), "PATH=/usr/bin:/bin", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
	for name, value := range shared.env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.Env = append(command.Env, env...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out.String())
	}
	for _, section := range args[1:] {
		if !strings.Contains(out.String(), "ok "+section+"\n") {
			t.Errorf("%s %v: no end of %s:\n%s", name, args, section, out.String())
		}
	}
}

// javaScriptSDK installs the packages that a directory's package.json names, once
// per version, and returns where they are.
func javaScriptSDK(t *testing.T, dir string) string {
	t.Helper()
	path, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	setup := exec.Command("kmsclients/setup-js.sh", path)
	var failure bytes.Buffer
	setup.Stderr = &failure
	out, err := setup.Output()
	if err != nil {
		t.Fatalf("installing the SDK for JavaScript: %v\n%s", err, failure.String())
	}
	return strings.TrimSpace(string(out))
}
