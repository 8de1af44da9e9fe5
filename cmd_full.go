// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import "github.com/spf13/cobra"

// fullCommands are those that need an HSM.
func fullCommands() []*cobra.Command {
	return []*cobra.Command{keysvcCommand(), devCommand()}
}
