// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// devOptions are the flags of `sidekey dev`.
type devOptions struct {
	dir      string // state; a temporary directory, removed at the end, if empty
	portBase int    // the first of the ports used; 0 = free ports of the system's choice
	minio    string // a MinIO binary to run as S3 upstream instead of the embedded server
	rules    string // a YAML file that takes the place of the default rules
	backends bool   // run only what sidekey stands between: HSM token, PostgreSQL, S3
}

func devCommand() *cobra.Command {
	var options devOptions
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole stack on this machine: SoftHSM, key service, sidecar, PostgreSQL, S3",
		Long: `Run the whole stack on this machine: a SoftHSM token, the key service, the
sidecar, a PostgreSQL server and an S3 server, all on 127.0.0.1. Prints what to
paste into a shell, and the same is in the file env.sh of its directory.
For trying sidekey, not for data you want to keep.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDev(cmd.Context(), options, cmd.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.dir, "dir", "", "directory for keys, data and logs, kept afterwards (default: a temporary one, removed)")
	flags.IntVar(&options.portBase, "port-base", 7400, "first of the ports to listen on; 0 for free ones")
	flags.StringVar(&options.minio, "minio", "", "path of a MinIO binary to run as S3 upstream (default: an embedded S3 server)")
	flags.StringVar(&options.rules, "rules", "", "YAML file with the lists objects and columns, instead of the default rules")
	flags.BoolVar(&options.backends, "backends", false, "start only the HSM token, PostgreSQL and S3, and leave keysvc and proxy to you")
	return command
}

// runDev starts every part, prints the endpoints and serves until ctx ends.
func runDev(ctx context.Context, options devOptions, out io.Writer) (err error) {
	dir, cleanup, err := devDir(options.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	stack, err := newDevStack(dir, options)
	if err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "sidekey.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	log := slog.New(slog.NewJSONHandler(logFile, nil))

	// The servers that sidekey's own parts depend on end after them.
	backendCtx, stopBackends := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackends()
	backends, backendCtx := errgroup.WithContext(backendCtx)
	if err := stack.startBackends(backendCtx, backends); err != nil {
		stopBackends()
		return errors.Join(err, ignoreCancelled(backends.Wait()))
	}
	// A server that ends by itself ends the stack.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(backendCtx, stop)
	serve := stack.runSidekey
	if options.backends {
		serve = stack.waitForEnd
	}
	err = serve(ctx, log, func() error { return stack.announce(out) })
	stopBackends()
	return errors.Join(ignoreCancelled(err), ignoreCancelled(backends.Wait()))
}

// devDir makes the state directory and says how to end it: a named one is kept.
func devDir(named string) (dir string, cleanup func() error, err error) {
	if named == "" {
		dir, err = os.MkdirTemp("", "sidekey-dev-")
		cleanup = func() error { return os.RemoveAll(dir) }
	} else {
		dir, err = filepath.Abs(named)
		cleanup = func() error { return nil }
		if err == nil {
			err = os.MkdirAll(dir, 0o711)
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("making the state directory: %w", err)
	}
	// PostgreSQL runs as a user of its own below this directory.
	return dir, cleanup, os.Chmod(dir, 0o711)
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
