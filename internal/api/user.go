package api

import (
	"context"
	"net/http"
	"net/url"
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
	Version   int32     `json:"version" example:"1" doc:"Rises with each change. It is also the ETag."`
	Posts     []Post    `json:"posts,omitzero" doc:"Present when it was asked for, or sent: the posts in the order of their ids."`
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

// appendCommon appends the members that users and posts have alike.
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

// list returns tags as a list, which is never null.
func list(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

// NewUser is a user to be.
type NewUser struct {
	Username string          `json:"username" minLength:"1" maxLength:"50" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"ada" doc:"Unique, compared to the letter."`
	Email    string          `json:"email" minLength:"1" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"ada@example.org" doc:"Kept as it is: no form is asked of it but its length."`
	Age      Optional[int32] `json:"age,omitzero" nullable:"true" minimum:"0" maximum:"150" example:"36"`
	Tags     []string        `json:"tags,omitempty" nullable:"true" maxItems:"100" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"[\"admin\"]"`
	Posts    []NewPost       `json:"posts,omitempty" nullable:"true" maxItems:"1000" doc:"The posts the user starts with, stored in the same transaction."`
}

// UserPatch is what to change of a user.
type UserPatch struct {
	Username Optional[string]   `json:"username,omitzero" minLength:"1" maxLength:"50" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"ada"`
	Email    Optional[string]   `json:"email,omitzero" minLength:"1" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"ada@example.org"`
	Age      Optional[int32]    `json:"age,omitzero" nullable:"true" minimum:"0" maximum:"150" example:"37" doc:"null clears it."`
	Tags     Optional[[]string] `json:"tags,omitzero" nullable:"true" maxItems:"100" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"[\"admin\"]" doc:"Replaced as a whole; null empties the list."`
}

// Resolve refuses null where it cannot clear.
func (p *UserPatch) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	return refuseNull(at, map[string]bool{"username": p.Username.Null, "email": p.Email.Null})
}

// params is the patch as the store takes it.
func (p *UserPatch) params(id int64, ifVersion *int32) db.UpdateUserParams {
	params := db.UpdateUserParams{
		ID: id, Username: p.Username.ptr(), Email: p.Email.ptr(), SetAge: p.Age.Set, Age: p.Age.ptr(), IfVersion: ifVersion,
	}
	if p.Tags.Set {
		params.Tags = list(p.Tags.Value)
	}
	return params
}

type userCreate struct {
	strict
	Keyed
	Body NewUser
}

type userGet struct {
	strict
	ID          int64  `path:"id" example:"42"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag seen before: answered with 304 as long as it is the current one."`
}

type userGetByUsername struct {
	strict
	Username    string `path:"username" example:"ada"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag seen before: answered with 304 as long as it is the current one."`
}

type userPatch struct {
	strict
	Keyed
	ID      int64  `path:"id" example:"42"`
	IfMatch string `header:"If-Match" doc:"The ETag the change is meant for: refused with 412 when it is not the current one."`
	Body    UserPatch
}

type userDelete struct {
	strict
	Keyed
	ID      int64  `path:"id" example:"42"`
	IfMatch string `header:"If-Match" doc:"The ETag the deletion is meant for: refused with 412 when it is not the current one."`
}

type userList struct {
	Paging
	MinAge         Optional[int32] `query:"min_age" minimum:"0" maximum:"150" doc:"Of this age or older. Users without an age are left out."`
	MaxAge         Optional[int32] `query:"max_age" minimum:"0" maximum:"150" doc:"Of this age or younger. Users without an age are left out."`
	UsernamePrefix string          `query:"username_prefix" maxLength:"50" doc:"What the username starts with, to the letter."`
	Include        string          `query:"include" enum:"posts" doc:"Gives each user its posts."`
}

// Resolve refuses a range of ages that holds none.
func (l *userList) Resolve(ctx huma.Context) []error {
	errs := l.Paging.Resolve(ctx)
	if l.MinAge.Set && l.MaxAge.Set && l.MinAge.Value > l.MaxAge.Value {
		errs = append(errs, &huma.ErrorDetail{Location: "query.min_age", Message: "is greater than max_age", Value: l.MinAge.Value})
	}
	return errs
}

// name is the list with its filters, which its cursors belong to.
func (l *userList) name() string {
	filters := url.Values{}
	if l.MinAge.Set {
		filters.Set("min_age", strconv.Itoa(int(l.MinAge.Value)))
	}
	if l.MaxAge.Set {
		filters.Set("max_age", strconv.Itoa(int(l.MaxAge.Value)))
	}
	if l.UsernamePrefix != "" {
		filters.Set("username_prefix", l.UsernamePrefix)
	}
	return "users?" + filters.Encode()
}

type userCreated struct {
	Created
	ETag string `header:"ETag" doc:"The version of the user."`
	Body User
}

type userPatched struct {
	Replay
	ETag string `header:"ETag" doc:"The version of the user."`
	Body User
}

type userFound struct {
	Status int
	ETag   string `header:"ETag" doc:"The version of the user."`
	Body   User
}

// UserPage is a page of users.
type UserPage struct {
	Items []User  `json:"items"`
	Next  *string `json:"next" doc:"The cursor to pass as after for the next page, null on the last."`
	Prev  *string `json:"prev" doc:"The cursor to pass as before for the previous page, null on the first."`
}

type userListed struct {
	Link []string `header:"Link" doc:"The pages on either side (RFC 8288): rel=\"next\" and rel=\"prev\"."`
	Body textOf[UserPage]
}

func (s *server) registerUsers() {
	tags := []string{"users"}
	write(s, huma.Operation{
		OperationID: "createUser", Method: http.MethodPost, Path: "/v1/users", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary:     "Create a user",
		Description: "Adds a user and, when there are any, the posts it starts with: all of it or nothing.",
	}, writes(codeUsernameTaken), createUser)
	register(s, huma.Operation{
		OperationID: "getUser", Method: http.MethodGet, Path: "/v1/users/{id}", Tags: tags, Responses: notModified(),
		Summary:     "Get a user",
		Description: "One user without its posts.",
	}, reads(codeNotFound), s.getUser)
	register(s, huma.Operation{
		OperationID: "getUserByUsername", Method: http.MethodGet, Path: "/v1/usernames/{username}", Tags: tags, Responses: notModified(),
		Summary:     "Get a user by username",
		Description: "The username is compared to the letter. As a part of the path it is percent-encoded.",
	}, reads(codeNotFound), s.getUserByUsername)
	register(s, huma.Operation{
		OperationID: "listUsers", Method: http.MethodGet, Path: "/v1/users", Tags: tags,
		Summary:     "List users",
		Description: "In the order of their ids. A cursor belongs to the filters it was made with.",
	}, reads(codeInvalidCursor, codePageTooLarge), s.listUsers)
	write(s, huma.Operation{
		OperationID: "patchUser", Method: http.MethodPatch, Path: "/v1/users/{id}", Tags: tags,
		Summary:     "Change a user",
		Description: "A merge patch (RFC 7396): what is absent stays, null clears. A patch that gives nothing changes nothing.",
	}, writes(codeInvalidETag, codeNotFound, codeUsernameTaken, codeVersionMismatch), s.patchUser)
	write(s, huma.Operation{
		OperationID: "deleteUser", Method: http.MethodDelete, Path: "/v1/users/{id}", Tags: tags,
		Summary:     "Delete a user",
		Description: "The user's posts go with it.",
	}, writes(codeInvalidETag, codeNotFound, codeVersionMismatch), s.deleteUser)
}

func createUser(ctx context.Context, q *db.Queries, in *userCreate) (*userCreated, error) {
	row := db.CreateUserParams{
		Username: in.Body.Username, Email: in.Body.Email, Age: in.Body.Age.ptr(), Tags: list(in.Body.Tags),
	}
	var user User
	if len(in.Body.Posts) == 0 {
		u, err := q.CreateUser(ctx, row)
		if err != nil {
			return nil, err
		}
		user = userOf(u)
	} else {
		u, posts, err := store.New(q).RegisterUser(ctx, store.Registration{User: row, Posts: newPosts(in.Body.Posts)})
		if err != nil {
			return nil, err
		}
		user = userOf(u)
		user.Posts = postsOf(posts)
	}
	if in.Body.Posts != nil && user.Posts == nil {
		user.Posts = []Post{}
	}
	return &userCreated{
		Created: Created{Location: "/v1/users/" + strconv.FormatInt(user.ID, 10)}, ETag: etag(user.Version), Body: user,
	}, nil
}

func (s *server) getUser(ctx context.Context, in *userGet) (*userFound, error) {
	u, err := s.Queries.GetUser(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return foundUser(u, in.IfNoneMatch), nil
}

func (s *server) getUserByUsername(ctx context.Context, in *userGetByUsername) (*userFound, error) {
	u, err := s.Queries.GetUserByUsername(ctx, in.Username)
	if err != nil {
		return nil, err
	}
	return foundUser(u, in.IfNoneMatch), nil
}

func foundUser(u *db.User, ifNoneMatch string) *userFound {
	return &userFound{Status: foundStatus(ifNoneMatch, u.Version), ETag: etag(u.Version), Body: userOf(u)}
}

func (s *server) listUsers(ctx context.Context, in *userList) (*userListed, error) {
	name := in.name()
	request, err := in.request(name)
	if err != nil {
		return nil, err
	}
	filter := store.UserFilter{MinAge: in.MinAge.ptr(), MaxAge: in.MaxAge.ptr()}
	if in.UsernamePrefix != "" {
		filter.UsernamePrefix = &in.UsernamePrefix
	}
	page := openPage()
	var ends store.Ends
	if in.Include == "posts" {
		ends, err = s.appendUsersWithPosts(ctx, page, filter, request)
	} else {
		ends, err = s.Store.PageUsers(ctx, filter, request, func(u db.User) {
			page.b = userOf(&u).appendJSON(page.item())
		})
	}
	if err != nil {
		return nil, err
	}
	next, prev := idCursor(name, ends.Next), idCursor(name, ends.Prev)
	page.closePage(next, prev)
	return &userListed{Link: in.links(next, prev), Body: textOf[UserPage]{page}}, nil
}

// appendUsersWithPosts appends a page of users, each with its posts.
func (s *server) appendUsersWithPosts(
	ctx context.Context, page *text, filter store.UserFilter, request store.PageRequest,
) (store.Ends, error) {
	users, posts, err := s.Store.PageUsersWithPosts(ctx, filter, request)
	of := []Post{} // never nil: without any, a user has none and not nothing
	for i, u := range users.Items {
		user := userOf(u)
		of = appendPosts(of[:0], posts[i])
		user.Posts = of
		page.b = user.appendJSON(page.item())
	}
	return users.Ends, err
}

func (s *server) patchUser(ctx context.Context, q *db.Queries, in *userPatch) (*userPatched, error) {
	match, err := parseIfMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	patch := in.Body.params(in.ID, nil)
	var user *db.User
	err = match.try(func(ifVersion *int32) (err error) {
		patch.IfVersion = ifVersion
		user, err = s.Store.On(q).PatchUser(ctx, patch)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &userPatched{ETag: etag(user.Version), Body: userOf(user)}, nil
}

func (s *server) deleteUser(ctx context.Context, q *db.Queries, in *userDelete) (*deleted, error) {
	match, err := parseIfMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	return &deleted{}, match.try(func(ifVersion *int32) error {
		return s.Store.On(q).DeleteUser(ctx, db.DeleteUserParams{ID: in.ID, IfVersion: ifVersion})
	})
}
