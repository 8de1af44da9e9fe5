// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"github.com/sidekey/sidekey/keysvc/store"
)

// A grant token names a grant. Grants hold from the moment CreateGrant answers,
// so that a token adds nothing to what its bearer may do; nothing is stored of
// it. In base64:
//
//	off  len  field
//	  0    1  version, 1
//	  1   16  key ID
//	 17   32  grant ID
//	 49   16  random: every answer has a token of its own
//	 65    r  region
//	65+r  32  HMAC-SHA-256 of all before it, under the store's key of tokens
const (
	grantTokenVersion = 1
	grantTokenRegion  = 1 + 16 + 32 + 16
	grantTokenLabel   = "sidekey grant token"
)

func (s *Service) grantToken(ref store.Ref, grantID string) *string {
	id, _ := hex.DecodeString(grantID)
	b := append([]byte{grantTokenVersion}, ref.ID[:]...)
	b = append(b, id...)
	var unique [16]byte
	rand.Read(unique[:])
	b = append(append(b, unique[:]...), ref.Region...)
	return text("%s", base64.StdEncoding.EncodeToString(append(b, s.grantTokenMAC(b)...)))
}

func (s *Service) parseGrantToken(token string) (ref store.Ref, grantID string, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < grantTokenRegion+sha256.Size || b[0] != grantTokenVersion {
		return ref, "", invalidGrantToken()
	}
	b, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(mac, s.grantTokenMAC(b)) {
		return ref, "", invalidGrantToken()
	}
	ref = store.Ref{Region: string(b[grantTokenRegion:]), ID: uuid.UUID(b[1:17])}
	return ref, hex.EncodeToString(b[17:49]), nil
}

func (s *Service) grantTokenMAC(b []byte) []byte {
	h := hmac.New(sha256.New, s.storeKeys.tokens)
	h.Write([]byte(grantTokenLabel))
	h.Write(b)
	return h.Sum(nil)
}

// checkGrantTokens refuses tokens that this service has not given out.
func (s *Service) checkGrantTokens(tokens []string) error {
	for _, token := range tokens {
		if _, _, err := s.parseGrantToken(token); err != nil {
			return err
		}
	}
	return nil
}

func invalidGrantToken() error {
	return &types.InvalidGrantTokenException{Message: text("The grant token is invalid.")}
}
