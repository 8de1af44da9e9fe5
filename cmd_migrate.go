// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sidekey/sidekey/s3gateway"
)

func migrateCommand() *cobra.Command {
	command := &cobra.Command{Use: "migrate", Short: "Seal what was stored before sidekey"}
	command.AddCommand(migrateS3Command(), migratePgCommand())
	return command
}

// migration is the command line of `sidekey migrate s3`.
type migration struct {
	config, auditDir, rate string
	options                s3gateway.MigrateOptions
}

func migrateS3Command() *cobra.Command {
	var m migration
	command := &cobra.Command{
		Use:   "s3",
		Short: "Seal the plaintext objects of a bucket, where they are",
		Long: `Seals the plaintext objects of a bucket at the store of the sidecar's
configuration, under the keys of its rules. What is sealed is left alone, so that
a run that was interrupted can be started again. Clients may go on meanwhile.

Exit status 0 says that everything that was looked at is sealed, 1 that it is not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg ProxyConfig
			if err := loadConfig(m.config, &cfg); err != nil {
				return err
			}
			m.options.Output = cmd.ErrOrStderr()
			// The first signal has the objects in hand finished, the next ends at once.
			stop := context.AfterFunc(cmd.Context(), func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })
			defer stop()
			return m.run(cmd.Context(), &cfg)
		},
	}
	flags, o := command.Flags(), &m.options
	flags.StringVarP(&m.config, "config", "c", "/etc/sidekey/proxy.yaml", "configuration file of the sidecar")
	flags.StringVar(&o.Bucket, "bucket", "", "bucket at the store (required)")
	flags.StringVar(&o.Prefix, "prefix", "", "only objects whose names begin with it")
	flags.StringVar(&m.rate, "rate", "", "bytes per second to read at most, such as 50MiB; reading back counts too")
	flags.IntVar(&o.Concurrency, "concurrency", 4, "objects in hand at once")
	flags.BoolVar(&o.DryRun, "dry-run", false, "only say what would be sealed")
	flags.BoolVar(&o.VerifyOnly, "verify-only", false, "open every object in full; name those that are not sealed or cannot be opened")
	flags.BoolVar(&o.NoVerify, "no-verify", false, "do not read back what was sealed")
	flags.BoolVar(&o.DeletePlaintextVersions, "delete-plaintext-versions", false,
		"delete the old versions of an object that are not sealed, once its sealed version was read back")
	flags.StringVar(&o.State, "state", "", "file that keeps how far an interrupted run came")
	flags.StringVar(&m.auditDir, "audit-dir", "", "directory of the audit log (default: that of the sidecar, with -migrate at its end)")
	if err := command.MarkFlagRequired("bucket"); err != nil {
		panic(err)
	}
	return command
}

func (m *migration) run(ctx context.Context, cfg *ProxyConfig) error {
	if cfg.S3 == nil {
		return errors.New("the configuration has no s3: there is no store to migrate")
	}
	if m.rate != "" {
		rate, err := humanize.ParseBytes(m.rate)
		if err != nil || rate == 0 || rate > math.MaxInt64 {
			return fmt.Errorf("--rate: %q is no number of bytes such as 50MiB", m.rate)
		}
		m.options.Rate = int64(rate)
	}
	// The sidecar may be running, and its log is its own.
	records := cfg.Audit
	if records.Dir = filepath.Clean(records.Dir) + "-migrate"; m.auditDir != "" {
		records.Dir = m.auditDir
	}
	log := newLogger()
	cipher, al, closeCipher, err := openCipher(cfg, records, log)
	if err != nil {
		return err
	}
	defer closeCipher()
	migrator, err := s3gateway.NewMigrator(*cfg.S3, m.options, cipher, al, log)
	if err != nil {
		return err
	}
	summary, err := migrator.Run(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted; start it again to go on")
	case err != nil:
		return err
	case !summary.Complete():
		return fmt.Errorf("%d objects are not sealed, and %d failed", summary.Unsealed, summary.Failed)
	}
	return nil
}
