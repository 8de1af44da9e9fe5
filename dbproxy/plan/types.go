// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Object IDs of the types that a protected column can have, or that values for
// one arrive in (pg_type.dat).
const (
	Unspecified uint32 = 0
	Bool        uint32 = 16
	Bytea       uint32 = 17
	Int8        uint32 = 20
	Int2        uint32 = 21
	Int4        uint32 = 23
	Text        uint32 = 25
	JSON        uint32 = 114
	CIDR        uint32 = 650
	Float4      uint32 = 700
	Float8      uint32 = 701
	Unknown     uint32 = 705
	Inet        uint32 = 869
	ByteaArray  uint32 = 1001
	BPChar      uint32 = 1042
	Varchar     uint32 = 1043
	Date        uint32 = 1082
	Time        uint32 = 1083
	Timestamp   uint32 = 1114
	Timestamptz uint32 = 1184
	Interval    uint32 = 1186
	Numeric     uint32 = 1700
	UUID        uint32 = 2950
	JSONB       uint32 = 3802
)

// Stand-ins for types that have another object ID in each database. Clients see
// text instead ([Type.Wire]).
const (
	Citext uint32 = 0xFFFFFF01
	Enum   uint32 = 0xFFFFFF02

	// FirstUser is the first object ID that is not the server's own
	// (FirstNormalObjectId): a client may have looked up that of an enum.
	FirstUser uint32 = 16384
)

// Type is a type as PostgreSQL describes it: its OID and type modifier
// (varchar(n): n+4; numeric(p,s): (p<<16|s)+4; timestamp(p): p; otherwise -1; of
// an array that of its elements). Types are equal if they are the same.
type Type struct {
	OID    uint32
	Typmod int32
	// Enum is the SQL name of an enum, and Labels are its labels in order, each
	// with a zero byte behind it.
	Enum, Labels string
}

// known is what is to know of a type by its OID.
type known struct {
	oid   uint32
	name  string // in pg_type
	sql   string // in messages
	array uint32 // OID of the array type, 0 if there is none here
	size  int16  // typlen
}

var knownTypes = []known{
	{Bool, "bool", "boolean", 1000, 1},
	{Bytea, "bytea", "bytea", ByteaArray, -1},
	{Int8, "int8", "bigint", 1016, 8},
	{Int2, "int2", "smallint", 1005, 2},
	{Int4, "int4", "integer", 1007, 4},
	{Text, "text", "text", 1009, -1},
	{JSON, "json", "json", 199, -1},
	{CIDR, "cidr", "cidr", 651, -1},
	{Float4, "float4", "real", 1021, 4},
	{Float8, "float8", "double precision", 1022, 8},
	{Inet, "inet", "inet", 1041, -1},
	{BPChar, "bpchar", "character", 1014, -1},
	{Varchar, "varchar", "character varying", 1015, -1},
	{Date, "date", "date", 1182, 4},
	{Time, "time", "time without time zone", 1183, 8},
	{Timestamp, "timestamp", "timestamp without time zone", 1115, 8},
	{Timestamptz, "timestamptz", "timestamp with time zone", 1185, 8},
	{Interval, "interval", "interval", 1187, 16},
	{Numeric, "numeric", "numeric", 1231, -1},
	{UUID, "uuid", "uuid", 2951, 16},
	{JSONB, "jsonb", "jsonb", 3807, -1},
	{Citext, "citext", "citext", 0, -1},
}

func lookup(match func(*known) bool) *known {
	if i := slices.IndexFunc(knownTypes, func(k known) bool { return match(&k) }); i >= 0 {
		return &knownTypes[i]
	}
	return nil
}

func byOID(oid uint32) *known { return lookup(func(k *known) bool { return k.oid == oid }) }

// ArrayOf gives the OID of the array type over oid, 0 if there is none here.
func ArrayOf(oid uint32) uint32 {
	if k := byOID(oid); k != nil {
		return k.array
	}
	return 0
}

// ElementOf is the reverse of ArrayOf.
func ElementOf(array uint32) uint32 {
	if k := lookup(func(k *known) bool { return k.array == array }); array != 0 && k != nil {
		return k.oid
	}
	return 0
}

// Element gives the type of an array's elements.
func (t Type) Element() (Type, bool) {
	oid := ElementOf(t.OID)
	return Type{OID: oid, Typmod: t.Typmod}, oid != 0
}

// EnumType is an enum with its labels in order.
func EnumType(name string, labels []string) Type {
	t := Type{OID: Enum, Typmod: -1, Enum: name}
	for _, l := range labels {
		t.Labels += l + "\x00"
	}
	return t
}

// EnumLabels are the labels of an enum in order.
func (t Type) EnumLabels() []string {
	return strings.Split(strings.TrimSuffix(t.Labels, "\x00"), "\x00")
}

// ParseType reads the name of a type that a column rule may have, in any of
// PostgreSQL's spellings: "varchar(20)", "timestamp with time zone", "integer[]".
func ParseType(name string) (Type, error) {
	n, err := parseTypeName(name)
	if err != nil {
		return Type{}, err
	}
	t, ok := typeOf(n)
	if !ok || t.OID == Unspecified {
		return Type{}, fmt.Errorf("type %q: cannot be protected", name)
	}
	return t, nil
}

func parseTypeName(name string) (*pg.TypeName, error) {
	bad := fmt.Errorf("type %q: not a type name", name)
	tree, err := pg.Parse("SELECT NULL::" + name)
	if err != nil || len(tree.Stmts) != 1 {
		return nil, bad
	}
	targets := tree.Stmts[0].GetStmt().GetSelectStmt().GetTargetList()
	if len(targets) != 1 {
		return nil, bad
	}
	cast := targets[0].GetResTarget().GetVal().GetTypeCast()
	if cast == nil || !cast.GetArg().GetAConst().GetIsnull() {
		return nil, bad
	}
	return cast.TypeName, nil
}

// Comparable says why equal values of the type would not be equal bytes, or "".
func (t Type) Comparable() string {
	switch {
	case ElementOf(t.OID) != 0:
		return "the elements of arrays are not sealed one by one"
	case t.OID == JSON:
		return "json values have no equality"
	case t.OID == JSONB:
		return "jsonb has no single form of equal values"
	case t.OID == Citext:
		return "citext values that differ in case are equal"
	case t.OID == Interval:
		return "intervals that are written differently are equal (1 mon = 30 days)"
	case t.OID == BPChar && t.Typmod < 0:
		return "bpchar without a length keeps trailing blanks, so that equal values differ"
	case t.OID == Numeric && t.Typmod < 0:
		return "numeric without a scale keeps trailing zeros, so that equal values differ"
	}
	return ""
}

// Len is pg_type.typlen: the bytes of a fixed type, or -1.
func (t Type) Len() int16 {
	if k := byOID(t.OID); k != nil {
		return k.size
	}
	return -1
}

// Wire is how the type is described to clients: object ID, type modifier and
// length. What has no object ID of its own is text.
func (t Type) Wire() (oid uint32, typmod int32, length int16) {
	if t.OID == Citext || t.OID == Enum {
		return Text, -1, -1
	}
	return t.OID, t.Typmod, t.Len()
}

// String is the name that PostgreSQL's messages use.
func (t Type) String() string {
	if t.OID == Enum {
		return t.Enum
	}
	if elem, ok := t.Element(); ok {
		return elem.String() + "[]"
	}
	k := byOID(t.OID)
	if k == nil {
		return "type " + strconv.FormatUint(uint64(t.OID), 10)
	}
	if p, s, ok := t.Precision(); ok {
		return fmt.Sprintf("numeric(%d,%d)", p, s)
	}
	if n, ok := t.MaxChars(); ok {
		return fmt.Sprintf("%s(%d)", k.sql, n)
	}
	if n, ok := t.SecondDigits(); ok {
		first, rest, _ := strings.Cut(k.sql, " ")
		return fmt.Sprintf("%s(%d) %s", first, n, rest)
	}
	return k.sql
}

// Precision gives precision and scale of a numeric(p,s).
func (t Type) Precision() (precision, scale int, ok bool) {
	if t.OID != Numeric || t.Typmod < 4 {
		return 0, 0, false
	}
	m := t.Typmod - 4
	// The scale is an 11-bit two's complement number since PostgreSQL 15.
	return int(m>>16) & 0xffff, (int(m&0x7ff) ^ 1024) - 1024, true
}

// MaxChars gives n of a varchar(n) or char(n).
func (t Type) MaxChars() (int, bool) {
	if (t.OID == Varchar || t.OID == BPChar) && t.Typmod >= 4 {
		return int(t.Typmod) - 4, true
	}
	return 0, false
}

// SecondDigits gives p of a time(p), timestamp(p) or timestamptz(p).
func (t Type) SecondDigits() (int, bool) {
	switch t.OID {
	case Time, Timestamp, Timestamptz:
		return int(t.Typmod), t.Typmod >= 0
	}
	return 0, false
}

// declares says whether a parsed type name means the type of a rule.
func declares(n *pg.TypeName, t Type) bool {
	if t.OID != Enum {
		declared, known := typeOf(n)
		return known && declared == t
	}
	want, err := parseTypeName(t.Enum)
	if err != nil || n == nil || len(n.ArrayBounds) > 0 || n.Setof || n.PctType || len(n.Typmods) > 0 {
		return false
	}
	got, wanted := names(n.Names), names(want.Names)
	// Either may leave out the schema, which the search_path then decides.
	short := min(len(got), len(wanted))
	return short > 0 && slices.Equal(got[len(got)-short:], wanted[len(wanted)-short:])
}

// typeOf resolves a parsed type name. Names that are not pg_catalog's own are not
// resolved, but for citext.
func typeOf(n *pg.TypeName) (Type, bool) {
	if n == nil || n.Setof || n.PctType || len(n.Names) == 0 || len(n.Names) > 2 {
		return Type{}, false
	}
	path := names(n.Names)
	name := path[len(path)-1]
	if len(path) == 2 && (path[0] != "pg_catalog") != (name == "citext") {
		return Type{}, false
	}
	k := lookup(func(k *known) bool { return k.name == name })
	if k == nil {
		return Type{}, false
	}
	mods := make([]int, 0, 2)
	for _, m := range n.Typmods {
		c := m.GetAConst()
		if c == nil || c.GetIval() == nil {
			return Type{}, false
		}
		mods = append(mods, int(c.GetIval().GetIval()))
	}
	mod, ok := typmod(k.oid, mods)
	oid := k.oid
	if len(n.ArrayBounds) > 0 {
		oid = k.array
	}
	return Type{OID: oid, Typmod: mod}, ok && oid != 0
}

func typmod(oid uint32, mods []int) (int32, bool) {
	switch {
	case len(mods) == 0:
		return -1, true
	case (oid == Varchar || oid == BPChar) && len(mods) == 1 && mods[0] > 0 && mods[0] <= 10485760:
		return int32(mods[0]) + 4, true
	case (oid == Time || oid == Timestamp || oid == Timestamptz) && len(mods) == 1 && mods[0] >= 0 && mods[0] <= 6:
		return int32(mods[0]), true
	case oid == Numeric && len(mods) <= 2:
		scale := 0
		if len(mods) == 2 {
			scale = mods[1]
		}
		if mods[0] < 1 || mods[0] > 1000 || scale < -1000 || scale > 1000 {
			return 0, false
		}
		return int32(mods[0]<<16|scale&0x7ff) + 4, true
	}
	return 0, false
}

// quoteIdent writes an identifier so that the server reads the same name.
func quoteIdent(s string) string {
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}
