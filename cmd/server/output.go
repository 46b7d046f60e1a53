package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"
)

// isTerminal reports whether w is a terminal, so that its text is shown to the user
// and not stored.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// output is the destination of an export or of the rejects of an import. A file gets
// its name when it is complete, so that a partial one is never mistaken for it.
type output struct {
	io.Writer
	file  *os.File // nil: standard output
	name  string   // name of the complete file; empty if it has that name already
	force bool     // whether it may replace a file of that name
}

// checkOutput returns an error if name, the value of flag, is an existing file. It
// is called before the work begins, and keep checks again.
func checkOutput(flag, name string, force bool) error {
	if name == "" || name == "-" {
		return nil
	}
	info, err := os.Lstat(name)
	if err != nil {
		return nil // it does not exist, or creating it will return the error
	}
	if followed, err := os.Stat(name); err == nil {
		info = followed
	}
	switch {
	case info.IsDir():
		return fmt.Errorf("%s names %s, which is a directory: name a file in it", flag, name)
	case !force && (info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0):
		return fmt.Errorf("%s names %s, which exists: choose another name, or replace it with --force", flag, name)
	}
	return nil // or a pipe, or /dev/null
}

func (a *app) createOutput(name string, force bool) (*output, error) {
	if name == "-" {
		return &output{Writer: a.stdout}, nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		// A pipe, or /dev/null, which must not be replaced by a file.
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		return &output{Writer: file, file: file}, err
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	return &output{Writer: file, file: file, name: name, force: force}, err
}

// keep renames the complete file to its final name.
func (o *output) keep() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if o.name != "" && err == nil {
		err = o.rename()
	}
	if err == nil {
		o.file = nil
	}
	return err
}

// rename does not replace an existing file unless force is set. It uses a link,
// because that fails if the name exists, and a rename does not.
func (o *output) rename() error {
	if o.force {
		return os.Rename(o.file.Name(), o.name)
	}
	err := os.Link(o.file.Name(), o.name)
	switch {
	case err == nil:
		return os.Remove(o.file.Name())
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s was created in the meantime: choose another name, or replace it with --force", o.name)
	}
	return os.Rename(o.file.Name(), o.name) // a file system without links
}

// discard removes the file unless it was kept.
func (o *output) discard() error {
	if o.file == nil {
		return nil
	}
	_ = o.file.Close() // it may be closed already
	if o.name == "" {
		return nil
	}
	return os.Remove(o.file.Name())
}
