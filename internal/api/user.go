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

// User is a user on the wire.
type User struct {
	ID        int64     `json:"id" example:"42"`
	Username  string    `json:"username" example:"ada"`
	Email     string    `json:"email" example:"ada@example.org"`
	Age       *int32    `json:"age" example:"36"`
	Tags      []string  `json:"tags" example:"[\"admin\"]"`
	CreatedAt time.Time `json:"created_at" example:"2026-01-31T12:00:00Z"`
	UpdatedAt time.Time `json:"updated_at" example:"2026-01-31T12:00:00Z"`
	Version   int32     `json:"version" example:"1" doc:"Increases with each change. It is also the ETag."`
	Posts     []Post    `json:"posts,omitzero" doc:"The posts in the order of their ids. Present if the request includes them."`
}

func userOf(u *db.User) User {
	return User{
		ID: u.ID, Username: u.Username, Email: u.Email, Age: u.Age, Tags: list(u.Tags),
		CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(), Version: u.Version,
	}
}

func (u User) appendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, u.ID, 10)
	b = append(b, `,"username":`...)
	b = jsonfmt.AppendString(b, u.Username)
	b = append(b, `,"email":`...)
	b = jsonfmt.AppendString(b, u.Email)
	b = append(b, `,"age":`...)
	if u.Age != nil {
		b = strconv.AppendInt(b, int64(*u.Age), 10)
	} else {
		b = append(b, "null"...)
	}
	b = appendCommon(b, u.Tags, u.CreatedAt, u.UpdatedAt, u.Version)
	if u.Posts != nil {
		b = append(b, `,"posts":[`...)
		for i, p := range u.Posts {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.appendJSON(b)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendCommon appends the members that users and posts share.
func appendCommon(b []byte, tags []string, createdAt, updatedAt time.Time, version int32) []byte {
	b = append(b, `,"tags":`...)
	b = jsonfmt.AppendStrings(b, tags)
	b = append(b, `,"created_at":"`...)
	b = jsonfmt.AppendTime(b, createdAt)
	b = append(b, `","updated_at":"`...)
	b = jsonfmt.AppendTime(b, updatedAt)
	b = append(b, `","version":`...)
	return strconv.AppendInt(b, int64(version), 10)
}

// NewUser is the body of a request that creates a user.
type NewUser struct {
	Username string          `json:"username" minLength:"1" maxLength:"50" example:"ada" doc:"Unique; compared case-sensitively."`
	Email    string          `json:"email" minLength:"1" maxLength:"100" example:"ada@example.org" doc:"Stored unchanged. Only its length is checked."`
	Age      Nullable[int32] `json:"age,omitzero" minimum:"0" maximum:"150" example:"36"`
	Tags     []string        `json:"tags,omitempty" nullable:"true" maxItems:"100" maxLength:"100" example:"[\"admin\"]"`
	Posts    []NewPost       `json:"posts,omitempty" nullable:"true" maxItems:"1000" doc:"The first posts of the user, stored in the same transaction."`
}

// UserPatch is a merge patch of a user.
type UserPatch struct {
	Username Optional[string]   `json:"username,omitzero" minLength:"1" maxLength:"50" example:"ada"`
	Email    Optional[string]   `json:"email,omitzero" minLength:"1" maxLength:"100" example:"ada@example.org"`
	Age      Nullable[int32]    `json:"age,omitzero" minimum:"0" maximum:"150" example:"37" doc:"null clears it."`
	Tags     Nullable[[]string] `json:"tags,omitzero" maxItems:"100" maxLength:"100" example:"[\"admin\"]" doc:"Replaces the whole list; null empties it."`
}

// params returns the patch as the parameters of UpdateUser.
func (p *UserPatch) params(id int64, ifVersion *int32) db.UpdateUserParams {
	return db.UpdateUserParams{
		ID: id, Username: p.Username.ptr(), Email: p.Email.ptr(), SetAge: p.Age.Set, Age: p.Age.ptr(), Tags: listIfSet(p.Tags), IfVersion: ifVersion,
	}
}

type userCreate struct {
	strict
	Keyed
	Body NewUser
}

type userGetByUsername struct {
	strict
	Username    string `path:"username" example:"ada"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag from an earlier response. If it is still current, the response is 304."`
}

// UserFilter holds the parameters that filter users.
type UserFilter struct {
	MinAge         Optional[int32] `query:"min_age" minimum:"0" maximum:"150" doc:"Only users of this age or older. Users without an age are excluded."`
	MaxAge         Optional[int32] `query:"max_age" minimum:"0" maximum:"150" doc:"Only users of this age or younger. Users without an age are excluded."`
	UsernamePrefix string          `query:"username_prefix" maxLength:"50" doc:"Only users whose username starts with this; compared case-sensitively."`
}

func (f *UserFilter) filter() store.UserFilter {
	filter := store.UserFilter{MinAge: f.MinAge.ptr(), MaxAge: f.MaxAge.ptr()}
	if f.UsernamePrefix != "" {
		filter.UsernamePrefix = &f.UsernamePrefix
	}
	return filter
}

type userList struct {
	Paging
	UserFilter
	Include string `query:"include" enum:"posts" doc:"Includes the posts of each user."`
}

// Resolve rejects an empty range of ages.
func (l *userList) Resolve(ctx huma.Context) []error {
	errs := l.Paging.Resolve(ctx)
	if l.MinAge.Set && l.MaxAge.Set && l.MinAge.Value > l.MaxAge.Value {
		errs = append(errs, &huma.ErrorDetail{Location: "query.min_age", Message: "is greater than max_age", Value: l.MinAge.Value})
	}
	return errs
}

var users = noun[int64, db.User, User]{
	tag: "users", path: "/v1/users/", get: (*db.Queries).GetUser, of: userOf,
	id: func(u *User) (int64, int32) { return u.ID, u.Version },
}

func (s *server) registerUsers() {
	tags := s.tag("users", "The users.")
	write(s, huma.Operation{
		OperationID: "createUser", Method: http.MethodPost, Path: "/v1/users", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary:     "Create a user",
		Description: "Adds a user and its first posts, if given, in one transaction.",
	}, writes(codeUsernameTaken), createUser)
	getOne(s, users, huma.Operation{
		OperationID: "getUser", Summary: "Get a user",
		Description: "Returns a user without its posts.",
	})
	register(s, huma.Operation{
		OperationID: "getUserByUsername", Method: http.MethodGet, Path: "/v1/usernames/{username}", Tags: tags, Responses: notModified(),
		Summary:     "Get a user by username",
		Description: "The username is compared case-sensitively. Percent-encode it in the path.",
	}, reads(codeNotFound), s.getUserByUsername)
	register(s, huma.Operation{
		OperationID: "listUsers", Method: http.MethodGet, Path: "/v1/users", Tags: tags,
		Summary:     "List users",
		Description: "In the order of their ids. A cursor is valid for the same filters only.",
	}, reads(codeInvalidCursor, codePageTooLarge), s.listUsers)
	patchOne(s, users, huma.Operation{OperationID: "patchUser", Summary: "Change a user"}, func(ctx context.Context, q *db.Queries, id int64, p *UserPatch, ifVersion *int32) (*db.User, error) {
		return q.UpdateUser(ctx, p.params(id, ifVersion))
	}, codeUsernameTaken)
	deleteOne(s, users, huma.Operation{
		OperationID: "deleteUser", Summary: "Delete a user",
		Description: "Also deletes the posts of the user.",
	}, func(ctx context.Context, q *db.Queries, id int64, ifVersion *int32) (int64, error) {
		return q.DeleteUser(ctx, db.DeleteUserParams{ID: id, IfVersion: ifVersion})
	})
}

func createUser(ctx context.Context, q *db.Queries, in *userCreate) (*created[User], error) {
	row := db.CreateUserParams{
		Username: in.Body.Username, Email: in.Body.Email, Age: in.Body.Age.ptr(), Tags: list(in.Body.Tags),
	}
	if len(in.Body.Posts) == 0 {
		u, err := q.CreateUser(ctx, row)
		if err != nil {
			return nil, err
		}
		user := userOf(u)
		if in.Body.Posts != nil {
			user.Posts = []Post{}
		}
		return users.created(user), nil
	}
	u, posts, err := store.New(q).RegisterUser(ctx, store.Registration{User: row, Posts: newPosts(in.Body.Posts)})
	if err != nil {
		return nil, err
	}
	user := userOf(u)
	user.Posts = appendPosts([]Post{}, posts)
	return users.created(user), nil
}

func (s *server) getUserByUsername(ctx context.Context, in *userGetByUsername) (*found[User], error) {
	u, err := s.Queries.GetUserByUsername(ctx, in.Username)
	if err != nil {
		return nil, err
	}
	return users.found(u, in.IfNoneMatch), nil
}

func (s *server) listUsers(ctx context.Context, in *userList) (*listed[User], error) {
	filter := in.filter()
	list := listName("users", "min_age", filter.MinAge, "max_age", filter.MaxAge, "username_prefix", filter.UsernamePrefix)
	if in.Include != "posts" {
		return pageOf(&in.Paging, list, userOf, func(r store.PageRequest[int64], each func(db.User)) (store.Ends[int64], error) {
			return s.Store.PageUsers(ctx, filter, r, each)
		})
	}
	return pageOf(&in.Paging, list, userWithPosts, whole(func(r store.PageRequest[int64]) (store.Page[int64, store.UserWithPosts], error) {
		return s.Store.PageUsersWithPosts(ctx, filter, r)
	}))
}

func userWithPosts(u *store.UserWithPosts) User {
	user := userOf(u.User)
	user.Posts = appendPosts([]Post{}, u.Posts) // not nil, so that a user without posts has an empty list
	return user
}
