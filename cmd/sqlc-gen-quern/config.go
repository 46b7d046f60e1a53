package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// golang holds the options of gen.go in sqlc.yaml, which determine how sqlc names and
// types the code that the plugin completes. sqlc does not send them to a plugin.
type golang struct {
	file string // the configuration file

	pkg, out, driver string
	buildTags        string
	outputs          []string // the files that it names, with defaults
	unknown          []string // options unknown to the plugin, which it refuses
	suffix           string   // of the query files

	exportedQueries  bool
	dbArgument       bool
	querier          bool
	resultPointers   bool
	paramPointers    bool
	nullPointers     bool
	nullEnumPointers bool
	enumValid        bool
	enumValues       bool
	exactTableNames  bool
	omitUnused       bool
	wrapErrors       bool
	paramLimit       int
	notSingular      []string
	initialisms      []string
	rename           map[string]string
	overrides        []override
}

// settings is a mapping of the configuration file.
type settings map[string]any

func (s settings) text(name string) string { text, _ := s[name].(string); return text }

func (s settings) is(name string) bool {
	return slices.Contains([]string{"true", "True", "TRUE", "y", "Y", "yes", "on"}, s.text(name))
}

func (s settings) in(name string) settings {
	m, _ := s[name].(map[string]any)
	return m
}

func (s settings) list(name string) (all []settings) {
	items, _ := s[name].([]any)
	for _, item := range items {
		m, _ := item.(map[string]any)
		all = append(all, m)
	}
	return all
}

// texts returns a list of strings, or a list with the single string.
func (s settings) texts(name string) (all []string) {
	if text := s.text(name); text != "" {
		return []string{text}
	}
	items, _ := s[name].([]any)
	for _, item := range items {
		text, _ := item.(string)
		all = append(all, text)
	}
	return all
}

// readConfig reads the Go options that belong to the request.
func readConfig(dir string, req *request) (*golang, error) {
	for _, name := range []string{"sqlc.yaml", "sqlc.yml", "sqlc.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		value, err := readYAML(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all, _ := value.(map[string]any)
		g, err := findGolang(all, req)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		g.file = name
		return g, nil
	}
	return nil, fmt.Errorf("no sqlc.yaml found: %s", whereSQLCRuns)
}

// findGolang finds the entry under sql that the request was made from.
func findGolang(config settings, req *request) (*golang, error) {
	for _, entry := range config.list("sql") {
		same := slices.Equal(entry.texts("queries"), req.Settings.Queries) && slices.Equal(entry.texts("schema"), req.Settings.Schema)
		codegen := slices.ContainsFunc(entry.list("codegen"), func(c settings) bool {
			return c.text("plugin") == req.Settings.Codegen.Plugin && c.text("out") == req.Settings.Codegen.Out
		})
		if same && codegen {
			return newGolang(entry.in("gen").in("go"), config.in("overrides").in("go"))
		}
	}
	return nil, fmt.Errorf("no entry under sql has the plugin %s with the queries %v: %s", req.Settings.Codegen.Plugin, req.Settings.Queries, whereSQLCRuns)
}

func newGolang(o, global settings) (*golang, error) {
	g := &golang{
		pkg: o.text("package"), out: o.text("out"), driver: o.text("sql_package"),
		buildTags: o.text("build_tags"), suffix: o.text("output_files_suffix"),
		exportedQueries: o.is("emit_exported_queries"), dbArgument: o.is("emit_methods_with_db_argument"), querier: o.is("emit_interface"),
		resultPointers: o.is("emit_result_struct_pointers"), paramPointers: o.is("emit_params_struct_pointers"),
		nullPointers: o.is("emit_pointers_for_null_types"), nullEnumPointers: o.is("emit_pointers_for_null_types"),
		enumValid: o.is("emit_enum_valid_method"), enumValues: o.is("emit_all_enum_values"),
		exactTableNames: o.is("emit_exact_table_names"), omitUnused: o.is("omit_unused_structs"), wrapErrors: o.is("wrap_errors"),
		paramLimit: 1, notSingular: o.texts("inflection_exclude_table_names"), initialisms: []string{"id"}, rename: map[string]string{},
	}
	if g.pkg == "" {
		g.pkg = path.Base(filepath.ToSlash(g.out))
	}
	if o.text("emit_pointers_for_null_enum_types") != "" {
		g.nullEnumPointers = o.is("emit_pointers_for_null_enum_types")
	}
	if limit := o.text("query_parameter_limit"); limit != "" {
		var err error
		if g.paramLimit, err = strconv.Atoi(limit); err != nil {
			return nil, fmt.Errorf("query_parameter_limit: %w", err)
		}
	}
	if _, given := o["initialisms"]; given {
		g.initialisms = o.texts("initialisms")
	}
	for kind, name := range map[string]string{"db": "db.go", "models": "models.go", "querier": "querier.go", "copyfrom": "copyfrom.go", "batch": "batch.go"} {
		if given := o.text("output_" + kind + "_file_name"); given != "" {
			name = given
		}
		g.outputs = append(g.outputs, strings.TrimSuffix(name, ".go")+".go")
	}
	for name := range o {
		if !slices.Contains(goOptions, name) {
			g.unknown = append(g.unknown, name)
		}
	}
	slices.Sort(g.unknown)
	// A global name takes precedence over one of the entry, and a global type is found
	// first.
	for _, names := range []settings{o.in("rename"), global.in("rename")} {
		for from := range names {
			g.rename[from] = names.text(from)
		}
	}
	for _, o := range slices.Concat(global.list("overrides"), o.list("overrides")) {
		parsed, err := newOverride(o)
		if err != nil {
			return nil, err
		}
		g.overrides = append(g.overrides, parsed)
	}
	return g, nil
}

// importPath matches a valid import path.
var importPath = regexp.MustCompile(`^[\w.~-]+(/[\w.~+-]+)*$`)

// goOptions are the options of gen.go in sqlc 1.31.1. Each one is followed, refused, or
// does not affect the plugin's output.
var goOptions = []string{
	"build_tags", "emit_all_enum_values", "emit_db_tags", "emit_empty_slices", "emit_enum_valid_method", "emit_exact_table_names",
	"emit_exported_queries", "emit_interface", "emit_json_tags", "emit_methods_with_db_argument", "emit_params_struct_pointers",
	"emit_pointers_for_null_enum_types", "emit_pointers_for_null_types", "emit_prepared_queries", "emit_result_struct_pointers",
	"emit_sql_as_comment", "inflection_exclude_table_names", "initialisms", "json_tags_case_style", "json_tags_id_uppercase",
	"omit_sqlc_version", "omit_unused_structs", "out", "output_batch_file_name", "output_copyfrom_file_name", "output_db_file_name",
	"output_files_suffix", "output_models_file_name", "output_querier_file_name", "overrides", "package", "query_parameter_limit",
	"rename", "sql_driver", "sql_package", "wrap_errors",
}

// checkConfig refuses options with which the code of sqlc and the code of the plugin do
// not form one package.
func checkConfig(req *request) (problems []problem) {
	g := req.golang
	refuse := func(option, format string, args ...any) {
		problems = append(problems, problem{where: g.file + ": gen.go." + option, text: fmt.Sprintf(format, args...)})
	}
	switch {
	case g.out == "":
		refuse("out", "this entry under sql generates no Go package that the plugin could complete: add gen.go with package, out and sql_package")
		return problems
	case path.Clean(g.out) != path.Clean(req.Settings.Codegen.Out):
		refuse("out", "%s, but the plugin's out is %s: use the same directory, because both write one package", g.out, req.Settings.Codegen.Out)
	case g.driver != "pgx/v5":
		refuse("sql_package", "%q: the runtime supports only pgx: write pgx/v5", g.driver)
	}
	for _, name := range g.unknown {
		refuse(name, "this version of the plugin does not know the option: remove it, or use a plugin that supports this version of sqlc")
	}
	if g.dbArgument {
		refuse("emit_methods_with_db_argument", "with it, Queries has no database on which InTx could begin a transaction: remove it")
	}
	if given := req.options.Package; given != "" && given != g.pkg {
		refuse("package", "%s, but the plugin's package is %s: remove the plugin's", g.pkg, given)
	}
	if given := req.options.Runtime; given != "" && !importPath.MatchString(given) {
		problems = append(problems, problem{where: g.file + ": options.runtime", text: fmt.Sprintf("%q is not an import path: write that of the runtime, such as example.com/fork/postgres", given)})
	}
	for _, name := range ownFiles {
		if slices.Contains(g.outputs, name) {
			refuse("output_*_file_name", "%s is written by the plugin: rename the file", name)
		}
	}
	return problems
}
