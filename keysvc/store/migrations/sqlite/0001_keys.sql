-- One row per KMS key. Times are Unix milliseconds.
CREATE TABLE keys (
    id            BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    state         TEXT NOT NULL CHECK (state IN ('Enabled', 'Disabled', 'PendingDeletion')),
    key_spec      TEXT NOT NULL,
    key_usage     TEXT NOT NULL,
    description   TEXT NOT NULL,
    created       INTEGER NOT NULL,
    deletion_date INTEGER CHECK ((deletion_date IS NULL) = (state <> 'PendingDeletion'))
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_deletion ON keys (deletion_date) WHERE deletion_date IS NOT NULL;

-- One row per version of a key's material, wrapped under the HSM's root KEK.
CREATE TABLE backing_keys (
    key_id  BLOB NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    wrapped BLOB NOT NULL CHECK (length(wrapped) > 0),
    created INTEGER NOT NULL,
    PRIMARY KEY (key_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    name    TEXT PRIMARY KEY NOT NULL,
    key_id  BLOB NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_key ON aliases (key_id, name);

CREATE TABLE tags (
    key_id    BLOB NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    tag_key   TEXT NOT NULL,
    tag_value TEXT NOT NULL,
    PRIMARY KEY (key_id, tag_key)
) STRICT, WITHOUT ROWID;

-- The revision grows with every change of any row, whoever makes it, so that a
-- cache that has seen revision N is right for as long as the revision is N.
CREATE TABLE revision (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    value INTEGER NOT NULL
) STRICT;

INSERT INTO revision (one, value) VALUES (1, 1);

CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER backing_keys_inserted AFTER INSERT ON backing_keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER backing_keys_updated AFTER UPDATE ON backing_keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER backing_keys_deleted AFTER DELETE ON backing_keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER aliases_inserted AFTER INSERT ON aliases BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER aliases_updated AFTER UPDATE ON aliases BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER aliases_deleted AFTER DELETE ON aliases BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER tags_inserted AFTER INSERT ON tags BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER tags_updated AFTER UPDATE ON tags BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER tags_deleted AFTER DELETE ON tags BEGIN UPDATE revision SET value = value + 1; END;
