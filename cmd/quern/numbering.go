package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

// numbers describes how the migrations of a project are numbered.
type numbers struct {
	last  int64
	width int
}

// timestampWidth is the length of a version that is a timestamp, in goose's format.
const timestampWidth = len("20060102150405")

// numbering reads how the migrations of a folder are numbered.
func numbering(dir string) (numbers, error) {
	n := numbers{width: 5}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return n, err
	}
	for _, e := range entries {
		version, err := goose.NumericComponent(e.Name())
		if err != nil || version <= n.last {
			continue // not a migration
		}
		digits, _, _ := strings.Cut(e.Name(), "_")
		n = numbers{last: version, width: len(digits)}
	}
	return n, nil
}

// file returns the name of the i-th new migration.
func (n numbers) file(i int, name string) string {
	next := n.last + 1 + int64(i)
	if n.width == timestampWidth {
		var now int64
		fmt.Sscan(time.Now().UTC().Format("20060102150405"), &now)
		next = max(next, now+int64(i))
	}
	return fmt.Sprintf("%0*d_%s.sql", n.width, next, name)
}

// fileName turns the description of a change into a part of a file name. It is empty if the
// description has no letters.
func fileName(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "_")
}
