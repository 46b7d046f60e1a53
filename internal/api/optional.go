package api

import (
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/jsonfmt"
)

// Optional is a value that may be absent: a member of a body that may not be null, or
// a query parameter, where zero and absent differ. huma takes null for absent wherever
// a member may be absent.
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
// error, because that would end the decoding and hide the mistakes of the
// members after it. The validator reports a wrong type, and Resolve the rest.
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

// Resolve reports null, and a value that could not be read.
func (o *Optional[T]) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	switch {
	case o.Null:
		return []error{&huma.ErrorDetail{Location: at.String(), Message: "may not be null"}}
	case o.wrong:
		return []error{&huma.ErrorDetail{Location: at.String(), Message: msgWrongType}}
	}
	return nil
}

// Schema is that of the value.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// Receiver is where huma puts the value of a parameter.
func (o *Optional[T]) Receiver() reflect.Value { return reflect.ValueOf(&o.Value).Elem() }

// OnParamSet is how huma tells that a parameter was there.
func (o *Optional[T]) OnParamSet(set bool, _ any) { o.Set = set }

func (o Optional[T]) given() bool { return o.Set }

// Nullable is an Optional that may be null: a member of a merge patch (RFC 7396), where
// absent keeps and null clears.
type Nullable[T any] struct{ Optional[T] }

// Resolve reports a value that could not be read.
func (n *Nullable[T]) Resolve(ctx huma.Context, at *huma.PathBuffer) []error {
	if n.Null {
		return nil
	}
	return n.Optional.Resolve(ctx, at)
}

// Schema is that of the value, or null.
func (n Nullable[T]) Schema(r huma.Registry) *huma.Schema {
	s := n.Optional.Schema(r)
	s.Nullable = true
	return s
}

// list returns a list as it is answered, which is never null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// listIfSet returns a list that a patch gives, null being an empty one, and nil if it
// gives none.
func listIfSet(given Nullable[[]string]) []string {
	if !given.Set {
		return nil
	}
	return list(given.Value)
}

// givesNothing reports whether all members of a merge patch are absent.
func givesNothing(patch any) bool {
	v := reflect.Indirect(reflect.ValueOf(patch))
	for i := range v.NumField() {
		if member, ok := v.Field(i).Interface().(interface{ given() bool }); ok && member.given() {
			return false
		}
	}
	return true
}
