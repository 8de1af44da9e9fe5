-- The key of the MACs below, sealed by the HSM: see mac.go.
CREATE TABLE mac_key (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    wrapped BLOB NOT NULL CHECK (length(wrapped) > 0),
    sealed  BLOB NOT NULL CHECK (length(sealed) > 0)
) STRICT;

-- Covers the key's row, all its backing keys and tags, and the names of all its
-- aliases. A key without one is refused.
ALTER TABLE keys ADD COLUMN mac BLOB CHECK (mac IS NULL OR length(mac) = 32);
