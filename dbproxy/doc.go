// SPDX-License-Identifier: Apache-2.0

// Package dbproxy stands between unmodified PostgreSQL clients and an
// unmodified server. Values of protected columns are sealed on their way in and
// opened on their way out; everything else passes as raw bytes.
//
// The path of a value: [session.fromClient] reads Query, Parse and Bind; package
// plan says what in them is a protected value; decodeValue makes its canonical
// form, which is sealed into a bytea. On the way back [session.fromServer] reads
// RowDescription and DataRow; encodeValue writes the opened value in the format
// that the client asked for. COPY's data goes through a copyCodec both ways,
// which reads rows as the server does and changes protected fields only. What
// EXECUTE and FETCH mean by a name is the session's to know (names.go).
//
// The server keeps the client's state: a message that is refused is replaced by
// one that fails in the server, and the server's error by the refusal. So the
// transaction, what is skipped until Sync and the order of replies are always
// the server's own.
package dbproxy
