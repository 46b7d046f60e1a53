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

// Fold calculates a checksum of answers. The Python peers fold the same lines.
type Fold struct{ hash hash.Hash }

// NewFold returns an empty Fold.
func NewFold() *Fold { return &Fold{hash: sha256.New()} }

// Sum returns the checksum of everything that was folded, in hexadecimal.
func (f *Fold) Sum() string { return hex.EncodeToString(f.hash.Sum(nil)) }

// User folds a user that was read.
func (f *Fold) User(id int64, username, email string, age *int32, tags []string, created time.Time) {
	fmt.Fprintf(f.hash, "%d|%s|%s|%s|%s|%d\n", id, username, email, optional(age), strings.Join(tags, ","), created.UnixMicro())
}

// Created folds an inserted user. Its id and time differ each time, so it only folds
// whether they are valid.
func (f *Fold) Created(id int64, username, email string, age *int32, tags []string, created time.Time) {
	recent := time.Since(created).Abs() < time.Minute
	fmt.Fprintf(f.hash, "%t|%s|%s|%s|%s|%t\n", id > 0, username, email, optional(age), strings.Join(tags, ","), recent)
}

// Post folds a post of the last folded user.
func (f *Fold) Post(id int64, title string) { fmt.Fprintf(f.hash, ">%d|%s\n", id, title) }

// Count folds the number of a user's posts.
func (f *Fold) Count(id, count int64) { fmt.Fprintf(f.hash, "%d|%d\n", id, count) }

// Text folds any text as a line.
func (f *Fold) Text(s string) { fmt.Fprintln(f.hash, s) }

// JSON folds a page of users by its meaning. Null, an empty list and an absent member are
// equal, and times are compared as instants.
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
				return fmt.Errorf("post %d is incomplete", p.ID)
			}
		}
		if u.Version == 0 || u.UpdatedAt.IsZero() {
			return fmt.Errorf("user %d is incomplete", u.ID)
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

// optional returns *p as text, or "" for nil.
func optional(p *int32) string {
	if p == nil {
		return ""
	}
	return strconv.Itoa(int(*p))
}
