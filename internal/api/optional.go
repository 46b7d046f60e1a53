package api

import (
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/jsonfmt"
)

// Optional is a value that may be absent: a member of a merge patch (RFC 7396),
// where absent keeps and null clears, or a query parameter, where zero and
// absent differ.
type Optional[T any] struct {
	Set   bool // it was there, as null or as a value
	Null  bool // it was there as null
	Value T

	wrong bool
}

// msgWrongType is said when a value could not be read and nothing more is known.
const msgWrongType = "is not of its type"

// ptr returns the value, or nil when there is none.
func (o Optional[T]) ptr() *T {
	if !o.Set || o.Null {
		return nil
	}
	return &o.Value
}

// UnmarshalJSON notes that the member was there, and what it was. It reports no
// error, because that would end the reading and hide the mistakes of the
// members behind it: the validator sees a wrong type, Resolve what it missed.
func (o *Optional[T]) UnmarshalJSON(text []byte) error {
	*o = Optional[T]{Set: true, Null: string(text) == "null"}
	if json.Unmarshal(text, &o.Value) == nil {
		return nil
	}
	// To JSON Schema 30.0 and 3e1 are integers, to encoding/json they are not.
	n, _, fits := jsonfmt.Int(text)
	o.wrong = !fits || json.Unmarshal(strconv.AppendInt(nil, n, 10), &o.Value) != nil
	return nil
}

// Resolve reports a value that could not be read.
func (o *Optional[T]) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	if !o.wrong {
		return nil
	}
	return []error{&huma.ErrorDetail{Location: at.String(), Message: msgWrongType}}
}

// Schema is that of the value. Whether it may be null is said by the tag of
// the member.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// Receiver is where huma puts the value of a parameter.
func (o *Optional[T]) Receiver() reflect.Value { return reflect.ValueOf(&o.Value).Elem() }

// OnParamSet is how huma tells that a parameter was there.
func (o *Optional[T]) OnParamSet(set bool, _ any) { o.Set = set }

// refuseNull reports the members that were null and may not be. huma takes null
// for absent wherever a member may be absent.
func refuseNull(at *huma.PathBuffer, null map[string]bool) []error {
	var errs []error
	for name, is := range null {
		if is {
			errs = append(errs, &huma.ErrorDetail{Location: at.With(name), Message: "may not be null"})
		}
	}
	return errs
}
