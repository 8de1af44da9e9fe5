// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"fmt"
	"runtime"
	"time"
)

const defaultTimeout = 10 * time.Second

// Config says which token holds the root key and how it is used.
type Config struct {
	// URI names the token and the root key as an RFC 7512 URI, for example
	//
	//	pkcs11:token=sidekey;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/sidekey/pin
	//
	// The token is chosen by token, serial, slot-id, manufacturer and model;
	// exactly one must match. object is the label of the root key, which is
	// created if the token has no key of that label. The PIN is the content of
	// the file of pin-source, which others must not be able to read; it is read
	// again at every login.
	URI string `yaml:"uri"`

	// Sessions is how many calls use the token at the same time; more wait.
	// Two sessions are opened beyond these. 0 means one more than the cores
	// in use; far more than that makes a software token slower, not faster.
	Sessions int `yaml:"sessions"`

	// Timeout bounds every operation, waiting and recovery included. 0 means 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// Validate checks the configuration without touching the token.
func (c *Config) Validate() error {
	_, err := c.parse(false)
	return err
}

// ValidateWithoutPIN is Validate for [OpenWithPIN].
func (c *Config) ValidateWithoutPIN() error {
	_, err := c.parse(true)
	return err
}

// parse validates, and gives the address. The URI has a pin-source, or the PIN
// is given.
func (c *Config) parse(pinGiven bool) (*address, error) {
	if c.URI == "" {
		return nil, fmt.Errorf("hsm.uri: missing")
	}
	addr, err := parseURI(c.URI, pinGiven)
	if err != nil {
		return nil, fmt.Errorf("hsm.uri: %w", err)
	}
	if c.Sessions < 0 || c.Sessions > 1024 {
		return nil, fmt.Errorf("hsm.sessions: %d is not between 0 and 1024", c.Sessions)
	}
	if c.Timeout < 0 {
		return nil, fmt.Errorf("hsm.timeout: %v is negative", c.Timeout)
	}
	return addr, nil
}

func (c *Config) sessions() int {
	if c.Sessions > 0 {
		return c.Sessions
	}
	return runtime.GOMAXPROCS(0) + 1
}

func (c *Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}
