// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A stack is sidekey as it is deployed: the key service and the sidecar in
// processes of their own, before MinIO and PostgreSQL.
type stack struct {
	dir      string
	binary   string
	env      map[string]string // what env.sh exports
	backends *process
	keysvc   *process
	proxy    *process
}

// startStack starts everything with its state in dir and makes the key alias/dev.
func startStack(binary, dir string) (*stack, error) {
	rules, err := filepath.Abs("testdata/rules.yaml")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, binary: binary}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	s.backends, err = startProcess(filepath.Join(dir, "dev.log"), nil, binary,
		"dev", "--backends", "--dir", dir, "--port-base", "0", "--minio", minioBinary, "--rules", rules)
	if err != nil {
		return nil, err
	}
	if err := s.backends.waitForLog("sidekey is running", time.Minute); err != nil {
		s.stop()
		return nil, err
	}
	if s.env, err = readEnv(filepath.Join(dir, "env.sh")); err != nil {
		s.stop()
		return nil, err
	}
	if err := s.startKeysvc(); err != nil {
		s.stop()
		return nil, err
	}
	if err := s.createKey(); err != nil {
		s.stop()
		return nil, err
	}
	if err := s.startProxy(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *stack) startKeysvc() (err error) {
	s.keysvc, err = startProcess(filepath.Join(s.dir, "keysvc.log"), []string{"SOFTHSM2_CONF=" + s.env["SOFTHSM2_CONF"]},
		s.binary, "keysvc", "--config", filepath.Join(s.dir, "keysvc.yaml"))
	if err != nil {
		return err
	}
	return s.keysvc.waitForAddress(hostOf(s.env["KMS_ENDPOINT"]))
}

func (s *stack) startProxy() (err error) {
	s.proxy, err = startProcess(filepath.Join(s.dir, "proxy.log"), nil,
		s.binary, "proxy", "--config", filepath.Join(s.dir, "proxy.yaml"))
	if err != nil {
		return err
	}
	for _, name := range []string{"S3_ENDPOINT", "DATABASE_URL", "SIDEKEY_FORWARD_PROXY"} {
		if err := s.proxy.waitForAddress(hostOf(s.env[name])); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) createKey() error {
	kms := []string{"--profile", "admin", "--endpoint-url", s.env["KMS_ENDPOINT"], "kms"}
	id, err := s.run("/usr/bin/aws", append(kms, "create-key", "--query", "KeyMetadata.KeyId", "--output", "text")...)
	if err != nil {
		return err
	}
	_, err = s.run("/usr/bin/aws", append(kms, "create-alias", "--alias-name", "alias/dev", "--target-key-id", strings.TrimSpace(id))...)
	return err
}

// run runs a client with the stack's credentials and returns its output.
func (s *stack) run(name string, args ...string) (string, error) {
	return s.runEnv(nil, name, args...)
}

func (s *stack) runEnv(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
	for name, value := range s.env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.Env = append(command.Env, env...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// connect is a client of PostgreSQL at a URL, until the test ends.
func (s *stack) connect(t *testing.T, url string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	conn, err := s.tryConnect(t, url, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// tryConnect is for a server that may refuse.
func (s *stack) tryConnect(t *testing.T, url string, mode pgx.QueryExecMode) (*pgx.Conn, error) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Error(err)
		return nil, err
	}
	config.Password, config.DefaultQueryExecMode = s.secret(t, "app"), mode
	return pgx.ConnectConfig(t.Context(), config)
}

func (s *stack) stop() {
	for _, p := range []*process{s.proxy, s.keysvc, s.backends} {
		if p != nil {
			p.stop(syscall.SIGTERM)
		}
	}
}

var logNames = []string{"dev.log", "keysvc.log", "proxy.log"}

// crashed looks for panics and reports of the race detector in the logs.
func (s *stack) crashed() error {
	for _, name := range logNames {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			return err
		}
		for _, sign := range []string{"WARNING: DATA RACE", "panic:", "panic serving", "fatal error:", "SIGSEGV"} {
			if bytes.Contains(text, []byte(sign)) {
				return fmt.Errorf("%s holds %q", name, sign)
			}
		}
	}
	return nil
}

func (s *stack) printLogs() {
	for _, name := range logNames {
		text, _ := os.ReadFile(filepath.Join(s.dir, name))
		if len(text) > 8000 {
			text = text[len(text)-8000:]
		}
		fmt.Fprintf(os.Stderr, "---- %s\n%s\n", name, text)
	}
}

// path is a file of the stack's state directory.
func (s *stack) path(name string) string { return filepath.Join(s.dir, name) }

// secret reads a secret that `sidekey dev` made.
func (s *stack) secret(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(s.path(name + ".secret"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

var exportLine = regexp.MustCompile(`(?m)^export (\w+)=("[^"]*"|\S*)`)

func readEnv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, match := range exportLine.FindAllStringSubmatch(string(text), -1) {
		env[match[1]] = strings.Trim(match[2], `"`)
	}
	return env, nil
}

var hostPort = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func hostOf(url string) string { return hostPort.FindString(url) }

// A process is a server that a test started.
type process struct {
	command *exec.Cmd
	logPath string
	exited  chan struct{}
	err     error // of Wait; valid once exited is closed
}

func startProcess(logPath string, env []string, name string, args ...string) (*process, error) {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	p := &process{command: exec.Command(name, args...), logPath: logPath, exited: make(chan struct{})}
	p.command.Env = append(os.Environ(), env...)
	p.command.Stdout, p.command.Stderr = logFile, logFile
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // also when the tests are killed
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.command.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the process and waits for it.
func (p *process) stop(signal syscall.Signal) {
	p.command.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.command.Process.Kill()
		<-p.exited
	}
}

func (p *process) waitForLog(text string, limit time.Duration) error {
	return p.waitUntil(limit, "no line "+text, func() bool {
		log, _ := os.ReadFile(p.logPath)
		return bytes.Contains(log, []byte(text))
	})
}

func (p *process) waitForAddress(address string) error {
	return p.waitUntil(time.Minute, "does not listen on "+address, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (p *process) waitUntil(limit time.Duration, failure string, done func() bool) error {
	deadline := time.Now().Add(limit)
	for !done() {
		select {
		case <-p.exited:
			log, _ := os.ReadFile(p.logPath)
			return fmt.Errorf("%s ended: %v\n%s", p.command.Path, p.err, log)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(p.logPath)
			return fmt.Errorf("%s %v: %s\n%s", p.command.Path, p.command.Args[1:], failure, log)
		}
	}
	return nil
}
