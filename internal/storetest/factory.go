package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"quern/internal/db"
)

// serial makes generated values unique in this process.
var serial atomic.Int64

// CreateUser inserts a valid user after the given functions have changed it.
func (d *DB) CreateUser(t testing.TB, change ...func(*db.CreateUserParams)) *db.User {
	t.Helper()
	n := serial.Add(1)
	age := int32(20 + n%50)
	p := db.CreateUserParams{
		Username: fmt.Sprintf("user%d", n), Email: fmt.Sprintf("user%d@example.com", n), Age: &age, Tags: []string{},
	}
	for _, c := range change {
		c(&p)
	}
	user, err := d.Queries.CreateUser(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// CreatePost inserts a valid post of a user after the given functions have
// changed it.
func (d *DB) CreatePost(t testing.TB, userID int64, change ...func(*db.CreatePostParams)) *db.Post {
	t.Helper()
	n := serial.Add(1)
	p := db.CreatePostParams{
		UserID: userID, Title: fmt.Sprintf("Post %d", n), Content: fmt.Sprintf("Content of %d.", n), Tags: []string{},
	}
	for _, c := range change {
		c(&p)
	}
	post, err := d.Queries.CreatePost(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return post
}
