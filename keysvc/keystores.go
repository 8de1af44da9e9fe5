// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// customToken is the token of a connected custom key store.
func (s *Service) customToken(ctx context.Context, id string) (Token, error) {
	return nil, &types.KMSInvalidStateException{Message: text("Custom key store %s is not connected.", id)}
}

// closeKeyStores ends the logins to custom key stores.
func (s *Service) closeKeyStores() error { return nil }

// shapeCustomKey makes a key one of a custom key store.
func (s *Service) shapeCustomKey(ctx context.Context, k *store.Key, in *kms.CreateKeyInput) error {
	return unsupported("Origin %s is not supported by this key service.", in.Origin)
}

// describeKeyStore adds what is to be said of a key of a custom key store.
func (s *Service) describeKeyStore(ctx context.Context, m *types.KeyMetadata, k *store.Key) error {
	return nil
}
