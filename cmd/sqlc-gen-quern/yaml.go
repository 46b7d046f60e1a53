package main

import (
	"fmt"
	"strconv"
	"strings"
)

// yamlReader reads the YAML of a sqlc.yaml, and JSON, which is a subset. It supports
// block and flow style, anchors and merges. Tags, complex keys and several documents
// are errors. sqlc has already read the file, so it is valid YAML.
//
// Every scalar is a string, and null is the empty string. The reader of a setting knows
// its type.
type yamlReader struct {
	lines   []yamlLine
	at      int
	anchors map[string]any
}

type yamlLine struct {
	number, indent int
	text           string // after the indentation
}

// yamlError is a place that the reader does not support.
type yamlError struct {
	line int
	what string
}

func (e yamlError) Error() string {
	return fmt.Sprintf("line %d: %s is not supported: write it differently", e.line, e.what)
}

// readYAML returns maps, slices and strings.
func readYAML(text string) (value any, err error) {
	defer func() {
		if e, ok := recover().(yamlError); ok {
			err = e
		}
	}()
	y := &yamlReader{anchors: map[string]any{}}
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimRight(line, " \t\r")
		content := strings.TrimLeft(line, " ")
		y.lines = append(y.lines, yamlLine{i + 1, len(line) - len(content), content})
	}
	if y.next() && y.lines[y.at].text == "---" {
		y.at++
	}
	value = y.block(0)
	if y.next() {
		y.fail("%q", y.lines[y.at].text)
	}
	return value, nil
}

func (y *yamlReader) fail(format string, args ...any) {
	panic(yamlError{y.lines[min(y.at, len(y.lines)-1)].number, fmt.Sprintf(format, args...)})
}

// next moves to the next line that is neither blank nor a comment.
func (y *yamlReader) next() bool {
	for y.at < len(y.lines) {
		if text := y.lines[y.at].text; text != "" && text[0] != '#' {
			return true
		}
		y.at++
	}
	return false
}

// block reads the lines that are indented by at least least.
func (y *yamlReader) block(least int) any {
	if !y.next() || y.lines[y.at].indent < least {
		return ""
	}
	line := y.lines[y.at]
	if isItem(line.text) {
		return y.sequence(line.indent)
	}
	if _, _, ok := cutKey(line.text); ok {
		return y.mapping(line.indent)
	}
	y.at++
	return y.value(line.text, line.indent-1)
}

func isItem(text string) bool { return text == "-" || strings.HasPrefix(text, "- ") }

func (y *yamlReader) sequence(indent int) []any {
	items := []any{}
	for y.next() && y.lines[y.at].indent == indent && isItem(y.lines[y.at].text) {
		line := &y.lines[y.at]
		content := strings.TrimLeft(line.text[1:], " ")
		anchor, content := cutAnchor(content)
		_, _, isMapping := cutKey(content)
		var item any
		if isItem(content) || isMapping {
			// The item begins on the line of its dash.
			line.indent += len(line.text) - len(content)
			line.text = content
			item = y.block(line.indent)
		} else {
			y.at++
			item = y.value(content, indent)
		}
		y.keep(anchor, item)
		items = append(items, item)
	}
	return items
}

func (y *yamlReader) mapping(indent int) map[string]any {
	all := map[string]any{}
	for y.next() && y.lines[y.at].indent == indent {
		key, rest, ok := cutKey(y.lines[y.at].text)
		if !ok {
			y.fail("%q", y.lines[y.at].text)
		}
		y.at++
		anchor, rest := cutAnchor(rest)
		var value any
		if uncommented(rest) == "" && y.next() && y.lines[y.at].indent == indent && isItem(y.lines[y.at].text) {
			value = y.sequence(indent) // only a sequence may have the same indentation
		} else {
			value = y.value(rest, indent)
		}
		y.keep(anchor, value)
		set(all, key, value)
	}
	return all
}

// set stores a value in a mapping, or merges it.
func set(all map[string]any, key string, value any) {
	if key != "<<" {
		all[key] = value
		return
	}
	merged, ok := value.([]any)
	if !ok {
		merged = []any{value}
	}
	for _, m := range merged {
		m, _ := m.(map[string]any)
		for k, v := range m {
			if _, given := all[k]; !given {
				all[k] = v
			}
		}
	}
}

func (y *yamlReader) keep(anchor string, value any) {
	if anchor != "" {
		y.anchors[anchor] = value
	}
}

// cutAnchor splits &name off the start.
func cutAnchor(text string) (anchor, rest string) {
	if !strings.HasPrefix(text, "&") {
		return "", text
	}
	anchor, rest, _ = strings.Cut(text[1:], " ")
	return anchor, strings.TrimLeft(rest, " ")
}

// cutKey splits the key of a mapping off the start.
func cutKey(text string) (key, rest string, ok bool) {
	end := 0
	switch {
	case text == "" || strings.ContainsRune("[]{}&*!|>%@`#,?", rune(text[0])):
		return "", "", false
	case text[0] == '"' || text[0] == '\'':
		var size int
		if key, size = unquoteYAML(text); size == 0 {
			return "", "", false
		}
		end = size + len(text[size:]) - len(strings.TrimLeft(text[size:], " "))
	default:
		if end = strings.Index(text+" ", ": "); end < 0 || strings.Contains(text[:end], " #") {
			return "", "", false
		}
		key = strings.TrimRight(text[:end], " ")
	}
	if end >= len(text) || text[end] != ':' || end+1 < len(text) && text[end+1] != ' ' {
		return "", "", false
	}
	return key, strings.TrimLeft(text[end+1:], " "), true
}

// uncommented returns a plain scalar without a trailing comment.
func uncommented(text string) string {
	if strings.HasPrefix(text, "#") {
		return ""
	}
	text, _, _ = strings.Cut(text, " #")
	return strings.TrimRight(text, " \t")
}

// value reads the value that begins with rest, which is on the line before the current
// one. Its further lines are indented more than indent.
func (y *yamlReader) value(rest string, indent int) any {
	switch plain := uncommented(rest); {
	case plain == "":
		return y.block(indent + 1)
	case strings.ContainsRune("[{\"'*", rune(plain[0])):
		return y.flowValue(rest)
	case plain[0] == '|', plain[0] == '>':
		return y.text(plain[0] == '>', indent)
	case strings.ContainsRune("!%@`", rune(plain[0])):
		y.at--
		y.fail("%q", plain)
		return nil
	default:
		for y.next() && y.lines[y.at].indent > indent {
			plain += " " + uncommented(y.lines[y.at].text)
			y.at++
		}
		return scalar(plain)
	}
}

func scalar(plain string) string {
	switch plain {
	case "~", "null", "Null", "NULL":
		return ""
	}
	return plain
}

// text reads a block scalar, whose lines are indented more than indent.
func (y *yamlReader) text(folded bool, indent int) string {
	var lines []string
	for ; y.at < len(y.lines) && (y.lines[y.at].text == "" || y.lines[y.at].indent > indent); y.at++ {
		lines = append(lines, y.lines[y.at].text)
	}
	if folded {
		return strings.Join(lines, " ")
	}
	return strings.Join(lines, "\n")
}

// flowValue reads a value in flow style, which may continue on the following lines.
func (y *yamlReader) flowValue(rest string) any {
	first := y.at - 1
	text := rest
	for _, line := range y.lines[y.at:] {
		text += "\n" + line.text
	}
	value, after := y.flow(text)
	y.at = first + 1 + strings.Count(text[:len(text)-len(after)], "\n")
	if remaining, _, _ := strings.Cut(after, "\n"); uncommented(" "+strings.TrimLeft(remaining, " ")) != "" {
		y.at--
		y.fail("%q", remaining)
	}
	return value
}

// flow reads one value in flow style and returns the text after it.
func (y *yamlReader) flow(text string) (value any, rest string) {
	text = skipBlanks(text)
	anchor, text := cutAnchor(text)
	defer func() { y.keep(anchor, value) }()
	switch {
	case text == "":
		y.fail("the end of the file")
	case text[0] == '[':
		items := []any{}
		for text = skipBlanks(text[1:]); text != "" && text[0] != ']'; text = skipComma(text) {
			var item any
			item, text = y.flow(text)
			items = append(items, item)
		}
		return items, y.closing(text)
	case text[0] == '{':
		all := map[string]any{}
		for text = skipBlanks(text[1:]); text != "" && text[0] != '}'; text = skipComma(text) {
			var key, member any
			key, text = y.flow(text)
			if text = skipBlanks(text); strings.HasPrefix(text, ":") {
				if text = skipBlanks(text[1:]); text != "" && strings.ContainsRune(",}", rune(text[0])) {
					member = ""
				} else {
					member, text = y.flow(text)
				}
			}
			set(all, fmt.Sprint(key), member)
		}
		return all, y.closing(text)
	case text[0] == '"', text[0] == '\'':
		s, size := unquoteYAML(text)
		if size == 0 || strings.Contains(text[:size], "\n") {
			y.fail("a quoted string over several lines")
		}
		return s, text[size:]
	}
	end := 0
	for end < len(text) && !strings.ContainsRune(",[]{}\n", rune(text[end])) &&
		!strings.HasPrefix(text[end:], " #") && (text[end] != ':' || end+1 < len(text) && !strings.ContainsRune(" ,]}\n", rune(text[end+1]))) {
		end++
	}
	plain := strings.TrimSpace(text[:end])
	if name, ok := strings.CutPrefix(plain, "*"); ok {
		value, known := y.anchors[name]
		if !known {
			y.fail("%q", plain)
		}
		return value, text[end:]
	}
	if plain == "" || plain[0] == '!' {
		y.fail("%q", text[:min(len(text), 20)])
	}
	return scalar(plain), text[end:]
}

// closing removes the bracket that ends a collection.
func (y *yamlReader) closing(text string) string {
	if text == "" {
		y.fail("a collection without an end")
	}
	return text[1:]
}

func skipComma(text string) string {
	return skipBlanks(strings.TrimPrefix(skipBlanks(text), ","))
}

// skipBlanks skips blanks, line breaks and comments.
func skipBlanks(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\n")
		if !strings.HasPrefix(text, "#") {
			return text
		}
		_, text, _ = strings.Cut(text, "\n")
	}
}

// unquoteYAML reads the quoted string that text begins with and returns its length in
// text, or 0.
func unquoteYAML(text string) (s string, size int) {
	if text[0] == '\'' {
		size = closing(text, '\'', false)
		if size < 2 || text[size-1] != '\'' {
			return "", 0
		}
		return strings.ReplaceAll(text[1:size-1], "''", "'"), size
	}
	for size = 1; size < len(text) && text[size] != '"'; size++ {
		if text[size] == '\\' {
			size++
		}
	}
	if size++; size > len(text) {
		return "", 0
	}
	// YAML's escapes are Go's, except for JSON's \/.
	s, err := strconv.Unquote(strings.ReplaceAll(text[:size], `\/`, "/"))
	if err != nil {
		return "", 0
	}
	return s, size
}
