package api

import (
	"fmt"
	"net/url"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/jsonfmt"
	"quern/internal/store"
)

// Paging holds the parameters of a list that can be paged in both directions.
type Paging struct {
	strict
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Maximum number of items on the page."`
	After  string `query:"after" doc:"The cursor next of a page, to get the items after it."`
	Before string `query:"before" doc:"The cursor prev of a page, to get the items before it."`
}

// Resolve rejects both directions at once.
func (p *Paging) Resolve(ctx huma.Context) []error {
	errs := p.strict.Resolve(ctx)
	if p.After != "" && p.Before != "" {
		errs = append(errs, &huma.ErrorDetail{Location: "query.before", Message: "cannot be combined with after"})
	}
	return errs
}

func (p *Paging) paging() *Paging { return p }

// Page is a page of a list. In the document a Page[User] is a UserPage.
type Page[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next" doc:"Pass it as after to get the next page; null on the last page."`
	Prev  *string `json:"prev" doc:"Pass it as before to get the previous page; null on the first page."`
}

// listed is the response to a request for a page.
type listed[T any] struct {
	Link []string `header:"Link" doc:"The next and previous pages (RFC 8288): rel=\"next\" and rel=\"prev\"."`
	Body textOf[Page[T]]
}

// page responds with a page of a list. read reads its rows.
func (n noun[K, R, T]) page(p *Paging, list string, read store.ReadPage[K, R]) (*listed[T], error) {
	return pageOf(p, list, n.of, func(r store.PageRequest[K], each func(R)) (store.Ends[K], error) {
		return store.EachOfPage(r, func(row R) K {
			resource := n.of(&row)
			key, _ := n.id(&resource)
			return key
		}, read, each)
	})
}

// pageOf responds with a page of a list. read calls each with every row, and returns the
// keys of both ends.
func pageOf[K, R, T any](p *Paging, list string, of func(*R) T, read func(r store.PageRequest[K], each func(R)) (store.Ends[K], error)) (*listed[T], error) {
	request := store.PageRequest[K]{Limit: p.Limit}
	var err error
	if request.After, err = keyOf[K](list, p.After); err != nil {
		return nil, err
	}
	if request.Before, err = keyOf[K](list, p.Before); err != nil {
		return nil, err
	}
	page := openPage()
	// Declared here so that one of each is allocated for all rows.
	var row R
	var item T
	ends, err := read(request, func(r R) {
		row = r
		item = of(&row)
		page.append(&item)
	})
	if err != nil {
		return nil, err
	}
	next, prev := cursorOf(list, ends.Next), cursorOf(list, ends.Prev)
	page.closePage(next, prev)
	return &listed[T]{Link: p.links(next, prev), Body: textOf[Page[T]]{page}}, nil
}

// whole returns a read function for pageOf from one that returns a whole page.
func whole[K, R any](read func(store.PageRequest[K]) (store.Page[K, R], error)) func(store.PageRequest[K], func(R)) (store.Ends[K], error) {
	return func(r store.PageRequest[K], each func(R)) (store.Ends[K], error) {
		page, err := read(r)
		for _, row := range page.Items {
			each(row)
		}
		return page.Ends, err
	}
}

// keyOf returns the key in a cursor of the given list, or nil if there is no cursor.
func keyOf[K any](list, cursor string) (*K, error) {
	if cursor == "" {
		return nil, nil
	}
	key := new(K)
	return key, decodeCursor(list, cursor, key)
}

// cursorOf returns the cursor of a key of the given list, or nil if there is no key.
func cursorOf[K any](list string, key *K) *string {
	if key == nil {
		return nil
	}
	return new(encodeCursor(list, *key))
}

// listName returns the name of a list with its filters, which is part of its cursors.
// filters are names, each followed by its value. A filter that is nil or empty is omitted.
func listName(path string, filters ...any) string {
	values := url.Values{}
	for i := 0; i < len(filters); i += 2 {
		if v := reflect.Indirect(reflect.ValueOf(filters[i+1])); v.IsValid() && !(v.Kind() == reflect.String && v.Len() == 0) {
			values.Set(filters[i].(string), fmt.Sprint(v))
		}
	}
	return path + "?" + values.Encode()
}

// links returns the Link header (RFC 8288) with the next and previous pages: the request's
// own query with another cursor.
func (s *strict) links(next, prev *string) []string {
	var links []string
	add := func(rel, param string, cursor *string) {
		if cursor == nil {
			return
		}
		query := s.url.Query()
		query.Del("after")
		query.Del("before")
		query.Set(param, *cursor)
		links = append(links, "<"+s.url.EscapedPath()+"?"+query.Encode()+`>; rel="`+rel+`"`)
	}
	add("next", "after", next)
	add("prev", "before", prev)
	return links
}

// openPage begins the JSON of a page. Its items are objects.
func openPage() *text {
	t := newText(&pageTexts)
	t.b = append(t.b, `{"items":[`...)
	return t
}

// append appends an item to a page.
func (t *text) append(item any) {
	if t.b[len(t.b)-1] == '}' {
		t.b = append(t.b, ',')
	}
	if err := t.value(item); err != nil {
		panic(fmt.Errorf("encode an item of a page: %w", err))
	}
}

// closePage ends the JSON of a page with its cursors.
func (t *text) closePage(next, prev *string) {
	t.b = append(t.b, `],"next":`...)
	t.b = appendText(t.b, next)
	t.b = append(t.b, `,"prev":`...)
	t.b = appendText(t.b, prev)
	t.b = append(t.b, '}', '\n')
}

// appendText appends a text that may be null.
func appendText(b []byte, text *string) []byte {
	if text == nil {
		return append(b, "null"...)
	}
	return jsonfmt.AppendString(b, *text)
}
