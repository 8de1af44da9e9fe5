// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/sidekey/sidekey/proxy"
)

// Config is the S3 gateway.
type Config struct {
	// Listen is the address of the gateway, host:port.
	Listen string `yaml:"listen"`

	// TLS holds the certificate and key of the listener. Without them it speaks
	// plain HTTP, which is for loopback only.
	TLS proxy.TLSConfig `yaml:"tls"`

	// Domains are the base domains under which a bucket may be named in the
	// host (bucket.DOMAIN). The hosts of AWS itself (bucket.s3.REGION.amazonaws.com)
	// are always recognised; under any other host the bucket is in the path.
	Domains []string `yaml:"domains"`

	// Region is the region that clients sign for, and that the gateway says it
	// is in. Empty accepts any region and passes on what the upstream says.
	Region string `yaml:"region"`

	// ETag is what clients see as ETags: store, the default, those of the store,
	// which are opaque as those of S3 with SSE-KMS are; or md5, the MD5 of the
	// plaintext, for clients that insist. md5 costs an MD5 of all content, a request
	// more to read or look at objects above 64 KiB, and in listings one or two requests
	// for each object that was not listed lately.
	ETag string `yaml:"etag"`

	// InstructionFiles lets objects of the Amazon S3 Encryption Client be read whose
	// wrapped key is in an instruction file and whose content is not committed to its
	// key (format V2): who can replace such a file can give the object other content
	// that he prepared (CVE-2025-14764). It is also what has instruction files looked
	// for where an object has no metadata of that client. The rule's foreign must allow
	// objects that are not sealed.
	InstructionFiles bool `yaml:"instruction_files"`

	// MaxRequests is how many requests are served at a time; more are answered
	// with SlowDown at once, which clients try again. 0 means 128.
	MaxRequests int `yaml:"max_requests"`

	// Upstream is the store that receives the ciphertext.
	Upstream Upstream `yaml:"upstream"`

	// Clients are the access keys that are accepted.
	Clients []Client `yaml:"clients"`

	// Anonymous is what is allowed without a signature. Empty means nothing.
	Anonymous []Anonymous `yaml:"anonymous"`
}

// Upstream is an S3 service and the credentials for it.
type Upstream struct {
	// Endpoint is the URL of the service, such as https://s3.eu-central-1.amazonaws.com.
	Endpoint string `yaml:"endpoint"`

	// Region is the region to sign for; empty means us-east-1.
	Region string `yaml:"region"`

	// AccessKeyID is the access key of the gateway at the upstream.
	AccessKeyID string `yaml:"access_key_id"`

	// SecretAccessKeyFile names the file that holds its secret.
	SecretAccessKeyFile string `yaml:"secret_access_key_file"`

	// PathStyle puts the bucket into the path rather than the host. The default
	// is true.
	PathStyle *bool `yaml:"path_style"`

	// CAFile names a PEM file of the only certificate authorities to trust for
	// the upstream. Empty means those of the system.
	CAFile string `yaml:"ca_file"`

	// Checksum is what protects the ciphertext on its way: crc64nvme, which the
	// store verifies before it keeps an object, or none. The default is crc64nvme
	// over https; over http it is none, since small stores do not know the
	// aws-chunked form that it needs.
	Checksum string `yaml:"checksum"`
}

// Client is one access key of the applications.
type Client struct {
	// Name is the principal that the audit log names.
	Name string `yaml:"name"`

	// AccessKeyID and the secret in SecretAccessKeyFile are what the client
	// signs its requests with. They are the gateway's own, not the upstream's.
	AccessKeyID         string `yaml:"access_key_id"`
	SecretAccessKeyFile string `yaml:"secret_access_key_file"`
}

// Validate names the first setting that is missing or wrong.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return fmt.Errorf("s3.listen: missing")
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("s3.tls.%w", err)
	}
	for i, domain := range c.Domains {
		if domain == "" || strings.ContainsAny(domain, "/: ") {
			return fmt.Errorf("s3.domains[%d]: want a host name without port", i)
		}
	}
	if c.ETag != "" && c.ETag != etagStore && c.ETag != etagMD5 {
		return fmt.Errorf("s3.etag: want %s or %s", etagStore, etagMD5)
	}
	if c.MaxRequests < 0 {
		return fmt.Errorf("s3.max_requests: want a number of requests, or 0 for %d", defaultMaxRequests)
	}
	if err := c.Upstream.validate(); err != nil {
		return err
	}
	if len(c.Clients) == 0 {
		return fmt.Errorf("s3.clients: missing; without clients nobody can sign a request")
	}
	seen := make(map[string]bool, len(c.Clients))
	for i, client := range c.Clients {
		switch {
		case client.Name == "":
			return fmt.Errorf("s3.clients[%d].name: missing", i)
		case client.Name == anonymousPrincipal:
			return fmt.Errorf("s3.clients[%d].name: %s is the name of requests without a signature", i, anonymousPrincipal)
		case client.AccessKeyID == "":
			return fmt.Errorf("s3.clients[%d].access_key_id: missing", i)
		case seen[client.AccessKeyID]:
			return fmt.Errorf("s3.clients[%d].access_key_id: given twice", i)
		case client.SecretAccessKeyFile == "":
			return fmt.Errorf("s3.clients[%d].secret_access_key_file: missing", i)
		}
		seen[client.AccessKeyID] = true
	}
	for i, anonymous := range c.Anonymous {
		if err := anonymous.validate(); err != nil {
			return fmt.Errorf("s3.anonymous[%d].%w", i, err)
		}
	}
	return nil
}

func (u *Upstream) validate() error {
	if u.Endpoint == "" {
		return fmt.Errorf("s3.upstream.endpoint: missing")
	}
	endpoint, err := url.Parse(u.Endpoint)
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		return fmt.Errorf("s3.upstream.endpoint: want a URL such as https://s3.example.com")
	}
	if strings.Trim(endpoint.Path, "/") != "" || endpoint.RawQuery != "" || endpoint.User != nil {
		return fmt.Errorf("s3.upstream.endpoint: want scheme, host and port only")
	}
	switch {
	case u.AccessKeyID == "":
		return fmt.Errorf("s3.upstream.access_key_id: missing")
	case u.SecretAccessKeyFile == "":
		return fmt.Errorf("s3.upstream.secret_access_key_file: missing")
	case u.Checksum != "" && u.Checksum != checksumNone && u.Checksum != checksumCRC64NVME:
		return fmt.Errorf("s3.upstream.checksum: want %s or %s", checksumCRC64NVME, checksumNone)
	}
	return nil
}

func readSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s: the file is empty", path)
	}
	return secret, nil
}
