// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/sidekey/sidekey/keysvc/audit"
)

// KMSConfig says where the key service is.
type KMSConfig struct {
	// Endpoint is the URL of the key service. Empty means AWS KMS of Region. http is
	// for a key service on the same host, at a loopback address.
	Endpoint string `yaml:"endpoint"`

	// Region is the region that requests are signed for. Default us-east-1.
	Region string `yaml:"region"`

	// AccessKeyID and the secret in SecretAccessKeyFile sign requests.
	AccessKeyID string `yaml:"access_key_id"`

	// SecretAccessKeyFile holds the secret access key; white space around it is
	// ignored.
	SecretAccessKeyFile string `yaml:"secret_access_key_file"`

	// CAFile holds PEM certificates that the key service's certificate must chain
	// to. Empty means the system's.
	CAFile string `yaml:"ca_file"`
}

// Validate reports the first setting that cannot work.
func (c *KMSConfig) Validate() error {
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("endpoint: %q is not an http or https URL", c.Endpoint)
		}
		if u.Scheme == "http" && !loopback(u.Hostname()) {
			return fmt.Errorf("endpoint: %q would send data keys over the network in clear; use https", c.Endpoint)
		}
	}
	if c.AccessKeyID == "" {
		return errors.New("access_key_id: missing")
	}
	if c.SecretAccessKeyFile == "" {
		return errors.New("secret_access_key_file: missing")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// NewKMS returns a client of the key service. Its requests carry the trace
// context of ctx, and are tried three times within three seconds: a data-key
// cache rides out what is shorter, and waiting longer only queues clients.
func NewKMS(cfg KMSConfig) (*kms.Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	secret, err := os.ReadFile(cfg.SecretAccessKeyFile)
	if err != nil {
		return nil, fmt.Errorf("secret_access_key_file: %w", err)
	}
	client, err := kmsHTTPClient(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	credentials := aws.Credentials{AccessKeyID: cfg.AccessKeyID, SecretAccessKey: strings.TrimSpace(string(secret))}
	if credentials.SecretAccessKey == "" {
		return nil, fmt.Errorf("secret_access_key_file: %s is empty", cfg.SecretAccessKeyFile)
	}
	options := kms.Options{
		Region: cfg.Region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return credentials, nil
		}),
		HTTPClient: client,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 3
			o.MaxBackoff = 250 * time.Millisecond
			o.RateLimiter = ratelimit.None // an outage must not forbid trying when it is over
		}),
	}
	if options.Region == "" {
		options.Region = "us-east-1"
	}
	if cfg.Endpoint != "" {
		options.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	return kms.New(options), nil
}

func kmsHTTPClient(caFile string) (*http.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", caFile)
		}
	}
	// No Proxy: the sidecar may itself be the host's HTTPS_PROXY.
	// No redirects: the answer is a data key, from the key service or nobody.
	return &http.Client{CheckRedirect: noRedirect, Transport: tracing{&http.Transport{
		DialContext:           (&net.Dialer{Timeout: time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   time.Second,
		ResponseHeaderTimeout: 2500 * time.Millisecond,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}}}, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// tracing adds the trace context after signing, so that it is not signed.
type tracing struct{ next http.RoundTripper }

func (t tracing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	audit.Inject(r.Context(), r.Header)
	return t.next.RoundTrip(r)
}
