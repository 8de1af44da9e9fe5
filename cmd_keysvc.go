// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc"
	"github.com/sidekey/sidekey/keysvc/audit"
	"github.com/sidekey/sidekey/keysvc/store"
)

// KeysvcConfig is the whole configuration file of `sidekey keysvc`.
type KeysvcConfig struct {
	// Service is the AWS KMS endpoint: its address, region, account, store and
	// principals.
	Service keysvc.Config `yaml:"keysvc"`
	// HSM is the token that holds the root key.
	HSM hsm.Config `yaml:"hsm"`
	// KeyStores are tokens that CreateCustomKeyStore can make custom key
	// stores of.
	KeyStores []KeyStoreConfig `yaml:"key_stores"`
	// Audit is the log of every use of a key.
	Audit audit.Config `yaml:"audit"`
}

// Validate names the settings that are missing or wrong.
func (c *KeysvcConfig) Validate() error {
	return errors.Join(
		validateGroup("keysvc", &c.Service),
		validateGroup("hsm", &c.HSM),
		validateKeyStores(c.KeyStores),
		validateGroup("audit", &c.Audit))
}

func keysvcCommand() *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   "keysvc",
		Short: "Serve the AWS KMS API from an HSM",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg KeysvcConfig
			if err := loadConfig(path, &cfg); err != nil {
				return err
			}
			return runKeysvc(cmd.Context(), &cfg, newLogger(), nil)
		},
	}
	command.Flags().StringVarP(&path, "config", "c", "/etc/sidekey/keysvc.yaml", "configuration file")
	return command
}

// runKeysvc serves until ctx ends, then drains. ready, if not nil, is called
// once the service answers.
func runKeysvc(ctx context.Context, cfg *KeysvcConfig, log *slog.Logger, ready func()) error {
	records, err := audit.Open(cfg.Audit, "sidekey-keysvc", log)
	if err != nil {
		return fmt.Errorf("opening the audit log %s: %w", cfg.Audit.Dir, err)
	}
	defer records.Close()
	token, err := hsm.Open(ctx, cfg.HSM, log)
	if err != nil {
		return fmt.Errorf("opening the HSM: %w", err)
	}
	defer token.Close()
	keys, err := store.Open(ctx, cfg.Service.Store, cfg.Service.StorePasswordFile)
	if err != nil {
		return fmt.Errorf("opening the key store: %w", err)
	}
	defer keys.Close()
	service, err := keysvc.New(ctx, cfg.Service, keys, token, openKeyStores(cfg.KeyStores, log), records, log)
	if err != nil {
		return err
	}
	defer service.Close()
	listener, err := net.Listen("tcp", cfg.Service.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	held := make([]byte, ballast)
	defer runtime.KeepAlive(held)
	log.Info("serving the AWS KMS API", "address", listener.Addr().String(), "hsm", token.Describe())
	if ready != nil {
		ready()
	}
	return service.Serve(ctx, listener)
}
