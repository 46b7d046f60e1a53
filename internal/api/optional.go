package api

import (
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/jsonfmt"
)

// Optional is a value that may be absent: a member of a body that must not be null, or a
// query parameter for which zero and absent differ. huma treats null as absent if a member
// may be absent.
type Optional[T any] struct {
	Set   bool // whether it was present, as null or as a value
	Null  bool // whether it was null
	Value T

	wrong bool
}

// msgWrongType is the message about a value that could not be decoded, if nothing more is
// known.
const msgWrongType = "is not of its type"

// ptr returns the value, or nil if there is none.
func (o Optional[T]) ptr() *T {
	if !o.Set || o.Null {
		return nil
	}
	return &o.Value
}

// value returns the value, which is zero when there is none or null.
//
//lint:ignore U1000 the code that make scaffold writes uses it
func (o Optional[T]) value() (value T) {
	if o.Null {
		return value
	}
	return o.Value
}

// UnmarshalJSON records that the member was present, and its value. It returns no error,
// because an error would end the decoding and hide errors in the members after it. The
// validator reports a wrong type, and Resolve the rest.
func (o *Optional[T]) UnmarshalJSON(text []byte) error {
	*o = Optional[T]{Set: true, Null: string(text) == "null"}
	if json.Unmarshal(text, &o.Value) == nil {
		return nil
	}
	// 30.0 and 3e1 are integers in JSON Schema but not in encoding/json.
	n, _, fits := jsonfmt.Int(text)
	o.wrong = !fits || json.Unmarshal(strconv.AppendInt(nil, n, 10), &o.Value) != nil
	return nil
}

// Resolve reports null, and a value that could not be decoded.
func (o *Optional[T]) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	switch {
	case o.Null:
		return []error{&huma.ErrorDetail{Location: at.String(), Message: "may not be null"}}
	case o.wrong:
		return []error{&huma.ErrorDetail{Location: at.String(), Message: msgWrongType}}
	}
	return nil
}

// Schema returns the schema of the value.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// Receiver returns where huma stores the value of a parameter.
func (o *Optional[T]) Receiver() reflect.Value { return reflect.ValueOf(&o.Value).Elem() }

// OnParamSet is called by huma with whether the parameter was present.
func (o *Optional[T]) OnParamSet(set bool, _ any) { o.Set = set }

func (o Optional[T]) given() bool { return o.Set }

// Nullable is an Optional that may be null: a member of a merge patch (RFC 7396), in which
// an absent member is unchanged and null clears it.
type Nullable[T any] struct{ Optional[T] }

// Resolve reports a value that could not be decoded.
func (n *Nullable[T]) Resolve(ctx huma.Context, at *huma.PathBuffer) []error {
	if n.Null {
		return nil
	}
	return n.Optional.Resolve(ctx, at)
}

// Schema returns the schema of the value, which may be null.
func (n Nullable[T]) Schema(r huma.Registry) *huma.Schema {
	s := n.Optional.Schema(r)
	s.Nullable = true
	return s
}

// list returns a list for a response, where lists are never null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// listIfSet returns the list of a patch, with null as an empty one, or nil if it is absent.
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
