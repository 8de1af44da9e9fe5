// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sidekey/sidekey/keysvc/store"
)

// A custom key store is another token, of which the configuration says where
// it is and CreateCustomKeyStore its PIN: AWS's CloudHSM cluster and password.
// Key stores are those of all regions of the service.

// keyStorePage is DescribeCustomKeyStores without Limit.
const keyStorePage = 100

// States of a store.KeyStore.
const (
	connected    = string(types.ConnectionStateTypeConnected)
	connecting   = string(types.ConnectionStateTypeConnecting)
	disconnected = string(types.ConnectionStateTypeDisconnected)
	failed       = string(types.ConnectionStateTypeFailed)
)

func noSuchKeyStore(name string) error {
	return &types.CustomKeyStoreNotFoundException{Message: text("Custom key store %s is not found.", name)}
}

func keyStoreState(ks *store.KeyStore) error {
	return &types.CustomKeyStoreInvalidStateException{Message: text("Custom key store %s is %s, which is not valid for this operation.", ks.ID, ks.State)}
}

// checkCluster refuses the ID of a cluster that the configuration does not know.
func (s *Service) checkCluster(ctx context.Context, id string) error {
	err := ErrNoCluster
	if s.openToken != nil {
		_, err = s.openToken(ctx, id, nil)
	}
	if errors.Is(err, ErrNoCluster) {
		return &types.CloudHsmClusterNotFoundException{Message: text("Cluster %s is not found: key_stores of the configuration does not have it.", id)}
	}
	return err
}

// passwordAAD binds a sealed password to its key store.
func passwordAAD(id string) []byte {
	return appendSized(appendSized(nil, "sidekey custom key store password"), id)
}

func (s *Service) createCustomKeyStore(ctx context.Context, r *request, in *kms.CreateCustomKeyStoreInput) (*kms.CreateCustomKeyStoreOutput, error) {
	if err := s.allowed(ctx, r, "kms:CreateCustomKeyStore"); err != nil {
		return nil, err
	}
	if err := checkNewKeyStore(in); err != nil {
		return nil, err
	}
	if err := s.checkCluster(ctx, *in.CloudHsmClusterId); err != nil {
		return nil, err
	}
	var id [9]byte
	rand.Read(id[:])
	ks := store.KeyStore{
		ID: "cks-" + hex.EncodeToString(id[:])[:17], Name: *in.CustomKeyStoreName, ClusterID: *in.CloudHsmClusterId,
		TrustAnchor: *in.TrustAnchorCertificate, State: disconnected, Created: time.Now(),
	}
	var err error
	if ks.Password, err = sealOnce(ctx, s.token, passwordAAD(ks.ID), []byte(*in.KeyStorePassword)); err != nil {
		return nil, err
	}
	if err := s.store.CreateKeyStore(ctx, ks, func(all []*store.KeyStore) error { return uniqueKeyStore(all, &ks) }); err != nil {
		return nil, err
	}
	return &kms.CreateCustomKeyStoreOutput{CustomKeyStoreId: &ks.ID}, nil
}

func checkNewKeyStore(in *kms.CreateCustomKeyStoreInput) error {
	switch {
	case in.CustomKeyStoreType == types.CustomKeyStoreTypeExternalKeyStore:
		return unsupported("Custom key stores of type %s are not supported by this key service.", in.CustomKeyStoreType)
	case in.XksProxyConnectivity != "" || in.XksProxyUriEndpoint != nil || in.XksProxyUriPath != nil || in.XksProxyAuthenticationCredential != nil ||
		in.XksProxyVpcEndpointServiceName != nil || in.XksProxyVpcEndpointServiceOwner != nil:
		return validationError("XksProxy parameters are not valid for a custom key store of type %s.", types.CustomKeyStoreTypeAwsCloudhsm)
	}
	for _, member := range []struct {
		name  string
		value *string
	}{
		{"CloudHsmClusterId", in.CloudHsmClusterId}, {"KeyStorePassword", in.KeyStorePassword}, {"TrustAnchorCertificate", in.TrustAnchorCertificate},
	} {
		if member.value == nil {
			return validationError("%s is required for a custom key store of type %s.", member.name, types.CustomKeyStoreTypeAwsCloudhsm)
		}
	}
	return nil
}

// uniqueKeyStore: neither the name nor the cluster may be another one's. One
// login to a token would end with the other.
func uniqueKeyStore(all []*store.KeyStore, ks *store.KeyStore) error {
	another := func(same func(*store.KeyStore) bool) bool {
		return slices.ContainsFunc(all, func(other *store.KeyStore) bool { return other.ID != ks.ID && same(other) })
	}
	switch {
	case another(func(other *store.KeyStore) bool { return other.Name == ks.Name }):
		return &types.CustomKeyStoreNameInUseException{Message: text("The custom key store name %s is in use.", ks.Name)}
	case another(func(other *store.KeyStore) bool { return other.ClusterID == ks.ClusterID }):
		return &types.CloudHsmClusterInUseException{Message: text("Cluster %s is associated with another custom key store.", ks.ClusterID)}
	}
	return nil
}

func (s *Service) describeCustomKeyStores(ctx context.Context, r *request, in *kms.DescribeCustomKeyStoresInput) (*kms.DescribeCustomKeyStoresOutput, error) {
	if err := s.allowed(ctx, r, "kms:DescribeCustomKeyStores"); err != nil {
		return nil, err
	}
	if in.CustomKeyStoreId != nil && in.CustomKeyStoreName != nil {
		return nil, validationError("You cannot specify both CustomKeyStoreId and CustomKeyStoreName.")
	}
	after, err := keyStoreMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	all, err := s.store.KeyStores(ctx)
	if err != nil {
		return nil, err
	}
	out, n := &kms.DescribeCustomKeyStoresOutput{CustomKeyStores: []types.CustomKeyStoresListEntry{}}, limit(in.Limit, keyStorePage)
	for _, ks := range all {
		if ks.ID <= after || in.CustomKeyStoreId != nil && ks.ID != *in.CustomKeyStoreId || in.CustomKeyStoreName != nil && ks.Name != *in.CustomKeyStoreName {
			continue
		}
		if len(out.CustomKeyStores) == n {
			out.Truncated, out.NextMarker = true, marker(markKeyStores, []byte(*out.CustomKeyStores[n-1].CustomKeyStoreId))
			break
		}
		out.CustomKeyStores = append(out.CustomKeyStores, describeCustomKeyStore(ks))
	}
	if named := value(in.CustomKeyStoreId) + value(in.CustomKeyStoreName); named != "" && len(out.CustomKeyStores) == 0 && in.Marker == nil {
		return nil, noSuchKeyStore(named)
	}
	return out, nil
}

func keyStoreMarker(marker *string) (string, error) {
	if marker == nil {
		return "", nil
	}
	after, err := parseMarker(markKeyStores, *marker)
	return string(after), err
}

func describeCustomKeyStore(ks *store.KeyStore) types.CustomKeyStoresListEntry {
	return types.CustomKeyStoresListEntry{
		CloudHsmClusterId: &ks.ClusterID, ConnectionErrorCode: types.ConnectionErrorCodeType(ks.Failure),
		ConnectionState: types.ConnectionStateType(ks.State), CreationDate: &ks.Created,
		CustomKeyStoreId: &ks.ID, CustomKeyStoreName: &ks.Name, CustomKeyStoreType: types.CustomKeyStoreTypeAwsCloudhsm,
		TrustAnchorCertificate: &ks.TrustAnchor,
	}
}

func (s *Service) updateCustomKeyStore(ctx context.Context, r *request, in *kms.UpdateCustomKeyStoreInput) error {
	if err := s.allowed(ctx, r, "kms:UpdateCustomKeyStore"); err != nil {
		return err
	}
	if in.CloudHsmClusterId != nil {
		if err := s.checkCluster(ctx, *in.CloudHsmClusterId); err != nil {
			return err
		}
	}
	var password []byte
	if in.KeyStorePassword != nil {
		var err error
		if password, err = sealOnce(ctx, s.token, passwordAAD(*in.CustomKeyStoreId), []byte(*in.KeyStorePassword)); err != nil {
			return err
		}
	}
	_, err := s.store.UpdateKeyStore(ctx, *in.CustomKeyStoreId, func(tx *store.Tx, ks *store.KeyStore) error {
		if (password != nil || in.CloudHsmClusterId != nil) && ks.State != disconnected || ks.State != connected && ks.State != disconnected {
			return keyStoreState(ks)
		}
		if password != nil {
			ks.Password = password
		}
		if in.NewCustomKeyStoreName != nil {
			ks.Name = *in.NewCustomKeyStoreName
		}
		return moveKeyStore(tx, ks, in.CloudHsmClusterId)
	})
	if errors.Is(err, store.ErrNotFound) {
		return noSuchKeyStore(*in.CustomKeyStoreId)
	}
	return err
}

// moveKeyStore associates a key store with another cluster. There is no way to
// see that two tokens have the same root key, so the key store must be empty.
func moveKeyStore(tx *store.Tx, ks *store.KeyStore, cluster *string) error {
	if cluster != nil && *cluster != ks.ClusterID {
		used, err := tx.KeyStoreUsed(ks.ID)
		if err != nil {
			return err
		}
		if used {
			return &types.CloudHsmClusterNotRelatedException{Message: text("Cluster %s is not the one that holds the keys of custom key store %s.", *cluster, ks.ID)}
		}
		ks.ClusterID = *cluster
	}
	all, err := tx.KeyStores()
	if err != nil {
		return err
	}
	return uniqueKeyStore(all, ks)
}

func (s *Service) deleteCustomKeyStore(ctx context.Context, r *request, in *kms.DeleteCustomKeyStoreInput) error {
	if err := s.allowed(ctx, r, "kms:DeleteCustomKeyStore"); err != nil {
		return err
	}
	err := s.store.DeleteKeyStore(ctx, *in.CustomKeyStoreId, func(ks *store.KeyStore) error {
		if ks.State != disconnected {
			return keyStoreState(ks)
		}
		return nil
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return noSuchKeyStore(*in.CustomKeyStoreId)
	case errors.Is(err, store.ErrInUse):
		return &types.CustomKeyStoreHasCMKsException{Message: text("Custom key store %s contains KMS keys.", *in.CustomKeyStoreId)}
	}
	return err
}

// connectCustomKeyStore begins the login; it goes on after the answer.
func (s *Service) connectCustomKeyStore(ctx context.Context, r *request, in *kms.ConnectCustomKeyStoreInput) (*kms.ConnectCustomKeyStoreOutput, error) {
	err := s.switchKeyStore(ctx, r, "kms:ConnectCustomKeyStore", *in.CustomKeyStoreId, func(ks *store.KeyStore) error {
		switch ks.State {
		case failed:
			return keyStoreState(ks)
		case disconnected:
			ks.State, ks.Failure = connecting, ""
		}
		return nil
	})
	if err == nil {
		s.keyStores.ask(*in.CustomKeyStoreId)
	}
	return &kms.ConnectCustomKeyStoreOutput{}, err
}

func (s *Service) disconnectCustomKeyStore(ctx context.Context, r *request, in *kms.DisconnectCustomKeyStoreInput) (*kms.DisconnectCustomKeyStoreOutput, error) {
	err := s.switchKeyStore(ctx, r, "kms:DisconnectCustomKeyStore", *in.CustomKeyStoreId, func(ks *store.KeyStore) error {
		if ks.State == disconnected {
			return keyStoreState(ks)
		}
		ks.State, ks.Failure = disconnected, ""
		return nil
	})
	if err == nil {
		s.logOut(*in.CustomKeyStoreId)
	}
	return &kms.DisconnectCustomKeyStoreOutput{}, err
}

func (s *Service) switchKeyStore(ctx context.Context, r *request, action, id string, do func(*store.KeyStore) error) error {
	if err := s.allowed(ctx, r, action); err != nil {
		return err
	}
	_, err := s.store.UpdateKeyStore(ctx, id, func(_ *store.Tx, ks *store.KeyStore) error { return do(ks) })
	if errors.Is(err, store.ErrNotFound) {
		return noSuchKeyStore(id)
	}
	return err
}

// shapeCustomKey makes a key one of a custom key store.
func (s *Service) shapeCustomKey(ctx context.Context, k *store.Key, in *kms.CreateKeyInput) error {
	if in.CustomKeyStoreId == nil {
		return validationError("CustomKeyStoreId is required for a KMS key whose Origin is %s.", in.Origin)
	}
	if k.Spec != specSymmetric {
		return unsupported("Keys of KeySpec %s are not supported in a custom key store.", k.Spec)
	}
	if _, err := s.storeToken(ctx, *in.CustomKeyStoreId); err != nil {
		return err
	}
	k.KeyStore = *in.CustomKeyStoreId
	return nil
}

// describeKeyStore adds what is to be said of a key of a custom key store.
func (s *Service) describeKeyStore(ctx context.Context, m *types.KeyMetadata, k *store.Key) error {
	if k.KeyStore == "" {
		return nil
	}
	ks, err := s.store.KeyStore(ctx, k.KeyStore)
	if err != nil {
		return err
	}
	m.CustomKeyStoreId, m.CloudHsmClusterId = &ks.ID, &ks.ClusterID
	if ks.State != connected && k.State == store.Enabled {
		m.KeyState, m.Enabled = types.KeyStateUnavailable, false
	}
	return nil
}
