// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sidekey/sidekey"

// testPackages are for tests alone: whatever the table says, no other package
// may import them outside of its tests.
const (
	testService = "keysvc/keysvctest"
	testStore   = "keysvc/store/storetest"
)

var testPackages = []string{testService, testStore}

// allowed lists, for each package, which others of ours it may import. The
// arrows point one way, toward the root of trust.
var allowed = map[string][]string{
	"hsm":            {},
	"keysvc":         {"keysvc/policy", "keysvc/store", "keysvc/audit", "keysvc/sigv4", "keysvc/memkey", "keysvc/locked"},
	"keysvc/memkey":  {},
	"keysvc/locked":  {},
	"keysvc/policy":  {},
	"keysvc/store":   {},
	"keysvc/audit":   {},
	"keysvc/sigv4":   {},
	testService:      {"hsm", "keysvc", "keysvc/store", "keysvc/audit", testStore},
	testStore:        {},
	"proxy":          {"proxy/datakey", "proxy/envelope", "keysvc/audit"},
	"proxy/datakey":  {"keysvc/audit", "keysvc/locked"},
	"proxy/envelope": {},
	"proxy/s3ec":     {},
	"proxy/forward":  {"proxy", "keysvc/audit"},
	"s3gateway":      {"proxy", "proxy/datakey", "proxy/envelope", "proxy/s3ec", "keysvc/audit", "keysvc/sigv4"},
	"dbproxy":        {"dbproxy/plan", "proxy", "proxy/datakey", "proxy/envelope", "keysvc/audit"},
	"dbproxy/plan":   {"proxy"},
	"e2e":            {},
	"":               {"hsm", "keysvc", "keysvc/store", "keysvc/audit", "proxy", "proxy/datakey", "proxy/envelope", "proxy/forward", "s3gateway", "dbproxy"},
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	output, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n")
}

func TestImportsPointOneWay(t *testing.T) {
	for _, line := range goList(t, "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...") {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		may, known := allowed[from]
		if !known {
			t.Errorf("package %s is not in the import rule", from)
		}
		for _, to := range fields[1:] {
			if to = strings.TrimPrefix(to, module+"/"); strings.Contains(to, ".") || !strings.HasPrefix(line, module) {
				continue
			}
			forTests := contains(testPackages, to) && !contains(testPackages, from)
			if _, ours := allowed[to]; ours && (!contains(may, to) || forTests) {
				t.Errorf("%s imports %s", name(from), to)
			}
		}
	}
}

// Only hsm speaks PKCS#11, and the sidecar build holds none of it.
func TestSidecarHoldsNoPKCS11(t *testing.T) {
	for _, dependency := range goList(t, "-deps", "-tags", "sidecar", ".") {
		for _, forbidden := range []string{"github.com/miekg/pkcs11", module + "/hsm", module + "/keysvc/store", "modernc.org/sqlite", "github.com/johannesboyne/gofakes3"} {
			if dependency == forbidden {
				t.Errorf("the sidecar build depends on %s", dependency)
			}
		}
	}
	full := goList(t, "-deps", ".")
	if !contains(full, "github.com/miekg/pkcs11") {
		t.Error("the full build does not depend on github.com/miekg/pkcs11: this test looks at the wrong thing")
	}
}

func contains(list []string, want string) bool {
	for _, item := range list {
		if item == want {
			return true
		}
	}
	return false
}

func name(from string) string {
	if from == "" {
		return "main"
	}
	return from
}
