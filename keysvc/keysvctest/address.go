// SPDX-License-Identifier: Apache-2.0

package keysvctest

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreeAddress is an address of this machine, host:port, for a server that a
// test starts a little later. Its port is below those that Linux gives to
// outgoing connections, one of which could else take it in between.
func FreeAddress() (string, error) {
	var failure error
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if err == nil {
			return listener.Addr().String(), listener.Close()
		}
		failure = err
	}
	return "", failure
}
