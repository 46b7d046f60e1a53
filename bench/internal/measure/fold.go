package measure

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"
)

// Fold makes a checksum of what is answered. Its lines are those that the peers
// in Python make too.
type Fold struct{ hash hash.Hash }

// NewFold returns an empty one.
func NewFold() *Fold { return &Fold{hash: sha256.New()} }

// Sum is the checksum of all that was folded, in hexadecimal.
func (f *Fold) Sum() string { return hex.EncodeToString(f.hash.Sum(nil)) }

// User folds a user that was read.
func (f *Fold) User(id int64, username, email string, age *int32, tags []string, created time.Time) {
	fmt.Fprintf(f.hash, "%d|%s|%s|%s|%s|%d\n", id, username, email, optional(age), strings.Join(tags, ","), created.UnixMicro())
}

// Created folds a user that was inserted: without its id and time, which are
// never the same, but that they were answered.
func (f *Fold) Created(id int64, username, email string, age *int32, tags []string, created time.Time) {
	recent := time.Since(created).Abs() < time.Minute
	fmt.Fprintf(f.hash, "%t|%s|%s|%s|%s|%t\n", id > 0, username, email, optional(age), strings.Join(tags, ","), recent)
}

// Post folds a post of the user that was folded last.
func (f *Fold) Post(id int64, title string) { fmt.Fprintf(f.hash, ">%d|%s\n", id, title) }

// Count folds the number of a user's posts.
func (f *Fold) Count(id, count int64) { fmt.Fprintf(f.hash, "%d|%d\n", id, count) }

// Text folds any text as a line.
func (f *Fold) Text(s string) { fmt.Fprintln(f.hash, s) }

// JSON folds a page of users: its items as they mean and not as they are written. Null, an
// empty list and a member that is absent are the same; times are compared as moments.
func (f *Fold) JSON(text []byte) error {
	var page struct {
		Items []jsonUser `json:"items"`
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return err
	}
	for _, u := range page.Items {
		f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
		for _, p := range u.Posts {
			f.Post(p.ID, p.Title)
			if p.Content == "" || p.UserID != u.ID || p.Version != 1 || p.UpdatedAt.IsZero() || p.CreatedAt.IsZero() {
				return fmt.Errorf("post %d is not whole", p.ID)
			}
		}
		if u.Version == 0 || u.UpdatedAt.IsZero() {
			return fmt.Errorf("user %d is not whole", u.ID)
		}
	}
	return nil
}

type jsonUser struct {
	ID        int64      `json:"id"`
	Username  string     `json:"username"`
	Email     string     `json:"email"`
	Age       *int32     `json:"age"`
	Tags      []string   `json:"tags"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
	Version   int32      `json:"version"`
	Posts     []jsonPost `json:"posts"`
}

type jsonPost struct {
	ID        int64     `json:"id"`
	UserID    int64     `json:"user_id"`
	Title     string    `json:"title"`
	Content   string    `json:"content"`
	Tags      []string  `json:"tags"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int32     `json:"version"`
}

// optional is *p as text, or nothing.
func optional(p *int32) string {
	if p == nil {
		return ""
	}
	return strconv.Itoa(int(*p))
}
