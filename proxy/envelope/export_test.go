// SPDX-License-Identifier: Apache-2.0

package envelope

// ReparseTable is the table that b is read as, written again.
func ReparseTable(b []byte) ([]byte, error) {
	t, err := parseTable(b)
	if err != nil {
		return nil, err
	}
	return t.append(nil), nil
}

// ReparseEntries is the entries that b is read as, written again.
func ReparseEntries(b []byte) ([]byte, error) {
	entries, err := parseChecksums(b, false)
	if err != nil {
		return nil, err
	}
	return appendChecksums(nil, entries)
}

// ReparseRecord is the part record that the plaintext b is read as, written again.
func ReparseRecord(b []byte) ([]byte, error) {
	r, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	return r.append(nil), nil
}

// AppendRecord is the plaintext of a part record.
func AppendRecord(r *PartRecord) []byte { return r.append(nil) }
