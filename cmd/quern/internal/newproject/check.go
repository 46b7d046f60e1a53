package newproject

import (
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"quern/cmd/quern/internal/scaffold"
)

// modulePath matches the allowed names of a module: elements of letters, digits and - . _ ~, the
// first one a host if it has a point.
var modulePath = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(/[A-Za-z0-9][A-Za-z0-9._~-]*)*$`)

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// check refuses names and folders with which no project can be written. Otherwise it returns
// the values for the templates.
func (c *Config) check() (v values, err error) {
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return v, err
	}
	if c.Checkout, err = filepath.Abs(c.Checkout); err != nil {
		return v, err
	}
	if err := c.checkDir(); err != nil {
		return v, err
	}
	if !modulePath.MatchString(c.Module) || strings.Contains(c.Module, "..") || strings.HasSuffix(c.Module, ".") {
		return v, fmt.Errorf("module %q: not a module path: use a host and a path, such as example.com/shop", c.Module)
	}
	if c.Module == c.Quern || strings.HasPrefix(c.Module, c.Quern+"/") || strings.HasPrefix(c.Quern, c.Module+"/") {
		return v, fmt.Errorf("module %q: is within the runtime's module, or around it: use another path, such as example.com/shop", c.Module)
	}
	elements := strings.Split(c.Module, "/")
	if n := len(elements); n > 1 && majorVersion.MatchString(elements[n-1]) {
		elements = elements[:n-1]
	}
	v = values{Module: c.Module, Quern: c.Quern, Name: elements[len(elements)-1]}
	v.Package = packageName(v.Name)
	v.Names, err = scaffold.NamesOf(c.Noun)
	return v, err
}

// checkDir refuses a folder that is not empty, or that belongs to the checkout.
func (c *Config) checkDir() error {
	if within, err := filepath.Rel(c.Checkout, c.Dir); err == nil && !strings.HasPrefix(within, "..") {
		return fmt.Errorf("folder %s: is within the checkout of the runtime: choose one beside it, such as ../shop", c.Dir)
	}
	entries, err := os.ReadDir(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("folder %s: %w: choose one that does not exist", c.Dir, err)
	case len(entries) > 0:
		return fmt.Errorf("folder %s: is not empty: choose one that does not exist, or empty it", c.Dir)
	}
	return nil
}

// packageName derives the name of a package from the name of a module.
func packageName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	// These names would clash with other names of main.go and of package api's tests.
	taken := map[string]bool{
		"main": true, "api": true, "db": true, "localpg": true, "postgres": true, "migrate": true, "log": true, "net": true, "os": true,
		"http": true, "time": true, "context": true, "errors": true, "signal": true, "syscall": true, "cmp": true, "server": true, "run": true,
		"err": true, "url": true, "ctx": true, "router": true, "m": true, "listener": true, "ended": true, "pgtest": true, "json": true, "io": true,
		"slog": true, "httptest": true, "strings": true, "testing": true, "database": true, "client": true, "answer": true, "internal": true, "test": true,
		"fmt": true, "usage": true, "help": true, "t": true, "init": true, "add": true, "checksum": true, "code": true, "create": true,
		"created": true, "deleted": true, "etag": true, "found": true, "get": true, "listed": true, "noun": true, "parsed": true, "path": true,
		"problems": true, "reads": true, "register": true, "storable": true, "strict": true, "table": true, "update": true, "write": true,
		"writes": true, "written": true,
	}
	if name == "" || name[0] <= '9' || token.IsKeyword(name) || taken[name] {
		return "app" + name
	}
	return name
}
