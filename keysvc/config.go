// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/agext/levenshtein"

	"github.com/sidekey/sidekey/keysvc/policy"
	"github.com/sidekey/sidekey/keysvc/store"
)

// Config configures the key service. Its zero values are harmless: what must
// be chosen is refused while it is missing, and the rest has defaults.
type Config struct {
	// Listen is the address to serve on, such as 127.0.0.1:8443. Without TLS
	// it must be a loopback address, because data keys travel on it.
	Listen string `yaml:"listen"`

	// Region is the AWS region the service answers for. It is part of every
	// key ARN and of every request's signature.
	Region string `yaml:"region"`

	// Regions are all regions that the service answers for at its one address,
	// each request for the one that it is signed for; Region must be among
	// them. Multi-Region keys can be replicated between them. Empty means
	// Region alone.
	Regions []string `yaml:"regions"`

	// Account is the AWS account ID, 12 digits, that owns the keys. It is part
	// of every key ARN.
	Account string `yaml:"account"`

	// TLS is the server's certificate. Empty means plain HTTP.
	TLS TLSConfig `yaml:"tls"`

	// Store is the URL of the key store: sqlite:///absolute/path/keys.db, or
	// postgres://user@host:port/database?sslmode=verify-full, which replicas of
	// the service can share.
	Store string `yaml:"store"`

	// StorePasswordFile is the file that holds the password of a PostgreSQL
	// store; white space around it is ignored.
	StorePasswordFile string `yaml:"store_password_file"`

	// RefuseMemoryKeys refuses keys whose material the HSM cannot use itself,
	// or was asked not to: they would be unwrapped into locked memory of the
	// service. Such keys that are there already are not used either.
	RefuseMemoryKeys bool `yaml:"refuse_memory_keys"`

	// Principals are the callers and what each may do. Whoever is not named
	// here is refused.
	Principals []Principal `yaml:"principals"`

	// MaxConnections bounds the open connections; further ones wait in the
	// kernel's queue. 0 means 4096. It bounds the memory that slow clients can
	// hold: about 70 KiB each, and 16 MiB for all large bodies together.
	MaxConnections int `yaml:"max_connections"`

	// DrainTimeout bounds how long running requests may take to end when the
	// service stops. 0 means 10s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// SweepInterval is how often the service looks for keys that are to be
	// deleted or rotated, and for imported material that expires. 0 means 1m.
	SweepInterval time.Duration `yaml:"sweep_interval"`
}

// TLSConfig names the files of the server's certificate chain and key, PEM.
type TLSConfig struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Principal is a caller with one access key.
type Principal struct {
	// Name is the IAM user name in the principal's ARN.
	Name string `yaml:"name"`

	// AccessKeyID identifies the principal in a request's signature.
	AccessKeyID string `yaml:"access_key_id"`

	// SecretAccessKeyFile is the file that holds the secret access key; white
	// space around it is ignored.
	SecretAccessKeyFile string `yaml:"secret_access_key_file"`

	// Allow lists what the principal may do. An empty list allows nothing.
	Allow []Allow `yaml:"allow"`
}

// Allow permits some actions on some keys.
type Allow struct {
	// Actions are IAM action patterns: kms:Decrypt, kms:GenerateDataKey*, kms:*.
	Actions []string `yaml:"actions"`

	// Keys are key IDs, key ARNs, alias/names, alias ARNs or patterns of them
	// with * and ?. Operations without a key (CreateKey, ListKeys,
	// ListAliases, GenerateRandom) need "*".
	Keys []string `yaml:"keys"`
}

var (
	accountForm   = regexp.MustCompile(`^[0-9]{12}$`)
	regionForm    = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	userForm      = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)
	accessKeyForm = regexp.MustCompile(`^[A-Za-z0-9_]{16,128}$`)
)

// Validate reports everything that is wrong, each with its key in the
// configuration file.
func (c *Config) Validate() error {
	var p problems
	p.check(c.Region != "", "keysvc.region: missing")
	p.check(c.Region == "" || regionForm.MatchString(c.Region), "keysvc.region: %q is not a region name such as eu-central-1", c.Region)
	for i, region := range c.Regions {
		p.check(regionForm.MatchString(region), "keysvc.regions[%d]: %q is not a region name such as eu-central-1", i, region)
		p.check(!slices.Contains(c.Regions[:i], region), "keysvc.regions[%d]: the same as an earlier one", i)
	}
	p.check(len(c.Regions) == 0 || slices.Contains(c.Regions, c.Region), "keysvc.regions: %s, which is keysvc.region, is not among them", c.Region)
	p.check(c.Account != "", "keysvc.account: missing")
	p.check(c.Account == "" || accountForm.MatchString(c.Account), "keysvc.account: %q is not 12 digits", c.Account)
	if c.Store == "" {
		p.add("keysvc.store: missing (for example sqlite:///var/lib/sidekey/keys.db)")
	} else if err := store.CheckURL(c.Store); err != nil {
		p.add("keysvc.store: %s", strings.TrimPrefix(err.Error(), "store: "))
	}
	p.check(c.StorePasswordFile == "" || !strings.HasPrefix(c.Store, "sqlite:"), "keysvc.store_password_file: an SQLite store has no password")
	p.check(c.MaxConnections >= 0, "keysvc.max_connections: must not be negative")
	p.check(c.DrainTimeout >= 0, "keysvc.drain_timeout: must not be negative")
	p.check(c.SweepInterval >= 0, "keysvc.sweep_interval: must not be negative")
	c.validateListen(&p)
	c.validatePrincipals(&p)
	return p.join()
}

func (c *Config) validateListen(p *problems) {
	p.check(c.TLS.CertFile == "" || c.TLS.KeyFile != "", "keysvc.tls.key_file: missing")
	p.check(c.TLS.KeyFile == "" || c.TLS.CertFile != "", "keysvc.tls.cert_file: missing")
	if c.Listen == "" {
		p.add("keysvc.listen: missing (for example 127.0.0.1:8443)")
		return
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		p.add("keysvc.listen: %q is not host:port", c.Listen)
		return
	}
	ip := net.ParseIP(host)
	local := host == "localhost" || ip != nil && ip.IsLoopback()
	p.check(local || c.TLS.CertFile != "",
		"keysvc.listen: %s is reachable from other hosts and keysvc.tls is not set: data keys would cross the network in the clear", c.Listen)
}

func (c *Config) validatePrincipals(p *problems) {
	p.check(len(c.Principals) > 0, "keysvc.principals: missing: nobody could use the service")
	names, ids := map[string]int{}, map[string]int{}
	for i, pr := range c.Principals {
		at := fmt.Sprintf("keysvc.principals[%d]", i)
		p.check(pr.Name != "", "%s.name: missing", at)
		p.check(pr.Name == "" || userForm.MatchString(pr.Name), "%s.name: %q is not an IAM user name", at, pr.Name)
		p.check(pr.AccessKeyID != "", "%s.access_key_id: missing", at)
		p.check(pr.AccessKeyID == "" || accessKeyForm.MatchString(pr.AccessKeyID), "%s.access_key_id: want 16 to 128 letters and digits", at)
		p.check(pr.SecretAccessKeyFile != "", "%s.secret_access_key_file: missing", at)
		p.unique(names, pr.Name, at+".name", i)
		p.unique(ids, pr.AccessKeyID, at+".access_key_id", i)
		for j, a := range pr.Allow {
			a.validate(p, fmt.Sprintf("%s.allow[%d]", at, j))
		}
	}
}

func (a *Allow) validate(p *problems, at string) {
	p.check(len(a.Actions) > 0, "%s.actions: missing", at)
	p.check(len(a.Keys) > 0, "%s.keys: missing", at)
	for _, pattern := range a.Actions {
		if problem := checkAction(pattern); problem != "" {
			p.add("%s.actions: %s", at, problem)
		}
	}
	for _, key := range a.Keys {
		p.check(keyPattern(key), "%s.keys: %q is none of a key ID, a key ARN, alias/name, an alias ARN, a pattern of these with * and ?", at, key)
	}
}

var keyPatternForm = regexp.MustCompile(`^(\*|arn:[A-Za-z0-9:/_*?.-]+|alias/[A-Za-z0-9/_*?-]+|(mrk-)?[0-9a-f*?-]+)$`)

func keyPattern(s string) bool { return keyPatternForm.MatchString(s) }

// checkAction says what is wrong with an action pattern, or "".
func checkAction(pattern string) string {
	actions := actionNames()
	for _, a := range actions {
		if policy.MatchAction(pattern, a) {
			return ""
		}
	}
	if strings.ContainsAny(pattern, "*?") {
		return fmt.Sprintf("pattern %s matches no action", pattern)
	}
	return fmt.Sprintf("unknown action %s (nearest: %s)", pattern, nearest(pattern, actions))
}

// nearest returns the name with the smallest edit distance to s; of equal
// ones, that which begins like s for longest.
func nearest(s string, names []string) string {
	s = strings.ToLower(s)
	return slices.MinFunc(names, func(a, b string) int {
		a, b = strings.ToLower(a), strings.ToLower(b)
		return cmp.Or(cmp.Compare(levenshtein.Distance(s, a, nil), levenshtein.Distance(s, b, nil)), cmp.Compare(common(s, b), common(s, a)))
	})
}

// common is the length of the beginning that a and b share.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func (c Config) withDefaults() Config {
	if len(c.Regions) == 0 {
		c.Regions = []string{c.Region}
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 4096
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10 * time.Second
	}
	if c.SweepInterval == 0 {
		c.SweepInterval = time.Minute
	}
	return c
}

// loadPrincipals reads the secrets of the configured principals.
func loadPrincipals(c *Config) (map[string]*principal, error) {
	all := make(map[string]*principal, len(c.Principals))
	for i, p := range c.Principals {
		raw, err := os.ReadFile(p.SecretAccessKeyFile)
		if err != nil {
			return nil, fmt.Errorf("keysvc.principals[%d].secret_access_key_file: %w", i, err)
		}
		secret := strings.TrimSpace(string(raw))
		clear(raw)
		if len(secret) < 16 {
			return nil, fmt.Errorf("keysvc.principals[%d].secret_access_key_file: %s holds fewer than 16 characters", i, p.SecretAccessKeyFile)
		}
		pr := &principal{arn: "arn:aws:iam::" + c.Account + ":user/" + p.Name, secret: secret}
		for _, a := range p.Allow {
			pr.allow = append(pr.allow, policy.Allow{Actions: a.Actions, Keys: a.Keys})
		}
		all[p.AccessKeyID] = pr
	}
	return all, nil
}

// problems collects what is wrong with a configuration.
type problems []error

func (p *problems) add(format string, args ...any) {
	*p = append(*p, fmt.Errorf(format, args...))
}

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		p.add(format, args...)
	}
}

func (p *problems) unique(seen map[string]int, value, at string, i int) {
	if value == "" {
		return
	}
	if first, ok := seen[value]; ok {
		p.add("%s: the same as that of principals[%d]", at, first)
		return
	}
	seen[value] = i
}

func (p *problems) join() error { return errors.Join(*p...) }
