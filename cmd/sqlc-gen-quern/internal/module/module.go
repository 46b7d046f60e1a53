// Package module returns the import path of the module that contains the plugin.
package module

import (
	"reflect"
	"strings"
)

// marker belongs to this package. The compiler writes the import path into its
// type.
type marker struct{}

// Path returns the path of the module that this package was compiled in, such as
// quern or example.com/fork/v2. Build information is not sufficient, because it
// has no module if a program is built from a list of files or outside of module
// mode.
func Path() string {
	return strings.TrimSuffix(reflect.TypeFor[marker]().PkgPath(), "/cmd/sqlc-gen-quern/internal/module")
}
