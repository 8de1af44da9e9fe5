// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// What the key service of these tests answers for.
const (
	kmsRegion      = "us-east-1"
	kmsOtherRegion = "eu-west-1"
	kmsAccount     = "000000000000"
)

// A kmsService is a key service in a process of its own, with a key store of
// its own, on the HSM of the shared stack. Its principal admin may do
// everything, app nothing.
type kmsService struct {
	*process
	testCA
	address string
}

// overHTTPAndTLS runs a test against a key service over plain HTTP and against
// one whose certificate a test CA has signed, both configured with edits.
func overHTTPAndTLS(t *testing.T, edits []string, test func(t *testing.T, s *kmsService)) {
	t.Run("http", func(t *testing.T) { test(t, startKMS(t, raceBinary, false, edits...)) })
	t.Run("tls", func(t *testing.T) { test(t, startKMS(t, raceBinary, true, edits...)) })
}

// startKMS starts a key service; edits are pairs for replaceIn on its configuration.
func startKMS(t *testing.T, binary string, overTLS bool, edits ...string) *kmsService {
	t.Helper()
	dir := t.TempDir()
	s := &kmsService{address: freeAddress(t)}
	listen := "listen: " + s.address
	if overTLS {
		cert, key := s.testCA.write(t, dir)
		listen += "\n  tls: {cert_file: " + cert + ", key_file: " + key + "}"
	}
	config := replaceIn(t, readFile(t, shared.path("keysvc.yaml")),
		"listen: "+hostOf(shared.env["KMS_ENDPOINT"]), listen,
		shared.path("keys.db"), filepath.Join(dir, "keys.db"),
		shared.path("audit-keysvc"), filepath.Join(dir, "audit"),
		"  principals:\n", "  principals:\n    - name: app\n      access_key_id: AKIADEVAPP0000000000\n      secret_access_key_file: "+shared.path("app.secret")+"\n")
	config = replaceIn(t, config, edits...)
	p, err := startProcess(filepath.Join(dir, "keysvc.log"), []string{"SOFTHSM2_CONF=" + shared.env["SOFTHSM2_CONF"]},
		binary, "keysvc", "--config", writeFile(t, config))
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	t.Cleanup(func() { s.end(t) })
	if err := p.waitForAddress(s.address); err != nil {
		t.Fatal(err)
	}
	return s
}

// end stops the service and looks for signs of a crash in its log.
func (s *kmsService) end(t *testing.T) {
	s.stop(syscall.SIGTERM)
	log := readFile(t, s.logPath)
	for _, sign := range []string{"WARNING: DATA RACE", "panic", "fatal error:", "SIGSEGV", `"level":"ERROR"`} {
		if strings.Contains(log, sign) {
			t.Errorf("the key service's log holds %q:\n%.4000s", sign, log[max(0, strings.Index(log, sign)-1000):])
		}
	}
}

func (s *kmsService) endpoint() string {
	if s.caFile != "" {
		return "https://" + s.address
	}
	return "http://" + s.address
}

// environment is what clients in processes of their own find the service with.
func (s *kmsService) environment() []string {
	env := []string{"KMS_ENDPOINT=" + s.endpoint()}
	if s.caFile != "" {
		env = append(env, "AWS_CA_BUNDLE="+s.caFile, "NODE_EXTRA_CA_CERTS="+s.caFile)
	}
	return env
}

// client is the SDK's client for admin or app, without retries.
func (s *kmsService) client(t testing.TB, profile, region string) *kms.Client {
	t.Helper()
	ids := map[string]string{"admin": "AKIADEVADMIN00000000", "app": "AKIADEVAPP0000000000"}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, DialContext: (&net.Dialer{}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return kms.New(kms.Options{
		Region: region, BaseEndpoint: aws.String(s.endpoint()), Retryer: aws.NopRetryer{},
		HTTPClient:  &http.Client{Transport: transport, Timeout: time.Minute},
		Credentials: credentials.NewStaticCredentialsProvider(ids[profile], shared.secret(t, profile), ""),
	})
}

// createKey makes a key and returns its ID and ARN.
func createKey(ctx context.Context, t testing.TB, client *kms.Client, in *kms.CreateKeyInput) (id, arn string) {
	t.Helper()
	out, err := client.CreateKey(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.KeyMetadata.KeyId, *out.KeyMetadata.Arn
}

func keyARN(region, id string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", region, kmsAccount, id)
}
