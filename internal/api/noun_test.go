package api

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"quern/internal/db"
	"quern/postgres"
)

// thing is a resource whose key is a uuid, as its row.
type thing struct {
	ID      uuid.UUID `json:"id" example:"6ba7b810-9dad-11d1-80b4-00c04fd430c8"`
	Version int32     `json:"version" example:"1"`
}

type thingList struct{ Paging }

// TestNoun_UUID checks that a key need not be an integer: in a path, in a cursor, on an empty
// page and in the document.
func TestNoun_UUID(t *testing.T) {
	t.Parallel()
	var all []thing
	for i := range 7 {
		id := uuid.UUID{13: 1, 15: byte(i * 50)} // not the zero UUID, which is before all others
		id[14] = byte(i / 6)                     // the last two differ by a carry
		all = append(all, thing{id, int32(i)})
	}
	find := func(id uuid.UUID) (int, bool) {
		return slices.BinarySearchFunc(all, id, func(x thing, id uuid.UUID) int { return slices.Compare(x.ID[:], id[:]) })
	}
	things := noun[uuid.UUID, thing, thing]{
		tag: "things", path: "/v1/things/",
		get: func(_ *db.Queries, _ context.Context, id uuid.UUID) (*thing, error) {
			if i, found := find(id); found {
				return &all[i], nil
			}
			return nil, postgres.ErrNotFound
		},
		of: func(x *thing) thing { return *x },
		id: func(x *thing) (uuid.UUID, int32) { return x.ID, x.Version },
	}
	s := newServer(Config{})
	s.tag("things", "Things.")
	getOne(s, things, huma.Operation{OperationID: "getThing", Summary: "Get a thing"})
	listAll(s, things, huma.Operation{OperationID: "listThings", Path: "/v1/things", Summary: "List things"},
		func(context.Context, *thingList) (string, func(uuid.UUID, bool, int64) iter.Seq2[thing, error]) {
			return "things", func(key uuid.UUID, back bool, limit int64) iter.Seq2[thing, error] {
				return func(yield func(thing, error) bool) {
					i, found := find(key)
					rows := slices.Clone(all[i:])
					if back {
						rows = slices.Clone(all[:i])
						slices.Reverse(rows)
					} else if found {
						rows = rows[1:]
					}
					for _, row := range rows[:min(len(rows), int(limit))] {
						if !yield(row, nil) {
							return
						}
					}
				}
			}
		})
	c := &client{t: t, url: serve(t, s.handler(s.entrance(Entrance{}, true))), log: &logged{}}

	path := "/v1/things/" + all[3].ID.String()
	var got thing
	c.get(path).into(&got)
	if got != all[3] {
		t.Errorf("%s is %v", path, got)
	}
	c.do("GET", path, "", "If-None-Match", `"3"`).want(http.StatusNotModified)
	c.do("GET", "/v1/things/"+uuid.Max.String(), "").problem(404, codeNotFound)
	c.do("GET", "/v1/things/7", "").problem(422, codeInvalid, "path.id")
	if p := s.api.OpenAPI().Paths["/v1/things/{id}"].Get.Parameters[0]; fmt.Sprint(p.Schema.Examples) != "[6ba7b810-9dad-11d1-80b4-00c04fd430c8]" {
		t.Errorf("the example of the path is %v", p.Schema.Examples)
	}

	for limit := 1; limit <= 8; limit++ {
		var forward, back []thing
		var page Page[thing]
		turn := func(param string, cursor *string) {
			query := fmt.Sprintf("?limit=%d", limit)
			if cursor != nil {
				query += "&" + param + "=" + url.QueryEscape(*cursor)
			}
			page = Page[thing]{}
			c.get("/v1/things" + query).into(&page)
		}
		for turn("after", nil); ; turn("after", page.Next) {
			forward = append(forward, page.Items...)
			if page.Next == nil {
				break
			}
		}
		// An empty page leads back to the item of the cursor that it was reached by.
		turn("after", new(encodeCursor("things", all[6].ID)))
		if len(page.Items) != 0 || page.Next != nil || page.Prev == nil {
			t.Fatalf("after the last item: %+v", page)
		}
		for page.Prev != nil {
			turn("before", page.Prev)
			back = append(slices.Clone(page.Items), back...)
		}
		for name, list := range map[string][]thing{"forward": forward, "back": back} {
			if diff := cmp.Diff(all, list); diff != "" {
				t.Errorf("limit %d, %s (-want +got):\n%s", limit, name, diff)
			}
		}
		turn("before", new(encodeCursor("things", all[0].ID)))
		turn("after", page.Next)
		if len(page.Items) == 0 || page.Items[0] != all[0] {
			text, _ := json.Marshal(page)
			t.Errorf("limit %d: next of the empty page before the first item is %s", limit, text)
		}
	}
}
