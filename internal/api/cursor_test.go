package api

import (
	"math"
	"net/http"
	"strings"
	"testing"
)

func TestCursor(t *testing.T) {
	t.Parallel()
	for _, key := range []int64{0, 1, -1, 63, 64, math.MaxInt64, math.MinInt64} {
		var got, second int64
		cursor := encodeCursor("users?", key)
		if err := decodeCursor("users?", cursor, &got); err != nil || got != key {
			t.Errorf("%d came back as %d (%v)", key, got, err)
		}
		if err := decodeCursor("users?", cursor, &got, &second); err == nil {
			t.Error("a cursor of one key was read as one of two")
		}
		cursor = encodeCursor("users?", key, 7)
		if err := decodeCursor("users?", cursor, &got, &second); err != nil || got != key || second != 7 {
			t.Errorf("%d, 7 came back as %d, %d (%v)", key, got, second, err)
		}
		if err := decodeCursor("users?", cursor, &got); err == nil {
			t.Error("a cursor of two keys was read as one of one")
		}
		if strings.Trim(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("cursor %q has to be escaped in a URL", cursor)
		}
	}
}

// TestCursor_Damaged flips every bit of a cursor, and truncates it at every position.
func TestCursor_Damaged(t *testing.T) {
	t.Parallel()
	var key int64
	cursor := encodeCursor("users?", 123_456_789)
	for i := range len(cursor) {
		for bit := range 8 {
			damaged := []byte(cursor)
			damaged[i] ^= 1 << bit
			if err := decodeCursor("users?", string(damaged), &key); err == nil {
				t.Errorf("%q passes for %q", damaged, cursor)
			}
		}
		if err := decodeCursor("users?", cursor[:i], &key); err == nil {
			t.Errorf("%q passes for %q", cursor[:i], cursor)
		}
		if err := decodeCursor("users?", cursor[:i]+"\n"+cursor[i:], &key); err == nil {
			t.Errorf("a line end at %d passes", i)
		}
	}
}

func TestCursor_OtherList(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for range 3 {
		c.db.CreateUser(t)
	}
	var page Page[User]
	c.get("/v1/users?limit=1&min_age=1").into(&page)
	next := *page.Next
	for _, query := range []string{
		"", "min_age=2", "min_age=1&max_age=100", "min_age=1&username_prefix=u",
	} {
		c.do("GET", "/v1/users?after="+next+"&"+query, "").problem(http.StatusBadRequest, codeInvalidCursor)
		c.do("GET", "/v1/users?before="+next+"&"+query, "").problem(http.StatusBadRequest, codeInvalidCursor)
	}
	for _, path := range []string{"/v1/stats/users?after=", "/v1/users/1/posts?after="} {
		c.do("GET", path+next, "").problem(http.StatusBadRequest, codeInvalidCursor)
		c.do("GET", path+"x", "").problem(http.StatusBadRequest, codeInvalidCursor)
		c.do("GET", path+"%00", "").problem(http.StatusUnprocessableEntity, codeInvalid, "query.after")
	}
	// The page size and include are not part of the list.
	c.get("/v1/users?limit=2&min_age=01&include=posts&after=" + next)
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add("users?", encodeCursor("users?", 1))
	f.Add("stats/users?min_posts=5", encodeCursor("stats/users?min_posts=5", 9, 4))
	f.Add("", "")
	f.Add("x", "AQ")
	f.Fuzz(func(t *testing.T, list, cursor string) {
		var one, two int64
		if err := decodeCursor(list, cursor, &one); err == nil && encodeCursor(list, one) != cursor {
			t.Errorf("%q is another spelling of %d", cursor, one)
		}
		if err := decodeCursor(list, cursor, &one, &two); err == nil && encodeCursor(list, one, two) != cursor {
			t.Errorf("%q is another spelling of %d, %d", cursor, one, two)
		}
	})
}
