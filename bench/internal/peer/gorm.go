package peer

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"quern/bench/internal/measure"
)

type gormUser struct {
	ID        int64
	Username  string
	Email     string
	Age       *int32
	Tags      []string `gorm:"serializer:json"`
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int32
	Posts     []gormPost `gorm:"foreignKey:UserID"`
}

func (gormUser) TableName() string { return "users" }

type gormPost struct {
	ID        int64
	UserID    int64
	Title     string
	Content   string
	Tags      []string `gorm:"serializer:json"`
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int32
}

func (gormPost) TableName() string { return "posts" }

type gormPeer struct{ db *gorm.DB }

// openSQL returns a pool of database/sql over pgx that keeps its connections.
func openSQL(url string, mode pgx.QueryExecMode) (*sql.DB, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c.DefaultQueryExecMode = mode
	return pooled(stdlib.OpenDB(*c)), nil
}

func pooled(db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(Pool)
	db.SetMaxIdleConns(Pool)
	return db
}

func openGorm(_ context.Context, c Config) (*Peer, error) {
	pool, err := openSQL(c.URL, pgx.QueryExecModeCacheStatement)
	if err != nil {
		return nil, err
	}
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{
		SkipDefaultTransaction: true, PrepareStmt: true, Logger: logger.Discard,
	})
	if err != nil {
		return nil, err
	}
	p := gormPeer{db}
	return &Peer{
		Name: "gorm", Version: version("gorm.io/gorm"),
		About: "over pgx with SkipDefaultTransaction and PrepareStmt. It updates row by row, because its upsert cannot name ids that the server generates",
		Ops: map[string]measure.Op{
			"point": p.point, "page": p.page, "insert": p.insert, "tx": p.tx,
			"eager": p.eager, "aggregate": p.aggregate, "bulk-update": p.bulkUpdate,
		},
		close: pool.Close,
	}, nil
}

func (u *gormUser) fold(f *measure.Fold) {
	if f == nil {
		return
	}
	f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	for _, p := range u.Posts {
		f.Post(p.ID, p.Title)
	}
}

func (p gormPeer) point(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	var u gormUser
	err := p.db.WithContext(ctx).Where("id = ?", in.ID()).Take(&u).Error
	u.fold(f)
	return err
}

func (p gormPeer) page(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	var users []gormUser
	err := p.db.WithContext(ctx).Where("id > ?", in.After(PageSize)).Order("id").Limit(PageSize).Find(&users).Error
	for i := range users {
		users[i].fold(f)
	}
	return err
}

func newGormUser(n measure.NewUser) *gormUser {
	return &gormUser{Username: n.Username, Email: n.Email, Age: &n.Age, Tags: n.Tags, Version: 1}
}

func (gormPeer) created(in *measure.Input, f *measure.Fold, u *gormUser, err error) error {
	if err != nil {
		return err
	}
	in.Inserted()
	if f != nil {
		f.Created(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
	return nil
}

func (p gormPeer) insert(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u := newGormUser(in.User())
	return p.created(in, f, u, p.db.WithContext(ctx).Create(u).Error)
}

func (p gormPeer) tx(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u := newGormUser(in.User())
	err := p.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(u).Error; err != nil {
			return err
		}
		return tx.Create(&gormPost{UserID: u.ID, Title: firstTitle, Content: firstContent, Tags: firstTags(), Version: 1}).Error
	})
	return p.created(in, f, u, err)
}

func (p gormPeer) eager(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	var users []gormUser
	byID := func(db *gorm.DB) *gorm.DB { return db.Order("posts.id") }
	err := p.db.WithContext(ctx).Preload("Posts", byID).Order("id").Limit(EagerUsers).Find(&users).Error
	for i := range users {
		users[i].fold(f)
	}
	return err
}

func (p gormPeer) aggregate(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	var counts []count
	err := p.db.WithContext(ctx).Model(&gormUser{}).Select("users.id, users.username, count(posts.id) AS post_count").
		Joins("LEFT JOIN posts ON posts.user_id = users.id").Group("users.id").
		Having("count(posts.id) > ?", MorePosts).Order("post_count DESC, users.id").Scan(&counts).Error
	foldCounts(f, counts)
	return err
}

func (p gormPeer) bulkUpdate(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	return p.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for i := range ids {
			err := tx.Model(&gormUser{ID: ids[i]}).UpdateColumns(map[string]any{
				"age": age[i], "updated_at": gorm.Expr("now()"), "version": gorm.Expr("version + 1"),
			}).Error
			if err != nil {
				return err
			}
		}
		return nil
	})
}
