"""The schema of migrations/ as SQLAlchemy sees it: mapped classes and their tables."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Integer, Text, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import declarative_base, relationship

Base = declarative_base()


class Row:
    """The columns that users and posts have in common."""

    # An INSERT brings back in RETURNING what the server filled in, which
    # spares the ORM a SELECT.
    __mapper_args__ = {"eager_defaults": True}


def made(**more):
    return Column(DateTime(timezone=True), nullable=False, server_default=func.now(), **more)


def version():
    return Column(Integer, nullable=False, server_default=text("1"), onupdate=text("version + 1"))


def tags():
    return Column(JSONB, nullable=False, server_default=text("'[]'"))


class User(Row, Base):
    __tablename__ = "users"

    id = Column(BigInteger, Identity(always=True), primary_key=True)
    username = Column(Text, nullable=False, unique=True)
    email = Column(Text, nullable=False)
    age = Column(Integer)
    tags = tags()
    created_at = made()
    updated_at = made(onupdate=func.now())
    version = version()
    posts = relationship("Post", order_by="Post.id")


class Post(Row, Base):
    __tablename__ = "posts"

    id = Column(BigInteger, Identity(always=True), primary_key=True)
    user_id = Column(BigInteger, ForeignKey("users.id"), nullable=False)
    title = Column(Text, nullable=False)
    content = Column(Text, nullable=False)
    tags = tags()
    created_at = made()
    updated_at = made(onupdate=func.now())
    version = version()


users = User.__table__
posts = Post.__table__


def prolific():
    """The users with more than five posts, in the words of SQLAlchemy's tutorials."""
    return (
        select(User.id, User.username, func.count(Post.id).label("post_count"))
        .outerjoin(Post)
        .group_by(User.id, User.username)
        .having(func.count(Post.id) > 5)
        .order_by(func.count(Post.id).desc(), User.id)
    )
