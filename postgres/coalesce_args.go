package postgres

import (
	"database/sql/driver"
	"encoding/binary"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// ownCopies copies the arguments of a queued call, one level deep.
func ownCopies(args []any) []any {
	own := make([]any, len(args))
	for i, arg := range args {
		own[i] = arg
		switch v := reflect.ValueOf(arg); v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				p := reflect.New(v.Type().Elem())
				p.Elem().Set(v.Elem())
				own[i] = p.Interface()
			}
		case reflect.Slice:
			if !v.IsNil() {
				s := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
				reflect.Copy(s, v)
				own[i] = s.Interface()
			}
		}
	}
	return own
}

// keyOf returns a key that is equal for arguments that are encoded equally. It is nil if
// the arguments cannot be compared. valid is false if one of them contains text that
// PostgreSQL would reject.
func keyOf(args []any) (key any, valid bool) {
	if len(args) == 1 {
		switch v := args[0].(type) {
		case int64:
			return args[0], true
		case string:
			return args[0], validText(v)
		}
	}
	k := keyWriter{known: true, valid: true}
	for _, arg := range args {
		k.addAny(reflect.ValueOf(arg))
	}
	if !k.known {
		return nil, k.valid
	}
	return sameArguments(k.key), k.valid
}

// sameArguments is a key of a distinct type, so that it never equals a text.
type sameArguments string

// validText reports whether PostgreSQL accepts a text in a database with encoding UTF-8.
func validText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// keyWriter encodes arguments one after another, each with its length or type.
type keyWriter struct {
	key   []byte
	depth int
	known bool // all arguments can be compared
	valid bool // PostgreSQL accepts all texts
}

func (k *keyWriter) add(kind byte, n uint64) {
	k.key = binary.BigEndian.AppendUint64(append(k.key, kind), n)
}

// addAny adds a value with its type, because the context does not determine it.
func (k *keyWriter) addAny(v reflect.Value) {
	if !v.IsValid() {
		k.add('n', 0)
		return
	}
	t := v.Type()
	k.add('t', uint64(len(t.PkgPath())+len(t.String())))
	k.key = append(append(k.key, t.PkgPath()...), t.String()...)
	k.addValue(v)
}

// keyDepth bounds recursion, because a value may contain itself.
const keyDepth = 8

func (k *keyWriter) addValue(v reflect.Value) {
	if k.depth++; k.depth > keyDepth {
		k.known = false
	}
	defer func() { k.depth-- }()
	if !k.known {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		k.add('b', n)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		k.add('i', uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		k.add('u', v.Uint())
	case reflect.Float32, reflect.Float64:
		// By its bits, because 0 and -0 are equal but encoded differently.
		k.add('f', math.Float64bits(v.Float()))
	case reflect.String:
		k.valid = k.valid && validText(v.String())
		k.add('s', uint64(v.Len()))
		k.key = append(k.key, v.String()...)
	case reflect.Pointer, reflect.Slice, reflect.Interface:
		k.addNullable(v)
	case reflect.Array:
		for i := range v.Len() {
			k.addValue(v.Index(i))
		}
	case reflect.Struct:
		k.addStruct(v)
	default:
		k.known = false
	}
}

// addNullable adds a value that may be nil.
func (k *keyWriter) addNullable(v reflect.Value) {
	switch {
	case v.IsNil():
		k.add('n', 0)
	case v.Kind() == reflect.Pointer:
		k.add('p', 0)
		k.addValue(v.Elem())
	case v.Kind() == reflect.Interface:
		k.addAny(v.Elem())
	default:
		k.add('l', uint64(v.Len()))
		for i := range v.Len() {
			k.addValue(v.Index(i))
		}
	}
}

func (k *keyWriter) addStruct(v reflect.Value) {
	if v.Type() != reflect.TypeFor[time.Time]() {
		for i := range v.NumField() {
			k.addValue(v.Field(i))
		}
		return
	}
	if !v.CanInterface() {
		k.known = false
		return
	}
	// A timestamp without time zone is encoded as local time, so the offset matters.
	t := v.Interface().(time.Time)
	_, offset := t.Zone()
	k.add('T', uint64(t.Unix()))
	k.add('T', uint64(t.Nanosecond())<<32|uint64(uint32(offset)))
}

// arrayOf returns one argument of several calls as an array of type typ.
func arrayOf(calls []*call, arg int, typ string) any {
	switch calls[0].args[arg].(type) {
	case int64:
		if list, ok := listOf[int64](calls, arg); ok {
			return list
		}
	case string:
		if list, ok := listOf[string](calls, arg); ok && typ == "text[]" {
			return list
		}
	}
	values := make(column, len(calls))
	texts := true
	for i, c := range calls {
		values[i] = c.args[arg]
		if typ == "text[]" {
			values[i] = spelled(values[i])
		}
		texts = texts && sendsText(values[i])
	}
	if texts && typ != "text[]" {
		// Text is sent as text for every type, as it is for a single call.
		return values.literal()
	}
	return values
}

// listOf returns the argument of all calls as a slice of T if it has type T in each call.
func listOf[T any](calls []*call, arg int) ([]T, bool) {
	list := make([]T, len(calls))
	for i, c := range calls {
		v, ok := c.args[arg].(T)
		if !ok {
			return nil, false
		}
		list[i] = v
	}
	return list, true
}

// column is one argument of several calls as an array. Unlike a slice of the argument's
// type, it can contain NULLs.
type column []any

// Dimensions, Index and IndexType implement pgtype.ArrayGetter.
func (c column) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(c)), LowerBound: 1}}
}
func (c column) Index(i int) any { return c[i] }
func (c column) IndexType() any  { return c[0] }

// literal returns a column of texts as an array literal (PostgreSQL manual, 8.15.2).
func (c column) literal() string {
	var b strings.Builder
	for i, v := range c {
		b.WriteByte("{,"[min(i, 1)])
		v := reflect.Indirect(reflect.ValueOf(v))
		if !v.IsValid() {
			b.WriteString("NULL")
			continue
		}
		b.WriteByte('"')
		b.WriteString(quotes.Replace(v.String()))
		b.WriteByte('"')
	}
	return b.String() + "}"
}

var quotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// sendsText reports whether pgx sends a value as text or NULL.
func sendsText(v any) bool {
	if _, ok := v.(driver.Valuer); ok {
		return false
	}
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t == nil || t.Kind() == reflect.String
}

// spelled formats numbers and booleans as text. pgx sends them as text if it does not know
// the parameter's type, such as a domain.
func spelled(v any) any {
	if _, ok := v.(driver.Valuer); ok {
		return v
	}
	switch r := reflect.Indirect(reflect.ValueOf(v)); r.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(r.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(r.Int(), 10)
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(r.Float(), 'g', -1, 64)
	}
	return v
}
