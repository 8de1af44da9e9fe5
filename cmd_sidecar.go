// SPDX-License-Identifier: Apache-2.0

//go:build sidecar

package main

import "github.com/spf13/cobra"

// fullCommands is empty in the sidecar build, which holds no PKCS#11 code and
// so serves no keys.
func fullCommands() []*cobra.Command { return nil }
