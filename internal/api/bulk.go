package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
)

// maxBulkBytes bounds the body of a bulk operation: its ten thousand items may take some 800
// bytes each. If the setting for other bodies allows more, that limit applies.
const maxBulkBytes = 8 << 20

// UserChange is the patch of one of many users.
type UserChange struct {
	ID      int64           `json:"id" example:"42"`
	Version Optional[int32] `json:"version,omitzero" minimum:"1" example:"3" doc:"The expected version. If the user has another one, it is not changed."`
	UserPatch
}

// UserRef identifies one of many users.
type UserRef struct {
	ID      int64           `json:"id" example:"42"`
	Version Optional[int32] `json:"version,omitzero" minimum:"1" example:"3" doc:"The expected version. If the user has another one, it is not deleted."`
}

type usersPatch struct {
	strict
	Keyed
	Body []UserChange `maxItems:"10000"`
}

// Resolve refuses an id that is given twice, and a change that gives nothing.
func (p *usersPatch) Resolve(ctx huma.Context) []error {
	errs := append(p.strict.Resolve(ctx), twice(p.Body, func(c UserChange) int64 { return c.ID })...)
	for i, change := range p.Body {
		if givesNothing(&change.UserPatch) {
			errs = append(errs, &huma.ErrorDetail{Location: "body[" + strconv.Itoa(i) + "]", Message: "gives nothing to change"})
		}
	}
	return errs
}

type usersDelete struct {
	strict
	Keyed
	Body []UserRef `maxItems:"10000"`
}

// Resolve refuses an id that is given twice.
func (d *usersDelete) Resolve(ctx huma.Context) []error {
	return append(d.strict.Resolve(ctx), twice(d.Body, func(r UserRef) int64 { return r.ID })...)
}

// twice reports the items that have the same id as an earlier item.
func twice[T any](items []T, id func(T) int64) []error {
	var errs []error
	seen := make(map[int64]bool, len(items))
	for i, item := range items {
		if seen[id(item)] {
			errs = append(errs, &huma.ErrorDetail{
				Location: "body[" + strconv.Itoa(i) + "].id", Message: msgDuplicate, Value: id(item),
			})
		}
		seen[id(item)] = true
	}
	return errs
}

// UsersPatched is the result of many changes.
type UsersPatched struct {
	Updated         int     `json:"updated" example:"9998" doc:"Number of changed users. The version of each has increased."`
	NotFound        []int64 `json:"not_found" example:"[7]" doc:"The ids that no user has."`
	VersionMismatch []int64 `json:"version_mismatch" example:"[9]" doc:"The ids of users that have another version."`
}

// UsersDeleted is the result of many deletions.
type UsersDeleted struct {
	Deleted         int     `json:"deleted" example:"9998" doc:"Number of deleted users."`
	NotFound        []int64 `json:"not_found" example:"[7]" doc:"The ids that no user has."`
	VersionMismatch []int64 `json:"version_mismatch" example:"[9]" doc:"The ids of users that have another version."`
}

func (s *server) registerBulk() {
	tags := []string{"users"}
	write(s, huma.Operation{
		OperationID: "patchUsers", Method: http.MethodPatch, Path: "/v1/users", Tags: tags, MaxBodyBytes: maxBulkBytes, Metadata: inBulk(),
		Summary: "Change many users",
		Description: "Up to 10,000 changes in one statement. An absent member is not changed, and null clears it. " +
			"Users that are missing or have another version are listed in the response, and the others are changed. If the response is a problem, no user is changed, and it lists the invalid items.",
	}, writes(codeUsernameTaken), s.patchUsers)
	write(s, huma.Operation{
		OperationID: "deleteUsers", Method: http.MethodPost, Path: "/v1/users/bulk-delete", Tags: tags, MaxBodyBytes: maxBulkBytes, Metadata: inBulk(),
		Summary: "Delete many users",
		Description: "Deletes up to 10,000 users and their posts in one statement. This is a POST, because proxies may drop the body of a DELETE. " +
			"Users that are missing or have another version are listed in the response, and the others are deleted. If the response is a problem, no user is deleted, and it lists the invalid items.",
	}, writes(), s.deleteUsers)
}

func (s *server) patchUsers(ctx context.Context, q *db.Queries, in *usersPatch) (*written[UsersPatched], error) {
	changes := make([]db.UpdateUserParams, len(in.Body))
	for i, c := range in.Body {
		changes[i] = c.params(c.ID, c.Version.ptr())
	}
	b, err := s.Store.On(q).PatchUsers(ctx, changes)
	if err != nil {
		return nil, err
	}
	return &written[UsersPatched]{Body: UsersPatched{Updated: b.Done, NotFound: list(b.Missing), VersionMismatch: list(b.Stale)}}, nil
}

func (s *server) deleteUsers(ctx context.Context, q *db.Queries, in *usersDelete) (*written[UsersDeleted], error) {
	users := make([]db.DeleteUserParams, len(in.Body))
	for i, r := range in.Body {
		users[i] = db.DeleteUserParams{ID: r.ID, IfVersion: r.Version.ptr()}
	}
	b, err := s.Store.On(q).DeleteUsers(ctx, users)
	if err != nil {
		return nil, err
	}
	return &written[UsersDeleted]{Body: UsersDeleted{Deleted: b.Done, NotFound: list(b.Missing), VersionMismatch: list(b.Stale)}}, nil
}
