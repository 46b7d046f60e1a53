package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A breakage is one break of the code and the tests that must notice it.
type breakage struct {
	source string // file and line of its first line
	reason string // what is broken, from the comment above it
	tests  []test
	edits  []edit
}

// A test is a test function, with subtests after slashes, of a package.
type test struct {
	pkg, name string
	race      bool
	env       []string
}

// An edit replaces old, which must occur exactly once in the file, with new.
type edit struct {
	file, old, new string
}

func (b breakage) String() string {
	names := make([]string, len(b.tests))
	for i, t := range b.tests {
		names[i] = t.name
	}
	return fmt.Sprintf("%s: %s: %s", b.source, strings.Join(names, ", "), b.reason)
}

func (b breakage) matches(re *regexp.Regexp) bool {
	if re.MatchString(b.String()) {
		return true
	}
	for _, e := range b.edits {
		if re.MatchString(e.file) {
			return true
		}
	}
	return false
}

// apply returns the changed contents of the files of tree that b changes.
func (b breakage) apply(tree string) (map[string][]byte, error) {
	broken := map[string][]byte{}
	for _, e := range b.edits {
		text, ok := broken[e.file]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(tree, e.file)); err != nil {
				return nil, err
			}
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return nil, fmt.Errorf("%s has these lines %d times, not once:\n%s", e.file, n, e.old)
		}
		broken[e.file] = []byte(strings.Replace(string(text), e.old, e.new, 1))
	}
	return broken, nil
}

// load reads the breaks of every file in dir.
func load(dir string) ([]breakage, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []breakage
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		breaks, err := parse(filepath.Base(file), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, breaks...)
	}
	return all, nil
}

// parse parses breaks. They are separated by empty lines. Each consists of
//
//	# What is broken, in a sentence.
//	test PACKAGE TestName/subtest [race] [NAME=value …]
//	file PATH
//	-a line of the file
//	+the line that replaces it
//
// with several tests, each of which must fail, and several files or groups of
// lines if needed. A group is lines with - followed by lines with +.
func parse(name, text string) ([]breakage, error) {
	var breaks []breakage
	var b *breakage
	var file string
	added := false
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		if line == "" {
			b = nil
			continue
		}
		if b == nil {
			breaks = append(breaks, breakage{source: at})
			b, file, added = &breaks[len(breaks)-1], "", true
		}
		rest := line[1:]
		switch line[0] {
		case '#':
			b.reason = strings.TrimSpace(b.reason + rest)
			continue
		case '-', '+':
			if file == "" {
				return nil, fmt.Errorf("%s: lines of which file? Put \"file PATH\" above them", at)
			}
			removes := line[0] == '-'
			if removes && added {
				b.edits = append(b.edits, edit{file: file})
			}
			added = !removes
			if len(b.edits) == 0 {
				return nil, fmt.Errorf("%s: a line to add must follow the line that it replaces", at)
			}
			e := &b.edits[len(b.edits)-1]
			if removes {
				e.old += rest + "\n"
			} else {
				e.new += rest + "\n"
			}
			continue
		}
		fields := strings.Fields(line)
		switch {
		case fields[0] == "test" && len(fields) >= 3:
			t := test{pkg: fields[1], name: fields[2]}
			for _, f := range fields[3:] {
				if f == "race" {
					t.race = true
				} else {
					t.env = append(t.env, f)
				}
			}
			b.tests = append(b.tests, t)
		case fields[0] == "file" && len(fields) == 2:
			file, added = fields[1], true
		default:
			return nil, fmt.Errorf("%s: want test, file, #, - or +: %s", at, line)
		}
	}
	for _, b := range breaks {
		if b.reason == "" || len(b.tests) == 0 || len(b.edits) == 0 {
			return nil, fmt.Errorf("%s: a break needs a reason, a test and lines to replace", b.source)
		}
	}
	return breaks, nil
}
