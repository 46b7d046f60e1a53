package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"
)

// user is a user as the API answers it.
type user struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email"`
	Posts    []post `json:"posts"`
}

// load creates the users, and then their posts, many at a time.
func load(ctx context.Context, c *client, idx *index) error {
	type newUser struct {
		Username string `json:"username"`
		Email    string `json:"email"`
	}
	type upload struct {
		userID int64
		post   post
	}
	begun := time.Now()
	uploads := make(chan upload, idx.packages)
	maintainers := slices.Collect(maps.Values(idx.maintainers))
	err := each(ctx, maintainers, func(ctx context.Context, m *maintainer) error {
		var created user
		if err := c.do(ctx, http.MethodPost, "/v1/users", newUser{m.username, m.email}, &created); err != nil {
			return err
		}
		for _, p := range m.posts {
			uploads <- upload{created.ID, p}
		}
		return nil
	})
	close(uploads)
	if err != nil {
		return err
	}
	var posts []upload
	for u := range uploads {
		posts = append(posts, u)
	}
	err = each(ctx, posts, func(ctx context.Context, u upload) error {
		return c.do(ctx, http.MethodPost, fmt.Sprintf("/v1/users/%d/posts", u.userID), u.post, &struct{}{})
	})
	if err != nil {
		return err
	}
	requests := len(maintainers) + len(posts)
	say("loaded", begun, "%d users and %d posts, %d at a time: %.0f requests/s",
		len(maintainers), len(posts), clients, float64(requests)/time.Since(begun).Seconds())
	return nil
}

// check reads everything back and compares it with the index.
func check(ctx context.Context, c *client, idx *index) error {
	for _, part := range []func(context.Context, *client, *index) error{checkTotals, checkList, checkPosts, checkOnePage, checkProlific} {
		if err := part(ctx, c, idx); err != nil {
			return err
		}
	}
	fmt.Println("all of it is as in the file")
	return nil
}

func checkTotals(ctx context.Context, c *client, idx *index) error {
	begun := time.Now()
	var got struct {
		Users          int `json:"users"`
		Posts          int `json:"posts"`
		UsersWithPosts int `json:"users_with_posts"`
	}
	if err := c.do(ctx, http.MethodGet, "/v1/stats/overview", nil, &got); err != nil {
		return err
	}
	n := len(idx.maintainers)
	if got.Users != n || got.Posts != idx.packages || got.UsersWithPosts != n {
		return fmt.Errorf("the overview counts %+v, the file %d users, each with posts, and %d posts", got, n, idx.packages)
	}
	say("counted", begun, "%d users and %d posts in the overview", got.Users, got.Posts)
	return nil
}

// checkList pages through the users in small steps: each must come once.
func checkList(ctx context.Context, c *client, idx *index) error {
	begun := time.Now()
	users, pages, err := list[user](ctx, c, "/v1/users", url.Values{"limit": {"50"}})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, u := range users {
		m := idx.maintainers[u.Username]
		if m == nil || seen[u.Username] || u.Email != m.email {
			return fmt.Errorf("the list has user %q with email %q, which the file has not, or not so, or once only", u.Username, u.Email)
		}
		seen[u.Username] = true
	}
	if len(seen) != len(idx.maintainers) {
		return fmt.Errorf("the list has %d users, the file %d", len(seen), len(idx.maintainers))
	}
	say("listed", begun, "%d users in %d pages of 50", len(users), pages)
	return nil
}

// checkPosts reads every user with its posts and compares them to the letter.
func checkPosts(ctx context.Context, c *client, idx *index) error {
	begun := time.Now()
	users, pages, err := list[user](ctx, c, "/v1/users", url.Values{"limit": {"100"}, "include": {"posts"}})
	if err != nil {
		return err
	}
	posts := 0
	for _, u := range users {
		posts += len(u.Posts)
		want := idx.maintainers[u.Username].posts
		if !reflect.DeepEqual(ordered(u.Posts), ordered(want)) {
			return fmt.Errorf("%s has %d posts, and they are not the %d packages of the file", u.Username, len(u.Posts), len(want))
		}
	}
	if posts != idx.packages {
		return fmt.Errorf("the users have %d posts, the file has %d packages", posts, idx.packages)
	}
	say("eager", begun, "%d users with %d posts in %d pages of 100", len(users), posts, pages)
	return nil
}

// ordered sorts posts, which were created in no order: versions of a package
// share its title.
func ordered(posts []post) []post {
	return slices.SortedFunc(slices.Values(posts), func(a, b post) int {
		return cmp.Or(cmp.Compare(a.Title, b.Title), cmp.Compare(a.Content, b.Content), slices.Compare(a.Tags, b.Tags))
	})
}

// checkOnePage pages through the posts of the most prolific user.
func checkOnePage(ctx context.Context, c *client, idx *index) error {
	begun := time.Now()
	most := slices.MaxFunc(slices.Collect(maps.Values(idx.maintainers)), func(a, b *maintainer) int {
		return cmp.Or(cmp.Compare(len(a.posts), len(b.posts)), cmp.Compare(b.username, a.username))
	})
	var u user
	if err := c.do(ctx, http.MethodGet, "/v1/usernames/"+url.PathEscape(most.username), nil, &u); err != nil {
		return err
	}
	posts, pages, err := list[post](ctx, c, fmt.Sprintf("/v1/users/%d/posts", u.ID), url.Values{"limit": {"20"}})
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(ordered(posts), ordered(most.posts)) {
		return fmt.Errorf("the pages of %s have %d posts, and they are not the %d packages of the file", most.username, len(posts), len(most.posts))
	}
	say("paged", begun, "%d posts of %s in %d pages of 20", len(posts), most.username, pages)
	return nil
}

// checkProlific asks who has more than five posts.
func checkProlific(ctx context.Context, c *client, idx *index) error {
	const more = 5
	begun := time.Now()
	type stat struct {
		Username string `json:"username"`
		Posts    int    `json:"post_count"`
	}
	stats, pages, err := list[stat](ctx, c, "/v1/stats/users", url.Values{"min_posts": {fmt.Sprint(more)}, "limit": {"50"}})
	if err != nil {
		return err
	}
	want := map[string]int{}
	for _, m := range idx.maintainers {
		if len(m.posts) > more {
			want[m.username] = len(m.posts)
		}
	}
	got := map[string]int{}
	for i, s := range stats {
		got[s.Username] = s.Posts
		if i > 0 && s.Posts > stats[i-1].Posts {
			return fmt.Errorf("%s with %d posts comes behind one with %d", s.Username, s.Posts, stats[i-1].Posts)
		}
	}
	if len(stats) != len(got) || !maps.Equal(got, want) {
		return fmt.Errorf("%d users have more than %d posts, in the file it is %d, or not the same", len(stats), more, len(want))
	}
	say("stats", begun, "%d users have more than %d posts, in %d pages of 50; the most: %d", len(stats), more, pages, stats[0].Posts)
	return nil
}
