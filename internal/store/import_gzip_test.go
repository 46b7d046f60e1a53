package store_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"quern/internal/store"
	"quern/internal/storetest"
)

// TestImport_AfterGzip checks that no row is lost if other bytes follow the gzip data, and that
// these bytes are reported unless they are padding.
func TestImport_AfterGzip(t *testing.T) {
	t.Parallel()
	member := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, text)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	one, two := member("username,email\nann,a\nbob,b\n"), member("cy,c\ndee,d\n")
	for name, c := range map[string]struct {
		input  string
		rows   int
		failed bool
	}{
		"Members":       {one + two, 4, false},
		"EmptyMember":   {one + member("") + two, 4, false},
		"Zeros":         {one + two + strings.Repeat("\x00", 100_000), 4, false},
		"Newline":       {one + "\n", 2, true},
		"OneByte":       {one + "\x1f", 2, true},
		"Plain":         {one + two + "eve,e\n", 4, true},
		"ZerosAndPlain": {one + "\x00\x00eve,e\n", 2, true},
		"NoMember":      {one + "\x1f\x8bxxxxxxxxxxxxxxxx", 2, true},
		"HalfHeader":    {one + "\x1f\x8b\x08\x00", 2, true},
	} {
		for _, strict := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := storetest.New(t)
				res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(c.input), store.ImportOptions{Strict: strict})
				if errors.Is(err, store.ErrInput) != c.failed || !c.failed && err != nil {
					t.Errorf("err = %v", err)
				}
				want := c.rows
				if c.failed && strict {
					want = 0
				}
				if n := d.Count(t, "SELECT count(*) FROM users"); n != want || res.Inserted != int64(want) {
					t.Errorf("%d users are stored, %+v, want %d: %v", n, res, want, err)
				}
				if c.failed && err != nil && !strings.Contains(err.Error(), "followed by other bytes") {
					t.Errorf("err = %v, want the reason", err)
				}
			})
		}
	}
}
