package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// msgDuplicate is said of a member that its object has twice. The location
// follows it in the text of the error, because huma passes nothing else on.
const msgDuplicate = "given more than once"

// manyMembers is how many names of an object are compared one by one. A map is
// faster for more.
const manyMembers = 32

// refuseDuplicates returns an error if an object of a valid JSON text has a member
// twice. encoding/json takes the last one and jsonb keeps the last one, so one of
// the values that the client sent would be lost. That is true of the payload of a
// task, too.
func refuseDuplicates(text []byte) error {
	s := memberScan{text: text}
	if path, found := s.value(); found {
		return errors.New(msgDuplicate + path)
	}
	return nil
}

// memberScan looks at the names in a valid JSON text.
type memberScan struct {
	text  []byte
	at    int
	names [][]byte // of the objects that the current value is in
}

// value steps over a value. It returns the path to the first duplicate in it.
func (s *memberScan) value() (path string, found bool) {
	switch s.next() {
	case '{':
		return s.object()
	case '[':
		return s.list()
	case '"':
		s.string()
		return "", false
	}
	for s.at < len(s.text) && bytes.IndexByte([]byte(",]} \t\r\n"), s.text[s.at]) < 0 {
		s.at++
	}
	return "", false
}

// next returns the next character that is not white space.
func (s *memberScan) next() byte {
	for {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
}

func (s *memberScan) list() (path string, found bool) {
	s.at++
	for i := 0; s.next() != ']'; i++ {
		if path, found := s.value(); found {
			return "[" + strconv.Itoa(i) + "]" + path, true
		}
		if s.next() == ',' {
			s.at++
		}
	}
	s.at++
	return "", false
}

func (s *memberScan) object() (path string, found bool) {
	s.at++
	outer := len(s.names)
	var seen map[string]bool
	for s.next() != '}' {
		name := s.string()
		if s.has(outer, &seen, name) {
			return "." + string(name), true
		}
		s.next()
		s.at++ // the colon
		if path, found := s.value(); found {
			return "." + string(name) + path, true
		}
		if s.next() == ',' {
			s.at++
		}
	}
	s.at++
	s.names = s.names[:outer]
	return "", false
}

// has reports whether the object whose names start at outer has the name, and
// adds it.
func (s *memberScan) has(outer int, seen *map[string]bool, name []byte) bool {
	if *seen != nil {
		had := (*seen)[string(name)]
		(*seen)[string(name)] = true
		return had
	}
	for _, other := range s.names[outer:] {
		if bytes.Equal(other, name) {
			return true
		}
	}
	s.names = append(s.names, name)
	if len(s.names)-outer == manyMembers {
		*seen = make(map[string]bool, 2*manyMembers)
		for _, name := range s.names[outer:] {
			(*seen)[string(name)] = true
		}
	}
	return false
}

// string steps over a string and returns it without escapes.
func (s *memberScan) string() []byte {
	start, escaped := s.at, false
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at++
	if !escaped {
		return s.text[start+1 : s.at-1]
	}
	var plain string
	_ = json.Unmarshal(s.text[start:s.at], &plain) // it is valid
	return []byte(plain)
}
