package api

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// strict is embedded in every request. It rejects unknown parameters, because ignoring them
// would answer a different question, and text that PostgreSQL cannot store.
type strict struct {
	url url.URL
}

// Resolve is called by huma after the request is read, in addition to the validator.
func (s *strict) Resolve(ctx huma.Context) []error {
	s.url = ctx.URL()
	var query url.Values
	if s.url.RawQuery != "" {
		var err error
		if query, err = url.ParseQuery(s.url.RawQuery); err != nil {
			return []error{&huma.ErrorDetail{Location: "query", Message: err.Error()}}
		}
	}
	var errs []error
	refuse := func(location, message string, value any) {
		errs = append(errs, &huma.ErrorDetail{Location: location, Message: message, Value: value})
	}
	params := ctx.Operation().Parameters
	for name, values := range query {
		location := "query." + strings.ToValidUTF8(name, "\uFFFD")
		switch {
		case !slices.ContainsFunc(params, func(p *huma.Param) bool { return p.In == "query" && p.Name == name }):
			refuse(location, "unknown query parameter", nil)
		case len(values) > 1:
			refuse(location, msgDuplicate, nil)
		case !storable(values[0]):
			refuse(location, msgNotStorable, nil)
		}
	}
	for _, p := range params {
		if p.In == "path" && !storable(ctx.Param(p.Name)) {
			refuse("path."+p.Name, msgNotStorable, nil)
		}
	}
	return errs
}

const msgNotStorable = "expected UTF-8 without NUL characters"

// storable reports whether PostgreSQL can store the text (manual, section 8.3).
func storable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
