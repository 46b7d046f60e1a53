package newproject

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// writeModules writes go.mod, tools/go.mod and tools/quern.mod with their sums. All of them
// have the versions of the checkout, with which the runtime is tested. sqlc has a separate file
// because its dependencies conflict with those of the others. The tool has one because a
// service does not need its dependencies.
func (c Config) writeModules(ctx context.Context, work string, v values) error {
	quern, err := filepath.Rel(c.Dir, c.Checkout)
	if err != nil {
		quern = c.Checkout
	}
	quern = filepath.ToSlash(quern)
	// If the path ends in /v2, the version must begin with v2. The replacement is used for any
	// version.
	version := "v0.0.0"
	if last := path.Base(c.Quern); majorVersion.MatchString(last) {
		version = last + ".0.0"
	}
	replaces := fmt.Sprintf("require %[1]s %[3]s\n\nreplace %[1]s => %[2]s\n", c.Quern, quern, version)
	tool := fmt.Sprintf("require %[1]s/cmd/quern v0.0.0\n\nreplace %[1]s/cmd/quern => %[2]s/cmd/quern\n", c.Quern, quern)
	for _, m := range []struct{ from, to, module, add string }{
		{"go", "go", v.Module, "tool " + c.Quern + "/cmd/sqlc-gen-quern\n\n" + replaces},
		{"cmd/quern/go", "tools/quern", v.Module + "/tools/quern", "tool " + c.Quern + "/cmd/quern\n\n" + replaces + "\n" + tool},
		{"tools/go", "tools/go", v.Module + "/tools", ""},
	} {
		text, err := os.ReadFile(filepath.Join(c.Checkout, filepath.FromSlash(m.from)+".mod"))
		if err != nil {
			return fmt.Errorf("checkout of the runtime: %w: run the tool in one, as make new does", err)
		}
		sum, err := os.ReadFile(filepath.Join(c.Checkout, filepath.FromSlash(m.from)+".sum"))
		if err != nil {
			return err
		}
		mod := "module " + m.module + "\n" + withoutOwn(string(text), c.Quern) + "\n" + m.add
		if err := write(work, m.to+".mod", mod); err != nil {
			return err
		}
		if err := write(work, m.to+".sum", string(sum)); err != nil {
			return err
		}
		if err := goCommand(ctx, work, "mod", "edit", "-fmt", m.to+".mod"); err != nil {
			return err
		}
	}
	return nil
}

// withoutOwn returns a go.mod without its module line and without the lines about the runtime.
func withoutOwn(text, quern string) string {
	var lines []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		own := len(words) > 1 && (words[0] == "module" || words[0] == quern || words[0] == "replace" && words[1] == quern || words[0] == "require" && words[1] == quern)
		if !own {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
