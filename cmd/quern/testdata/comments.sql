-- Creates a new table. Its foreign keys lock users and posts against writes for a moment.

-- +goose Up
CREATE TYPE comment_state AS ENUM ('visible', 'hidden', 'spam');

CREATE TABLE comments (
    id         bigint        GENERATED ALWAYS AS IDENTITY,
    user_id    bigint        NOT NULL,
    post_id    bigint        NOT NULL,
    reply_to   bigint        REFERENCES comments (id),
    body       text          NOT NULL,
    state      comment_state NOT NULL DEFAULT 'visible',
    meta       jsonb         NOT NULL DEFAULT '{}',
    edited_by  varchar(40),
    stars      integer,
    rank       bigint        NOT NULL DEFAULT 0,
    created_at timestamptz   NOT NULL DEFAULT now(),
    updated_at timestamptz   NOT NULL DEFAULT now(),
    version    integer       NOT NULL DEFAULT 1,

    CONSTRAINT comments_pkey             PRIMARY KEY (id),
    CONSTRAINT comments_user_id_fkey     FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT comments_post_id_fkey     FOREIGN KEY (post_id) REFERENCES posts (id) ON DELETE CASCADE,
    CONSTRAINT comments_body_length      CHECK (char_length(body) BETWEEN 1 AND 2000),
    CONSTRAINT comments_edited_by_length CHECK (length(edited_by) > 0),
    CONSTRAINT comments_stars_range      CHECK (stars > 0 AND stars < 6),
    CONSTRAINT comments_rank_range       CHECK (rank >= 0 OR stars = 5)
);

CREATE INDEX comments_post_id_id_idx ON comments (post_id, id);
CREATE INDEX comments_user_id_id_idx ON comments (user_id, id);

-- +goose Down
DROP TABLE comments;
DROP TYPE comment_state;
