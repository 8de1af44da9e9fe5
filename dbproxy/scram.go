// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	_ "crypto/sha512" // for endPointHash
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/text/secure/precis"
)

// errScram covers all that can be wrong with the server's messages.
var errScram = failf(codeProtocolViolation, "the database server did not prove that it knows the password")

// terminateSASL is for TLS on both sides. There a client says that it could
// have bound the channel, which the server, that offered it, takes for an
// attack (RFC 5802, section 6). So the client gives its password to the proxy,
// inside TLS, and the proxy proves it to the server.
func (s *session) terminateSASL(b binding) error {
	if err := s.down.encode(&pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return err
	}
	if err := s.down.flush(); err != nil {
		return err
	}
	length, err := s.token()
	if err != nil {
		return err
	}
	body, err := s.fromC.whole(length)
	if err != nil {
		return err
	}
	defer clear(body)
	password, ok := cString(body)
	if !ok {
		return failf(codeProtocolViolation, "invalid password response")
	}
	return s.scram(b, string(password))
}

// binding is what ties the exchange to the TLS connection it is in, or says that
// nothing does.
type binding struct {
	mechanism, header string
	data              []byte
}

// bindingTo gives the strongest binding that the server offers: to the hash of its
// certificate (tls-server-end-point, RFC 5929, section 4), so that nobody who shows
// another one can pass the exchange on. One who has taken the offer away is found out
// by the server: it is told that there was none (RFC 5802, section 6).
func bindingTo(server net.Conn, offered []string) binding {
	secure, ok := server.(*tls.Conn)
	if !ok {
		return binding{mechanism: mechanism, header: "n,,"}
	}
	leaf := secure.ConnectionState().PeerCertificates[0]
	hash := endPointHash(leaf.SignatureAlgorithm)
	switch {
	case hash == 0:
		return binding{mechanism: mechanism, header: "n,,"}
	case !slices.Contains(offered, mechanism+plus):
		return binding{mechanism: mechanism, header: "y,,"}
	}
	h := hash.New()
	h.Write(leaf.Raw)
	return binding{mechanism: mechanism + plus, header: "p=tls-server-end-point,,", data: h.Sum(nil)}
}

// endPointHash is that of the certificate's signature, but none weaker than SHA-256;
// 0 where the RFC does not say which.
func endPointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}

// scram is the client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677).
func (s *session) scram(b binding, password string) error {
	if p, err := precis.OpaqueString.String(password); err == nil {
		password = p
	}
	nonce := make([]byte, 18)
	rand.Read(nonce)
	mine := base64.StdEncoding.EncodeToString(nonce)
	bare := "n=,r=" + mine
	if err := s.sendAuth(&pgproto3.SASLInitialResponse{AuthMechanism: b.mechanism, Data: []byte(b.header + bare)}); err != nil {
		return err
	}
	first, err := s.readAuth(authSASLContinue)
	if err != nil {
		return err
	}
	final, signature, err := scramProof(b, password, mine, bare, first)
	if err != nil {
		return err
	}
	if err := s.sendAuth(&pgproto3.SASLResponse{Data: []byte(final)}); err != nil {
		return err
	}
	last, err := s.readAuth(authSASLFinal)
	if err != nil {
		return err
	}
	got, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(last, "v="))
	if err != nil || subtle.ConstantTimeCompare(got, signature) != 1 {
		return errScram
	}
	return nil
}

// scramProof gives the client's final message and the signature that the server
// has to answer with.
func scramProof(b binding, password, mine, bare, first string) (final string, signature []byte, err error) {
	fields := map[byte]string{}
	for _, f := range strings.Split(first, ",") {
		if len(f) > 2 && f[1] == '=' {
			fields[f[0]] = f[2:]
		}
	}
	salt, err := base64.StdEncoding.DecodeString(fields['s'])
	rounds, err2 := strconv.Atoi(fields['i'])
	if err != nil || err2 != nil || rounds < 1 || rounds > 10000000 || !strings.HasPrefix(fields['r'], mine) || len(fields['r']) == len(mine) {
		return "", nil, errScram
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", nil, fmt.Errorf("deriving the SCRAM key: %w", err)
	}
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(b.header), b.data...)) + ",r=" + fields['r']
	message := bare + "," + first + "," + without
	proof := mac(stored[:], message)
	subtle.XORBytes(proof, proof, clientKey)
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof), mac(mac(salted, "Server Key"), message), nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func (s *session) sendAuth(m encoder) error {
	if err := s.up.encode(m); err != nil {
		return err
	}
	return s.up.flush()
}

// readAuth reads the server's answer; an error goes on to the client, and the
// text is "".
func (s *session) readAuth(want uint32) (string, error) {
	kind, body, err := s.greeting()
	if err != nil {
		return "", err
	}
	if kind == 'E' {
		s.down.message(kind, body)
		s.down.flush()
		return "", io.EOF
	}
	if kind != 'R' || len(body) < 4 || binary.BigEndian.Uint32(body) != want {
		return "", failf(codeProtocolViolation, "invalid authentication request")
	}
	return string(body[4:]), nil
}
