package localpg

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// payload is the directory of an npm tarball that contains PostgreSQL.
const payload = "package/native/"

// symlinksFile lists the symbolic links, relative to package/, because an npm tarball cannot contain
// them.
const symlinksFile = "pg-symlinks.json"

type symlink struct {
	Source string `json:"source"` // the file that the link points to
	Target string `json:"target"` // the link
}

// unpack writes the payload of a gzipped npm tarball into the new directory dir, and closes the
// tarball. os.Root ensures that no file is written outside of dir, even if the tarball names one.
func unpack(ctx context.Context, tarball *os.File, dir string) error {
	defer tarball.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	zip, err := gzip.NewReader(tarball)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(zip); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, inside := strings.CutPrefix(h.Name, payload)
		if !inside || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := unpackFile(root, name, archive, h.FileInfo().Mode()); err != nil {
			return err
		}
	}
	if err := makeSymlinks(root); err != nil {
		return err
	}
	if _, err := root.Stat("bin/postgres"); err != nil {
		return errors.New("it does not contain PostgreSQL")
	}
	return openToAll(root)
}

func unpackFile(root *os.Root, name string, content io.Reader, mode fs.FileMode) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644|mode&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

func makeSymlinks(root *os.Root) error {
	list, err := root.ReadFile(symlinksFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a build without links
	}
	if err != nil {
		return err
	}
	var links []symlink
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("%s: %w", symlinksFile, err)
	}
	for _, l := range links {
		source, target := strings.TrimPrefix(l.Source, "native/"), strings.TrimPrefix(l.Target, "native/")
		// Relative, because the directory will be moved.
		to, err := filepath.Rel(path.Dir(target), source)
		if err != nil || !filepath.IsLocal(source) {
			return fmt.Errorf("%s: %s: points outside the package", symlinksFile, l.Source)
		}
		if err := root.Symlink(to, target); err != nil {
			return err
		}
	}
	return nil
}

// openToAll undoes a strict umask, because another account may have to run these programs.
func openToAll(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if e.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return root.Chmod(name, mode)
	})
}
