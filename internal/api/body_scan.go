package api

import (
	"bytes"
	"encoding/json"
	"strconv"

	"quern/internal/jsonfmt"
)

// msgDuplicate is the message about a duplicate member.
const msgDuplicate = "given more than once"

// manyMembers is the number of names above which a map is faster than comparing each.
const manyMembers = 32

// refuseLost returns an error, with its location, if a valid JSON text has an object with a
// duplicate member, or a number that jsonb or its readers cannot hold. encoding/json and
// jsonb keep the last duplicate, so a value that the client sent would be lost. This also
// applies to the payload of a task.
func refuseLost(text []byte) error {
	s := memberScan{text: text}
	if path, fault := s.value(); fault != "" {
		return located(fault, path)
	}
	return nil
}

// memberScan checks the names and numbers in a valid JSON text.
type memberScan struct {
	text  []byte
	at    int
	names [][]byte // of the objects that contain the current value
}

// value skips a value. It returns the path to the first error in it.
func (s *memberScan) value() (path, fault string) {
	switch c := s.next(); {
	case c == '{':
		return s.object()
	case c == '[':
		return s.list()
	case c == '"':
		s.string()
		return "", ""
	default:
		start := s.at
		for s.at < len(s.text) && bytes.IndexByte([]byte(",]} \t\r\n"), s.text[s.at]) < 0 {
			s.at++
		}
		if (c == '-' || c >= '0' && c <= '9') && !jsonfmt.Storable(s.text[start:s.at]) {
			return "", outOfRange(s.text[start:s.at], "it must fit a double-precision number, with at most 16,383 decimals")
		}
		return "", ""
	}
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

func (s *memberScan) list() (path, fault string) {
	s.at++
	for i := 0; s.next() != ']'; i++ {
		if path, fault := s.value(); fault != "" {
			return "[" + strconv.Itoa(i) + "]" + path, fault
		}
		if s.next() == ',' {
			s.at++
		}
	}
	s.at++
	return "", ""
}

func (s *memberScan) object() (path, fault string) {
	s.at++
	outer := len(s.names)
	var seen map[string]bool
	for s.next() != '}' {
		name := s.string()
		if s.has(outer, &seen, name) {
			return "." + string(name), msgDuplicate
		}
		s.next()
		s.at++ // the colon
		if path, fault := s.value(); fault != "" {
			return "." + string(name) + path, fault
		}
		if s.next() == ',' {
			s.at++
		}
	}
	s.at++
	s.names = s.names[:outer]
	return "", ""
}

// has reports whether the object whose names start at outer has the name, and adds it.
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

// string skips a string and returns it without escapes.
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
