// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"slices"

	"github.com/sidekey/sidekey/dbproxy/plan"
	"github.com/sidekey/sidekey/proxy"
)

// Ordered forms, the plaintexts of mode range. As bytes they compare as the values
// do, what is a prefix of another before it; and no ordered form of a type is a
// prefix of another one, except of text and bytea. So there is room between two
// neighbours: a form with more bytes behind it comes after it and before the next.
//
//	text varchar bpchar bytea uuid bool   the canonical form
//	integers date time timestamp(tz)      likewise, the sign bit flipped
//	float4 float8  negative: all bits flipped; else the sign bit
//	numeric        80 + n for n bytes of the unscaled absolute value and these; 80 for
//	               zero; negative: all bits but those of NaN flipped; FF for NaN
//	enum           number of the label, uint16, and the label
//	inet cidr      family; before each bit of the network a 1, then a 0; the host's
const (
	orderedZero  = 0x80
	orderedAbove = 0xFE // greater than every numeric but NaN
	orderedNaN   = 0xFF
	// maxOrdered is the most bytes of an absolute value: those of 10^300 are 125.
	maxOrdered = orderedAbove - orderedZero - 1
)

// sealedForm is the plaintext that the ciphertext of a canonical value is made of.
// A value that the rule's mode cannot give back as it is, or not at all, is refused.
func sealedForm(r *plan.Rule, canonical []byte) ([]byte, error) {
	if (r.Type.OID == plan.Float4 || r.Type.OID == plan.Float8) && r.Equality {
		v := floatOf(canonical)
		if v == 0 && math.Signbit(v) {
			return nil, &pgError{Code: codeNotSupported, Message: "negative zero cannot be stored in protected column " + r.Name(),
				Detail: "It is equal to zero, and equal values have one form.", Hint: "Store 0."}
		}
		if math.IsNaN(v) { // all are equal, and print alike
			canonical = floatBytes(r.Type.OID, notANumber)
		}
	}
	if !r.Ordered {
		return canonical, nil
	}
	form, err := orderedForm(r.Type, canonical)
	if err == nil && len(form) > proxy.MaxRange {
		return nil, &pgError{Code: codeTruncation, Message: "value too long for protected column " + r.Name(),
			Detail: "In mode range a value has at most 140 bytes, so that it fits into an index."}
	}
	return form, err
}

// plainForm gives the canonical form of a value that was opened.
func plainForm(r *plan.Rule, form []byte) ([]byte, error) {
	if !r.Ordered {
		return form, nil
	}
	return canonicalForm(r.Type, form)
}

func flipped(b []byte, mask byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= mask
	}
	return out
}

func flipSign(b []byte) []byte {
	out := bytes.Clone(b)
	out[0] ^= 0x80
	return out
}

func signed(oid uint32) bool {
	return integer(oid) || oid == plan.Date || oid == plan.Time || oid == plan.Timestamp || oid == plan.Timestamptz
}

func orderedForm(t plan.Type, canonical []byte) ([]byte, error) {
	switch {
	case signed(t.OID):
		return flipSign(canonical), nil
	case t.OID == plan.Float4 || t.OID == plan.Float8:
		if canonical[0]&0x80 != 0 {
			return flipped(canonical, 0xFF), nil
		}
		return flipSign(canonical), nil
	case t.OID == plan.Numeric:
		return orderedNumeric(t, string(canonical))
	case t.OID == plan.Enum:
		i := slices.Index(t.EnumLabels(), string(canonical))
		return append(binary.BigEndian.AppendUint16(nil, uint16(i)), canonical...), nil
	case t.OID == plan.Inet || t.OID == plan.CIDR:
		return orderedInet(canonical)
	}
	return canonical, nil
}

func canonicalForm(t plan.Type, form []byte) ([]byte, error) {
	if n := t.Len(); n >= 0 && len(form) != int(n) {
		return nil, errForm()
	}
	switch {
	case signed(t.OID):
		return flipSign(form), nil
	case t.OID == plan.Float4 || t.OID == plan.Float8:
		if form[0]&0x80 == 0 {
			return flipped(form, 0xFF), nil
		}
		return flipSign(form), nil
	case t.OID == plan.Numeric:
		return canonicalNumeric(t, form)
	case t.OID == plan.Enum:
		labels := t.EnumLabels()
		if len(form) < 2 || int(binary.BigEndian.Uint16(form)) >= len(labels) || labels[binary.BigEndian.Uint16(form)] != string(form[2:]) {
			return nil, &pgError{Code: codeCorrupted, Message: "a label of enum " + t.Enum + " is not where it was when it was stored",
				Hint: "In mode range labels can be added to the rule's type at the end only."}
		}
		return form[2:], nil
	case t.OID == plan.Inet || t.OID == plan.CIDR:
		return canonicalInet(t, form)
	}
	return form, nil
}

// unscaled is a decimal without its point, which has scale digits behind it.
func unscaled(negative bool, digits string) *big.Int {
	n, _ := new(big.Int).SetString("0"+digits, 10)
	if negative {
		n.Neg(n)
	}
	return n
}

// orderedNumeric orders a numeric(p,s) by its unscaled value, so that p may grow.
func orderedNumeric(t plan.Type, s string) ([]byte, error) {
	if s == "NaN" {
		return []byte{orderedNaN}, nil
	}
	negative, digits, scale, ok := splitDecimal(s)
	if _, want, constrained := t.Precision(); !ok || !constrained || scale != max(want, 0) {
		return nil, errForm()
	}
	return orderedInt(unscaled(negative, digits)), nil
}

func orderedInt(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > maxOrdered {
		if n.Sign() < 0 {
			return []byte{}
		}
		return []byte{orderedAbove}
	}
	form := append([]byte{byte(orderedZero + len(b))}, b...)
	if n.Sign() < 0 {
		form[0] = byte(orderedZero - len(b))
		copy(form[1:], flipped(b, 0xFF))
	}
	return form
}

func canonicalNumeric(t plan.Type, form []byte) ([]byte, error) {
	_, scale, ok := t.Precision()
	if !ok || len(form) == 0 {
		return nil, errForm()
	}
	if form[0] == orderedNaN && len(form) == 1 {
		return []byte("NaN"), nil
	}
	size, b := int(form[0])-orderedZero, form[1:]
	negative := size < 0
	if negative {
		size, b = -size, flipped(b, 0xFF)
	}
	if size != len(b) || size > 0 && b[0] == 0 {
		return nil, errForm()
	}
	return formatDecimal(negative, new(big.Int).SetBytes(b).String(), max(scale, 0)), nil
}

// orderedInet puts networks before what is in them, as network_cmp does.
func orderedInet(canonical []byte) ([]byte, error) {
	p, ok := prefixOf(canonical)
	if !ok {
		return nil, errForm()
	}
	addr := p.Addr().AsSlice()
	out := bitWriter{bytes: []byte{canonical[0]}}
	for i := range 8 * len(addr) {
		if i <= p.Bits() {
			out.bit(i < p.Bits())
		}
		out.bit(addr[i/8]>>(7-i%8)&1 == 1)
	}
	if p.Bits() == 8*len(addr) {
		out.bit(false)
	}
	return out.bytes, nil
}

func canonicalInet(t plan.Type, form []byte) ([]byte, error) {
	if len(form) == 0 {
		return nil, errForm()
	}
	size := 4
	if form[0] == inetFamily6 {
		size = 16
	}
	cidr := byte(0)
	if t.OID == plan.CIDR {
		cidr = 1
	}
	addr := make([]byte, size)
	in, bits := bitReader{bytes: form[1:]}, 0
	for i, network := 0, true; i < 8*size; i++ {
		if network {
			if network = in.bit(); network {
				bits++
			}
		}
		if in.bit() {
			addr[i/8] |= 0x80 >> (i % 8)
		}
	}
	canonical := append([]byte{form[0], byte(bits), cidr, byte(size)}, addr...)
	if again, err := orderedInet(canonical); err != nil || !bytes.Equal(again, form) {
		return nil, errForm()
	}
	return canonical, nil
}

type bitWriter struct {
	bytes []byte
	used  int // bits of the last byte
}

func (w *bitWriter) bit(one bool) {
	if w.used%8 == 0 {
		w.bytes = append(w.bytes, 0)
	}
	if one {
		w.bytes[len(w.bytes)-1] |= 0x80 >> (w.used % 8)
	}
	w.used++
}

type bitReader struct {
	bytes []byte
	at    int
}

func (r *bitReader) bit() bool {
	i := r.at
	r.at++
	return i/8 < len(r.bytes) && r.bytes[i/8]>>(7-i%8)&1 == 1
}
