// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

const (
	softHSM = keysvctest.Module
	userPIN = "4-right-pin"
	soPIN   = "4-so-pin"
)

// raw is another user of the module in the same process: it shares login,
// sessions and objects with the code under test, and so can wreck them.
var raw *pkcs11.Ctx

// shimPath is a module that forwards to SoftHSM and can be told to misbehave.
var shimPath string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hsm-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if shimPath, err = buildShim(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if raw = pkcs11.New(softHSM); raw == nil {
		fmt.Fprintln(os.Stderr, "cannot load", softHSM)
		return 1
	}
	return m.Run()
}

func buildShim(dir string) (string, error) {
	binding, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		return "", fmt.Errorf("finding the PKCS#11 headers: %w", err)
	}
	out := filepath.Join(dir, "shim.so")
	cc := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-DREAL=\""+softHSM+"\"",
		"-I"+strings.TrimSpace(string(binding)), "-o", out, "testdata/shim.c", "-ldl")
	if msg, err := cc.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the shim: %w: %s", err, msg)
	}
	return out, nil
}

// fixture is a new SoftHSM with one token, in a module initialized anew.
type fixture struct {
	t       testing.TB
	module  string
	dir     string // of the tokens
	pinFile string
	control string // of the shim
	log     logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	_ = raw.Finalize()
	dir := t.TempDir()
	f := &fixture{t: t, module: softHSM, dir: filepath.Join(dir, "tokens"), pinFile: filepath.Join(dir, "pin"), control: filepath.Join(dir, "control")}
	f.must(keysvctest.UseSoftHSM(dir))
	f.must(os.Setenv("SHIM_CONTROL", f.control))
	f.setPIN(userPIN + "\n")
	f.addToken("sidekey")
	f.must(raw.Initialize())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", f.log.String())
		}
	})
	return f
}

// shimmed is a fixture whose token is reached through the shim.
func shimmed(t testing.TB) *fixture {
	f := newFixture(t)
	f.module = shimPath
	f.misbehave("")
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) addToken(label string) {
	f.t.Helper()
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", soPIN, "--pin", userPIN).CombinedOutput()
	if err != nil {
		f.t.Fatalf("softhsm2-util: %v: %s", err, out)
	}
}

func (f *fixture) setPIN(pin string) {
	f.t.Helper()
	f.must(os.WriteFile(f.pinFile, []byte(pin), 0o600))
}

// misbehave replaces the shim's control file at once.
func (f *fixture) misbehave(lines ...string) {
	f.t.Helper()
	f.must(os.WriteFile(f.control+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	f.must(os.Rename(f.control+".new", f.control))
}

// calls runs g and returns the names of the hooked functions called meanwhile.
func (f *fixture) calls(g func()) []string {
	f.t.Helper()
	f.must(os.WriteFile(f.control+".trace", nil, 0o600))
	g()
	b, err := os.ReadFile(f.control + ".trace")
	f.must(err)
	f.must(os.Remove(f.control + ".trace"))
	return strings.Fields(string(b))
}

func (f *fixture) config() hsm.Config {
	return hsm.Config{
		URI:     "pkcs11:token=sidekey;object=root?module-path=" + f.module + "&pin-source=file:" + f.pinFile,
		Timeout: 60 * time.Second,
	}
}

func (f *fixture) open(cfg hsm.Config) *hsm.Token {
	f.t.Helper()
	tok, err := hsm.Open(context.Background(), cfg, slog.New(slog.NewTextHandler(&f.log, nil)))
	if err != nil {
		f.t.Fatalf("Open: %v", err)
	}
	f.t.Cleanup(func() {
		if err := tok.Close(); err != nil {
			f.t.Errorf("Close: %v", err)
		}
	})
	return tok
}

func (f *fixture) openError(cfg hsm.Config) error {
	f.t.Helper()
	tok, err := hsm.Open(context.Background(), cfg, slog.New(slog.NewTextHandler(&f.log, nil)))
	if err == nil {
		tok.Close()
		f.t.Fatal("Open: no error")
	}
	if strings.Contains(err.Error(), userPIN) {
		f.t.Errorf("the error tells the PIN: %v", err)
	}
	return err
}

// slot returns the slot of the token "sidekey".
func (f *fixture) slot() uint {
	f.t.Helper()
	slots, err := raw.GetSlotList(true)
	f.must(err)
	for _, s := range slots {
		if info, err := raw.GetTokenInfo(s); err == nil && info.Label == "sidekey" {
			return s
		}
	}
	f.t.Fatal("no slot with the token")
	return 0
}

// session opens a session of the other user of the module.
func (f *fixture) session() pkcs11.SessionHandle {
	f.t.Helper()
	s, err := raw.OpenSession(f.slot(), pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	f.must(err)
	f.t.Cleanup(func() { _ = raw.CloseSession(s) })
	return s
}

// login logs the process in, or finds it logged in.
func (f *fixture) login(s pkcs11.SessionHandle) {
	f.t.Helper()
	err := raw.Login(s, pkcs11.CKU_USER, userPIN)
	if err != nil && err != pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		f.t.Fatal(err)
	}
}

func (f *fixture) find(s pkcs11.SessionHandle, template ...*pkcs11.Attribute) []pkcs11.ObjectHandle {
	f.t.Helper()
	f.must(raw.FindObjectsInit(s, template))
	found, _, err := raw.FindObjects(s, 10000)
	f.must(err)
	f.must(raw.FindObjectsFinal(s))
	return found
}

// sessionKeys counts the session objects in the token.
func (f *fixture) sessionKeys(s pkcs11.SessionHandle) int {
	f.t.Helper()
	return len(f.find(s, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false)))
}

var (
	epoch1 = [16]byte{1, 2, 3}
	nonce1 = [12]byte{9, 8, 7}
	text1  = []byte("thirty-two bytes of data key....")
	aad1   = []byte("encryption context")
)

func generate(t testing.TB, tok *hsm.Token) []byte {
	t.Helper()
	wrapped, err := tok.GenerateKey(context.Background())
	if err != nil {
		t.Fatalf("GenerateKey: %v", err)
	}
	return wrapped
}

func encrypt(t testing.TB, tok *hsm.Token, wrapped []byte) []byte {
	t.Helper()
	nonce, ciphertext, err := tok.Encrypt(context.Background(), wrapped, epoch1, nonce1, text1, aad1)
	if err != nil {
		t.Fatalf("Encrypt: %v", err)
	}
	if nonce != nonce1 {
		t.Fatalf("Encrypt used nonce %x, want %x", nonce, nonce1)
	}
	return ciphertext
}

func decrypts(t testing.TB, tok *hsm.Token, wrapped, ciphertext []byte) {
	t.Helper()
	plaintext, ok, err := tok.Decrypt(context.Background(), wrapped, epoch1, nonce1, ciphertext, aad1)
	if err != nil || !ok || !bytes.Equal(plaintext, text1) {
		t.Fatalf("Decrypt = %q, %v, %v, want the text", plaintext, ok, err)
	}
}

// eventually repeats f until it succeeds; the test's own deadline bounds it.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
