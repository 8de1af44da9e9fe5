// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
)

func TestRootCreatedOnce(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.must(f.open(f.config()).Close())
	}
	s := f.session()
	f.login(s)
	roots := f.find(s, pkcs11.NewAttribute(pkcs11.CKA_LABEL, "root"))
	if len(roots) != 1 {
		t.Fatalf("%d root keys, want 1", len(roots))
	}
	for _, want := range []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_NEVER_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_LOCAL, true),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, true),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
	} {
		got, err := raw.GetAttributeValue(s, roots[0], []*pkcs11.Attribute{{Type: want.Type}})
		f.must(err)
		if string(got[0].Value) != string(want.Value) {
			t.Errorf("attribute %#x is %x, want %x", want.Type, got[0].Value, want.Value)
		}
	}
}

// Tokens opened at the same time agree on one root key.
func TestRootCreatedAtOnce(t *testing.T) {
	f := newFixture(t)
	toks := make([]*hsm.Token, 6)
	var wg sync.WaitGroup
	for i := range toks {
		wg.Go(func() {
			tok, err := hsm.Open(context.Background(), f.config(), slog.New(slog.NewTextHandler(&f.log, nil)))
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			toks[i] = tok
			t.Cleanup(func() { tok.Close() })
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	wrapped := generate(t, toks[0])
	ciphertext := encrypt(t, toks[0], wrapped)
	for _, tok := range toks {
		decrypts(t, tok, wrapped, ciphertext)
	}
	if roots := f.find(f.session(), pkcs11.NewAttribute(pkcs11.CKA_LABEL, "root")); len(roots) != 1 {
		t.Errorf("%d root keys, want 1", len(roots))
	}
}

func (f *fixture) addKey(label string, more ...*pkcs11.Attribute) {
	f.t.Helper()
	s := f.session()
	f.login(s)
	_, err := raw.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, []byte{1}),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, true),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true),
	}, more...))
	f.must(err)
}

func TestRootAmbiguous(t *testing.T) {
	f := newFixture(t)
	f.must(f.open(f.config()).Close())
	f.addKey("root", pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32))
	err := f.openError(f.config())
	if !strings.Contains(err.Error(), `has 2 keys labelled "root"`) {
		t.Errorf("error %v, want it to say that there are two", err)
	}
}

// A root key that an operator made without a CKA_ID is used all the same.
func TestRootWithoutID(t *testing.T) {
	f := newFixture(t)
	f.addKey("root", pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_ID, []byte{}),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false))
	tok := f.open(f.config())
	encrypt(t, tok, generate(t, tok))
	if n := strings.Count(f.log.String(), "root key created"); n != 0 {
		t.Error("a second root key was created")
	}
}

func TestRootUnfit(t *testing.T) {
	for name, attributes := range map[string][]*pkcs11.Attribute{
		"CKA_VALUE_LEN":   {pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 16)},
		"CKA_EXTRACTABLE": {pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true)},
		"CKA_SENSITIVE":   {pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.addKey("root", attributes...)
			if err := f.openError(f.config()); !strings.Contains(err.Error(), name) {
				t.Errorf("error %v, want %s to be named", err, name)
			}
		})
	}
}

// A token that comes back with another root key is refused, and no root key is
// created in place of one that is missing.
func TestRootReplaced(t *testing.T) {
	f := newFixture(t)
	tok, wrapped, ciphertext := ready(f)
	s := f.session()
	f.must(raw.DestroyObject(s, f.find(s, pkcs11.NewAttribute(pkcs11.CKA_LABEL, "root"))[0]))
	f.must(raw.Logout(s))
	if err := tok.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "no root key") {
		t.Errorf("Check without the root key: %v", err)
	}
	f.addKey("root", pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false))
	eventually(t, "noticing", func() error {
		_, _, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1)
		if err == nil {
			t.Fatal("Decrypt under another root key")
		}
		if !strings.Contains(err.Error(), "known ciphertext") {
			return err
		}
		return nil
	})
}

func TestChoiceOfToken(t *testing.T) {
	f := newFixture(t)
	f.must(raw.Finalize())
	f.addToken("other")
	f.addToken("twin")
	f.addToken("twin")
	f.must(raw.Initialize())
	serial := func() string {
		info, err := raw.GetTokenInfo(f.slot())
		f.must(err)
		return info.SerialNumber
	}()
	tail := "?module-path=" + f.module + "&pin-source=" + f.pinFile
	for uri, want := range map[string]string{
		"pkcs11:token=sidekey;object=root":                           "",
		"pkcs11:serial=" + serial + ";object=root;type=secret-key":   "",
		"pkcs11:token=side%6bey;model=SoftHSM%20v2;object=root":      "",
		"pkcs11:token=absent;object=root":                            `no token "absent"`,
		"pkcs11:token=twin;object=root":                              "2 tokens match",
		"pkcs11:token=sidekey;serial=00;object=root":                 "no token",
		"pkcs11:token=sidekey;manufacturer=Nobody%20Ltd;object=root": "Nobody Ltd",
	} {
		cfg := f.config()
		cfg.URI = uri + tail
		if want == "" {
			f.must(f.open(cfg).Close())
			continue
		}
		if err := f.openError(cfg); !errors.Is(err, hsm.ErrNoToken) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ErrNoToken with %q", uri, err, want)
		}
	}
}

func TestModuleUnusable(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/nonexistent/module.so", f.dir, f.pinFile} {
		cfg := f.config()
		cfg.URI = strings.Replace(cfg.URI, f.module, path, 1)
		if err := f.openError(cfg); !errors.Is(err, hsm.ErrModule) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want ErrModule with the path", path, err)
		}
	}
}

func TestPINFile(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		prepare func()
		want    string
	}{
		"others": {func() { f.must(os.Chmod(f.pinFile, 0o604)) }, "accessible to others"},
		"empty":  {func() { f.setPIN("\n") }, "is empty"},
		"long":   {func() { f.setPIN(strings.Repeat("1", 1025)) }, "longer than"},
		"absent": {func() { f.must(os.Remove(f.pinFile)) }, "no such file"},
		"folder": {func() { f.must(os.Remove(f.pinFile)); f.must(os.Mkdir(f.pinFile, 0o700)) }, "not a regular file"},
	} {
		_ = os.Remove(f.pinFile)
		f.setPIN(userPIN)
		c.prepare()
		if err := f.openError(f.config()); !strings.Contains(err.Error(), c.want) || errors.Is(err, hsm.ErrPIN) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		f.must(os.RemoveAll(f.pinFile))
	}
	for _, pin := range []string{userPIN, userPIN + "\n"} {
		f.setPIN(pin)
		f.must(os.Chmod(f.pinFile, 0o440))
		f.must(f.open(f.config()).Close())
		f.must(os.Remove(f.pinFile))
	}
	f.setPIN(userPIN + "\n\n")
	if err := f.openError(f.config()); !errors.Is(err, hsm.ErrPIN) {
		t.Errorf("two newlines: %v, want ErrPIN", err)
	}
}
