package project

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"quern/postgres"
)

// Base is a project at another commit.
type Base struct {
	Commit     string // the abbreviated hash of the commit
	Statements []postgres.Statement
	Migrations string // a temporary directory; the caller removes it
}

// At reads the migrations and the statements of a commit. ref is any name that git knows for it.
func (p Project) At(ctx context.Context, ref string) (b Base, err error) {
	commit, err := p.git(ctx, "rev-parse", "--short", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return b, fmt.Errorf("find the base release: git has no commit %q: name a branch, a tag or a commit that this clone has", ref)
	}
	b.Commit = strings.TrimSpace(string(commit))
	text, err := p.git(ctx, "show", ref+":./"+filepath.ToSlash(p.Statements))
	if err != nil {
		return b, fmt.Errorf("read the statements of %s: it has no %s: compare with a release whose code was generated with the plugin sqlc-gen-quern", ref, p.Statements)
	}
	if b.Statements, err = Parse(text); err != nil {
		return b, fmt.Errorf("%s: %w", ref, err)
	}
	archive, err := p.git(ctx, "archive", "--format=tar", ref, filepath.ToSlash(p.Migrations))
	if err != nil {
		return b, fmt.Errorf("read the migrations of %s: it has no %s: %w", ref, p.Migrations, err)
	}
	if b.Migrations, err = os.MkdirTemp("", "quern-base-*"); err != nil {
		return b, err
	}
	if err := extract(archive, b.Migrations); err != nil {
		return b, errors.Join(fmt.Errorf("read the migrations of %s: %w", ref, err), os.RemoveAll(b.Migrations))
	}
	return b, nil
}

// extract writes the files of an archive into one directory.
func extract(archive []byte, dir string) error {
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
}

func (p Project) git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = p.Root
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return nil, errors.New(strings.TrimSpace(string(failed.Stderr)))
	}
	return out, err
}
