// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"os"
	"testing"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc/keysvctest"
)

// token is that of all key services of the package.
var token *hsm.Token

func TestMain(m *testing.M) { os.Exit(keysvctest.Main(m, &token)) }
