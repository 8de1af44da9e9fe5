// SPDX-License-Identifier: Apache-2.0

package dbproxy

import "slices"

// Kinds of replication connections.
const (
	// replicationPhysical is bound to no database: it has the commands of the
	// replication protocol and no SQL.
	replicationPhysical = "physical"
	// replicationLogical is bound to a database, in which it can run any SQL too.
	replicationLogical = "logical"
)

// replicationOf gives the kind of connection that values of the parameter
// replication ask for, as ProcessStartupPacket of PostgreSQL reads them: the last
// one counts, but database is never taken back. "" is an ordinary session.
func replicationOf(values []string) (string, error) {
	replicates, inDatabase := false, false
	for _, v := range values {
		if v == "database" {
			replicates, inDatabase = true, true
			continue
		}
		on, err := parseBool(v)
		if err != nil || trimSpace(v) != v {
			return "", &pgError{Code: codeBadParameter, Message: `invalid value for parameter "replication": "` + v + `"`,
				Hint: `Valid values are: "false", 0, "true", 1, "database".`}
		}
		replicates = on[0] == 1
	}
	switch {
	case !replicates:
		return "", nil
	case inDatabase:
		return replicationLogical, nil
	}
	return replicationPhysical, nil
}

// permitReplication refuses replication connections unless the configuration lets
// them pass, and then those of roles that are not raw: with replication=database
// any SQL passes unseen, so that a role which may log in that way could else leave
// encryption, masks and the record behind by a word in its connection string.
func (p *Proxy) permitReplication(kind, user string) error {
	switch {
	case kind == "":
		return nil
	case len(p.rules) == 0 && p.cfg.Replication != ReplicationRefuse:
		return nil
	case p.cfg.Replication != ReplicationPass:
		return &pgError{Code: codeNotSupported, Message: "replication connections are not supported through the encrypting proxy",
			Hint: "Connect to the server itself, or set postgres.replication to pass; what is replicated stays sealed."}
	case !p.raw(user):
		return &pgError{Code: codeAuthorization, Message: "role \"" + user + "\" is not permitted to start a replication connection through the encrypting proxy",
			Detail: "Such a connection passes unseen.", Hint: "List the role in postgres.raw_roles."}
	}
	return nil
}

// raw says that sessions of a role pass untouched.
func (p *Proxy) raw(user string) bool { return slices.Contains(p.cfg.RawRoles, user) }
