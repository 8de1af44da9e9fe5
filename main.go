// SPDX-License-Identifier: Apache-2.0

// Sidekey encrypts what applications keep in S3 and PostgreSQL, under keys
// that never leave an HSM. This file holds the command line; each subcommand
// has a file of its own that reads its configuration, wires the parts, serves
// and drains.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	if err := harden(); err != nil {
		fmt.Fprintln(os.Stderr, "sidekey:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sidekey:", err)
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "sidekey",
		Short:         "Transparent encryption for S3 and PostgreSQL under keys in your own HSM",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(proxyCommand(), auditCommand(), inspectCommand(), migrateCommand())
	root.AddCommand(fullCommands()...)
	return root
}

// version is the module version or, for a build from a checkout, the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return info.Main.Version
}

// newLogger writes one JSON object per line to standard error.
func newLogger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(os.Stderr, nil))
}
