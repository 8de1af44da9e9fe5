// SPDX-License-Identifier: Apache-2.0

//go:build !sidecar

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/sidekey/sidekey/hsm"
	"github.com/sidekey/sidekey/keysvc"
)

// KeyStoreConfig is a token that can become a custom key store.
type KeyStoreConfig struct {
	// ClusterID is what CreateCustomKeyStore knows the token by, as its
	// CloudHsmClusterId.
	ClusterID string `yaml:"cluster_id"`
	// HSM is the token. Its URI has no pin-source: the PIN is the
	// KeyStorePassword of CreateCustomKeyStore.
	HSM hsm.Config `yaml:"hsm"`
}

// clusterForm is AWS's form of the ID of a CloudHSM cluster.
var clusterForm = regexp.MustCompile(`^cluster-[2-7a-zA-Z]{11,16}$`)

func validateKeyStores(all []KeyStoreConfig) (err error) {
	seen := map[string]int{}
	for i, c := range all {
		at := fmt.Sprintf("key_stores[%d]", i)
		if !clusterForm.MatchString(c.ClusterID) {
			err = errors.Join(err, fmt.Errorf("%s.cluster_id: %q is not of the form cluster-abcdefghijk: 11 to 16 letters and digits from 2 to 7", at, c.ClusterID))
		}
		if first, ok := seen[c.ClusterID]; ok {
			err = errors.Join(err, fmt.Errorf("%s.cluster_id: the same as that of key_stores[%d]", at, first))
		} else {
			seen[c.ClusterID] = i
		}
		if wrong := c.HSM.ValidateWithoutPIN(); wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s.%w", at, wrong))
		}
	}
	return err
}

// openKeyStores logs in to the tokens of the configuration.
func openKeyStores(all []KeyStoreConfig, log *slog.Logger) keysvc.OpenToken {
	configs := make(map[string]hsm.Config, len(all))
	for _, c := range all {
		configs[c.ClusterID] = c.HSM
	}
	return func(ctx context.Context, clusterID string, pin []byte) (keysvc.CustomToken, error) {
		config, ok := configs[clusterID]
		if !ok {
			return nil, fmt.Errorf("cluster %s: %w", clusterID, keysvc.ErrNoCluster)
		}
		if pin == nil {
			return nil, nil
		}
		token, err := hsm.OpenWithPIN(ctx, config, pin, log)
		switch {
		case errors.Is(err, hsm.ErrPIN):
			return nil, fmt.Errorf("%w: %w", keysvc.ErrPIN, err)
		case errors.Is(err, hsm.ErrNoToken):
			return nil, fmt.Errorf("%w: %w", keysvc.ErrNoCluster, err)
		case err != nil:
			return nil, err
		}
		return token, nil
	}
}
