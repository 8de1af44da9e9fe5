// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Config describes the PostgreSQL proxy.
type Config struct {
	// Listen is the address that clients connect to, such as 127.0.0.1:6432.
	// Empty means that there is no PostgreSQL proxy.
	Listen string `yaml:"listen"`

	// TLS is what clients are offered.
	TLS TLSConfig `yaml:"tls"`

	// Upstream is the PostgreSQL server.
	Upstream UpstreamConfig `yaml:"upstream"`

	// AdminURLFile names a file with a postgres:// URL of a role that may create
	// the schema sidekey in every database that is reached through the proxy.
	// There the wrapped data keys of columns are kept. The database in the URL
	// is the one that is checked at start. Needed if any column has a rule.
	AdminURLFile string `yaml:"admin_url_file"`

	// RawRoles are database roles whose sessions pass untouched: they get
	// ciphertext and see tables as they are stored, for pg_dump and pg_restore.
	// What they write into a protected column has to be sealed already, or the
	// server refuses it.
	RawRoles []string `yaml:"raw_roles"`

	// Replication says what becomes of replication connections: refuse (default where
	// columns have rules), or pass, which relays those of RawRoles untouched. What
	// they carry is ciphertext.
	Replication string `yaml:"replication"`

	// TenantSetting is the setting in which sessions name their tenant, for
	// columns with per_tenant. Empty means sidekey.tenant; any name with a dot
	// does, such as the one that row security policies already use.
	TenantSetting string `yaml:"tenant_setting"`

	// MessageMemory is how many bytes of messages all sessions together may hold, of
	// those over 1 MiB that have to be read as a whole: half for what clients send,
	// half for what servers send. Who finds no room for some seconds gets SQLSTATE
	// 53200, and who holds room that others wait for, without getting on, loses the
	// session. While in work a message takes three to five times as much. At least
	// 16 MiB. 0 means an eighth of the memory limit (the least of GOMEMLIMIT and the
	// cgroup's, or else what the machine has), from 16 to 512 MiB.
	MessageMemory int64 `yaml:"message_memory"`
}

func (c *Config) tenantSetting() string {
	if c.TenantSetting == "" {
		return DefaultTenantSetting
	}
	return strings.ToLower(c.TenantSetting)
}

// TLSConfig is the certificate that clients see.
type TLSConfig struct {
	// CertFile is a PEM certificate chain. Empty means that TLS is declined.
	CertFile string `yaml:"cert_file"`

	// KeyFile is its PEM key.
	KeyFile string `yaml:"key_file"`

	// Require refuses clients that do not use TLS.
	Require bool `yaml:"require"`
}

// UpstreamConfig is how the server is reached.
type UpstreamConfig struct {
	// Address is host:port, or the path of a Unix socket
	// (/run/postgresql/.s.PGSQL.5432) or of the directory that holds it. Several,
	// with commas between them, are tried in order.
	Address string `yaml:"address"`

	// TargetSessionAttrs says which of them clients get: any (default), read-write,
	// read-only, primary, standby or prefer-standby, as libpq means them. The
	// administrative role has to be able to log in at each.
	TargetSessionAttrs string `yaml:"target_session_attrs"`

	// Pooler says what kind of connection pooler is between the proxy and the
	// server, and before what admin_url_file leads to: none (default), or session,
	// which vouches that it gives each session a server connection of its own and
	// resets it afterwards. Others cannot be there.
	Pooler string `yaml:"pooler"`

	// TLS is disable (default), require (encrypts, trusts any certificate) or
	// verify-full (checks the certificate and the host's name).
	TLS string `yaml:"tls"`

	// CAFile is the PEM file of the authorities that verify-full trusts. Empty
	// means those of the system.
	CAFile string `yaml:"ca_file"`
}

// Values of UpstreamConfig.TLS.
const (
	TLSDisable    = "disable"
	TLSRequire    = "require"
	TLSVerifyFull = "verify-full"
)

// Values of Config.Replication.
const (
	ReplicationRefuse = "refuse"
	ReplicationPass   = "pass"
)

// Validate reports the first setting that cannot work.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("postgres.listen: %q is not host:port", c.Listen)
	}
	switch {
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return errors.New("postgres.tls: cert_file and key_file are needed together")
	case c.TLS.Require && c.TLS.CertFile == "":
		return errors.New("postgres.tls.require: needs cert_file and key_file")
	case c.TenantSetting != "" && !strings.Contains(c.TenantSetting, "."):
		return fmt.Errorf("postgres.tenant_setting: %q has no dot: PostgreSQL knows no such setting", c.TenantSetting)
	case c.MessageMemory != 0 && c.MessageMemory < leastMessageMemory:
		return fmt.Errorf("postgres.message_memory: want a number of bytes, at least %d, or 0 for a share of the memory there is", leastMessageMemory)
	case c.Upstream.Address == "":
		return errors.New("postgres.upstream.address: missing")
	}
	if slices.Contains(c.RawRoles, "") {
		return errors.New("postgres.raw_roles: a role's name is empty")
	}
	switch c.Replication {
	case "", ReplicationRefuse, ReplicationPass:
	default:
		return fmt.Errorf("postgres.replication: %q is not refuse or pass", c.Replication)
	}
	return c.Upstream.validate()
}
