// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// throughCopy runs data through COPY's reader with every column protected and
// a prefix put before every value, and gives the values that were written.
func throughCopy(opt *plan.Copy, prefix string, pieces ...[]byte) (out []byte, values []string, message string) {
	out, message = dbproxy.CopyThrough(opt, pieces, func(dst []byte, _ *plan.Rule, value []byte) ([]byte, error) {
		values = append(values, prefix+string(value))
		return append(append(dst, prefix...), value...), nil
	})
	return out, values, message
}

// checkCopy holds what must be true of any data: how it is cut into pieces does
// not matter; and what was read is written so that it is read again as the same.
func checkCopy(t *testing.T, opt *plan.Copy, data []byte, cut uint) {
	t.Helper()
	out, values, message := throughCopy(opt, "=", data)
	at := int(cut % uint(len(data)+1))
	single := make([][]byte, 0, len(data))
	for i := range data {
		single = append(single, data[i:i+1])
	}
	for _, pieces := range [][][]byte{{data[:at], data[at:]}, single} {
		again, parts, failed := throughCopy(opt, "=", pieces...)
		if failed != message || !bytes.Equal(again, out) || !slices.Equal(parts, values) {
			t.Errorf("in pieces: got %q, %q, %s; want %q, %q, %s", again, parts, failed, out, values, message)
		}
	}
	if message != "" {
		return
	}
	again, reread, failed := throughCopy(opt, "", out)
	if failed != "" || !bytes.Equal(again, out) || !slices.Equal(reread, values) {
		t.Errorf("%q written as %q: got %q, %q, %s; want %q", data, out, again, reread, failed, values)
	}
}

func copyColumns(n int) []plan.CopyColumn {
	rule := &plan.Rule{Schema: "public", Table: "t", Column: "c", Type: plan.Type{OID: plan.Text, Typmod: -1}}
	columns := make([]plan.CopyColumn, n)
	for i := range columns {
		columns[i] = plan.CopyColumn{Name: string(rune('a' + i)), Rule: rule}
	}
	return columns
}

// FuzzCopyLines reads the text and CSV formats.
func FuzzCopyLines(f *testing.F) {
	for _, in := range copyInputs {
		f.Add([]byte(in.data), byte('\t'), byte('"'), byte('"'), uint8(5), uint(3))
		f.Add([]byte(in.data), byte(','), byte('"'), byte('\\'), uint8(0x85), uint(7))
		f.Add([]byte(in.data), byte(','), byte('"'), byte('"'), uint8(0xc2), uint(11))
	}
	f.Fuzz(func(t *testing.T, data []byte, delimiter, quote, escape byte, kind uint8, cut uint) {
		opt := &plan.Copy{From: kind&0x10 == 0, Table: "t", Columns: copyColumns(int(kind&7) + 1), Delimiter: delimiter, Quote: quote, Escape: escape, Null: `\N`}
		if kind&0x80 != 0 {
			opt.Format, opt.Null = plan.CopyCSV, ""
		}
		if kind&0x40 != 0 {
			opt.Null = "NULL"
		}
		if kind&0x20 != 0 {
			opt.Header = plan.Header
		}
		if kind&0x08 != 0 {
			opt.ForceNotNullAll, opt.ForceQuoteAll = opt.From, !opt.From
		}
		// What the server refuses as options.
		special := func(c byte) bool { return c == '\n' || c == '\r' || c == 0 || c >= 0x80 }
		if special(delimiter) || bytes.IndexByte([]byte(opt.Null), delimiter) >= 0 {
			return
		}
		if opt.Format == plan.CopyCSV && (special(quote) || special(escape) || quote == delimiter || bytes.IndexByte([]byte(opt.Null), quote) >= 0) {
			return
		}
		if opt.Format == plan.CopyText && bytes.IndexByte([]byte(`\.abcdefghijklmnopqrstuvwxyz0123456789`), delimiter) >= 0 {
			return
		}
		checkCopy(t, opt, data, cut)
	})
}

// FuzzCopyBinary reads the binary format.
func FuzzCopyBinary(f *testing.F) {
	head := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	row := func(values ...string) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
		for _, v := range values {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		}
		return b
	}
	f.Add(slices.Concat(head, row("a", ""), row("b", "c"), []byte{0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255}), uint8(2), uint(25))
	f.Add(slices.Concat(head, row("a")), uint8(1), uint(5))
	f.Add(slices.Concat(head, []byte{0, 1, 127, 255, 255, 255}), uint8(1), uint(22))
	f.Add(slices.Concat(head[:15], []byte{0, 0, 0, 2, 'x', 'y', 255, 255, 'z'}), uint8(3), uint(20))
	f.Add(head[:10], uint8(3), uint(1))
	f.Fuzz(func(t *testing.T, data []byte, columns uint8, cut uint) {
		opt := &plan.Copy{From: columns&0x80 == 0, Table: "t", Columns: copyColumns(int(columns&15) + 1), Format: plan.CopyBinary}
		checkCopy(t, opt, data, cut)
	})
}
