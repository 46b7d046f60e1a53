// Package module knows by which path the plugin's own module is imported.
package module

import (
	"reflect"
	"strings"
)

// marker is of this package, whose import path the compiler writes into its type.
type marker struct{}

// Path returns the path of the module that this package was compiled in, such as
// quern or example.com/fork/v2. Build information would not do: it has no module
// for a program that is built from a list of files, or outside of module mode.
func Path() string {
	return strings.TrimSuffix(reflect.TypeFor[marker]().PkgPath(), "/cmd/sqlc-gen-quern/internal/module")
}
