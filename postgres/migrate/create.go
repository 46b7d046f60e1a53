package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var fileName = regexp.MustCompile(`^(\d+)_.*\.sql$`)

const template = `-- What it locks, and for how long.

-- +goose Up

-- +goose Down
`

// Create writes an empty migration with the next number into dir and returns
// its path. name is its description, in words or in snake_case.
func Create(dir, name string) (string, error) {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	if len(words) == 0 {
		return "", fmt.Errorf("create migration %q: the name has no letters or digits: use one such as add_posts_index", name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("create migration: %w", err)
	}
	next := 1
	for _, e := range entries {
		if m := fileName.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return "", fmt.Errorf("create migration: %s: %w", e.Name(), err)
			}
			next = max(next, n+1)
		}
	}
	// sqlc and goose read the files in lexicographic order, so the number must be
	// padded.
	file := filepath.Join(dir, fmt.Sprintf("%05d_%s.sql", next, strings.Join(words, "_")))
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", fmt.Errorf("create migration: %w", err)
	}
	_, err = f.WriteString(template)
	return file, errors.Join(err, f.Close())
}
