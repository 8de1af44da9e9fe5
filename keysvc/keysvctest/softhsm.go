// SPDX-License-Identifier: Apache-2.0

package keysvctest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/sidekey/sidekey/hsm"
)

// Module is the PKCS#11 module of SoftHSM.
const Module = "/usr/lib/softhsm/libsofthsm2.so"

// Label is that of the token of Main. Its root key has the label "root".
const Label = "keysvctest"

// Main runs the tests of a package with *token as its SoftHSM token, and returns
// what TestMain passes to os.Exit:
//
//	func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }
//
// There is one token for all tests of a package because SOFTHSM2_CONF and the
// module are the process's; no single test could say when to remove it. A test
// process that is killed leaves a directory sidekey-keysvctest* behind, which
// may be removed.
func Main(m interface{ Run() int }, token **hsm.Token) int {
	code, err := run(m, token)
	if err != nil {
		fmt.Fprintln(os.Stderr, "keysvctest:", err)
		return 1
	}
	return code
}

func run(m interface{ Run() int }, token **hsm.Token) (code int, err error) {
	dir, err := os.MkdirTemp("", "sidekey-keysvctest")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if *token, err = openToken(dir); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, (*token).Close()) }()
	return m.Run(), nil
}

func openToken(dir string) (*hsm.Token, error) {
	pin, soPIN := filepath.Join(dir, "pin"), filepath.Join(dir, "so-pin")
	err := errors.Join(
		UseSoftHSM(dir),
		os.WriteFile(pin, []byte("keysvctest-pin\n"), 0o600),
		os.WriteFile(soPIN, []byte("keysvctest-so-pin\n"), 0o600))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if err := hsm.InitToken(ctx, Module, Label, soPIN, pin); err != nil {
		return nil, err
	}
	uri := "pkcs11:token=" + Label + ";object=root?module-path=" + Module + "&pin-source=file:" + pin
	return hsm.Open(ctx, hsm.Config{URI: uri}, slog.New(slog.DiscardHandler))
}

// UseSoftHSM makes the directory tokens in dir and has SoftHSM keep its tokens
// there when it is initialized in this process, or in children, the next time.
func UseSoftHSM(dir string) error {
	tokens, conf := filepath.Join(dir, "tokens"), filepath.Join(dir, "softhsm2.conf")
	return errors.Join(
		os.Mkdir(tokens, 0o700),
		os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600),
		os.Setenv("SOFTHSM2_CONF", conf))
}
