package rowfile

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonParser reads JSON (RFC 8259) from one text. encoding/json is not used
// because it silently accepts input that an import must refuse: member names
// that differ in case, duplicate members, text that is not UTF-8 and unpaired
// surrogates.
type jsonParser struct {
	text    []byte
	at      int
	scratch []byte // buffer for unescaped strings
}

// The faults of a text that is not JSON of the expected kind.
const (
	// NotString is the fault of a value that should be a string.
	NotString = "expected a string"

	// NotStrings is returned by ParseStrings for any other value.
	NotStrings = `is not a JSON array of strings, such as ["a","b"]`

	notJSON = "is not valid JSON"
	tooDeep = "is nested too deeply"
)

// maxDepth bounds the nesting of skipped values.
const maxDepth = 100

// reset starts with another text and invalidates the results for the last one.
func (p *jsonParser) reset(text []byte) {
	p.text, p.at, p.scratch = text, 0, p.scratch[:0]
}

func (p *jsonParser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next character that is not white space, or 0 at the end.
func (p *jsonParser) peek() byte {
	p.space()
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

// take skips c if it is the next character.
func (p *jsonParser) take(c byte) bool {
	if p.peek() != c || p.at == len(p.text) {
		return false
	}
	p.at++
	return true
}

func (p *jsonParser) atEnd() bool {
	p.space()
	return p.at == len(p.text)
}

// string reads a string. The result is valid as long as the text, and until
// reset.
func (p *jsonParser) string() (s []byte, fault string) {
	if !p.take('"') {
		return nil, NotString
	}
	start := p.at
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			s = p.text[start:p.at:p.at]
			p.at++
			return s, ""
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return nil, "has a control character in a string: write it as an escape"
		}
	}
	return nil, "ends in the middle of a string"
}

// escaped reads the rest of a string with escapes.
func (p *jsonParser) escaped(start int) (s []byte, fault string) {
	if len(p.scratch) == 0 && cap(p.scratch) < len(p.text) {
		// No escape is shorter than its character, so scratch never grows and earlier
		// results stay valid.
		p.scratch = make([]byte, 0, len(p.text))
	}
	from := len(p.scratch)
	p.scratch = append(p.scratch, p.text[start:p.at]...)
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '"':
			return p.scratch[from:len(p.scratch):len(p.scratch)], ""
		case c < ' ':
			return nil, "has a control character in a string: write it as an escape"
		case c != '\\':
			p.scratch = append(p.scratch, c)
			continue
		}
		if p.at == len(p.text) {
			break
		}
		c = p.text[p.at]
		p.at++
		if c == 'u' {
			r, fault := p.unicode()
			if fault != "" {
				return nil, fault
			}
			p.scratch = utf8.AppendRune(p.scratch, r)
			continue
		}
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return nil, "has an escape in a string that JSON does not define"
		}
		p.scratch = append(p.scratch, "\"\\/\b\f\n\r\t"[i])
	}
	return nil, "ends in the middle of a string"
}

// unicode reads the rest of a \u escape, and the second half of a surrogate
// pair.
func (p *jsonParser) unicode() (r rune, fault string) {
	const half = `has a \u escape that is one half of a surrogate pair`
	r, ok := p.hex()
	if !ok {
		return 0, `has a \u escape without four hexadecimal digits`
	}
	if !utf16.IsSurrogate(r) {
		return r, ""
	}
	if !bytes.HasPrefix(p.text[p.at:], []byte(`\u`)) {
		return 0, half
	}
	p.at += 2
	low, ok := p.hex()
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, half
	}
	return r, ""
}

func (p *jsonParser) hex() (rune, bool) {
	if len(p.text)-p.at < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.text[p.at:p.at+4]), 16, 16)
	if err != nil {
		return 0, false
	}
	p.at += 4
	return rune(n), true
}

// value reads any value. For a list or an object it returns the text.
func (p *jsonParser) value() (v Value, fault string) {
	switch c := p.peek(); {
	case c == '"':
		v.Kind = String
		v.Text, fault = p.string()
		return v, fault
	case c == '[' || c == '{':
		start := p.at
		fault = p.skip(0)
		v.Kind = List
		if c == '{' {
			v.Kind = Other
		}
		v.Text = p.text[start:p.at]
		return v, fault
	case c == '-' || c >= '0' && c <= '9':
		v.Kind = Number
		v.Text, fault = p.number()
		return v, fault
	case p.word("null"):
		return Value{Kind: Null}, ""
	case p.word("true"), p.word("false"):
		return Value{Kind: Other}, ""
	}
	return v, notJSON
}

func (p *jsonParser) word(w string) bool {
	if !bytes.HasPrefix(p.text[p.at:], []byte(w)) {
		return false
	}
	p.at += len(w)
	return true
}

func (p *jsonParser) number() (text []byte, fault string) {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte("+-.0123456789Ee", p.text[p.at]) >= 0 {
		p.at++
	}
	text = p.text[start:p.at]
	if !json.Valid(text) {
		return nil, notJSON
	}
	return text, ""
}

// skip skips any value.
func (p *jsonParser) skip(depth int) (fault string) {
	open := p.peek()
	if open != '[' && open != '{' {
		_, fault = p.value()
		return fault
	}
	if depth == maxDepth {
		return tooDeep
	}
	p.at++
	end := open + 2 // in ASCII, [ and ], and { and }, are two apart
	for first := true; !p.take(end); first = false {
		if !first && !p.take(',') {
			return notJSON
		}
		if open == '{' {
			if _, fault := p.string(); fault != "" {
				return fault
			}
			if !p.take(':') {
				return notJSON
			}
		}
		if fault := p.skip(depth + 1); fault != "" {
			return fault
		}
	}
	return ""
}

// unknownMember is the fault of an object with a member that is not a column.
const unknownMember = "is an unknown member"

// object reads an object whose members are columns. It skips members that start
// with an underscore, because a file of rejects stores the reason for a reject
// in such a member. If ignore is set, it also skips unknown members.
func (p *jsonParser) object(columns []Column, values []Value, ignore bool) (field, fault string) {
	if !p.take('{') {
		return "", "is not a JSON object"
	}
	for first := true; !p.take('}'); first = false {
		if !first && !p.take(',') {
			return "", notJSON
		}
		name, fault := p.string()
		if fault == NotString {
			fault = notJSON
		}
		if fault != "" {
			return "", fault
		}
		if !p.take(':') {
			return "", notJSON
		}
		i := indexOf(columns, name)
		if len(name) > 0 && name[0] == '_' || i < 0 && ignore {
			if fault := p.skip(0); fault != "" {
				return "", fault
			}
			continue
		}
		if i < 0 {
			return shortened(name), unknownMember
		}
		if values[i].Kind != Absent {
			return columns[i].Name, "is given twice"
		}
		if values[i], fault = p.value(); fault != "" {
			return columns[i].Name, fault
		}
	}
	if !p.atEnd() {
		return "", "has text after its object: write one object per line"
	}
	return "", ""
}

func indexOf(columns []Column, name []byte) int {
	for i, c := range columns {
		if c.Name == string(name) {
			return i
		}
	}
	return -1
}

// shortened returns a name from the input, shortened and valid for messages.
func shortened(name []byte) string {
	const most = 60
	s := strings.ToValidUTF8(string(name[:min(len(name), most)]), "\uFFFD")
	if len(name) > most {
		s += "…"
	}
	return s
}

// ParseStrings calls each for each string of a JSON array of strings. It
// returns the fault of the text, or the reason that each returned for a string.
func ParseStrings(text []byte, each func(s []byte) (reason string)) (reason string) {
	p := jsonParser{text: text}
	if !p.take('[') {
		return NotStrings
	}
	for first := true; !p.take(']'); first = false {
		if !first && !p.take(',') {
			return NotStrings
		}
		s, fault := p.string()
		switch {
		case fault == NotString:
			return NotStrings
		case fault != "":
			return fault
		}
		if reason := each(s); reason != "" {
			return reason
		}
	}
	if !p.atEnd() {
		return NotStrings
	}
	return ""
}
