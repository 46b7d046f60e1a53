package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sqlFile is the text of a query file.
type sqlFile struct {
	path string
	text string
}

// readSources reads the query files that sqlc reads. The paths in sqlc.yaml are files,
// directories (without their subdirectories) and patterns.
func readSources(dir string, queries []string) ([]sqlFile, error) {
	var sources []sqlFile
	for _, pattern := range queries {
		paths := []string{filepath.Join(dir, pattern)}
		if strings.ContainsAny(pattern, "*?[]") {
			var err error
			if paths, err = filepath.Glob(paths[0]); err != nil {
				return nil, fmt.Errorf("sqlc.yaml: queries: %s: %w", pattern, err)
			}
		}
		for _, path := range paths {
			names, err := listFiles(path)
			if err != nil {
				return nil, fmt.Errorf("sqlc.yaml: queries: %w: %s", err, whereSQLCRuns)
			}
			for _, name := range names {
				text, err := os.ReadFile(name)
				if err != nil {
					return nil, fmt.Errorf("sqlc.yaml: queries: %w", err)
				}
				if rel, err := filepath.Rel(dir, name); err == nil {
					name = rel
				}
				sources = append(sources, sqlFile{filepath.ToSlash(name), string(text)})
			}
		}
	}
	return sources, nil
}

// whereSQLCRuns is the hint if the files of the request do not exist. `sqlc -f
// DIR/sqlc.yaml` starts its plugins in the directory where sqlc itself was started.
const whereSQLCRuns = "sqlc starts a plugin in the directory in which sqlc was started: run sqlc in the folder of sqlc.yaml, without -f"

// listFiles returns the files that sqlc reads for a path.
func listFiles(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := []string{path}
	switch info, statErr := os.Stat(path); {
	case statErr != nil:
		return nil, statErr
	case info.IsDir() && err != nil:
		return nil, err
	case info.IsDir():
		names = nil
		for _, e := range entries {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasSuffix(name, ".sql") || strings.HasPrefix(filepath.Base(name), ".") || strings.HasSuffix(name, ".down.sql")
	}), nil
}

// checkSources reports the parts of the query files that sqlc loses or misinterprets. It
// also sets the file paths of the statements.
func checkSources(sources []sqlFile, statements []*statement) []problem {
	named := map[string]*statement{}
	for _, s := range statements {
		named[s.Name] = s
	}
	var problems []problem
	found := map[string]bool{}
	for _, src := range sources {
		f := readFile(src)
		for _, part := range f.parts {
			s := named[part.name]
			if s != nil {
				s.path, found[s.Name] = src.path, true
			} else if part.name != "" {
				f.problemf(part.line, "sqlc did not send the query %s: %s", part.name, whereSQLCRuns)
			}
			f.check(part)
		}
		problems = append(problems, f.problems...)
	}
	for _, s := range statements {
		if !found[s.Name] {
			problems = append(problems, s.problemf("sqlc sent this query, but no query file has it: %s", whereSQLCRuns))
		}
	}
	return problems
}
