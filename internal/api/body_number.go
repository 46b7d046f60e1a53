package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/jsonfmt"
)

// locationMark separates the message of an error in a body from its location, because huma
// passes on only the text of the error. Messages contain no line break.
const locationMark = "\n"

// located is an error in a body at a path below it, such as ".posts[1].title".
func located(message, path string) error { return errors.New(message + locationMark + path) }

// isLocated reports whether err, as huma passes it on, is a located.
func isLocated(err error) bool {
	detail := (*huma.ErrorDetail)(nil)
	return errors.As(err, &detail) && strings.Contains(detail.Message, locationMark)
}

// outOfRange is the message about a number that its type cannot hold.
func outOfRange(number []byte, why string) string {
	return fmt.Sprintf("the number %.*s is out of range: %s", maxEcho, number, why)
}

// integers rewrites the integers of a valid JSON text in the form that encoding/json
// accepts: 30.0 and 3e1 are integers in JSON Schema but not in encoding/json. It uses t,
// the type that the text is decoded into, to find the integers, so the payload of a task
// stays unchanged. The error names the integer that is out of the range of its type.
func integers(text []byte, t reflect.Type) ([]byte, error) {
	w := integerWriter{memberScan: memberScan{text: text}}
	if path, fault := w.value(t); fault != "" {
		return nil, located(fault, path)
	}
	return append(w.out, text[w.copied:]...), nil
}

// integerWriter walks through a text and its type in parallel.
type integerWriter struct {
	memberScan
	out    []byte
	copied int // text[:copied] is in out
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func (w *integerWriter) value(t reflect.Type) (path, fault string) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	c := w.next()
	switch {
	case t == nil || reflect.PointerTo(t).Implements(unmarshaler):
		return w.memberScan.value()
	case c == '{' && t.Kind() == reflect.Struct:
		return w.object(t)
	case c == '[' && t.Kind() == reflect.Slice:
		return w.list(t.Elem())
	}
	start := w.at
	path, fault = w.memberScan.value()
	if fault == "" && t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 {
		fault = w.integer(start, t)
	}
	return path, fault
}

// integer writes the number at start. It leaves other values to the validator.
func (w *integerWriter) integer(start int, t reflect.Type) (fault string) {
	number := w.text[start:w.at]
	n, whole, fits := jsonfmt.Int(number)
	switch {
	case !whole:
		return ""
	case !fits || reflect.Zero(t).OverflowInt(n):
		return outOfRange(number, fmt.Sprintf("it must fit %d bits", t.Bits()))
	}
	w.out = strconv.AppendInt(append(w.out, w.text[w.copied:start]...), n, 10)
	w.copied = w.at
	return ""
}

func (w *integerWriter) list(of reflect.Type) (path, fault string) {
	w.at++
	for i := 0; w.next() != ']'; i++ {
		if path, fault := w.value(of); fault != "" {
			return "[" + strconv.Itoa(i) + "]" + path, fault
		}
		if w.next() == ',' {
			w.at++
		}
	}
	w.at++
	return "", ""
}

func (w *integerWriter) object(t reflect.Type) (path, fault string) {
	w.at++
	for w.next() != '}' {
		name := w.string()
		w.next()
		w.at++ // the colon
		if path, fault := w.value(memberType(t, name)); fault != "" {
			return "." + string(name) + path, fault
		}
		if w.next() == ',' {
			w.at++
		}
	}
	w.at++
	return "", ""
}

// memberType returns the type of a member of an object, or nil if t has no such member.
func memberType(t reflect.Type, name []byte) reflect.Type {
	for _, field := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag != "" && bytes.Equal([]byte(tag), name) {
			return field.Type
		}
	}
	return nil
}
