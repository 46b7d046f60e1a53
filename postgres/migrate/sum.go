package migrate

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// SumFile returns the file with the checksums of the migrations in a directory, such as
// migrations.sum for migrations. It is next to the directory, which contains only goose's
// files, and must be committed. Each line has the name of a migration and the checksum of its
// text.
func SumFile(dir string) string { return filepath.Clean(dir) + ".sum" }

// sumScheme begins a checksum: SHA-256 of the text, with Unix line endings, in base64.
const sumScheme = "h1:"

// WriteSum writes the checksums of all migrations in a directory to its SumFile.
func WriteSum(dir string) error {
	text, err := Sum(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("write %s: %w", SumFile(dir), err)
	}
	return os.WriteFile(SumFile(dir), text, 0o644)
}

// AddSums adds the checksums of new migrations in a directory to its SumFile, which it
// creates if necessary. It fails, and writes nothing, if a migration with a checksum is
// edited or gone.
func AddSums(dir string) error {
	files := os.DirFS(dir)
	sums, err := os.ReadFile(SumFile(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := checkSum(files, sums); err != nil {
		return err
	}
	return WriteSum(dir)
}

// Sum returns the checksums of all migrations, as a SumFile has them.
func Sum(files fs.FS) ([]byte, error) {
	names, err := migrationNames(files)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, name := range names {
		checksum, err := checksumOf(files, name)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s %s\n", name, checksum)
	}
	return b.Bytes(), nil
}

func checksumOf(files fs.FS, name string) (string, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return "", err
	}
	// A checkout on Windows may have other line endings.
	hash := sha256.Sum256(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
	return sumScheme + base64.StdEncoding.EncodeToString(hash[:]), nil
}

// migrationNames returns the names of the migrations, in their order.
func migrationNames(files fs.FS) ([]string, error) {
	names, err := fs.Glob(files, "*.sql")
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := goose.NumericComponent(name)
		return err != nil
	}), err
}

// checkSum compares the migrations with their checksums. A file without a checksum is new,
// which is not an error.
func checkSum(files fs.FS, sums []byte) error {
	known, err := readSum(sums)
	if err != nil {
		return err
	}
	var all []error
	for _, k := range known {
		checksum, err := checksumOf(files, k.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			all = append(all, fmt.Errorf("%s: it has a checksum, but the file is gone: restore it, or, if no database has it, run `migrate sum --rewrite`", k.name))
		case err != nil:
			all = append(all, err)
		case checksum != k.checksum:
			all = append(all, fmt.Errorf("%s: it was edited after its checksum was written: databases that have it will not get the change: "+
				"restore it and write a new migration, or, if no database has it, run `migrate sum --rewrite`", k.name))
		}
	}
	return errors.Join(all...)
}

type sumLine struct{ name, checksum string }

func readSum(text []byte) (lines []sumLine, err error) {
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 || !strings.HasPrefix(fields[1], sumScheme) {
			return nil, fmt.Errorf("read the checksums: %q is not a file name and a checksum: write them again with `migrate sum --rewrite`", strings.TrimSpace(line))
		}
		lines = append(lines, sumLine{fields[0], fields[1]})
	}
	return lines, nil
}

// sequential is the limit below which versions are numbered one by one. Every version that is a
// date, such as 20260131120000, is above it.
const sequential = 1_000_000

// Check returns the errors in the migrations of a directory, without a database:
// files that goose would not read or would split at the wrong places, two files with one
// number, a gap in the numbers, and files that are edited, gone or not in the SumFile.
// Its error has one line for each of them, with a hint.
func Check(dir string) error {
	files := os.DirFS(dir)
	sums, missing := os.ReadFile(SumFile(dir))
	all := []error{checkFiles(files)}
	if missing != nil {
		all = append(all, fmt.Errorf("there is no %s, so that an edited file is not noticed: run `migrate sum`", SumFile(dir)))
	} else {
		all = append(all, checkSum(files, sums))
	}
	names, err := migrationNames(files)
	if err != nil {
		return err
	}
	known, err := readSum(sums)
	byVersion := map[int64]string{}
	var last int64
	for _, name := range names {
		version, _ := goose.NumericComponent(name)
		if first, twice := byVersion[version]; twice {
			all = append(all, fmt.Errorf("%s: it has the number of %s: give it the next free number", name, first))
			continue
		}
		byVersion[version] = name
		if version < sequential && version != last+1 {
			all = append(all, fmt.Errorf("%s: number %s is missing before it: a file is lost, or two branches were merged: renumber it if no database has it",
				name, strconv.FormatInt(last+1, 10)))
		}
		last = version
		if err == nil && missing == nil && !slices.ContainsFunc(known, func(k sumLine) bool { return k.name == name }) {
			all = append(all, fmt.Errorf("%s: it is not in %s: run `migrate sum`", name, SumFile(dir)))
		}
	}
	return errors.Join(all...)
}
