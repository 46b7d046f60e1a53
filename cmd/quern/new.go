package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"quern/cmd/quern/internal/newproject"
	"quern/cmd/quern/internal/scaffold"
)

type newCommand struct {
	Dir    string `required:"" placeholder:"FOLDER" help:"Where to write the project: a folder that does not exist or is empty."`
	Module string `required:"" placeholder:"PATH" help:"The path of its module, such as example.com/shop."`
	Noun   string `required:"" placeholder:"NAME" help:"What it is about, in the singular, such as order or order_item."`
}

// Help is what `quern help new` adds.
func (newCommand) Help() string {
	return `Run it in a checkout of the runtime, as make new does: the project's go.mod replaces the runtime's module by that folder.`
}

// Run writes the project.
func (c newCommand) Run(ctx context.Context, a *app) error {
	if _, err := scaffold.NamesOf(c.Noun); err != nil {
		return usageError{err}
	}
	checkout, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", runtimeModule()).Output()
	if err != nil {
		return fmt.Errorf("no checkout of the runtime here: run it in one, as make new does: %w", err)
	}
	if err := newproject.New(ctx, newproject.Config{
		Dir: c.Dir, Module: c.Module, Noun: c.Noun, Checkout: strings.TrimSpace(string(checkout)), Quern: runtimeModule(), Stderr: a.stderr,
	}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "wrote %s\nNext: cd %[1]s, then make run, or make test. README.md says more.\n", filepath.Clean(c.Dir))
	return err
}
