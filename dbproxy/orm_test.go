// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/sidekey/sidekey/proxy"
)

// run has a program end well, and gives what it prints.
func (f *fixture) run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	_, port, _ := strings.Cut(f.addr, ":")
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+port, "PGUSER=postgres", "PGDATABASE="+f.database, "PGSSLMODE=disable"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// accounts are the rules of the table that each program makes.
func accounts(table string, email, ssn string) []proxy.ColumnRule {
	return []proxy.ColumnRule{column(table, "email", email, "equality"), column(table, "ssn", ssn, "random"), column(table, "balance", "numeric(12,2)", "random"),
		column(table, "born", "date", "random"), column(table, "joined", "timestamptz", "random"), column(table, "settings", "jsonb", "random"),
		column(table, "options", "jsonb", "random"), column(table, "ref", "uuid", "equality"), column(table, "visits", "int4", "equality"),
		column(table, "city", "varchar(40)", "equality"), column(table, "active", "bool", "random")}
}

// sealedColumns are the columns of a table whose every value is sealed.
func sealedColumns(t *testing.T, f *fixture, table string) (sealed []string) {
	t.Helper()
	raw := f.direct(t)
	for _, name := range textRows(t, raw, "SELECT attname FROM pg_attribute WHERE attrelid = '"+table+"'::regclass AND attnum > 0 AND NOT attisdropped AND atttypid = 17 ORDER BY attname", f.database) {
		rows, _ := raw.Query(t.Context(), "SELECT "+pgx.Identifier{name}.Sanitize()+" FROM "+table)
		values, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if v != nil && !proxy.Sealed(v) {
				t.Errorf("%s.%s holds %x", table, name, v)
			}
		}
		sealed = append(sealed, name)
	}
	return sealed
}

func TestSQLAlchemy(t *testing.T) {
	f := start(t, shared, accounts("sa_accounts", "varchar(120)", "varchar(11)"))
	dsn := fmt.Sprintf("postgresql+psycopg2://postgres@%s/%s?sslmode=disable", f.addr, f.database)
	if out := f.run(t, "testdata/orm", nil, "/usr/bin/python3", "sqlalchemy_app.py", dsn); !strings.Contains(out, "ok") {
		t.Error(out)
	}
	if d := cmp.Diff([]string{"balance", "born", "email", "joined", "ref", "settings", "ssn", "visits"}, sealedColumns(t, f, "sa_accounts")); d != "" {
		t.Error(d)
	}
	noCanary(t, f, "078-05-1120")
}

// TestDjango makes, uses and changes models by migrations.
func TestDjango(t *testing.T) {
	f := start(t, shared, accounts("crm_account", "varchar(254)", "varchar(11)"))
	dir := filepath.Join(t.TempDir(), "django")
	if err := os.CopyFS(dir, os.DirFS("testdata/orm/django")); err != nil {
		t.Fatal(err)
	}
	manage := func(f *fixture, version int, args ...string) string {
		t.Helper()
		env := []string{"CRM_VERSION=" + strconv.Itoa(version), "PYTHONDONTWRITEBYTECODE=1"}
		return f.run(t, dir, env, "/usr/bin/python3", append([]string{"manage.py"}, args...)...)
	}
	use := func(f *fixture, version int) {
		t.Helper()
		manage(f, version, "makemigrations", "crm", "--no-input")
		manage(f, version, "migrate", "--no-input")
		if out := manage(f, version, "use"); !strings.Contains(out, "ok") {
			t.Error(out)
		}
	}
	use(f, 1)
	use(f, 2)
	// A longer column: first its rule, then the migration.
	wider := *f
	wider.columns = accounts("crm_account", "varchar(254)", "varchar(20)")
	use(wider.replica(t), 3)
	if d := cmp.Diff([]string{"active", "balance", "born", "city", "email", "joined", "options", "ref", "ssn", "visits"}, sealedColumns(t, f, "crm_account")); d != "" {
		t.Error(d)
	}
	models := manage(wider.replica(t), 3, "inspectdb", "crm_account")
	var fields []string
	for _, m := range regexp.MustCompile(`(?m)^    (\w+) = models\.(\w+)\(`).FindAllStringSubmatch(models, -1) {
		fields = append(fields, m[1]+" "+m[2])
	}
	want := []string{"id BigAutoField", "email CharField", "ssn CharField", "balance DecimalField", "born DateField", "joined DateTimeField",
		"options JSONField", "ref UUIDField", "visits IntegerField", "active BooleanField", "city CharField"}
	if d := cmp.Diff(want, fields); d != "" {
		t.Errorf("%s: %s", d, models)
	}
	noCanary(t, f, "078-05-1120")
}

func TestAsyncpg(t *testing.T) {
	f := start(t, shared, accounts("apg_accounts", "varchar(120)", "varchar(11)"))
	if out := f.run(t, "testdata/orm", nil, "/usr/bin/python3", "asyncpg_app.py", f.url()); !strings.Contains(out, "ok") {
		t.Error(out)
	}
	if d := cmp.Diff([]string{"balance", "born", "email", "joined", "ref", "settings", "ssn", "visits"}, sealedColumns(t, f, "apg_accounts")); d != "" {
		t.Error(d)
	}
	noCanary(t, f, "078-05-1120")
}

func TestActiveRecord(t *testing.T) {
	f := start(t, shared, accounts("ar_accounts", "varchar(120)", "varchar(11)"))
	if out := f.run(t, "testdata/orm", nil, "/usr/bin/ruby", "activerecord_app.rb", f.url()); !strings.Contains(out, "ok") {
		t.Error(out)
	}
	if d := cmp.Diff([]string{"balance", "born", "city", "email", "joined", "ref", "settings", "ssn", "visits"}, sealedColumns(t, f, "ar_accounts")); d != "" {
		t.Error(d)
	}
	noCanary(t, f, "078-05-1120")
}

// TestJavaScript has Sequelize, TypeORM, Knex and node-postgres.
func TestJavaScript(t *testing.T) {
	dir, err := filepath.Abs("testdata/orm/js")
	if err != nil {
		t.Fatal(err)
	}
	setup := exec.Command("../e2e/kmsclients/setup-js.sh", dir)
	setup.Stderr = t.Output()
	modules, err := setup.Output()
	if err != nil {
		t.Fatalf("installing packages: %v", err)
	}
	for program, table := range map[string]string{"sequelize.cjs": "seq_accounts", "typeorm.cjs": "tor_accounts", "knex.cjs": "knex_accounts"} {
		t.Run(program, func(t *testing.T) {
			f := start(t, shared, accounts(table, "varchar(120)", "varchar(11)"))
			if out := f.run(t, dir, []string{"JS_MODULES=" + strings.TrimSpace(string(modules))}, "node", program, f.url()); !strings.Contains(out, "ok") {
				t.Error(out)
			}
			want := []string{"balance", "born", "email", "joined", "ref", "settings", "ssn", "visits"}
			if table == "knex_accounts" {
				want = []string{"balance", "born", "city", "email", "joined", "ref", "settings", "ssn", "visits"}
			}
			if d := cmp.Diff(want, sealedColumns(t, f, table)); d != "" {
				t.Error(d)
			}
			noCanary(t, f, "078-05-1120")
		})
	}
}
