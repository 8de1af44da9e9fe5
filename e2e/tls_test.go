// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/elf"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A second key service and a second sidecar on the same key store, HSM and
// database as the first, with TLS on every way, verified by every client. The
// second sidecar is the static build that holds no PKCS#11 code.
func TestReplicasOverTLS(t *testing.T) {
	people(t)
	text := canary(t, shared)
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir)
	kmsAddress, s3Address, pgAddress := freeAddress(t), freeAddress(t), freeAddress(t)

	config := readFile(t, shared.path("keysvc.yaml"))
	config = replaceIn(t, config,
		"listen: "+hostOf(shared.env["KMS_ENDPOINT"]), "listen: "+kmsAddress+"\n  tls: {cert_file: "+cert+", key_file: "+key+"}",
		shared.path("audit-keysvc"), filepath.Join(dir, "audit-keysvc"))
	keysvc, err := startProcess(filepath.Join(dir, "keysvc.log"), []string{"SOFTHSM2_CONF=" + shared.env["SOFTHSM2_CONF"]},
		shared.binary, "keysvc", "--config", writeFile(t, config))
	if err != nil {
		t.Fatal(err)
	}
	defer keysvc.stop(15)
	if err := keysvc.waitForAddress(kmsAddress); err != nil {
		t.Fatal(err)
	}

	config = readFile(t, shared.path("proxy.yaml"))
	config = config[:strings.Index(config, "forward:")]
	config = replaceIn(t, config,
		"endpoint: "+shared.env["KMS_ENDPOINT"], "endpoint: https://"+kmsAddress+"\n  ca_file: "+cert,
		"listen: "+hostOf(shared.env["S3_ENDPOINT"]), "listen: "+s3Address+"\n  tls: {cert_file: "+cert+", key_file: "+key+"}",
		"listen: "+hostOf(shared.env["DATABASE_URL"]), "listen: "+pgAddress+"\n  tls: {cert_file: "+cert+", key_file: "+key+", require: true}",
		shared.path("audit-proxy"), filepath.Join(dir, "audit-proxy"))
	proxy, err := startProcess(filepath.Join(dir, "proxy.log"), nil, staticSidecar(t), "proxy", "--config", writeFile(t, config))
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.stop(15)
	if err := proxy.waitForAddress(s3Address); err != nil {
		t.Fatal(err)
	}

	// What one replica sealed the other opens, and the other way round.
	bucket := shared.bucket(t, "replicas")
	put(t, shared.app(t), bucket, "by-first", []byte(text))
	second := func(args ...string) string {
		t.Helper()
		out, err := shared.runEnv([]string{"AWS_CA_BUNDLE=" + cert}, "/usr/bin/aws",
			append([]string{"--profile", "app", "--endpoint-url", "https://" + s3Address}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := second("s3", "cp", "s3://replicas/by-first", "-"); got != text {
		t.Errorf("by the first: got %q", got)
	}
	source := writeFile(t, text)
	second("s3", "cp", source, "s3://replicas/by-second")
	if got, err := get(t.Context(), shared.app(t), bucket, "by-second"); err != nil || string(got) != text {
		t.Errorf("by the second: got %q, %v", got, err)
	}
	mustPsql(t, shared.env["DATABASE_URL"], "insert into people (id, c_text, c_secret) values (701, '"+text+"', '"+text+"')")
	url := "postgres://app@" + pgAddress + "/app?sslmode=verify-full&sslrootcert=" + cert
	if got := mustPsql(t, url, "select c_secret from people where c_text = '"+text+"'"); got != text {
		t.Errorf("by the second: got %q", got)
	}
	if _, err := psql(t, "postgres://app@"+pgAddress+"/app?sslmode=disable", "select 1"); err == nil {
		t.Error("a client without TLS was let in")
	}
}

// staticSidecar builds the sidecar's own binary, which needs no loader.
func staticSidecar(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar")
	if output, err := exec.Command("make", "-C", "..", "sidecar", "SIDECAR="+path).CombinedOutput(); err != nil {
		t.Fatalf("building the sidecar: %v\n%s", err, output)
	}
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, header := range binary.Progs {
		if header.Type == elf.PT_INTERP {
			t.Error("the sidecar is linked dynamically")
		}
	}
	return path
}

// replaceIn replaces pairs of texts; each must be there.
func replaceIn(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("no %q in\n%s", pairs[i], text)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// writeCertificate makes a self-signed certificate for 127.0.0.1.
func writeCertificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sidekey e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
