// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sidekey/sidekey/hsm"
)

func TestValidate(t *testing.T) {
	const good = "pkcs11:token=t;object=root?module-path=/m.so&pin-source=file:/pin"
	for _, c := range []struct {
		name string
		cfg  hsm.Config
		want string // in the error; empty: valid
	}{
		{"minimal", hsm.Config{URI: good}, ""},
		{"file with authority", hsm.Config{URI: "pkcs11:slot-id=7;object=r?pin-source=file:///pin&module-path=/m.so"}, ""},
		{"bare path", hsm.Config{URI: "pkcs11:serial=7;type=secret-key;object=r?pin-source=/pin&module-path=/m.so"}, ""},
		{"empty", hsm.Config{}, "hsm.uri: missing"},
		{"not a URI", hsm.Config{URI: "softhsm"}, "hsm.uri: does not start with pkcs11:"},
		{"pin-value", hsm.Config{URI: "pkcs11:token=t;object=root?module-path=/m.so&pin-value=s3cret"}, "use pin-source"},
		{"no pin", hsm.Config{URI: "pkcs11:token=t;object=root?module-path=/m.so"}, "pin-source= is missing"},
		{"pin program", hsm.Config{URI: "pkcs11:token=t;object=root?module-path=/m.so&pin-source=|cat"}, "pin-source must be file:/path"},
		{"pin over https", hsm.Config{URI: "pkcs11:token=t;object=root?module-path=/m.so&pin-source=https://h/p"}, "scheme"},
		{"pin on a host", hsm.Config{URI: "pkcs11:token=t;object=root?module-path=/m.so&pin-source=file://h/p"}, "another host"},
		{"pin relative", hsm.Config{URI: "pkcs11:token=t;object=root?module-path=/m.so&pin-source=file:pin"}, "not absolute"},
		{"no object", hsm.Config{URI: "pkcs11:token=t?module-path=/m.so&pin-source=/p"}, "object= is missing"},
		{"no token", hsm.Config{URI: "pkcs11:object=o?module-path=/m.so&pin-source=/p"}, "one of token="},
		{"no module", hsm.Config{URI: "pkcs11:token=t;object=o?pin-source=/p"}, "module-path= is missing"},
		{"module-name", hsm.Config{URI: "pkcs11:token=t;object=o?module-name=softhsm2&pin-source=/p"}, "use module-path"},
		{"relative module", hsm.Config{URI: "pkcs11:token=t;object=o?module-path=m.so&pin-source=/p"}, "absolute"},
		{"misspelt", hsm.Config{URI: "pkcs11:tokn=t;object=o?module-path=/m.so&pin-source=/p"}, `"tokn" is not supported`},
		{"misspelt query", hsm.Config{URI: "pkcs11:token=t;object=o?module=/m.so&pin-source=/p"}, `"module" is not supported`},
		{"twice", hsm.Config{URI: "pkcs11:token=t;token=u;object=o?module-path=/m.so&pin-source=/p"}, "duplicate"},
		{"bad slot", hsm.Config{URI: "pkcs11:slot-id=-1;object=o?module-path=/m.so&pin-source=/p"}, "slot"},
		{"a private key", hsm.Config{URI: "pkcs11:token=t;object=o;type=private?module-path=/m.so&pin-source=/p"}, "secret-key"},
		{"sessions", hsm.Config{URI: good, Sessions: -1}, "hsm.sessions: "},
		{"timeout", hsm.Config{URI: good, Timeout: -time.Second}, "hsm.timeout: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.cfg.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Validate: %v", err)
			case c.want != "" && err == nil:
				t.Errorf("Validate: no error, want %q", c.want)
			case c.want != "" && !strings.Contains(err.Error(), c.want):
				t.Errorf("Validate: %v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "s3cret"):
				t.Errorf("the error tells the PIN: %v", err)
			}
		})
	}
}
