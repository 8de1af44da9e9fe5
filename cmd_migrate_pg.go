// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sidekey/sidekey/dbproxy"
)

// columnMigration is the command line of `sidekey migrate pg`.
type columnMigration struct {
	config, from, auditDir     string
	decrypt, rotate, reencrypt bool
	options                    dbproxy.MigrateOptions
}

func migratePgCommand() *cobra.Command {
	var m columnMigration
	command := &cobra.Command{
		Use:   "pg",
		Short: "Encrypt the columns of a table, where they are",
		Long: `Encrypts the columns of a table that have rules in the sidecar's configuration,
in the database of postgres.admin_url_file, while clients go on, or, by its flags,
takes that back, gives a column a new data key, or brings it under another rule. A
run that was interrupted can be started again.

Exit status 0 says that the columns are what they were to become, 1 that they are not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg ProxyConfig
			if err := loadConfig(m.config, &cfg); err != nil {
				return err
			}
			m.options.Output = cmd.ErrOrStderr()
			// The first signal has the batch in hand finished, the next ends at once.
			stop := context.AfterFunc(cmd.Context(), func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })
			defer stop()
			return m.run(cmd.Context(), &cfg)
		},
	}
	flags, o := command.Flags(), &m.options
	flags.StringVarP(&m.config, "config", "c", "/etc/sidekey/proxy.yaml", "configuration file of the sidecar")
	flags.StringVar(&o.Table, "table", "", "table, as in the rule (required)")
	flags.StringVar(&o.Column, "column", "", "one column of it (default: all that have rules)")
	flags.BoolVar(&m.decrypt, "decrypt", false, "turn the column back into one of plaintext")
	flags.BoolVar(&m.rotate, "rotate", false, "seal the values with a new data key, under the KMS key of the rule")
	flags.BoolVar(&m.reencrypt, "reencrypt", false, "seal what --from's rules have sealed by the rules of the configuration")
	flags.StringVar(&m.from, "from", "", "configuration file with the rules that hold so far, for --reencrypt")
	flags.StringVar(&o.Tenant, "tenant", "", "for columns with per_tenant: column that holds the tenant of each row, or SQL expression over the row")
	flags.IntVar(&o.Rate, "rate", 0, "rows per second at most (default: no bound)")
	flags.IntVar(&o.Batch, "batch", 500, "rows in one transaction")
	flags.BoolVar(&o.DryRun, "dry-run", false, "only say what would be done, and what stands against it")
	flags.BoolVar(&o.VerifyOnly, "verify-only", false, "open every value; name the rows whose value cannot be opened")
	flags.BoolVar(&o.NoVerify, "no-verify", false, "do not compare all values once more before the columns are swapped")
	flags.BoolVar(&o.NoSwap, "no-swap", false, "make the new values, but do not swap the columns yet")
	flags.BoolVar(&o.Abandon, "abandon", false, "take back a move that has not swapped the columns")
	flags.BoolVar(&o.Rewrite, "rewrite", false, "write the table anew at the end (VACUUM FULL), so that its files hold nothing of the old column; locks the table")
	flags.BoolVar(&o.DropIndexes, "drop-indexes", false, "drop indexes that sealed values cannot have")
	flags.BoolVar(&o.AcceptTriggers, "accept-triggers", false, "go on though functions of triggers name the column, or take rows as a whole")
	flags.BoolVar(&o.AcceptOrder, "accept-order", false, "go on though the column comes last in the order of columns: no client has INSERT or COPY without a list of columns")
	flags.BoolVar(&o.AcceptPublications, "accept-publications", false, "go on though publications have the table: subscribers get the second column, then sealed values")
	flags.BoolVar(&o.IgnoreSidecars, "ignore-sidecars", false, "swap though sidecars are connected that do not take part")
	flags.IntVar(&o.Attempts, "attempts", 50, "how often the swap is tried")
	flags.StringVar(&m.auditDir, "audit-dir", "", "directory of the audit log (default: that of the sidecar, with -migrate at its end)")
	command.MarkFlagsMutuallyExclusive("decrypt", "rotate", "reencrypt")
	command.MarkFlagsRequiredTogether("reencrypt", "from")
	if err := command.MarkFlagRequired("table"); err != nil {
		panic(err)
	}
	return command
}

func (m *columnMigration) run(ctx context.Context, cfg *ProxyConfig) error {
	if cfg.Postgres == nil {
		return errors.New("the configuration has no postgres: there is no database to migrate")
	}
	switch {
	case m.decrypt:
		m.options.Action = dbproxy.Decrypt
	case m.rotate:
		m.options.Action = dbproxy.Rotate
	case m.reencrypt:
		m.options.Action = dbproxy.Reencrypt
		var before ProxyConfig
		if err := loadConfig(m.from, &before); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
		m.options.From = before.Rules.Columns
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
	migrator, err := dbproxy.NewMigrator(*cfg.Postgres, cfg.Rules.Columns, m.options, cipher, al, log)
	if err != nil {
		return err
	}
	_, err = migrator.Run(ctx)
	return err
}
