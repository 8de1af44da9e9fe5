-- The tables are those of SQLite. A row is a document, a JSON object with its
-- MAC, beside the few columns that it is found by.

-- One row per KMS key and region. due is when something is to be done with it
-- by itself, in Unix milliseconds.
CREATE TABLE keys (
    region    text COLLATE "C" NOT NULL,
    id        bytea NOT NULL CHECK (length(id) = 16),
    due       bigint,
    key_store text COLLATE "C" NOT NULL,
    doc       bytea NOT NULL,
    mac       bytea NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id)
);

CREATE INDEX keys_id ON keys (id);
CREATE INDEX keys_due ON keys (due) WHERE due IS NOT NULL;
CREATE INDEX keys_store ON keys (key_store) WHERE key_store <> '';

-- One row per version of a key's material, wrapped by the HSM.
CREATE TABLE material (
    region  text COLLATE "C" NOT NULL,
    id      bytea NOT NULL,
    version bigint NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    wrapped bytea NOT NULL CHECK (length(wrapped) > 0),
    doc     bytea NOT NULL,
    mac     bytea NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id, version),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
);

CREATE TABLE aliases (
    region  text COLLATE "C" NOT NULL,
    name    text COLLATE "C" NOT NULL,
    id      bytea NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    PRIMARY KEY (region, name),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
);

CREATE INDEX aliases_key ON aliases (region, id, name);

CREATE TABLE grants (
    region   text COLLATE "C" NOT NULL,
    id       bytea NOT NULL,
    grant_id text COLLATE "C" NOT NULL,
    retiring text COLLATE "C" NOT NULL,
    doc      bytea NOT NULL,
    mac      bytea NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id, grant_id),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
);

CREATE INDEX grants_retiring ON grants (region, retiring, grant_id) WHERE retiring <> '';

-- Custom key stores: other tokens.
CREATE TABLE key_stores (
    id  text COLLATE "C" PRIMARY KEY,
    doc bytea NOT NULL,
    mac bytea NOT NULL CHECK (length(mac) = 32)
);

-- The last use of each key. It decides nothing: no MAC, no revision.
CREATE TABLE uses (
    region     text COLLATE "C" NOT NULL,
    id         bytea NOT NULL,
    operation  text NOT NULL,
    request_id text NOT NULL,
    at         bigint NOT NULL,
    PRIMARY KEY (region, id),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
);

-- The key of the MACs, sealed by the HSM.
CREATE TABLE mac_key (
    one     integer PRIMARY KEY CHECK (one = 1),
    wrapped bytea NOT NULL CHECK (length(wrapped) > 0),
    sealed  bytea NOT NULL CHECK (length(sealed) > 0)
);

-- The revision grows with every change of any row, whoever makes it, so that a
-- cache that has seen revision N is right for as long as the revision is N.
-- erased tells that deleted material still lies in the pages of its table.
CREATE TABLE revision (
    one    integer PRIMARY KEY CHECK (one = 1),
    value  bigint NOT NULL,
    erased boolean NOT NULL DEFAULT false
);

INSERT INTO revision (one, value) VALUES (1, 1);

CREATE FUNCTION count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sidekey_keysvc.revision SET value = value + 1;
    RETURN NULL;
END $$;

CREATE FUNCTION mark_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sidekey_keysvc.revision SET value = value + 1, erased = true;
    RETURN NULL;
END $$;

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON keys FOR EACH STATEMENT EXECUTE FUNCTION count_revision();
CREATE TRIGGER changed AFTER INSERT OR UPDATE ON material FOR EACH STATEMENT EXECUTE FUNCTION count_revision();
CREATE TRIGGER erased AFTER DELETE OR TRUNCATE ON material FOR EACH STATEMENT EXECUTE FUNCTION mark_erased();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON aliases FOR EACH STATEMENT EXECUTE FUNCTION count_revision();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON grants FOR EACH STATEMENT EXECUTE FUNCTION count_revision();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON key_stores FOR EACH STATEMENT EXECUTE FUNCTION count_revision();
