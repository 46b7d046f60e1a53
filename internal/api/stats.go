package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/store"
)

type userStatsGet struct {
	strict
	MinPosts int64  `query:"min_posts" minimum:"0" default:"5" doc:"Only users with more posts than this."`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Maximum number of items on the page."`
	After    string `query:"after" doc:"The cursor next of a page, to get the items after it."`
}

// UserStats is the number of posts of a user.
type UserStats struct {
	ID        int64  `json:"id" example:"42"`
	Username  string `json:"username" example:"ada"`
	PostCount int64  `json:"post_count" example:"12"`
}

// UserStatsPage is a page of users with their numbers of posts.
type UserStatsPage struct {
	Items []UserStats `json:"items"`
	Next  *string     `json:"next" doc:"Pass it as after to get the next page; null on the last page."`
}

type userStatsFound struct {
	Link []string `header:"Link" doc:"The next page (RFC 8288): rel=\"next\"."`
	Body UserStatsPage
}

// maxDays is how many days one response may cover: ten years.
const maxDays = 3660

type postsPerDayGet struct {
	strict
	From time.Time `query:"from" timeFormat:"2006-01-02" example:"2026-01-02" doc:"The first day, in UTC. Defaults to 29 days before the last day."`
	To   time.Time `query:"to" timeFormat:"2006-01-02" example:"2026-01-31" doc:"The last day, in UTC. Defaults to today."`
}

// Resolve sets the default days, and rejects too many days.
func (g *postsPerDayGet) Resolve(ctx huma.Context) []error {
	errs := g.strict.Resolve(ctx)
	if g.To.IsZero() {
		g.To = time.Now().UTC().Truncate(24 * time.Hour)
	}
	if g.From.IsZero() {
		g.From = g.To.AddDate(0, 0, -29)
	}
	switch days := int(g.To.Sub(g.From)/(24*time.Hour)) + 1; {
	case days < 1:
		errs = append(errs, &huma.ErrorDetail{Location: "query.from", Message: "is after to", Value: g.From.Format(time.DateOnly)})
	case days > maxDays:
		errs = append(errs, &huma.ErrorDetail{
			Location: "query.from", Message: fmt.Sprintf("is %d days before to: expected at most %d days", days-1, maxDays), Value: g.From.Format(time.DateOnly),
		})
	}
	return errs
}

// PostsOnDay is the number of posts created on a day.
type PostsOnDay struct {
	Day   string `json:"day" format:"date" example:"2026-01-31" doc:"The day in UTC."`
	Posts int64  `json:"posts" example:"3"`
}

// PostsPerDay has every day of a period, in order.
type PostsPerDay struct {
	Items []PostsOnDay `json:"items"`
}

type postsPerDayFound struct {
	Body PostsPerDay
}

type topTagsGet struct {
	strict
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Maximum number of tags."`
}

// TagUses is the number of uses of a tag.
type TagUses struct {
	Tag  string `json:"tag" example:"notes"`
	Uses int64  `json:"uses" example:"120" doc:"Number of uses. A tag that a post has twice counts twice."`
}

// TopTags has the most used tags, the most used first.
type TopTags struct {
	Items []TagUses `json:"items"`
}

type topTagsFound struct {
	Body TopTags
}

type taskCountsGet struct {
	strict
}

// TaskCounts has the numbers of tasks.
type TaskCounts struct {
	TaskTotals
	Claimable int64 `json:"claimable" example:"3" doc:"Number of tasks that are due, including those with an expired lease."`
}

type taskCountsFound struct {
	Body TaskCounts
}

type overviewGet struct {
	strict
}

// Overview has the totals of the service.
type Overview struct {
	Users          int64      `json:"users" example:"1000"`
	Posts          int64      `json:"posts" example:"2500"`
	UsersWithPosts int64      `json:"users_with_posts" example:"800"`
	PostsPerUser   float64    `json:"posts_per_user" example:"2.5" doc:"Average number of posts per user; 0 if there are no users."`
	Tasks          TaskTotals `json:"tasks"`
}

// TaskTotals has the number of tasks in each status.
type TaskTotals struct {
	Pending   int64 `json:"pending" example:"4"`
	Running   int64 `json:"running" example:"2"`
	Completed int64 `json:"completed" example:"90"`
	Failed    int64 `json:"failed" example:"1"`
	Cancelled int64 `json:"cancelled" example:"2"`
}

type overviewFound struct {
	Body Overview
}

func (s *server) registerStats() {
	tags := s.tag("stats", "Counts of users, posts, tags and tasks.")
	register(s, huma.Operation{
		OperationID: "getUserStats", Method: http.MethodGet, Path: "/v1/stats/users", Tags: tags,
		Summary:     "List users by their number of posts",
		Description: "Users with the most posts first; ties are ordered by id. The counts are kept, so its cost does not grow with the number of posts.",
	}, reads(codeInvalidCursor), s.userStats)
	register(s, huma.Operation{
		OperationID: "getPostsPerDay", Method: http.MethodGet, Path: "/v1/stats/posts-per-day", Tags: tags,
		Summary:     "Count the posts of each day",
		Description: fmt.Sprintf("Includes days without posts. At most %d days.", maxDays),
	}, reads(), s.postsPerDay)
	register(s, huma.Operation{
		OperationID: "getTopTags", Method: http.MethodGet, Path: "/v1/stats/top-tags", Tags: tags,
		Summary:     "List the tags that posts use most",
		Description: "The most used first; ties are ordered alphabetically. The counts are kept, so its cost does not grow with the number of posts.",
	}, reads(), s.topTags)
	register(s, huma.Operation{
		OperationID: "getTaskCounts", Method: http.MethodGet, Path: "/v1/stats/tasks", Tags: tags,
		Summary:     "Count the tasks in each state",
		Description: "It counts all tasks, so its cost grows with their number.",
	}, reads(), s.taskCounts)
	register(s, huma.Operation{
		OperationID: "getOverview", Method: http.MethodGet, Path: "/v1/stats/overview", Tags: tags,
		Summary:     "Get the totals",
		Description: "Users and posts are kept counts. Tasks are counted, so its cost grows with their number.",
	}, reads(), s.overview)
}

func (s *server) userStats(ctx context.Context, in *userStatsGet) (*userStatsFound, error) {
	name := "stats/users?min_posts=" + strconv.FormatInt(in.MinPosts, 10)
	request := store.UserStatsRequest{MinPosts: in.MinPosts, Limit: in.Limit}
	if in.After != "" {
		request.After = new(store.UserStatsKey)
		if err := decodeCursor(name, in.After, &request.After.PostCount, &request.After.ID); err != nil {
			return nil, err
		}
	}
	page, err := s.Store.UserStats(ctx, request)
	if err != nil {
		return nil, err
	}
	body := UserStatsPage{Items: make([]UserStats, len(page.Items))}
	for i, row := range page.Items {
		body.Items[i] = UserStats{ID: row.ID, Username: row.Username, PostCount: row.PostCount}
	}
	if page.Next != nil {
		body.Next = new(encodeCursor(name, page.Next.PostCount, page.Next.ID))
	}
	return &userStatsFound{Link: in.links(body.Next, nil), Body: body}, nil
}

func (s *server) postsPerDay(ctx context.Context, in *postsPerDayGet) (*postsPerDayFound, error) {
	rows, err := s.Queries.ListPostsPerDay(ctx, db.ListPostsPerDayParams{FromDay: in.From, ToDay: in.To})
	if err != nil {
		return nil, err
	}
	body := PostsPerDay{Items: make([]PostsOnDay, len(rows))}
	for i, row := range rows {
		body.Items[i] = PostsOnDay{Day: row.Day.Format(time.DateOnly), Posts: row.PostCount}
	}
	return &postsPerDayFound{Body: body}, nil
}

func (s *server) topTags(ctx context.Context, in *topTagsGet) (*topTagsFound, error) {
	rows, err := s.Queries.ListTopTags(ctx, int64(in.Limit))
	if err != nil {
		return nil, err
	}
	body := TopTags{Items: make([]TagUses, len(rows))}
	for i, row := range rows {
		body.Items[i] = TagUses{Tag: row.Tag, Uses: row.UseCount}
	}
	return &topTagsFound{Body: body}, nil
}

func (s *server) taskCounts(ctx context.Context, _ *taskCountsGet) (*taskCountsFound, error) {
	row, err := s.Queries.CountTasks(ctx)
	if err != nil {
		return nil, err
	}
	return &taskCountsFound{Body: TaskCounts{
		TaskTotals: TaskTotals{Pending: row.Pending, Running: row.Running, Completed: row.Completed, Failed: row.Failed, Cancelled: row.Cancelled},
		Claimable:  row.Claimable,
	}}, nil
}

func (s *server) overview(ctx context.Context, _ *overviewGet) (*overviewFound, error) {
	row, err := s.Queries.GetOverview(ctx)
	if err != nil {
		return nil, err
	}
	body := Overview{
		Users: row.Users, Posts: row.Posts, UsersWithPosts: row.UsersWithPosts,
		Tasks: TaskTotals{Pending: row.Pending, Running: row.Running, Completed: row.Completed, Failed: row.Failed, Cancelled: row.Cancelled},
	}
	if row.Users > 0 {
		body.PostsPerUser = float64(row.Posts) / float64(row.Users)
	}
	return &overviewFound{Body: body}, nil
}
