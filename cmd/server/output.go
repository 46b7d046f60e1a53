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

// isTerminal reports whether w is read by the user who has started the program,
// and kept nowhere.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// output is where an export or the rejects of an import go. A file gets its name
// when it is whole, so that a part of one is never taken for it.
type output struct {
	io.Writer
	file  *os.File // nil: standard output
	name  string   // its name once it is whole; empty if it has that name already
	force bool     // a file of that name may be replaced
}

// checkOutput refuses a name that another file has. flag is the one that gives
// the name. It is asked before anything is done, and keep looks again.
func checkOutput(flag, name string, force bool) error {
	if name == "" || name == "-" {
		return nil
	}
	info, err := os.Lstat(name)
	if err != nil {
		return nil // it is free, or creating it says why not
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

// keep gives the file its name.
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

// rename replaces no file unless it may: a link, unlike a new name, fails where
// there is one.
func (o *output) rename() error {
	if o.force {
		return os.Rename(o.file.Name(), o.name)
	}
	err := os.Link(o.file.Name(), o.name)
	switch {
	case err == nil:
		return os.Remove(o.file.Name())
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s exists since a moment ago: choose another name, or replace it with --force", o.name)
	}
	return os.Rename(o.file.Name(), o.name) // a file system without links
}

// discard removes a file that was not kept.
func (o *output) discard() error {
	if o.file == nil {
		return nil
	}
	_ = o.file.Close() // it may be closed
	if o.name == "" {
		return nil
	}
	return os.Remove(o.file.Name())
}
