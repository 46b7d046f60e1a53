package api

import (
	"context"
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
	Version   int32     `json:"version" example:"1" doc:"Rises with each change. It is also the ETag."`
}

func postOf(p *db.Post) Post {
	return Post{
		ID: p.ID, UserID: p.UserID, Title: p.Title, Content: p.Content, Tags: list(p.Tags),
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), Version: p.Version,
	}
}

func postsOf(rows []*db.Post) []Post {
	return appendPosts(make([]Post, 0, len(rows)), rows)
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

// NewPost is a post to be.
type NewPost struct {
	Title   string   `json:"title" minLength:"1" maxLength:"200" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"On engines"`
	Content string   `json:"content" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"It can follow analysis."`
	Tags    []string `json:"tags,omitempty" nullable:"true" maxItems:"100" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"[\"notes\"]"`
}

func newPosts(posts []NewPost) []store.NewPost {
	rows := make([]store.NewPost, len(posts))
	for i, p := range posts {
		rows[i] = store.NewPost{Title: p.Title, Content: p.Content, Tags: list(p.Tags)}
	}
	return rows
}

// PostPatch is what to change of a post.
type PostPatch struct {
	Title   Optional[string]   `json:"title,omitzero" minLength:"1" maxLength:"200" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"On engines"`
	Content Optional[string]   `json:"content,omitzero" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"It can follow analysis."`
	Tags    Optional[[]string] `json:"tags,omitzero" nullable:"true" maxItems:"100" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"[\"notes\"]" doc:"Replaced as a whole; null empties the list."`
}

// Resolve refuses null where it cannot clear.
func (p *PostPatch) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	return refuseNull(at, map[string]bool{"title": p.Title.Null, "content": p.Content.Null})
}

type postCreate struct {
	strict
	Keyed
	UserID int64 `path:"id" example:"42"`
	Body   NewPost
}

type postGet struct {
	strict
	ID          int64  `path:"id" example:"7"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag seen before: answered with 304 as long as it is the current one."`
}

type postPatch struct {
	strict
	Keyed
	ID      int64  `path:"id" example:"7"`
	IfMatch string `header:"If-Match" doc:"The ETag the change is meant for: refused with 412 when it is not the current one."`
	Body    PostPatch
}

type postDelete struct {
	strict
	Keyed
	ID      int64  `path:"id" example:"7"`
	IfMatch string `header:"If-Match" doc:"The ETag the deletion is meant for: refused with 412 when it is not the current one."`
}

type postList struct {
	Paging
	UserID int64 `path:"id" example:"42"`
}

type postCreated struct {
	Created
	ETag string `header:"ETag" doc:"The version of the post."`
	Body Post
}

type postPatched struct {
	Replay
	ETag string `header:"ETag" doc:"The version of the post."`
	Body Post
}

type postFound struct {
	Status int
	ETag   string `header:"ETag" doc:"The version of the post."`
	Body   Post
}

// PostPage is a page of posts.
type PostPage struct {
	Items []Post  `json:"items"`
	Next  *string `json:"next" doc:"The cursor to pass as after for the next page, null on the last."`
	Prev  *string `json:"prev" doc:"The cursor to pass as before for the previous page, null on the first."`
}

type postListed struct {
	Link []string `header:"Link" doc:"The pages on either side (RFC 8288): rel=\"next\" and rel=\"prev\"."`
	Body textOf[PostPage]
}

func (s *server) registerPosts() {
	tags := []string{"posts"}
	write(s, huma.Operation{
		OperationID: "createPost", Method: http.MethodPost, Path: "/v1/users/{id}/posts", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary:     "Create a post of a user",
		Description: "Adds a post to a user.",
	}, writes(codeUnknownUser), createPost)
	register(s, huma.Operation{
		OperationID: "listPosts", Method: http.MethodGet, Path: "/v1/users/{id}/posts", Tags: tags,
		Summary:     "List the posts of a user",
		Description: "In the order of their ids. A cursor belongs to the user it was made with. A page of long posts ends early, after 8 MiB: only `next` and `prev` say whether there are more.",
	}, reads(codeInvalidCursor, codeNotFound), s.listPosts)
	register(s, huma.Operation{
		OperationID: "getPost", Method: http.MethodGet, Path: "/v1/posts/{id}", Tags: tags, Responses: notModified(),
		Summary:     "Get a post",
		Description: "One post.",
	}, reads(codeNotFound), s.getPost)
	write(s, huma.Operation{
		OperationID: "patchPost", Method: http.MethodPatch, Path: "/v1/posts/{id}", Tags: tags,
		Summary:     "Change a post",
		Description: "A merge patch (RFC 7396): what is absent stays, null clears. A patch that gives nothing changes nothing.",
	}, writes(codeInvalidETag, codeNotFound, codeVersionMismatch), s.patchPost)
	write(s, huma.Operation{
		OperationID: "deletePost", Method: http.MethodDelete, Path: "/v1/posts/{id}", Tags: tags,
		Summary:     "Delete a post",
		Description: "Removes a post.",
	}, writes(codeInvalidETag, codeNotFound, codeVersionMismatch), s.deletePost)
}

func createPost(ctx context.Context, q *db.Queries, in *postCreate) (*postCreated, error) {
	p, err := q.CreatePost(ctx, db.CreatePostParams{
		UserID: in.UserID, Title: in.Body.Title, Content: in.Body.Content, Tags: list(in.Body.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &postCreated{
		Created: Created{Location: "/v1/posts/" + strconv.FormatInt(p.ID, 10)}, ETag: etag(p.Version), Body: postOf(p),
	}, nil
}

func (s *server) listPosts(ctx context.Context, in *postList) (*postListed, error) {
	name := "users/" + strconv.FormatInt(in.UserID, 10) + "/posts"
	request, err := in.request(name)
	if err != nil {
		return nil, err
	}
	page := openPage()
	ends, err := s.Store.PageUserPosts(ctx, in.UserID, request, func(p db.Post) {
		page.b = postOf(&p).appendJSON(page.item())
	})
	if err != nil {
		return nil, err
	}
	next, prev := idCursor(name, ends.Next), idCursor(name, ends.Prev)
	page.closePage(next, prev)
	return &postListed{Link: in.links(next, prev), Body: textOf[PostPage]{page}}, nil
}

func (s *server) getPost(ctx context.Context, in *postGet) (*postFound, error) {
	p, err := s.Queries.GetPost(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &postFound{Status: foundStatus(in.IfNoneMatch, p.Version), ETag: etag(p.Version), Body: postOf(p)}, nil
}

func (s *server) patchPost(ctx context.Context, q *db.Queries, in *postPatch) (*postPatched, error) {
	match, err := parseIfMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	patch := db.UpdatePostParams{ID: in.ID, Title: in.Body.Title.ptr(), Content: in.Body.Content.ptr()}
	if in.Body.Tags.Set {
		patch.Tags = list(in.Body.Tags.Value)
	}
	var post *db.Post
	err = match.try(func(ifVersion *int32) (err error) {
		patch.IfVersion = ifVersion
		post, err = s.Store.On(q).PatchPost(ctx, patch)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &postPatched{ETag: etag(post.Version), Body: postOf(post)}, nil
}

func (s *server) deletePost(ctx context.Context, q *db.Queries, in *postDelete) (*deleted, error) {
	match, err := parseIfMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	return &deleted{}, match.try(func(ifVersion *int32) error {
		return s.Store.On(q).DeletePost(ctx, db.DeletePostParams{ID: in.ID, IfVersion: ifVersion})
	})
}
