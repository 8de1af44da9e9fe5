// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/hsm"
)

func TestInitToken(t *testing.T) {
	f := newFixture(t)
	f.must(raw.Finalize())
	soPINFile := filepath.Join(t.TempDir(), "so-pin")
	f.must(os.WriteFile(soPINFile, []byte(soPIN), 0o600))
	f.must(hsm.InitToken(context.Background(), f.module, "fresh", soPINFile, f.pinFile))
	cfg := f.config()
	cfg.URI = strings.Replace(cfg.URI, "token=sidekey", "token=fresh", 1)
	tok := f.open(cfg)
	encrypt(t, tok, generate(t, tok))
}
