"""Passwords, tokens and the current user."""

import os
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from fastapi import APIRouter, Depends, HTTPException, status
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from sqlmodel import select

from monolith.database import SessionDep
from monolith.models import RefreshRequest, Tokens, User, UserCreate, UserPublic

SECRET_KEY = os.environ["MONOLITH_SECRET_KEY"]
ALGORITHM = "HS256"
LIFETIMES = {"access": timedelta(minutes=15), "refresh": timedelta(days=14)}

router = APIRouter(tags=["auth"])
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="auth/login")
# The parameters of the platform, so that a sign-in costs the same hash.
hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(status.HTTP_401_UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})


def create_token(user: User, kind: str) -> str:
    claims = {"sub": user.username, "type": kind, "exp": datetime.now(UTC) + LIFETIMES[kind]}
    return jwt.encode(claims, SECRET_KEY, algorithm=ALGORITHM)


def _user_of(token: str, kind: str, session: SessionDep) -> User:
    try:
        claims = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except jwt.InvalidTokenError:
        raise _unauthorized("Could not validate credentials") from None
    user = session.exec(select(User).where(User.username == claims["sub"])).first()
    if claims["type"] != kind or user is None:
        raise _unauthorized("Could not validate credentials")
    return user


def get_current_user(token: Annotated[str, Depends(oauth2_scheme)], session: SessionDep) -> User:
    return _user_of(token, "access", session)


CurrentUser = Annotated[User, Depends(get_current_user)]


def _tokens(user: User) -> Tokens:
    access, refresh = create_token(user, "access"), create_token(user, "refresh")
    return Tokens(access_token=access, refresh_token=refresh, token_type="bearer")  # noqa: S106 RFC 6750's word


@router.post("/users", status_code=201, response_model=UserPublic)
def create_user(new: UserCreate, session: SessionDep) -> User:
    taken = select(User).where((User.username == new.username) | (User.email == new.email))
    if session.exec(taken).first() is not None:
        raise HTTPException(status.HTTP_409_CONFLICT, "This name or address is taken")
    user = User(username=new.username, email=new.email, password_hash=hasher.hash(new.password))
    session.add(user)
    session.commit()
    session.refresh(user)
    return user


@router.post("/auth/login")
def login(form: Annotated[OAuth2PasswordRequestForm, Depends()], session: SessionDep) -> Tokens:
    user = session.exec(select(User).where(User.username == form.username)).first()
    if user is None:
        raise _unauthorized("Incorrect username or password")
    try:
        hasher.verify(user.password_hash, form.password)
    except VerifyMismatchError:
        raise _unauthorized("Incorrect username or password") from None
    return _tokens(user)


@router.post("/auth/refresh")
def refresh(sent: RefreshRequest, session: SessionDep) -> Tokens:
    return _tokens(_user_of(sent.refresh_token, "refresh", session))
