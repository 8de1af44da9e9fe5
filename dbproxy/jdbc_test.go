// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestJDBC has the driver of Java in the modes in which it sends other messages.
func TestJDBC(t *testing.T) {
	rules := append(accounts("jdbc_accounts", "varchar(120)", "varchar(11)"), column("jdbc_accounts", "mood", "enum(mood: sad, ok)", "equality"), column("jdbc_accounts", "tags", "text[]", "random"))
	for i := range rules {
		if rules[i].Column == "active" {
			rules[i].Mode = "equality"
		}
	}
	f := start(t, shared, rules)
	classes := t.TempDir()
	f.run(t, "testdata/orm", nil, "javac", "-d", classes, "Jdbc.java")
	for _, mode := range []string{"preferQueryMode=extended", "reWriteBatchedInserts=true", "preferQueryMode=simple", "stringtype=unspecified"} {
		if out := f.run(t, classes, nil, "java", "-cp", classes+":/usr/share/java/postgresql.jar", "Jdbc", mode); !strings.Contains(out, "ok") {
			t.Errorf("%s: %s", mode, out)
		}
	}
	if d := cmp.Diff([]string{"active", "balance", "born", "email", "joined", "mood", "ref", "settings", "ssn", "tags", "visits"}, sealedColumns(t, f, "jdbc_accounts")); d != "" {
		t.Error(d)
	}
	noCanary(t, f, "078-05-1120")
}
