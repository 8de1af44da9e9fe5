// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

func planned(t testing.TB, sql string) *plan.Plan {
	t.Helper()
	return plan.Make(sql, testCatalog(t), plan.Options{Path: &plan.Path{Create: "public", Search: []string{"pg_catalog", "public"}}, Fresh: true})
}

// TestConstantsFollow has constants that meet a protected column elsewhere than
// where they stand. Those between « and » are sealed, and nothing else is.
func TestConstantsFollow(t *testing.T) {
	for _, marked := range []string{
		"SELECT u.id FROM (VALUES («'a'»), («'b'»)) v (e) JOIN users u ON u.email = v.e",
		"SELECT u.id FROM (VALUES (1, «'a'»), (2, «'b'»)) v (n, e), users u WHERE v.n = 1 AND v.e = u.email",
		"WITH w AS (SELECT «'a'» AS e, 'b' AS f) SELECT f FROM w, users WHERE email = e",
		"WITH w AS (SELECT 'a' AS e) SELECT e FROM w, users WHERE note = e",
		"WITH RECURSIVE r AS (SELECT «'a'» AS e UNION ALL SELECT email FROM users JOIN r ON true) SELECT * FROM r",
		"SELECT «'a'» UNION SELECT email FROM users", "SELECT 'a' UNION SELECT note FROM users", "SELECT «'a'», 'b' UNION (SELECT «'c'», 'd' UNION SELECT email, note FROM users)",
		"SELECT 1 FROM users WHERE email = (SELECT «'a'»)", "SELECT 1 FROM users WHERE (SELECT «'a'» LIMIT 1) = email", "SELECT 1 FROM users WHERE (note, email) = (SELECT 'a', «'b'»)",
		"SELECT 1 FROM users WHERE email IN (SELECT «'a'» UNION ALL SELECT «'b'»)", "SELECT 1 FROM users WHERE (email, note) IN (VALUES («'a'», 'b'))", "SELECT 1 FROM users WHERE email = ANY (SELECT e FROM (SELECT «'a'» AS e, 'x') s)",
		"SELECT coalesce(email, «'a'») = «'b'» FROM users", "SELECT coalesce(nullif(email, «'a'»), «'b'») FROM users WHERE note = 'c'", "SELECT CASE WHEN note = 'n' THEN email ELSE «'a'» END FROM users",
		"SELECT CASE email WHEN «'a'» THEN 'b' ELSE 'c' END FROM users", "SELECT lag(email, 1, «'a'») OVER (ORDER BY note || 'x') FROM users", "SELECT ARRAY[email, «'a'»], ARRAY[note, 'b'] FROM users",
		"SELECT unnest(ARRAY[«'a'», email]) FROM users", "SELECT 1 FROM users WHERE email OPERATOR(pg_catalog.=) «'a'»", "SELECT count(*) FILTER (WHERE email = «'a'» AND note = 'b') FROM users",
		"INSERT INTO users (note, email) SELECT 'a', «'b'»", "INSERT INTO users (email, note) SELECT «'a'», 'b' UNION ALL SELECT «'c'», 'd'", "INSERT INTO users (email) SELECT e FROM (VALUES («'a'»)) v (e)",
		"INSERT INTO users (id, email) TABLE leads", "SELECT l.*, email FROM users, public.l l UNION SELECT 1, 2, «'a'»", "INSERT INTO users (id, email) VALUES (1, «'b'»), (2, «'a'») LIMIT 1", "INSERT INTO users (email) VALUES ((SELECT «'a'»)), (coalesce(NULL, «'b'»))",
		"UPDATE users SET (email, note) = (SELECT «'a'», 'b')", "UPDATE users SET email = coalesce(email, «'a'»), note = coalesce(note, 'b')", "UPDATE users SET email = e FROM (VALUES («'a'»)) v (e) WHERE note = 'b'",
		"INSERT INTO users (id, email) VALUES (1, «'a'») ON CONFLICT (id) DO UPDATE SET email = coalesce(excluded.email, «'b'») WHERE users.note = 'c' AND excluded.email <> «'d'»",
		"MERGE INTO users u USING (VALUES (1, «'a'»)) v (i, e) ON u.id = v.i WHEN MATCHED AND u.email = «'b'» THEN UPDATE SET note = 'c', email = e WHEN NOT MATCHED THEN INSERT (id, email, note) VALUES (i, «'d'», 'f')",
		"MERGE INTO t USING users u ON u.id = t.id AND u.email = «'a'» WHEN MATCHED THEN UPDATE SET note = 'b' WHEN NOT MATCHED THEN INSERT VALUES ('c')",
		"WITH i AS (INSERT INTO users (email) VALUES («'a'») RETURNING email) SELECT 1 FROM i WHERE email = «'b'»", "SELECT * FROM users JOIN leads USING (email) WHERE email = «'a'»", "SELECT 1 FROM users NATURAL JOIN leads WHERE leads.email = «'a'»",
		"SELECT j.email FROM (users FULL JOIN leads USING (email)) j WHERE j.email = «'a'»", "SELECT x.email FROM users JOIN leads USING (email) AS x WHERE x.email = «'a'»", "SELECT b FROM (users CROSS JOIN l) AS j (a, b) WHERE b = «'a'»",
		"SELECT 1 FROM users u WHERE EXISTS (SELECT 'x' FROM leads WHERE email = u.email AND u.email = «'a'»)", "SELECT 1 FROM users, LATERAL (SELECT email AS e) l WHERE l.e = «'a'»", "SELECT email FROM users GROUP BY email HAVING email <> «'a'»",
		"SELECT 1 FROM user_mails WHERE mail = «'a'»", "INSERT INTO user_mails (mail) VALUES («'a'»)", "SELECT 1 FROM users_part WHERE email = «'a'»", "SELECT e FROM (SELECT 'a' AS e, email FROM users) s WHERE e = 'b' AND email = «'c'»",
		"CREATE TABLE p1 PARTITION OF users FOR VALUES IN ('x'); CREATE TABLE p2 PARTITION OF users DEFAULT; INSERT INTO p2 VALUES (1, «'a'»); INSERT INTO other.p2 (note, email) VALUES ('b', «'c'»)",
		"SELECT 1 FROM users WHERE pin = «-5» AND pin <> «- 7» AND pin IN («+9», «1») AND id = -5",
	} {
		p := planned(t, strings.NewReplacer("«", "", "»", "").Replace(marked))
		sql := strings.NewReplacer("«", "", "»", "").Replace(marked)
		if p.Refusal != nil || p.Need != plan.NeedNothing {
			t.Errorf("%s: %+v, need %d", sql, p.Refusal, p.Need)
			continue
		}
		var at []int
		got := sql
		for _, l := range slices.Backward(p.Literals) {
			got = got[:l.Start] + "«" + got[l.Start:l.End] + "»" + got[l.End:]
			at = append(at, l.Start)
		}
		if d := cmp.Diff(marked, got); d != "" {
			t.Errorf("%s (%v): %s", sql, at, d)
		}
	}
}

func TestLineageRefusals(t *testing.T) {
	for _, sql := range []string{
		// A constant that is both sealed and plain.
		"SELECT 1 FROM (SELECT 'a' AS e) x, users WHERE email = e AND note = e", "SELECT 1 FROM (SELECT 'a' AS e) x, users WHERE note = e AND email = e", "SELECT lower(e) FROM (SELECT 'a' AS e) x, users WHERE email = e",
		"WITH w AS (SELECT 'a' AS e) INSERT INTO users (email, note) SELECT e, e FROM w", "SELECT x FROM (SELECT 'a' AS e) x, users WHERE email = e", "SELECT 1 FROM (VALUES ('a')) v (e), users WHERE email = e AND pin = e::int",
		// Values of other columns.
		"SELECT email FROM users UNION SELECT note FROM users", "SELECT note FROM users UNION SELECT email FROM users", "SELECT email FROM users UNION SELECT ssn FROM users", "SELECT coalesce(email, note) FROM users", "SELECT coalesce(email, ssn) FROM users", "SELECT CASE WHEN true THEN email ELSE pin END FROM users",
		"SELECT ssn FROM users UNION SELECT ssn FROM users", "SELECT ssn FROM users INTERSECT ALL SELECT ssn FROM users", "INSERT INTO users (ssn) SELECT email FROM users", "INSERT INTO users (pin) SELECT id FROM users", "INSERT INTO users (email) SELECT note FROM users", "INSERT INTO users (note) SELECT email FROM users",
		"INSERT INTO users SELECT * FROM l", "INSERT INTO users (note, email) SELECT l.*, 'a' FROM l", "INSERT INTO t SELECT coalesce(email, 'a') FROM users", "INSERT INTO users (email) SELECT 'a' || 'b'", "INSERT INTO users (email) SELECT lower('a')", "INSERT INTO users (email) SELECT array_agg(email) FROM users",
		"UPDATE users SET (email, note) = (SELECT note, email FROM users)", "UPDATE users SET (email, note) = (SELECT * FROM l)", "UPDATE users SET note = coalesce(email, 'a')", "UPDATE users SET email = pin::text", "UPDATE t SET (a, b) = (SELECT email, id FROM users)", "UPDATE t SET a = (SELECT email FROM users)",
		"MERGE INTO users USING l ON true WHEN NOT MATCHED THEN INSERT VALUES (1, 'a')", "MERGE INTO users USING l ON true WHEN NOT MATCHED THEN INSERT (email) VALUES (l.v)", "MERGE INTO t USING users u ON true WHEN MATCHED THEN UPDATE SET a = u.email", "MERGE INTO t USING users u ON true WHEN NOT MATCHED THEN INSERT VALUES (u.email)", "MERGE INTO users u USING l ON u.email = l.v WHEN MATCHED THEN DELETE",
		// Columns that cannot be followed.
		"SELECT l.*, coalesce(email, 'a'), l.* FROM users, public.l l", "SELECT * FROM users NATURAL JOIN l", "SELECT 1 FROM users JOIN l USING (email)", "SELECT v FROM (SELECT l.*, email AS e FROM users, public.l l) s (v)", "SELECT 1 FROM (SELECT l.*, email FROM users, public.l l) s (a, b) WHERE a = 'x'", "SELECT * FROM l UNION SELECT id, email FROM users",
		"SELECT s.nothing FROM (SELECT email FROM users) s", "SELECT nothing FROM (SELECT email FROM users) s WHERE nothing = 'a'",
		// What has no meaning on sealed values.
		"SELECT email COLLATE \"de_DE\" FROM users", "SELECT email::name FROM users", "SELECT email::varchar(5) FROM users", "SELECT pin::bigint FROM users", "SELECT pin::text FROM users", "SELECT ARRAY[ARRAY[email]] FROM users", "SELECT (ARRAY[email])[1] FROM users", "SELECT array_to_string(array_agg(email), ',') FROM users", "SELECT array_agg(email) || 'a' FROM users",
		"SELECT array_agg(DISTINCT email) FROM users", "SELECT string_agg(email, ',') FROM users", "SELECT email || 'a' FROM users", "SELECT 1 FROM users WHERE email = 'a' || 'b'", "SELECT 1 FROM users WHERE email LIKE ANY (ARRAY['a'])", "SELECT 1 FROM users WHERE email LIKE ALL (SELECT 'a')", "SELECT email = note FROM users", "SELECT mode() WITHIN GROUP (ORDER BY email) FROM users",
		"WITH RECURSIVE r AS (SELECT id, email FROM users UNION ALL SELECT id, email FROM r) SEARCH DEPTH FIRST BY email SET o SELECT * FROM r", "WITH RECURSIVE r AS (SELECT id, email FROM users UNION ALL SELECT id, email FROM r) CYCLE email SET c USING p SELECT * FROM r", "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT a.* FROM a, users",
		// Literals whose cast may change the value.
		"INSERT INTO users (email) VALUES ('a'::char(3))", "INSERT INTO users (email) VALUES (1.5::text)", "INSERT INTO users (email) VALUES ($1::varchar(3))", "INSERT INTO users (pin) VALUES (true::int)", "INSERT INTO users (email) VALUES ('a'::name)", "INSERT INTO users (email) VALUES (B'1')", "SELECT 1 FROM users WHERE email = ANY ('{a}'::varchar(3)[])",
		// Views and partitions.
		"SELECT * FROM bad_view", "SELECT * FROM cast_view", "SELECT 1 FROM row_view", "SELECT lower(mail) FROM user_mails", "INSERT INTO t SELECT mail FROM user_mails", "SELECT user_mails FROM user_mails", "INSERT INTO user_mails (mail, n) SELECT 'a' || 'b', 1", "COPY (SELECT array_agg(mail) FROM user_mails) TO STDOUT", "COPY (SELECT l.*, mail FROM user_mails, public.l l) TO STDOUT", "SELECT 1 FROM users WHERE ssn IS NOT DISTINCT FROM $1", "UPDATE users SET ssn = $1 WHERE $1 = 'x'", "SELECT lower(email) FROM users_part",
	} {
		p := planned(t, sql)
		if p.Refusal == nil {
			p.Refusal = p.Missing
		}
		switch {
		case p.Refusal == nil:
			t.Errorf("%s: got %q, want a refusal", sql, render(t, sql, p))
		case p.Refusal.Code == "42601":
			t.Errorf("%s: %v", sql, p.Refusal)
		case strings.Contains(p.Refusal.Message, "'"):
			t.Errorf("%s: message %q has a literal", sql, p.Refusal.Message)
		}
	}
}

func TestParameters(t *testing.T) {
	for sql, want := range map[string]string{
		"INSERT INTO users (email) VALUES ($1)":                                           "1:email",
		"SELECT 1 FROM users WHERE email = $1 OR email IN ($1, $2)":                       "1:email 2:email",
		"SELECT 1 FROM users WHERE email = $1::text AND note = $2":                        "1:email/25",
		"SELECT 1 FROM users WHERE email = ANY ($1)":                                      "1:email[]",
		"SELECT 1 FROM users WHERE email IN (SELECT unnest($1::text[]))":                  "1:email[]/1009",
		"INSERT INTO users (email, pin) SELECT * FROM unnest($1::text[], $2::int[])":      "1:email[]/1009 2:pin[]/1007",
		"SELECT 1 FROM users WHERE email = $1 AND note = $1":                              "2:email<1",
		"INSERT INTO users (note, email, ssn) VALUES ($1, $1, $1)":                        "2:email<1 3:ssn<1",
		"INSERT INTO users (email, ssn) VALUES ($1, $1) RETURNING $2":                     "1:email 3:ssn<1",
		"SELECT 1 FROM users WHERE email = $1 OR email = ANY ($1)":                        "1:email 2:email[]<1",
		"SELECT 1 FROM users u JOIN leads l ON u.email = $1 AND l.email = $1":             "1:email",
		"SELECT coalesce(email, $1), coalesce(note, $2) FROM users":                       "1:email",
		"SELECT $1 UNION SELECT email FROM users":                                         "1:email",
		"SELECT 1 FROM (SELECT $1 AS e) s, users WHERE email = e":                         "1:email/25",
		"SELECT 1 FROM users WHERE $1 IS NULL OR email = $1":                              "1:email",
		"SELECT 1 FROM users WHERE $1::text IS NULL OR email = $1":                        "1:email/25",
		"SELECT 1 FROM users WHERE $1 IS NULL OR email = ANY ($1)":                        "1:email[]",
		"SELECT 1 FROM users WHERE $1 = 'all' OR email = $1":                              "1:email",
		"SELECT $1 FROM users WHERE email = $1":                                           "1:email",
		"SELECT 1 FROM users WHERE $3 = $2 AND $2 = $1 AND email = $3":                    "1:email 2:email 3:email",
		"SELECT 1 FROM users WHERE $1 IS NULL OR email = $1 OR ssn IS NULL AND note = $1": "2:email<1",
		"SELECT $1, $2 FROM users WHERE id = $3":                                          "",
	} {
		p := planned(t, sql)
		if p.Refusal != nil {
			t.Errorf("%s: %+v", sql, p.Refusal)
			continue
		}
		var got []string
		for n := 1; n < 10; n++ {
			if q, ok := p.Params[n]; ok {
				s := fmt.Sprintf("%d:%s", n, q.Rule.Column)
				if q.Array {
					s += "[]"
				}
				if q.OID > 0 {
					s += fmt.Sprintf("/%d", q.OID)
				}
				if q.Source > 0 {
					s += fmt.Sprintf("<%d", q.Source)
				}
				got = append(got, s)
			}
		}
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
	sql := "SELECT 1 FROM users WHERE email = $1::text AND note = $1 AND email <> $1"
	if got, want := render(t, sql, planned(t, sql)), "SELECT 1 FROM users WHERE email = $2::bytea AND note = $1 AND email <> $2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPlaces: where a protected column stands in the result.
func TestPlaces(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT * FROM users": "email@1/3 ssn@2/2 pin@3/1",
		"SELECT email, lower(note), coalesce(email, 'x') FROM users":       "email@0/2 email@2/0:25",
		"SELECT l.*, email FROM users, public.l l":                         "email@-1/0",
		"SELECT email, l.* FROM users, public.l l":                         "email@0/-1",
		"SELECT l.*, email, l.* FROM users, public.l l":                    "email@-1/-1",
		"SELECT array_agg(email), ARRAY(SELECT pin FROM users) FROM users": "email[]@0/1 pin[]@1/0",
		"SELECT ssn, coalesce(ssn, 'x') FROM users":                        "ssn@0/1:1043/15 ssn@1/0:1043",
		"SELECT 1 UNION SELECT pin FROM users":                             "pin@0/0",
		"SELECT email::varchar FROM users":                                 "email@0/0:1043",
		"INSERT INTO users (email) VALUES ('a') RETURNING id, email":       "email@1/0",
		"UPDATE users SET id = 2 RETURNING old.email, new.id, email":       "email@0/2 email@2/0",
		"SELECT id, cardinality(array_agg(email)) FROM users":              "",
		"SELECT mail FROM user_mails":                                      "email@0/0",
	} {
		p := planned(t, sql)
		if p.Refusal != nil {
			t.Errorf("%s: %+v", sql, p.Refusal)
			continue
		}
		var got []string
		for _, o := range p.Statements[0].Outputs {
			s := o.Rule.Column
			if o.Array {
				s += "[]"
			}
			s += fmt.Sprintf("@%d/%d", o.Left, o.Right)
			if strings.Contains(want, ":") && o.Rule.Column != "pin" && !strings.HasSuffix(s, "@0/2") {
				if s += fmt.Sprintf(":%d", o.Type.OID); o.Type.Typmod >= 0 {
					s += fmt.Sprintf("/%d", o.Type.Typmod)
				}
			}
			got = append(got, s)
		}
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s: %s", sql, d)
		}
	}
}

// TestForms has the forms in which a literal can be written.
func TestForms(t *testing.T) {
	for literal, want := range map[string]string{
		"'a'": "a", "E'a\\tb\\x41\\u00e9'": "a\tbAé", "e'it\\'s'": "it's", "'it''s'": "it's", "U&'d\\0061t\\+000061'": "data", "U&'d!0061' UESCAPE '!'": "da",
		"$$a'b$$": "a'b", "$q$a$$b$q$": "a$$b", "'a'\n'b'": "ab", "E'a'\n'\\n'": "a\n", "N'a'": "a", "('a')": "a", "(('a'))": "a",
		"'a'::text": "a", "CAST('a' AS text)": "a", "text 'a'": "a", "varchar 'a'": "a", "'abc'::varchar(2)": "ab", "CAST('é€x' AS character varying(2))": "é€", "'abc'::varchar(5)": "abc",
		"pg_catalog.text 'a'": "a", "'a'::pg_catalog.varchar": "a", "'a'::text::varchar": "a", "CAST('a'::text AS varchar)": "a", `'a' COLLATE "C"`: "a", `'a'::text COLLATE pg_catalog."C"`: "a", "5::text": "5",
	} {
		sql := "INSERT INTO users (id, email) VALUES (1, " + literal + ")"
		p := planned(t, sql)
		if p.Refusal != nil || len(p.Literals) != 1 {
			t.Errorf("%s: %+v, %d literals", sql, p.Refusal, len(p.Literals))
			continue
		}
		if got := p.Literals[0].Value; got != want {
			t.Errorf("%s: got %q, want %q", literal, got, want)
		}
		if out := render(t, sql, p); strings.Count(out, "'") != 2 && !strings.Contains(literal, "UESCAPE") || !strings.Contains(out, hex.EncodeToString([]byte("email:"+want))) {
			t.Errorf("%s became %s", sql, out)
		}
	}
	for literal, want := range map[string]string{
		"5": "5", "-5": "-5", "- 5": "-5", "+5": "5", "'5'": "5", "'-5'::int": "-5", "-5::int": "-5", "- 5::int4": "-5", "5::bigint": "5", "(5)::int8": "5", "int '7'": "7",
	} {
		p := planned(t, "SELECT 1 FROM users WHERE pin = "+literal)
		if p.Refusal != nil || len(p.Literals) != 1 {
			t.Errorf("%s: %+v, %d literals", literal, p.Refusal, len(p.Literals))
		} else if got := p.Literals[0].Value; got != want {
			t.Errorf("%s: got %q, want %q", literal, got, want)
		}
	}
}
