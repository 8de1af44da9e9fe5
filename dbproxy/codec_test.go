// SPDX-License-Identifier: Apache-2.0

package dbproxy_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/sidekey/sidekey/dbproxy"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// FuzzCodec decodes whatever comes in every type and format. What decodes must
// encode in both formats and decode again to the same canonical bytes.
func FuzzCodec(f *testing.F) {
	types := []string{"text", "varchar(5)", "int4", "int8", "bytea", "bool", "date", "timestamptz", "uuid", "numeric", "numeric(10,2)", "numeric(5,-2)", "jsonb",
		"char(4)", "bpchar", "int2", "float4", "float8", "time", "time(0)", "timestamp", "timestamp(3)", "interval", "inet", "cidr", "json",
		"int4[]", "text[]", "numeric(5,1)[]", "enum(mood: sad, 'so so', ok)", "citext"}
	for i, name := range types {
		for _, s := range samples[name] {
			f.Add(uint8(i), false, []byte(s))
		}
	}
	f.Add(uint8(9), true, []byte{0, 2, 0, 0, 0x40, 0, 0, 2, 0, 1, 0x13, 0x88})
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which uint8, binary bool, data []byte) {
		typ, err := dbproxy.PlanType(types[int(which)%len(types)])
		if err != nil {
			t.Fatal(err)
		}
		format := int16(0)
		if binary {
			format = 1
		}
		canonical, err := dbproxy.DecodeValue(typ, plan.Unspecified, format, data, paris, plan.Grammar)
		if err != nil {
			return
		}
		for format := range int16(2) {
			out, err := dbproxy.EncodeValue(nil, typ, format, canonical, paris)
			if err != nil {
				t.Fatalf("%v %q: encoding %x in format %d: %v", typ, data, canonical, format, err)
			}
			again, err := dbproxy.DecodeValue(typ, plan.Unspecified, format, out, paris, plan.Grammar)
			if err != nil {
				t.Fatalf("%v %q: decoding %q in format %d: %v", typ, data, out, format, err)
			}
			if !bytes.Equal(again, canonical) {
				t.Fatalf("%v %q: got %x from %q in format %d, want %x", typ, data, again, out, format, canonical)
			}
		}
	})
}
