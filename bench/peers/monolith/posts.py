"""Posts and votes."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, status
from sqlalchemy import ScalarSelect, extract
from sqlmodel import col, func, select

from monolith.auth import CurrentUser
from monolith.database import SessionDep
from monolith.models import Post, PostCreate, PostPage, PostPublic, Sort, User, UserPublic, Vote, VoteCreate

router = APIRouter(tags=["posts"])

NOT_FOUND = HTTPException(status.HTTP_404_NOT_FOUND, "Post not found")


def _vote_count() -> ScalarSelect[int]:
    of_post = select(func.count()).select_from(Vote).where(col(Vote.post_id) == col(Post.id))
    return of_post.correlate(Post).scalar_subquery()


def _to_public(post: Post, owner: User, votes: int) -> PostPublic:
    public = UserPublic.model_validate(owner, from_attributes=True)
    return PostPublic.model_validate(post, from_attributes=True, update={"votes": votes, "owner": public})


@router.get("/posts")
def read_posts(
    session: SessionDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    skip: Annotated[int, Query(ge=0)] = 0,
    search: str = "",
    sort: Sort = Sort.NEW,
) -> PostPage:
    votes = _vote_count()
    orders: dict[Sort, Any] = {
        Sort.NEW: col(Post.date),
        Sort.TOP: votes,
        Sort.HOT: func.log(func.greatest(votes, 1)) + extract("epoch", col(Post.date)) / 45000,
    }
    statement = select(Post, User, votes.label("votes")).join(User).where(Post.published)
    if search:
        statement = statement.where(col(Post.title).icontains(search) | col(Post.content).icontains(search))
    statement = statement.order_by(orders[sort].desc(), col(Post.id).desc()).offset(skip).limit(limit)
    return PostPage(items=[_to_public(*row) for row in session.exec(statement)])


@router.get("/posts/{post_id}")
def read_post(post_id: int, session: SessionDep) -> PostPublic:
    statement = select(Post, User, _vote_count().label("votes")).join(User).where(Post.id == post_id, Post.published)
    row = session.exec(statement).first()
    if row is None:
        raise NOT_FOUND
    return _to_public(*row)


@router.post("/posts", status_code=201)
def create_post(new: PostCreate, session: SessionDep, user: CurrentUser) -> PostPublic:
    post = Post(**new.model_dump(), owner_id=user.id)
    session.add(post)
    session.commit()
    session.refresh(post)
    return _to_public(post, user, 0)


@router.post("/votes", status_code=201)
def vote(cast: VoteCreate, session: SessionDep, user: CurrentUser) -> dict[str, str]:
    if session.get(Post, cast.post_id) is None:
        raise NOT_FOUND
    found = session.get(Vote, (cast.post_id, user.id))
    if cast.direction and found:
        raise HTTPException(status.HTTP_409_CONFLICT, "You have voted for this post")
    if not cast.direction and not found:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "You have not voted for this post")
    if cast.direction:
        session.add(Vote(post_id=cast.post_id, user_id=user.id))
    else:
        session.delete(found)
    session.commit()
    return {"message": "ok"}
