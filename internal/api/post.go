package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/jsonfmt"
	"quern/internal/store"
)

// Post is a post on the wire.
type Post struct {
	ID        int64     `json:"id" example:"7"`
	UserID    int64     `json:"user_id" example:"42"`
	Title     string    `json:"title" example:"On engines"`
	Content   string    `json:"content" example:"It can follow analysis."`
	Tags      []string  `json:"tags" example:"[\"notes\"]"`
	CreatedAt time.Time `json:"created_at" example:"2026-01-31T12:00:00Z"`
	UpdatedAt time.Time `json:"updated_at" example:"2026-01-31T12:00:00Z"`
	Version   int32     `json:"version" example:"1" doc:"Increases with each change. It is also the ETag."`
}

func postOf(p *db.Post) Post {
	return Post{
		ID: p.ID, UserID: p.UserID, Title: p.Title, Content: p.Content, Tags: list(p.Tags),
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), Version: p.Version,
	}
}

func appendPosts(posts []Post, rows []*db.Post) []Post {
	for _, p := range rows {
		posts = append(posts, postOf(p))
	}
	return posts
}

func (p Post) appendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, p.ID, 10)
	b = append(b, `,"user_id":`...)
	b = strconv.AppendInt(b, p.UserID, 10)
	b = append(b, `,"title":`...)
	b = jsonfmt.AppendString(b, p.Title)
	b = append(b, `,"content":`...)
	b = jsonfmt.AppendString(b, p.Content)
	b = appendCommon(b, p.Tags, p.CreatedAt, p.UpdatedAt, p.Version)
	return append(b, '}')
}

// NewPost is the body of a request that creates a post.
type NewPost struct {
	Title   string   `json:"title" minLength:"1" maxLength:"200" example:"On engines"`
	Content string   `json:"content" example:"It can follow analysis."`
	Tags    []string `json:"tags,omitempty" nullable:"true" maxItems:"100" maxLength:"100" example:"[\"notes\"]"`
}

func newPosts(posts []NewPost) []store.NewPost {
	rows := make([]store.NewPost, len(posts))
	for i, p := range posts {
		rows[i] = store.NewPost(p)
	}
	return rows
}

// PostPatch is a merge patch of a post.
type PostPatch struct {
	Title   Optional[string]   `json:"title,omitzero" minLength:"1" maxLength:"200" example:"On engines"`
	Content Optional[string]   `json:"content,omitzero" example:"It can follow analysis."`
	Tags    Nullable[[]string] `json:"tags,omitzero" maxItems:"100" maxLength:"100" example:"[\"notes\"]" doc:"Replaces the whole list; null empties it."`
}

type postCreate struct {
	strict
	Keyed
	UserID int64 `path:"id" example:"42"`
	Body   NewPost
}

type postList struct {
	Paging
	UserID int64 `path:"id" example:"42"`
}

var posts = noun[int64, db.Post, Post]{
	tag: "posts", path: "/v1/posts/", get: (*db.Queries).GetPost, of: postOf,
	id: func(p *Post) (int64, int32) { return p.ID, p.Version },
}

func (s *server) registerPosts() {
	tags := s.tag("posts", "The posts of the users.")
	createOne(s, posts, huma.Operation{
		OperationID: "createPost", Path: "/v1/users/{id}/posts", Summary: "Create a post of a user",
		Description: "Adds a post to a user.",
	}, func(ctx context.Context, q *db.Queries, in *postCreate) (*db.Post, error) {
		return q.CreatePost(ctx, db.CreatePostParams{
			UserID: in.UserID, Title: in.Body.Title, Content: in.Body.Content, Tags: list(in.Body.Tags),
		})
	}, codeUnknownUser)
	register(s, huma.Operation{
		OperationID: "listPosts", Method: http.MethodGet, Path: "/v1/users/{id}/posts", Tags: tags,
		Summary:     "List the posts of a user",
		Description: "In the order of their ids. A cursor is valid for the same user only. A page with long posts ends after 8 MiB, so it may have fewer items than the limit: use `next` and `prev` to see whether there are more.",
	}, reads(codeInvalidCursor, codeNotFound), s.listPosts)
	getOne(s, posts, huma.Operation{OperationID: "getPost", Summary: "Get a post", Description: "Returns a post."})
	patchOne(s, posts, huma.Operation{OperationID: "patchPost", Summary: "Change a post"}, func(ctx context.Context, q *db.Queries, id int64, p *PostPatch, ifVersion *int32) (*db.Post, error) {
		return q.UpdatePost(ctx, db.UpdatePostParams{
			ID: id, Title: p.Title.ptr(), Content: p.Content.ptr(), Tags: listIfSet(p.Tags), IfVersion: ifVersion,
		})
	})
	deleteOne(s, posts, huma.Operation{OperationID: "deletePost", Summary: "Delete a post", Description: "Deletes a post."},
		func(ctx context.Context, q *db.Queries, id int64, ifVersion *int32) (int64, error) {
			return q.DeletePost(ctx, db.DeletePostParams{ID: id, IfVersion: ifVersion})
		})
}

func (s *server) listPosts(ctx context.Context, in *postList) (*listed[Post], error) {
	list := fmt.Sprintf("users/%d/posts", in.UserID)
	return pageOf(&in.Paging, list, postOf, func(r store.PageRequest[int64], each func(db.Post)) (store.Ends[int64], error) {
		return s.Store.PageUserPosts(ctx, in.UserID, r, each)
	})
}
