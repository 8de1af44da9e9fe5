// SPDX-License-Identifier: Apache-2.0

package s3gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// maxEncryptionContext bounds x-amz-server-side-encryption-context: it is
// stored in the object's header, which has to fit into user metadata.
const maxEncryptionContext = 512

// encryption is what the client's SSE headers ask for.
type encryption struct {
	keyID    string
	context  map[string]string
	customer *customerKey
}

// encryption is what the client's SSE headers ask for, or else the bucket's default.
func (x *exchange) encryption(ctx context.Context) (encryption, error) {
	e, err := readEncryption(x.header)
	if err != nil {
		return e, err
	}
	if e.customer, err = x.customerKey(customerPrefix); err != nil {
		return e, err
	}
	if e.customer != nil && x.header.Get("X-Amz-Server-Side-Encryption") != "" {
		return e, invalidArgument("Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
	}
	if x.header.Get("X-Amz-Server-Side-Encryption") == "aws:kms" && e.keyID != "" {
		return e, nil
	}
	standard, err := x.g.defaults.of(ctx, x.g, x.bucket)
	if err != nil {
		return e, err
	}
	if e.keyID == "" {
		e.keyID = standard.keyID
	}
	return e, nil
}

// readEncryption takes aws:kms, with the client's key or the rule's. AES256 is
// taken as the rule's key too: the object is encrypted more strongly than asked.
func readEncryption(header http.Header) (encryption, error) {
	var e encryption
	algorithm := header.Get("X-Amz-Server-Side-Encryption")
	keyID := header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
	encoded := header.Get("X-Amz-Server-Side-Encryption-Context")
	switch algorithm {
	case "aws:kms":
	case "", "AES256":
		if keyID != "" || encoded != "" {
			return e, invalidArgument("A key ID or an encryption context requires x-amz-server-side-encryption: aws:kms.")
		}
		return e, nil
	case "aws:kms:dsse":
		return e, notImplemented("PutObject", "the encryption aws:kms:dsse")
	default:
		return e, &s3Error{code: "InvalidEncryptionAlgorithmError", status: http.StatusBadRequest, message: "The encryption request that you specified is not valid. The valid value is aws:kms."}
	}
	e.keyID = keyID
	if encoded == "" {
		return e, nil
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(text) > maxEncryptionContext || json.Unmarshal(text, &e.context) != nil {
		return e, invalidArgument("The encryption context must be base64 of a JSON object of strings, of at most 512 bytes.")
	}
	if _, reserved := e.context["aws:s3:arn"]; reserved {
		return e, invalidArgument("The name aws:s3:arn of the encryption context is reserved.")
	}
	return e, nil
}
