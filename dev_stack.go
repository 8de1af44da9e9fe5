// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/sync/errgroup"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/proxy"
)

const (
	devRegion   = "us-east-1"
	devAccount  = "000000000000"
	devKeyAlias = "alias/dev"
	devToken    = "sidekey-dev"
)

// devStack is what `sidekey dev` runs. Its exported fields fill the templates
// below; secrets are in files of Dir, never in the fields.
type devStack struct {
	Dir                                   string
	Region, Account, KeyAlias             string
	KMS, S3, Postgres, Forward            string // host:port, what clients use
	UpstreamS3, UpstreamPostgres          string // host:port, around the sidecar
	AdminID, SidecarID, AppID, UpstreamID string // access key IDs
	Module                                string // PKCS#11 module of SoftHSM
	TokenURI                              string
	Rules                                 string // YAML of the rules, indented to stand in proxy.yaml
	minio                                 string
	keysvcConfig                          KeysvcConfig
	proxyConfig                           ProxyConfig
}

func newDevStack(dir string, options devOptions) (*devStack, error) {
	s := &devStack{
		Dir: dir, Region: devRegion, Account: devAccount, KeyAlias: devKeyAlias,
		AdminID: "AKIADEVADMIN00000000", SidecarID: "AKIADEVSIDECAR000000",
		AppID: "AKIADEVAPP0000000000", UpstreamID: "AKIADEVUPSTREAM00000",
		minio: options.minio,
	}
	taken := map[string]bool{}
	for i, address := range []*string{&s.KMS, &s.S3, &s.Postgres, &s.Forward, &s.UpstreamS3, &s.UpstreamPostgres} {
		port := 0
		if options.portBase != 0 {
			port = options.portBase + i
		}
		free, err := freeAddress(port)
		for err == nil && port == 0 && taken[free] {
			free, err = freeAddress(port)
		}
		if err != nil {
			return nil, err
		}
		*address, taken[free] = free, true
	}
	for _, name := range []string{"admin", "sidecar", "app", "upstream"} {
		if err := s.makeSecret(name + ".secret"); err != nil {
			return nil, err
		}
	}
	if err := s.readRules(options.rules); err != nil {
		return nil, err
	}
	return s, s.initToken()
}

// readRules takes the rules from a file, or the default ones.
func (s *devStack) readRules(path string) error {
	rules := defaultRules
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the rules: %w", err)
		}
		rules = string(text)
	}
	s.Rules = "  " + strings.ReplaceAll(strings.TrimSpace(rules), "\n", "\n  ")
	return nil
}

// freeAddress finds out whether 127.0.0.1:port can be listened on. Port 0 is a
// free one, below those that Linux gives to outgoing connections, which could
// take it before it is listened on.
func freeAddress(port int) (string, error) {
	if port != 0 {
		return listenable(port)
	}
	address, err := "", error(nil)
	for range 100 {
		if address, err = listenable(10_000 + rand.IntN(22_000)); err == nil {
			break
		}
	}
	return address, err
}

func listenable(port int) (string, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", fmt.Errorf("%w; choose other ports with --port-base", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func (s *devStack) path(elements ...string) string {
	return filepath.Join(append([]string{s.Dir}, elements...)...)
}

// makeSecret writes 20 random bytes in hex to a file of mode 0600, once.
func (s *devStack) makeSecret(name string) error {
	if _, err := os.Stat(s.path(name)); err == nil {
		return nil
	}
	secret := make([]byte, 20)
	cryptorand.Read(secret)
	return os.WriteFile(s.path(name), []byte(hex.EncodeToString(secret)), 0o600)
}

func (s *devStack) secret(name string) (string, error) {
	secret, err := os.ReadFile(s.path(name))
	return string(bytes.TrimSpace(secret)), err
}

// initToken makes the SoftHSM token with a random PIN, once.
func (s *devStack) initToken() error {
	module, err := softHSMModule()
	if err != nil {
		return err
	}
	tokens, conf := s.path("tokens"), s.path("softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Setenv("SOFTHSM2_CONF", conf); err != nil {
		return err
	}
	s.Module = module
	s.TokenURI = fmt.Sprintf("pkcs11:token=%s;object=sidekey-root?module-path=%s&pin-source=file:%s",
		devToken, module, s.path("hsm.pin"))
	if _, err := os.Stat(tokens); err == nil {
		return nil
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		return err
	}
	if err := errors.Join(s.makeSecret("hsm.pin"), s.makeSecret("hsm.so-pin")); err != nil {
		return err
	}
	return hsm.InitToken(context.Background(), module, devToken, s.path("hsm.so-pin"), s.path("hsm.pin"))
}

func softHSMModule() (string, error) {
	candidates := []string{
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
		"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/lib64/softhsm/libsofthsm2.so",
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no SoftHSM module found; install the package softhsm2 (deploy/setup.sh does)")
}

// startBackends starts PostgreSQL and the S3 upstream.
func (s *devStack) startBackends(ctx context.Context, group *errgroup.Group) error {
	if err := s.startPostgres(ctx, group); err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	if err := s.startUpstreamS3(ctx, group); err != nil {
		return fmt.Errorf("starting the S3 upstream: %w", err)
	}
	return nil
}

// runSidekey serves the key service and then the sidecar until ctx ends or one
// of them fails. The sidecar ends first, so that it drains with keys at hand.
func (s *devStack) runSidekey(ctx context.Context, log *slog.Logger, ready func() error) error {
	if err := s.writeConfigs(); err != nil {
		return err
	}
	keysCtx, stopKeys := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeys()
	keysReady, keysDone := make(chan struct{}), make(chan error, 1)
	go func() {
		keysDone <- runKeysvc(keysCtx, &s.keysvcConfig, log, func() { close(keysReady) })
	}()
	select {
	case err := <-keysDone:
		return err
	case <-keysReady:
	}
	if err := s.createKey(ctx); err != nil {
		return fmt.Errorf("creating the key %s: %w", s.KeyAlias, err)
	}
	proxyCtx, stopProxy := context.WithCancel(ctx)
	defer stopProxy()
	proxyDone := make(chan error, 1)
	go func() {
		var announceErr error
		err := runProxy(proxyCtx, &s.proxyConfig, log, func() { announceErr = ready() })
		proxyDone <- errors.Join(err, announceErr)
	}()
	select {
	case err := <-keysDone:
		stopProxy()
		return errors.Join(err, <-proxyDone)
	case err := <-proxyDone:
		stopKeys()
		return errors.Join(err, <-keysDone)
	}
}

// waitForEnd stands in for runSidekey where the user runs keysvc and proxy.
func (s *devStack) waitForEnd(ctx context.Context, _ *slog.Logger, ready func() error) error {
	if err := errors.Join(s.writeConfigs(), ready()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// createKey makes the KMS key that the rules name by its alias, once.
func (s *devStack) createKey(ctx context.Context) error {
	client, err := proxy.NewKMS(proxy.KMSConfig{
		Endpoint: "http://" + s.KMS, Region: s.Region,
		AccessKeyID: s.AdminID, SecretAccessKeyFile: s.path("admin.secret"),
	})
	if err != nil {
		return err
	}
	var notFound *kmstypes.NotFoundException
	_, err = client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &s.KeyAlias})
	if !errors.As(err, &notFound) {
		return err
	}
	key, err := client.CreateKey(ctx, &kms.CreateKeyInput{Description: aws.String("sidekey dev")})
	if err != nil {
		return err
	}
	_, err = client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &s.KeyAlias, TargetKeyId: key.KeyMetadata.KeyId})
	return err
}

func (s *devStack) writeConfigs() error {
	return errors.Join(
		s.writeConfig("keysvc.yaml", keysvcTemplate, &s.keysvcConfig),
		s.writeConfig("proxy.yaml", proxyTemplate, &s.proxyConfig))
}

// writeConfig fills a template, writes it where the user can read and copy it,
// and decodes it as the subcommands do.
func (s *devStack) writeConfig(name, text string, out validator) error {
	if err := s.writeTemplate(name, text); err != nil {
		return err
	}
	return loadConfig(s.path(name), out)
}

func (s *devStack) writeTemplate(name, text string) error {
	functions := template.FuncMap{"secret": s.secret, "file": func(name string) string { return s.path(name) }}
	parsed, err := template.New(name).Funcs(functions).Parse(text)
	if err != nil {
		return err
	}
	var filled bytes.Buffer
	if err := parsed.Execute(&filled, s); err != nil {
		return err
	}
	return os.WriteFile(s.path(name), filled.Bytes(), 0o600)
}

// announce writes the clients' files and prints the endpoints.
func (s *devStack) announce(out io.Writer) error {
	for name, text := range map[string]string{
		"aws-credentials": credentialsTemplate, "aws-config": awsConfigTemplate,
		"pgpass": pgpassTemplate, "env.sh": envTemplate,
	} {
		if err := s.writeTemplate(name, text); err != nil {
			return err
		}
	}
	env, err := os.ReadFile(s.path("env.sh"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "sidekey is running; paste this into a shell, or: . %s\n\n%s\nEnd it with Ctrl-C.\n", s.path("env.sh"), env)
	return err
}
