package postgres

import (
	"encoding"
	"fmt"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// textTypes knows PostgreSQL's own types. A Map is not safe for concurrent use.
var textTypes = sync.Pool{New: func() any { return pgtype.NewMap() }}

// Text returns a value as PostgreSQL writes it as text, such as 12.50 or
// [2026-01-01,2026-02-01), and nil for NULL. It is for a layer that passes values on
// without knowing the types of pgx.
//
// v is a value that a generated statement returns, such as a pgtype.Numeric or a
// pgtype.Range. A Go type that belongs to none of PostgreSQL's types is written by
// fmt.Sprint.
func Text(v any) *string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return &v
	case *string:
		return v
	case encoding.TextMarshaler:
		if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
			return nil
		}
		if text, err := v.MarshalText(); err == nil {
			return new(string(text))
		}
	}
	m := textTypes.Get().(*pgtype.Map)
	defer textTypes.Put(m)
	if t, ok := m.TypeForValue(v); ok {
		text, err := m.Encode(t.OID, pgtype.TextFormatCode, v, nil)
		if err == nil && text == nil {
			return nil
		}
		if err == nil {
			return new(string(text))
		}
	}
	return new(fmt.Sprint(v))
}

// ParseText parses a text as PostgreSQL would and stores the value in the variable that into
// points to, which must have a type that Text accepts. A nil text is NULL. If the text is not a
// value of that type, the error is ErrInvalidValue.
func ParseText(text *string, into any) error {
	switch into := into.(type) {
	case *string:
		if text != nil {
			*into = *text
		}
		return nil
	case **string:
		*into = text
		return nil
	case *any:
		if *into = nil; text != nil {
			*into = *text
		}
		return nil
	case *time.Time: // a date, or a timestamptz
		if *into = (time.Time{}); text == nil {
			return nil
		}
		var err error
		if *into, err = time.Parse(time.DateOnly, *text); err != nil {
			*into, err = time.Parse(time.RFC3339Nano, *text)
		}
		if err != nil {
			return invalidText(*text, err)
		}
		return nil
	case *net.HardwareAddr: // pgx maps this Go type to no type of PostgreSQL
		if *into = nil; text == nil {
			return nil
		}
		address, err := net.ParseMAC(*text)
		if err != nil {
			return invalidText(*text, err)
		}
		*into = address
		return nil
	case encoding.TextUnmarshaler:
		if text == nil {
			return nil
		}
		if err := into.UnmarshalText([]byte(*text)); err != nil {
			return invalidText(*text, err)
		}
		return nil
	}
	value := reflect.ValueOf(into).Elem()
	if value.Kind() == reflect.Pointer {
		value.SetZero()
		if text == nil {
			return nil
		}
		value.Set(reflect.New(value.Type().Elem()))
		return ParseText(text, value.Interface())
	}
	m := textTypes.Get().(*pgtype.Map)
	defer textTypes.Put(m)
	t, ok := m.TypeForValue(value.Interface())
	if !ok {
		return fmt.Errorf("parse a text into %T: it belongs to no type of PostgreSQL: give it the method UnmarshalText", into)
	}
	var source []byte
	if text != nil {
		source = []byte(*text)
	}
	if err := m.Scan(t.OID, pgtype.TextFormatCode, source, into); err != nil {
		return invalidText(*text, err)
	}
	return nil
}

// invalidText is the error of a text that is not a value of its type.
func invalidText(text string, err error) error {
	return &Error{Kind: ErrInvalidValue, Statement: "parse", Err: fmt.Errorf("%.40q: %w", text, err)}
}
