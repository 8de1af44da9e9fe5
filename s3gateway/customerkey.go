// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"

	"github.com/sidekey/sidekey/proxy"
	"github.com/sidekey/sidekey/proxy/envelope"
)

// Prefixes of the headers of SSE-C: for the object, and for the source of a copy.
const (
	customerPrefix     = "X-Amz-Server-Side-Encryption-Customer-"
	copyCustomerPrefix = "X-Amz-Copy-Source-Server-Side-Encryption-Customer-"
)

// customerKey is a key that the client sends with each request for an object
// (SSE-C). It is combined with the object's own.
type customerKey struct {
	key []byte // 32 bytes
	md5 string // as the client sent it
}

// bytes is the key; nil for none.
func (k *customerKey) bytes() []byte {
	if k == nil {
		return nil
	}
	return k.key
}

var (
	errCustomerKeyMissing = invalidRequest("The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.")
	errCustomerKeyWrong   = &s3Error{code: "AccessDenied", status: http.StatusForbidden, message: "Access Denied"}
	errCustomerKeyUnasked = invalidRequest("The encryption parameters are not applicable to this object.")
)

// customerKey reads the SSE-C headers with that prefix; nil if there are none.
func (x *exchange) customerKey(prefix string) (*customerKey, error) {
	algorithm, encoded, sum := x.header.Get(prefix+"Algorithm"), x.header.Get(prefix+"Key"), x.header.Get(prefix+"Key-Md5")
	if algorithm == "" && encoded == "" && sum == "" {
		return nil, nil
	}
	if x.r.TLS == nil {
		return nil, invalidRequest("Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.")
	}
	switch {
	case algorithm == "":
		return nil, invalidArgument("Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.")
	case algorithm != "AES256":
		return nil, &s3Error{code: "InvalidEncryptionAlgorithmError", status: http.StatusBadRequest, message: "The Encryption request you specified is not valid. Supported value: AES256."}
	case encoded == "":
		return nil, invalidArgument("Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.")
	case sum == "":
		return nil, invalidArgument("Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != 32 {
		return nil, invalidArgument("The secret key was invalid for the specified algorithm.")
	}
	have := md5.Sum(key)
	want, err := base64.StdEncoding.DecodeString(sum)
	if err != nil || !slices.Equal(have[:], want) {
		return nil, invalidArgument("The calculated MD5 hash of the key did not match the hash that was provided.")
	}
	return &customerKey{key: key, md5: sum}, nil
}

// customerError says what is wrong with the customer key that was given, or not.
func customerError(err error, given *customerKey, header string) error {
	if !errors.Is(err, proxy.ErrCustomerKey) {
		return err
	}
	h, parseErr := envelope.ParseHeader(header)
	switch {
	case parseErr == nil && !h.HasCustomerKey:
		return errCustomerKeyUnasked
	case given == nil:
		return errCustomerKeyMissing
	}
	return errCustomerKeyWrong
}
