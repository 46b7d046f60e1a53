package postgres

import (
	"math"
	"math/big"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"
)

type named string

// TestKeyOf has groups of arguments. Only arguments of one group may share a row.
func TestKeyOf(t *testing.T) {
	t.Parallel()
	seven, again, other := int32(7), int32(7), int32(8)
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	groups := [][][]any{
		{{int64(7)}, {int64(7)}},
		{{int32(7)}},
		{{&seven}, {&again}},
		{{&other}},
		{{nil}, {nil}},
		{{(*int32)(nil)}},
		{{"7"}, {"7"}},
		{{named("7")}},
		{{[]byte("7")}, {[]byte("7")}},
		{{0.0}, {0.0}},
		{{math.Copysign(0, -1)}}, // equal to 0, but encoded differently
		{{math.NaN()}, {math.NaN()}},
		{{true}},
		{{false}},
		{{"a", "bc"}, {"a", "bc"}},
		{{"ab", "c"}},
		{{"a", nil}},
		{{nil, "a"}},
		{{int64(1), int64(2)}, {int64(1), int64(2)}},
		{{int64(2), int64(1)}},
		{{[16]byte{1}}, {[16]byte{1}}},
		{{pgtype.UUID{Bytes: [16]byte{1}, Valid: true}}, {pgtype.UUID{Bytes: [16]byte{1}, Valid: true}}},
		{{pgtype.UUID{Bytes: [16]byte{1}}}},
		{{pgtype.Numeric{Int: big.NewInt(10), Exp: -1, Valid: true}}, {pgtype.Numeric{Int: big.NewInt(10), Exp: -1, Valid: true}}},
		{{pgtype.Numeric{Int: big.NewInt(100), Exp: -2, Valid: true}}},
		{{netip.MustParseAddr("::1")}, {netip.MustParseAddr("::1")}},
		{{netip.MustParseAddr("127.0.0.1")}},
		{{at}, {at.In(time.FixedZone("", 0))}},
		{{at.In(time.FixedZone("", 3600))}}, // a different timestamp without time zone
		{{[]string{"a", "b"}}, {[]string{"a", "b"}}},
		{{[]string{"ab"}}},
		{{[]string(nil)}},
		{{[]string{}}},
	}
	group := map[any]int{}
	for i, same := range groups {
		for _, args := range same {
			key, valid := keyOf(args)
			if key == nil || !valid {
				t.Errorf("%#v: key %v, valid %v", args, key, valid)
				continue
			}
			if in, ok := group[key]; ok && in != i {
				t.Errorf("%#v has the key of %#v", args, groups[in][0])
			}
			group[key] = i
		}
	}
	if len(group) != len(groups) {
		t.Errorf("%d keys, want %d", len(group), len(groups))
	}
	type endless struct{ self any }
	e := &endless{}
	e.self = e
	for _, args := range [][]any{{func() {}}, {make(chan int)}, {map[string]int{}}, {e}} {
		if key, valid := keyOf(args); key != nil || !valid {
			t.Errorf("%T: key %v, valid %v, want none", args[0], key, valid)
		}
	}
	bad := "bad\xff"
	for _, arg := range []any{bad, "nul\x00", &bad, named(bad), pgtype.Text{String: bad, Valid: true}, []string{bad}} {
		if _, valid := keyOf([]any{arg}); valid {
			t.Errorf("%#v is taken for a text that PostgreSQL accepts", arg)
		}
		if _, valid := keyOf([]any{int64(1), arg}); valid {
			t.Errorf("%#v as the second argument is taken for a text that PostgreSQL accepts", arg)
		}
	}
}

// TestDistinct: equal arguments are sent once.
func TestDistinct(t *testing.T) {
	t.Parallel()
	var calls []*call
	for _, key := range []any{int64(1), int64(2), int64(1), nil, nil, int64(1)} {
		calls = append(calls, &call{key: key, next: &call{}})
	}
	for range 2 { // twice, as when a batch was halved
		different := distinct(calls)
		if want := []*call{calls[0], calls[1], calls[3], calls[4]}; !slices.Equal(different, want) {
			t.Fatalf("%d calls, want the 1st, 2nd, 4th and 5th", len(different))
		}
		linked := map[*call]bool{}
		for c := calls[0]; c != nil; c = c.next {
			linked[c] = true
		}
		if len(linked) != 3 || !linked[calls[2]] || !linked[calls[5]] || calls[1].next != nil || calls[3].next != nil {
			t.Error("equal calls are not linked, or others are")
		}
	}
}

// TestArrayOf compares the array for several calls with the arguments that each call would
// send.
func TestArrayOf(t *testing.T) {
	t.Parallel()
	seven, text := int32(7), "x"
	for name, tt := range map[string]struct {
		typ  string
		args []any
		want any
	}{
		"Integers":  {"bigint[]", []any{int64(1), int64(2)}, []int64{1, 2}},
		"Texts":     {"text[]", []any{"a", ""}, []string{"a", ""}},
		"Mixed":     {"bigint[]", []any{int64(1), int32(2)}, column{int64(1), int32(2)}},
		"Null":      {"integer[]", []any{&seven, nil}, column{&seven, nil}},
		"NullText":  {"text[]", []any{"a", nil, (*string)(nil)}, column{"a", nil, (*string)(nil)}},
		"Domain":    {"text[]", []any{int32(1), true, 1.5, &seven, nil}, column{"1", "true", "1.5", "7", nil}},
		"TextAsOne": {"uuid[]", []any{"a", named(`"\`), nil, &text, (*string)(nil)}, `{"a","\"\\",NULL,"x",NULL}`},
		"Valuer":    {"numeric[]", []any{pgtype.Text{}, "1"}, column{pgtype.Text{}, "1"}},
	} {
		calls := make([]*call, len(tt.args))
		for i, arg := range tt.args {
			calls[i] = &call{invocation: invocation{args: []any{nil, arg}}}
		}
		if diff := cmp.Diff(tt.want, arrayOf(calls, 1, tt.typ)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
