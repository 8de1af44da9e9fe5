// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sidekey/sidekey/proxy/envelope"
)

func inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect VALUE",
		Short: "Explain a protected column value or an object's header",
		Long: `Explain what is in the clear in a protected column value, as psql prints it
around the sidecar (\xf84b...), or in the sidekey metadata value of an object.
Needs no key and authenticates nothing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd.OutOrStdout(), args[0])
		},
	}
}

// inspect tells the two kinds apart by their form and explains one of them.
func inspect(out io.Writer, text string) error {
	if digits, isHex := strings.CutPrefix(text, `\x`); isHex {
		value, err := hex.DecodeString(digits)
		if err != nil {
			return errors.New(`the digits after \x are not hexadecimal bytes`)
		}
		return inspectValue(out, value)
	}
	return inspectHeader(out, text)
}

func inspectValue(out io.Writer, value []byte) error {
	mode, id, err := envelope.ParseValue(value)
	if err != nil {
		return err
	}
	n, _ := envelope.ValueLength(value)
	fmt.Fprintf(out, "column value, FORMAT.md [V1]\nmode         %s\ndata key     %d (row of sidekey.data_keys)\nplaintext    %d bytes\n",
		modeNames[mode], id, n)
	return nil
}

var modeNames = map[envelope.Mode]string{envelope.Random: "random", envelope.Equality: "equality", envelope.Range: "range", envelope.Searchable: "random, with search tokens"}

var layouts = map[envelope.Suite]string{
	envelope.PlainSuite: "one message (suite 1)", envelope.WholeSuite: "one message with a footer (suite 2)",
	envelope.MultipartSuite: "parts and a part table (suite 3)",
}

func inspectHeader(out io.Writer, text string) error {
	header, err := envelope.ParseHeader(text)
	if err != nil {
		return err
	}
	layout := layouts[header.Suite]
	if header.HasCustomerKey {
		layout += ", under a customer key, too"
	}
	fmt.Fprintf(out, "object header, FORMAT.md [H1]\nlayout       %s\nkey          %s\nobject ID    %x\nwrapped key  %d bytes\n",
		layout, header.KeyARN, header.ObjectID, len(header.WrappedKey))
	names := make([]string, 0, len(header.Context))
	for name := range header.Context {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(out, "context      %s=%s\n", name, header.Context[name])
	}
	return nil
}
