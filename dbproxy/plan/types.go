// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Object IDs of the types that a protected column can have (pg_type.dat).
const (
	Bool        uint32 = 16
	Bytea       uint32 = 17
	Int8        uint32 = 20
	Int4        uint32 = 23
	Text        uint32 = 25
	Varchar     uint32 = 1043
	Date        uint32 = 1082
	Timestamptz uint32 = 1184
	Numeric     uint32 = 1700
	UUID        uint32 = 2950
	JSONB       uint32 = 3802
)

// Further types that values for those columns arrive in.
const (
	Int2        uint32 = 21
	JSON        uint32 = 114
	Unknown     uint32 = 705
	BPChar      uint32 = 1042
	Timestamp   uint32 = 1114
	ByteaArray  uint32 = 1001
	Unspecified uint32 = 0
)

// Type is a type as PostgreSQL describes it: its OID and type modifier
// (varchar(n): n+4; numeric(p,s): (p<<16|s)+4; otherwise -1).
type Type struct {
	OID    uint32
	Typmod int32
}

var typeNames = map[string]uint32{
	"bool": Bool, "bytea": Bytea, "int8": Int8, "int4": Int4, "text": Text,
	"varchar": Varchar, "date": Date, "timestamptz": Timestamptz,
	"numeric": Numeric, "uuid": UUID, "jsonb": JSONB,
	"int2": Int2, "json": JSON, "bpchar": BPChar, "timestamp": Timestamp,
}

// ArrayOf gives the OID of the array type over oid, 0 if there is none here.
func ArrayOf(oid uint32) uint32 {
	return map[uint32]uint32{
		Bool: 1000, Bytea: ByteaArray, Int2: 1005, Int4: 1007, Text: 1009, Varchar: 1015,
		Int8: 1016, Date: 1182, Timestamptz: 1185, Numeric: 1231, UUID: 2951, JSONB: 3807,
	}[oid]
}

// ElementOf is the reverse of ArrayOf.
func ElementOf(array uint32) uint32 {
	for _, oid := range typeNames {
		if array != 0 && ArrayOf(oid) == array {
			return oid
		}
	}
	return 0
}

// ParseType reads the name of a type that a column rule may have, in any of
// PostgreSQL's spellings: "varchar(20)", "timestamp with time zone", "integer".
func ParseType(name string) (Type, error) {
	tree, err := pg.Parse("SELECT NULL::" + name)
	if err != nil || len(tree.Stmts) != 1 {
		return Type{}, fmt.Errorf("type %q: not a type name", name)
	}
	targets := tree.Stmts[0].GetStmt().GetSelectStmt().GetTargetList()
	if len(targets) != 1 {
		return Type{}, fmt.Errorf("type %q: not a type name", name)
	}
	cast := targets[0].GetResTarget().GetVal().GetTypeCast()
	if cast == nil || !cast.GetArg().GetAConst().GetIsnull() {
		return Type{}, fmt.Errorf("type %q: not a type name", name)
	}
	t, ok := typeOf(cast.TypeName)
	if !ok || !t.protectable() {
		return Type{}, fmt.Errorf("type %q: cannot be protected; known are text, varchar, int4, int8, bytea, bool, date, timestamptz, uuid, numeric and jsonb", name)
	}
	return t, nil
}

func (t Type) protectable() bool {
	switch t.OID {
	case Int2, JSON, BPChar, Timestamp, 0:
		return false
	}
	return true
}

// Comparable says why equal values of the type would not be equal bytes, or "".
func (t Type) Comparable() string {
	switch {
	case t.OID == JSONB:
		return "jsonb has no single form of equal values"
	case t.OID == Numeric && t.Typmod < 0:
		return "numeric without a scale keeps trailing zeros, so that equal values differ"
	}
	return ""
}

// Len is pg_type.typlen: the bytes of a fixed type, or -1.
func (t Type) Len() int16 {
	switch t.OID {
	case Bool:
		return 1
	case Int2:
		return 2
	case Int4, Date:
		return 4
	case Int8, Timestamptz, Timestamp:
		return 8
	case UUID:
		return 16
	}
	return -1
}

// String is the name that PostgreSQL's messages use.
func (t Type) String() string {
	switch t.OID {
	case Bool:
		return "boolean"
	case Bytea:
		return "bytea"
	case Int2:
		return "smallint"
	case Int4:
		return "integer"
	case Int8:
		return "bigint"
	case Text:
		return "text"
	case Varchar:
		if t.Typmod >= 4 {
			return "character varying(" + strconv.Itoa(int(t.Typmod)-4) + ")"
		}
		return "character varying"
	case BPChar:
		return "character"
	case Date:
		return "date"
	case Timestamptz:
		return "timestamp with time zone"
	case Timestamp:
		return "timestamp without time zone"
	case UUID:
		return "uuid"
	case JSON:
		return "json"
	case JSONB:
		return "jsonb"
	case Numeric:
		if p, s, ok := t.Precision(); ok {
			return fmt.Sprintf("numeric(%d,%d)", p, s)
		}
		return "numeric"
	}
	return "type " + strconv.FormatUint(uint64(t.OID), 10)
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

// MaxChars gives n of a varchar(n).
func (t Type) MaxChars() (int, bool) {
	if t.OID == Varchar && t.Typmod >= 4 {
		return int(t.Typmod) - 4, true
	}
	return 0, false
}

// typeOf resolves a parsed type name. Names that are not pg_catalog's own, and
// arrays, are not resolved.
func typeOf(n *pg.TypeName) (Type, bool) {
	if n == nil || n.Setof || n.PctType || len(n.ArrayBounds) > 0 || len(n.Names) == 0 || len(n.Names) > 2 {
		return Type{}, false
	}
	if len(n.Names) == 2 && n.Names[0].GetString_().GetSval() != "pg_catalog" {
		return Type{}, false
	}
	oid, ok := typeNames[n.Names[len(n.Names)-1].GetString_().GetSval()]
	if !ok {
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
	mod, ok := typmod(oid, mods)
	return Type{oid, mod}, ok
}

func typmod(oid uint32, mods []int) (int32, bool) {
	switch {
	case len(mods) == 0:
		return -1, true
	case oid == Varchar && len(mods) == 1 && mods[0] > 0 && mods[0] <= 10485760:
		return int32(mods[0]) + 4, true
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
