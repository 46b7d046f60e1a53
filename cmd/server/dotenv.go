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

// loadDotenv adds the variables of a file of NAME=value lines to the environment,
// unless they are set there already, and returns the names that it added. A missing
// file is not an error.
//
// An empty variable in the environment also takes precedence over the file, so that
// one run can ignore the DATABASE_URL of the file.
func loadDotenv(path string) (map[string]bool, error) {
	added := make(map[string]bool)
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: make %s readable, or remove it", err, path)
	}
	variables, ok := parseDotenv(string(content))
	if !ok {
		// The error of godotenv quotes the text that it cannot parse, including secrets.
		return nil, fmt.Errorf("%s: syntax error at line %d: write each line as NAME=value, with the value in single quotes if it has spaces, quotes or $",
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

// dotenvNames returns the names in a file that loadDotenv has read, including those
// that are also set in the environment.
func dotenvNames(path string) []string {
	content, _ := os.ReadFile(path)
	variables, _ := parseDotenv(string(content))
	return slices.Sorted(maps.Keys(variables))
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseDotenv parses NAME=value lines. It rejects names with other characters,
// because godotenv also accepts "NAME: value" and would parse a line without =,
// such as `DATABASE_URL postgres://…`, as a variable with a space in its name.
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

// brokenLine returns the number, from 1, of the first line that cannot be parsed.
// Because a quoted value may span lines, it is the line after the longest prefix
// that can be parsed.
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
