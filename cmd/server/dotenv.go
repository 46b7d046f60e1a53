package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/joho/godotenv"
)

// loadDotenv adds the variables of a file of NAME=value lines to the
// environment, except those that are set there already, and returns the names
// it added. No file is no error.
//
// A variable that is set to nothing still hides the file's: that is how a
// DATABASE_URL is taken back for one run.
func loadDotenv(path string) (map[string]bool, error) {
	added := make(map[string]bool)
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: make %s readable, or move it away", err, path)
	}
	variables, ok := parseDotenv(string(content))
	if !ok {
		// godotenv quotes what it could not read, secrets included.
		return nil, fmt.Errorf("%s cannot be read from line %d on: write each line as NAME=value, in single quotes if it holds spaces, quotes or $",
			path, brokenLine(string(content)))
	}
	for name, value := range variables {
		if _, set := os.LookupEnv(name); set || value == "" {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		added[name] = true
	}
	return added, nil
}

// dotenvNames returns the names in a file that loadDotenv has read, also of
// variables that the environment hides.
func dotenvNames(path string) []string {
	content, _ := os.ReadFile(path)
	variables, _ := parseDotenv(string(content))
	return slices.Sorted(maps.Keys(variables))
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseDotenv reads NAME=value lines. godotenv also takes "NAME: value", and so
// reads `DATABASE_URL postgres://…`, where the = was forgotten, as a variable
// with a space in its name.
func parseDotenv(content string) (map[string]string, bool) {
	variables, err := godotenv.Unmarshal(content)
	if err != nil {
		return nil, false
	}
	for name := range variables {
		if !variableName.MatchString(name) {
			return nil, false
		}
	}
	return variables, true
}

// brokenLine is the first line, counted from 1, of the statement that cannot be
// read. A quoted value may span lines, so that it is the line behind the
// longest beginning which can be read.
func brokenLine(content string) int {
	whole, line := 0, 0
	var beginning strings.Builder
	for part := range strings.Lines(content) {
		beginning.WriteString(part)
		line++
		if _, ok := parseDotenv(beginning.String()); ok {
			whole = line
		}
	}
	return whole + 1
}
