-- Creates a new table. Its foreign keys lock users and posts against writes for a moment.

-- +goose Up
CREATE TYPE comment_state AS ENUM ('visible', 'hidden', 'spam');

CREATE TABLE comments (
    id         bigint        GENERATED ALWAYS AS IDENTITY,
    user_id    bigint        NOT NULL,
    post_id    bigint        NOT NULL,
    body       text          NOT NULL,
    state      comment_state NOT NULL DEFAULT 'visible',
    meta       jsonb         NOT NULL DEFAULT '{}',
    edited_by  text,
    created_at timestamptz   NOT NULL DEFAULT now(),
    updated_at timestamptz   NOT NULL DEFAULT now(),
    version    integer       NOT NULL DEFAULT 1,

    CONSTRAINT comments_pkey         PRIMARY KEY (id),
    CONSTRAINT comments_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT comments_post_id_fkey FOREIGN KEY (post_id) REFERENCES posts (id) ON DELETE CASCADE,
    CONSTRAINT comments_body_length  CHECK (char_length(body) BETWEEN 1 AND 2000)
);

CREATE INDEX comments_post_id_id_idx ON comments (post_id, id);
CREATE INDEX comments_user_id_id_idx ON comments (user_id, id);

-- +goose Down
DROP TABLE comments;
DROP TYPE comment_state;
