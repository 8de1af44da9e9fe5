// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sidekey/sidekey/dbproxy/plan"
)

// The canonical form of inet and cidr is that of inet_send:
//
//	family 1 | bits 1 | 1 if it is a cidr 1 | length 1 | address 4 or 16
const (
	inetFamily4 = 2
	inetFamily6 = 3
	inetHeader  = 4
)

func inetBytes(p netip.Prefix, cidr bool) []byte {
	addr := p.Addr().AsSlice()
	family, flag := byte(inetFamily4), byte(0)
	if p.Addr().Is6() {
		family = inetFamily6
	}
	if cidr {
		flag = 1
	}
	return append([]byte{family, byte(p.Bits()), flag, byte(len(addr))}, addr...)
}

// prefixOf reads the canonical form, or the binary format of a client.
func prefixOf(data []byte) (netip.Prefix, bool) {
	if len(data) < inetHeader || len(data) != inetHeader+int(data[3]) {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(data[inetHeader:])
	if !ok || (data[0] == inetFamily4) != addr.Is4() || data[0] != inetFamily4 && data[0] != inetFamily6 || int(data[1]) > addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, int(data[1])), true
}

func parseInet(oid uint32, s string) ([]byte, error) {
	t := plan.Type{OID: oid, Typmod: -1}
	cidr := oid == plan.CIDR
	text, mask, hasMask := strings.Cut(s, "/")
	octets := 4
	if !strings.Contains(text, ":") {
		text, octets = plainOctets(text, cidr || hasMask)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || octets == 0 {
		return nil, badSyntax(t, s)
	}
	bits := addr.BitLen()
	if hasMask {
		bits, err = strconv.Atoi(mask)
		zeros := addr.Is6() && len(mask) > 1 && mask[0] == '0' // not read there
		short := !cidr && octets < 4 && bits/8 > octets
		if err != nil || bits > addr.BitLen() || strings.Trim(mask, "0123456789") != "" || zeros || short {
			return nil, badSyntax(t, s)
		}
	} else if cidr && addr.Is4() {
		bits = classBits(addr, octets)
	}
	p := netip.PrefixFrom(addr, bits)
	if cidr && p.Masked() != p {
		return nil, &pgError{Code: codeBadText, Message: "invalid cidr value: \"" + s + "\"", Detail: "Value has bits set to right of mask."}
	}
	return inetBytes(p, cidr), nil
}

// plainOctets writes an IPv4 address without leading zeros, and that of a network
// with the octets that are left out. It also says how many there were, 0 if it is
// none.
func plainOctets(text string, network bool) (string, int) {
	parts := strings.Split(text, ".")
	n := len(parts)
	if n > 4 || n < 4 && !network {
		return "", 0
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return "", 0
		}
		parts[i] = strconv.Itoa(int(v))
	}
	for len(parts) < 4 {
		parts = append(parts, "0")
	}
	return strings.Join(parts, "."), n
}

// classBits is the length of the mask that a network without one has: that of its
// class, or as many octets as were written (inet_cidr_pton_ipv4).
func classBits(addr netip.Addr, octets int) int {
	bits := 8
	switch first := addr.As4()[0]; {
	case first >= 240:
		bits = 32
	case first >= 224:
		bits = 8
	case first >= 192:
		bits = 24
	case first >= 128:
		bits = 16
	}
	bits = max(bits, 8*octets)
	if bits == 8 && addr.As4()[0] == 224 {
		bits = 4
	}
	return bits
}

func appendInet(dst []byte, oid uint32, canonical []byte) ([]byte, error) {
	p, ok := prefixOf(canonical)
	if !ok {
		return nil, errForm()
	}
	addr := p.Addr()
	switch b := addr.As16(); {
	case addr.Is6() && compatible4(b):
		// PostgreSQL writes the last 32 bits of these as IPv4, too.
		dst = append(append(dst, "::"...), netip.AddrFrom4([4]byte(b[12:])).String()...)
	default:
		dst = addr.AppendTo(dst)
	}
	if oid == plan.CIDR || p.Bits() != addr.BitLen() {
		dst = strconv.AppendInt(append(dst, '/'), int64(p.Bits()), 10)
	}
	return dst, nil
}

// compatible4 says that the first 96 bits, and no more, are zero.
func compatible4(b [16]byte) bool {
	return [12]byte(b[:12]) == [12]byte{} && binary.BigEndian.Uint16(b[12:]) != 0
}

// asNetwork gives an inet as a cidr that keeps the bits of the host, which no stored
// one has.
func asNetwork(canonical []byte) []byte {
	out := bytes.Clone(canonical)
	out[2] = 1
	return out
}

// toNetwork clears the bits of the host, as the cast from inet to cidr does.
func toNetwork(canonical []byte) ([]byte, error) {
	p, ok := prefixOf(canonical)
	if !ok {
		return nil, errForm()
	}
	return inetBytes(p.Masked(), true), nil
}
