package store_test

import (
	"fmt"
	"strings"
	"testing"

	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// TestImport_Statements checks that the rows of a chunk are stored together, with one COPY if
// they are new and otherwise with one merge, so that the number of statements does not depend
// on the number of rows. The stored rows alone would not show that, because a COPY for each row
// would store the same.
func TestImport_Statements(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	author := d.CreateUser(t).ID
	for _, tt := range []struct {
		what, header string
		row          func(key string, i int) string
		again        bool // the same rows, with a change in one column only
	}{
		{"users", "username,email", func(key string, i int) string { return fmt.Sprintf("%s%d,%s", key, i, key) }, false},
		{"users", "username,email", func(key string, i int) string { return fmt.Sprintf("few%d,%s again", i, key) }, true},
		{"posts", "user_id,title,content", func(key string, i int) string { return fmt.Sprintf("%d,%s,%d", author, key, i) }, false},
	} {
		statements := map[string]int{}
		for key, rows := range map[string]int{"few": 3, "many": 300} {
			input := tt.header + "\n"
			for i := range rows {
				input += tt.row(key, i) + "\n"
			}
			ctx, stats := postgres.WithStats(t.Context())
			run := d.Store.ImportUsers
			if tt.what == "posts" {
				run = d.Store.ImportPosts
			}
			res, err := run(ctx, strings.NewReader(input), store.ImportOptions{OnConflict: store.ConflictUpdate, Key: key + fmt.Sprint(tt.again)})
			if err != nil || res.Rows != int64(rows) || res.Inserted+res.Updated != res.Rows {
				t.Fatalf("%s: %+v, %v", tt.what, res, err)
			}
			statements[key], _ = stats.Total()
		}
		if statements["few"] != statements["many"] {
			t.Errorf("%s, again %v: %d statements for 3 rows and %d for 300", tt.what, tt.again, statements["few"], statements["many"])
		}
	}
}
