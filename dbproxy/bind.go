// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/sidekey/sidekey/dbproxy/plan"
)

// sealForm makes the ciphertext of a plaintext in the form of the rule's mode.
func (s *session) sealForm(ctx context.Context, r *plan.Rule, form []byte) ([]byte, error) {
	col, err := s.db.column(ctx, r, s.tenant.name)
	if err != nil {
		return nil, err
	}
	lease, err := col.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	return lease.Seal(nil, form)
}

// bind seals the parameters of an execution.
func (s *session) bind(p *portal, m *pgproto3.Bind) error {
	if err := s.datedBind(p, m); err != nil {
		return err
	}
	set := s.current()
	if err := s.permitSettings(p.statement, set); err != nil {
		return err
	}
	if n := len(m.ParameterFormatCodes); n > 1 && n != len(m.Parameters) {
		return failf(codeProtocolViolation, "bind message has %d parameter formats but %d parameters", n, len(m.Parameters))
	}
	formats := make([]int16, len(m.Parameters))
	for i := range formats {
		switch {
		case len(m.ParameterFormatCodes) == 1:
			formats[i] = m.ParameterFormatCodes[0]
		case i < len(m.ParameterFormatCodes):
			formats[i] = m.ParameterFormatCodes[i]
		}
	}
	added := p.statement.addedParams()
	if len(added) > 0 && len(m.Parameters) != added[0]-1 {
		return failf(codeProtocolViolation, "bind message supplies %d parameters, but prepared statement %q requires %d", len(m.Parameters), m.PreparedStatement, added[0]-1)
	}
	for _, n := range added {
		source := p.statement.plan.Params[n].Source
		m.Parameters, formats = append(m.Parameters, m.Parameters[source-1]), append(formats, formats[source-1])
	}
	for _, n := range slices.Sorted(maps.Keys(p.statement.plan.Params)) {
		if n > len(m.Parameters) {
			break // the server will say so
		}
		param := p.statement.plan.Params[n]
		value, format := m.Parameters[n-1], formats[n-1]
		formats[n-1] = formatBinary
		if value == nil {
			continue
		}
		var err error
		m.Parameters[n-1], err = s.sealParam(p.op.ctx, param, p.statement.declared[n-1], format, value, set.locale())
		if err != nil {
			return ofParameter(err, m.DestinationPortal, cmp.Or(param.Source, n), format, value)
		}
	}
	if len(p.statement.plan.Params) > 0 {
		m.ParameterFormatCodes = formats
	}
	return nil
}

// ofParameter adds to the error of a value which parameter it is, as the server
// does where it reads one (bind_param_error_callback of postgres.c).
func ofParameter(err error, portal string, n int, format int16, value []byte) error {
	var own *pgError
	if !errors.As(err, &own) || !strings.HasPrefix(own.Code, "22") || own.late() {
		return err
	}
	where := "unnamed portal"
	if portal != "" {
		where = `portal "` + portal + `"`
	}
	where += " parameter $" + strconv.Itoa(n)
	switch {
	case format != formatText:
	case len(value) == 0:
		where += " = ''"
	default:
		where += " = '...'"
	}
	if own.Where != "" {
		where = own.Where + "\n" + where
	}
	told := *own
	told.Where = where
	return &told
}

func (s *session) sealParam(ctx context.Context, p plan.Param, oid uint32, format int16, value []byte, loc locale) ([]byte, error) {
	if format != formatText && format != formatBinary {
		return nil, failf(codeProtocolViolation, "unsupported format code: %d", format)
	}
	if p.Match != nil {
		tokens, err := s.searchTokens(ctx, p.Match, p.Rule, oid, format, value, loc)
		if err != nil {
			return nil, err
		}
		return byteaArray(tokens), nil
	}
	if castFromText(p, oid) {
		oid, format = p.OID, formatText
	}
	if p.As != nil {
		var err error
		if value, err = castTo(*p.As, oid, format, value, loc); err != nil {
			return nil, err
		}
		oid, format = p.As.OID, formatBinary
	}
	if !p.Array {
		return s.sealValue(ctx, p.Use, p.Rule, oid, format, value, loc)
	}
	elements, err := arrayElements(format, value, loc)
	if err != nil {
		return nil, err
	}
	for i, e := range elements {
		if e == nil {
			continue
		}
		if elements[i], err = s.sealValue(ctx, p.Use, p.Rule, plan.ElementOf(oid), format, e, loc); err != nil {
			return nil, err
		}
	}
	return byteaArray(elements), nil
}

// castTo gives a value rounded to a type of a certain precision, in binary format.
func castTo(t plan.Type, oid uint32, format int16, value []byte, loc locale) ([]byte, error) {
	canonical, err := decodeValue(t, oid, format, value, loc)
	if err != nil {
		return nil, err
	}
	return encodeValue(nil, t, formatBinary, canonical, loc.zone)
}

// arrayElements splits an array of one dimension; nil is NULL.
func arrayElements(format int16, value []byte, loc locale) ([][]byte, error) {
	if format == formatText {
		return textArray(string(value), loc)
	}
	bad := failf(codeBadBinary, "incorrect binary data format for an array")
	if len(value) < 12 {
		return nil, bad
	}
	dims := binary.BigEndian.Uint32(value)
	if dims == 0 {
		return nil, nil
	}
	if dims != 1 || len(value) < 20 {
		return nil, failf(codeNotSupported, "an array for a protected column has one dimension")
	}
	n, rest := int(int32(binary.BigEndian.Uint32(value[12:]))), value[20:]
	if n < 0 || n > len(rest)/4 {
		return nil, bad
	}
	out := make([][]byte, 0, n)
	for range n {
		if len(rest) < 4 {
			return nil, bad
		}
		size := int(int32(binary.BigEndian.Uint32(rest)))
		rest = rest[4:]
		if size == -1 {
			out = append(out, nil)
			continue
		}
		if size < 0 || size > len(rest) {
			return nil, bad
		}
		out = append(out, rest[:size:size])
		rest = rest[size:]
	}
	return out, nil
}

// textArray is arrayElements of the text form.
func textArray(s string, loc locale) ([][]byte, error) {
	a, err := parseArray(s, failf(codeBadText, "malformed array literal: \"%s\"", s), loc.version)
	if err != nil {
		return nil, err
	}
	if len(a.dims) > 1 || len(a.dims) == 1 && a.dims[0].lower != 1 {
		return nil, failf(codeNotSupported, "an array for a protected column has one dimension, which begins at 1")
	}
	return a.elements, nil
}

// byteaArray is bytea[] in binary format.
func byteaArray(elements [][]byte) []byte {
	be := binary.BigEndian
	if len(elements) == 0 {
		return be.AppendUint32(be.AppendUint32(be.AppendUint32(nil, 0), 0), plan.Bytea)
	}
	out := be.AppendUint32(be.AppendUint32(be.AppendUint32(nil, 1), 1), plan.Bytea)
	out = be.AppendUint32(be.AppendUint32(out, uint32(len(elements))), 1)
	for _, e := range elements {
		if e == nil {
			out = be.AppendUint32(out, 0xffffffff)
			continue
		}
		out = append(be.AppendUint32(out, uint32(len(e))), e...)
	}
	return out
}
