// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrPeer means that the public key of the other side is not one of the curve.
var ErrPeer = errors.New("hsm: not a public key of the curve")

// Agree is ECDH with the public key peer, a SubjectPublicKeyInfo: the X
// coordinate in the full size of the curve.
func (t *Token) Agree(ctx context.Context, spec string, wrapped, peer []byte) (secret []byte, err error) {
	ks, err := specFor(spec, familyEC)
	if err == nil && ks.curve.agree == nil {
		err = fmt.Errorf("a key of spec %s is not for this", spec)
	}
	var point []byte
	if err == nil {
		point, err = ks.parsePeer(peer)
	}
	if err == nil {
		secret, err = do(ctx, t, func(ctx context.Context, c *conn) ([]byte, error) {
			return c.agree(ctx, ks, wrapped, point)
		})
	}
	return secret, wrapError("agreeing on a secret", err)
}

// parsePeer returns the point. crypto/ecdh refuses one that is not on the
// curve, with which tokens may tell the private key.
func (ks *keySpec) parsePeer(peer []byte) ([]byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(peer)
	if err != nil {
		return nil, ErrPeer
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != ks.curve.nist {
		return nil, ErrPeer
	}
	point, err := key.ECDH()
	if err != nil {
		return nil, ErrPeer
	}
	return point.Bytes(), nil
}

func (c *conn) agree(ctx context.Context, ks *keySpec, wrapped, point []byte) ([]byte, error) {
	key, err := c.key(ctx, ks, wrapped)
	if err != nil {
		return nil, err
	}
	return pooled(ctx, c, func(s *session) ([]byte, error) {
		return s.agree(key.handle, point, ks.size)
	}, wipe, func() { c.objects.release(key) })
}
