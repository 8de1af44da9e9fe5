-- From here on a row is a document, a JSON object with its MAC, beside the few
-- columns that it is found by. The rows of before are carried over when the
-- key of the MACs is at hand: see carry.go.
ALTER TABLE keys RENAME TO old_keys;
ALTER TABLE backing_keys RENAME TO old_backing_keys;
ALTER TABLE aliases RENAME TO old_aliases;
ALTER TABLE tags RENAME TO old_tags;
DROP TRIGGER keys_inserted;
DROP TRIGGER keys_updated;
DROP TRIGGER keys_deleted;
DROP TRIGGER backing_keys_inserted;
DROP TRIGGER backing_keys_updated;
DROP TRIGGER backing_keys_deleted;
DROP TRIGGER aliases_inserted;
DROP TRIGGER aliases_updated;
DROP TRIGGER aliases_deleted;
DROP TRIGGER tags_inserted;
DROP TRIGGER tags_updated;
DROP TRIGGER tags_deleted;
DROP INDEX keys_deletion;
DROP INDEX aliases_key;

-- One row per KMS key and region. due is when something is to be done with it
-- by itself, in Unix milliseconds.
CREATE TABLE keys (
    region    TEXT NOT NULL,
    id        BLOB NOT NULL CHECK (length(id) = 16),
    due       INTEGER,
    key_store TEXT NOT NULL,
    doc       BLOB NOT NULL,
    mac       BLOB NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_id ON keys (id);
CREATE INDEX keys_due ON keys (due) WHERE due IS NOT NULL;
CREATE INDEX keys_store ON keys (key_store) WHERE key_store <> '';

-- One row per version of a key's material, wrapped by the HSM.
CREATE TABLE material (
    region  TEXT NOT NULL,
    id      BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    wrapped BLOB NOT NULL CHECK (length(wrapped) > 0),
    doc     BLOB NOT NULL,
    mac     BLOB NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id, version),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    region  TEXT NOT NULL,
    name    TEXT NOT NULL,
    id      BLOB NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (region, name),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_key ON aliases (region, id, name);

CREATE TABLE grants (
    region   TEXT NOT NULL,
    id       BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    retiring TEXT NOT NULL,
    doc      BLOB NOT NULL,
    mac      BLOB NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id, grant_id),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_retiring ON grants (region, retiring, grant_id) WHERE retiring <> '';

-- Custom key stores: other tokens.
CREATE TABLE key_stores (
    id  TEXT PRIMARY KEY NOT NULL,
    doc BLOB NOT NULL,
    mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT, WITHOUT ROWID;

-- The last use of each key. It decides nothing: no MAC, no revision.
CREATE TABLE uses (
    region     TEXT NOT NULL,
    id         BLOB NOT NULL,
    operation  TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (region, id),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER material_inserted AFTER INSERT ON material BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER material_updated AFTER UPDATE ON material BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER material_deleted AFTER DELETE ON material BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER aliases_inserted AFTER INSERT ON aliases BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER aliases_updated AFTER UPDATE ON aliases BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER aliases_deleted AFTER DELETE ON aliases BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER grants_inserted AFTER INSERT ON grants BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER grants_updated AFTER UPDATE ON grants BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER grants_deleted AFTER DELETE ON grants BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER key_stores_inserted AFTER INSERT ON key_stores BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER key_stores_updated AFTER UPDATE ON key_stores BEGIN UPDATE revision SET value = value + 1; END;
CREATE TRIGGER key_stores_deleted AFTER DELETE ON key_stores BEGIN UPDATE revision SET value = value + 1; END;
