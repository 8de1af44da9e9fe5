// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sidekey/sidekey/keysvc/audit"
)

func auditCommand() *cobra.Command {
	command := &cobra.Command{Use: "audit", Short: "Read the audit logs"}
	var dirs []string
	command.PersistentFlags().StringSliceVar(&dirs, "dir", nil,
		"audit log directory; repeat it to join the key service's log with the sidecars' (required)")
	if err := command.MarkPersistentFlagRequired("dir"); err != nil {
		panic(err)
	}
	var count int
	list := &cobra.Command{
		Use:   "list",
		Short: "List the latest traces",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			traces, err := audit.List(dirs, count)
			if err != nil {
				return err
			}
			for _, trace := range traces {
				fmt.Fprintln(cmd.OutOrStdout(), trace)
			}
			return nil
		},
	}
	list.Flags().IntVarP(&count, "count", "n", 20, "how many traces to list")
	show := &cobra.Command{
		Use:   "show TRACE",
		Short: "Show one trace as a tree of spans",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spans, err := audit.ReadTrace(dirs, args[0])
			if err != nil {
				return err
			}
			if len(spans) == 0 {
				return fmt.Errorf("no span of trace %s in %v", args[0], dirs)
			}
			return audit.WriteTree(cmd.OutOrStdout(), spans)
		},
	}
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Check the hash chain of each log",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, dir := range dirs {
				records, head, err := audit.Verify(dir)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d records, head %s\n", dir, records, head)
			}
			return nil
		},
	}
	command.AddCommand(list, show, verify)
	return command
}
