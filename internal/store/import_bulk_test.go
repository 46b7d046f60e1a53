package store_test

import (
	"fmt"
	"strings"
	"testing"

	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// An import sends a fixed number of statements for each chunk, however many rows the chunk has.
func TestImport_InBulk(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	users, posts := "username,email\n", "username,title,content\n"
	for i := range 500 {
		users += fmt.Sprintf("user%d,u@example.com\n", i)
		posts += fmt.Sprintf("user%d,t,c\n", i)
	}
	ctx, stats := postgres.WithStats(t.Context())
	if res, err := d.Store.ImportUsers(ctx, strings.NewReader(users), store.ImportOptions{}); err != nil || res.Inserted != 500 {
		t.Fatal(res, err)
	}
	if res, err := d.Store.ImportPosts(ctx, strings.NewReader(posts), store.ImportOptions{}); err != nil || res.Inserted != 500 {
		t.Fatal(res, err)
	}
	n, _ := stats.Total()
	if name, times := stats.Most(); n > 40 {
		t.Errorf("1,000 rows in two imports took %d statements, most often %s, %d times; want those of two chunks", n, name, times)
	}
}
