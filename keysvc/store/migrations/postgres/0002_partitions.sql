-- What a deleted row leaves in the pages of its table goes away only when the
-- table is written anew, and nobody can read it meanwhile. The material of 10^7
-- keys takes minutes, so it lies in 64 parts, and those alone that rows were
-- deleted from are written anew: see postgres.go.
LOCK TABLE revision IN ACCESS EXCLUSIVE MODE; -- as every change does first

ALTER TABLE material RENAME TO material_1;
ALTER TABLE material_1 RENAME CONSTRAINT material_pkey TO material_1_pkey;

CREATE TABLE material (
    region  text COLLATE "C" NOT NULL,
    id      bytea NOT NULL,
    version bigint NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    wrapped bytea NOT NULL CHECK (length(wrapped) > 0),
    doc     bytea NOT NULL,
    mac     bytea NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (region, id, version),
    FOREIGN KEY (region, id) REFERENCES keys (region, id) ON DELETE CASCADE
) PARTITION BY HASH (id);

DO $$
BEGIN
    FOR part IN 0..63 LOOP
        EXECUTE format('CREATE TABLE material_p%s PARTITION OF material FOR VALUES WITH (MODULUS 64, REMAINDER %s)', part, part);
    END LOOP;
END $$;

INSERT INTO material SELECT * FROM material_1;
DROP TABLE material_1;
DROP FUNCTION mark_erased();
ALTER TABLE revision DROP COLUMN erased;

-- Parts of material that deleted rows still lie in.
CREATE TABLE erased (
    part text PRIMARY KEY
);

CREATE FUNCTION mark_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sidekey_keysvc.erased (part) VALUES (TG_TABLE_NAME) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON material FOR EACH STATEMENT EXECUTE FUNCTION count_revision();
CREATE TRIGGER erased AFTER UPDATE OR DELETE ON material FOR EACH ROW EXECUTE FUNCTION mark_erased();
