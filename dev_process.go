// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// startProcess runs command with its output in a log file of Dir, and ends it
// with SIGINT, then SIGKILL, when ctx ends. The command ending by itself is an
// error of the group.
func (s *devStack) startProcess(ctx context.Context, group *errgroup.Group, command *exec.Cmd, logName string) error {
	logFile, err := os.OpenFile(s.path(logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	command.Stdout, command.Stderr = logFile, logFile
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own: Ctrl-C in the terminal must not end it before sidekey.
	command.SysProcAttr.Setpgid = true
	command.SysProcAttr.Pdeathsig = syscall.SIGINT
	if err := command.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	group.Go(func() error {
		select {
		case err := <-exited:
			return fmt.Errorf("%s ended by itself (see %s): %v", filepath.Base(command.Path), s.path(logName), err)
		case <-ctx.Done():
		}
		command.Process.Signal(syscall.SIGINT)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			command.Process.Kill()
			<-exited
		}
		return ctx.Err()
	})
	return nil
}

// waitFor calls check until it succeeds, for half a minute.
func waitFor(ctx context.Context, what string, check func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not become ready: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
