package api

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestOptional(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Optional[int32]{
		`{}`:                         {},
		`{"age":null}`:               {Set: true, Null: true},
		`{"age":0}`:                  {Set: true},
		`{"age":7}`:                  {Set: true, Value: 7},
		`{"age":7.0}`:                {Set: true, Value: 7},
		`{"age":-0.7e1}`:             {Set: true, Value: -7},
		`{"age":7,"age":null}`:       {Set: true, Null: true},
		`{"age":null,"age":7}`:       {Set: true, Value: 7},
		`{"age":7.5}`:                {Set: true, wrong: true},
		`{"age":"7"}`:                {Set: true, wrong: true},
		`{"age":2147483648}`:         {Set: true, wrong: true},
		`{"age":2147483648,"age":1}`: {Set: true, Value: 1},
		`{"age":{"x":[1]}}`:          {Set: true, wrong: true},
	} {
		var got struct {
			Age Optional[int32] `json:"age"`
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got.Age != want {
			t.Errorf("%s is %+v, want %+v (%v)", text, got.Age, want, err)
		}
	}
}

// FuzzMergePatch compares a patch with the same text decoded into a map.
func FuzzMergePatch(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"username":"a","email":null,"age":5,"tags":["x"]}`, `{"age":1e2,"tags":null}`, `{"age":1,"age":null}`,
		`{"username":"\ud800"}`, `{"username":"\ud83d\ude00"}`, `{"tags":[1,"x"],"username":"y"}`, `[]`, `{"USERNAME":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var members map[string]any
		if unmarshal(text, &members) != nil {
			return
		}
		for name := range members {
			switch name {
			case "username", "email", "age", "tags":
			default:
				// Another spelling of a member is refused before this matters.
				return
			}
		}
		var p UserPatch
		if err := unmarshal(text, &p); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		check := func(name string, set, null, wrong bool, equal func(any) bool) {
			value, has := members[name]
			if set != has || null != (has && value == nil) {
				t.Errorf("%q: %s set %v, null %v", text, name, set, null)
			}
			if has && value != nil && !wrong && !equal(value) {
				t.Errorf("%q: %s is not %v", text, name, value)
			}
		}
		check("username", p.Username.Set, p.Username.Null, p.Username.wrong, func(v any) bool { return v == p.Username.Value })
		check("email", p.Email.Set, p.Email.Null, p.Email.wrong, func(v any) bool { return v == p.Email.Value })
		check("age", p.Age.Set, p.Age.Null, p.Age.wrong, func(v any) bool { return v == float64(p.Age.Value) })
		check("tags", p.Tags.Set, p.Tags.Null, p.Tags.wrong, func(v any) bool {
			list, ok := v.([]any)
			return ok && len(list) == len(p.Tags.Value)
		})
	})
}

// FuzzUnmarshal checks that no text is silently replaced.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`"\ud800"`, `"\ud83d\ude00"`, `"\ude00\ud83d"`, `"\ud83d\\ude00"`, `"\ud83dx\ude00"`, `"\uD83D\uDE00"`, `"\ufffd"`, "\"\xff\"", `{"\udc00":1}`, `[1] x`, `"\`, `"\u12`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v string
		if unmarshal(text, &v) != nil {
			return
		}
		if !utf8.Valid(text) {
			t.Fatalf("%q is taken for UTF-8", text)
		}
		// The output may contain U+FFFD only where the input did, as itself or escaped.
		in, out := 0, 0
		for i, r := range string(text) {
			if r == utf8.RuneError || r == '\\' && len(text) >= i+6 && text[i+1] == 'u' && isReplacement(string(text[i+2:i+6])) {
				in++
			}
		}
		for _, r := range v {
			if r == utf8.RuneError {
				out++
			}
		}
		if out > in {
			t.Errorf("%q has %d replacement characters, its text %d", v, out, in)
		}
	})
}

func isReplacement(hex string) bool {
	var s string
	return json.Unmarshal([]byte(`"\u`+hex+`"`), &s) == nil && s == "\uFFFD" && (hex[0] == 'f' || hex[0] == 'F')
}
