// Package schema describes the tables users and posts for ent.
package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
)

// User is a row of users.
type User struct{ ent.Schema }

// Fields returns its columns. The times are set by the client, because ent
// would have to read the row again to get times set by the server.
func (User) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.String("username"),
		field.String("email"),
		field.Int32("age").Optional().Nillable(),
		field.Strings("tags"),
		field.Time("created_at").Default(time.Now),
		field.Time("updated_at").Default(time.Now),
		field.Int32("version").Default(1),
	}
}

// Edges returns the posts of a user.
func (User) Edges() []ent.Edge { return []ent.Edge{edge.To("posts", Post.Type)} }

// Post is a row of posts.
type Post struct{ ent.Schema }

// Fields returns its columns.
func (Post) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.Int64("user_id"),
		field.String("title"),
		field.String("content"),
		field.Strings("tags"),
		field.Time("created_at").Default(time.Now),
		field.Time("updated_at").Default(time.Now),
		field.Int32("version").Default(1),
	}
}

// Edges returns the post's author.
func (Post) Edges() []ent.Edge {
	return []ent.Edge{edge.From("author", User.Type).Ref("posts").Field("user_id").Unique().Required()}
}
