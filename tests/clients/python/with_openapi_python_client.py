"""The flow as a user of openapi-python-client writes it; given the address of a gateway."""

import sys
import uuid

from kpi_client import AuthenticatedClient, Client
from kpi_client.api.auth import list_sessions, login, logout, refresh, register, revoke
from kpi_client.api.posts import create_post, delete_post, get_post, list_posts, update_post
from kpi_client.api.votes import vote
from kpi_client.models import (
    ContentSort,
    EmailCredentials,
    PostCreate,
    PostPublic,
    PostUpdate,
    Problem,
    Refresh,
    RegisteredUser,
    Registration,
    Revocation,
    SessionList,
    SessionTokens,
    UsernameCredentials,
    VoteCast,
    VoteCastDirection,
    VotePublic,
)

address = sys.argv[1]
username = f"u{uuid.uuid4().hex[:16]}"
email = f"{username}@example.com"
password = "a quiet red bicycle"
anonymous = Client(base_url=address, raise_on_unexpected_status=True)

user = register.sync(client=anonymous, body=Registration(username=username, email=email, password=password))
assert isinstance(user, RegisteredUser), user
assert user.username == username
assert user.email == email

refused = login.sync(client=anonymous, body=UsernameCredentials(username=username, password="not the password"))
assert refused is not None
assert not isinstance(refused, SessionTokens)
assert refused.type_ == "invalid-credentials"

by_email = login.sync(client=anonymous, body=EmailCredentials(email=email, password=password))
assert isinstance(by_email, SessionTokens), by_email
tokens = login.sync(client=anonymous, body=UsernameCredentials(username=username, password=password))
assert isinstance(tokens, SessionTokens), tokens
successor = refresh.sync(client=anonymous, body=Refresh(refresh_token=tokens.refresh_token))
assert isinstance(successor, SessionTokens), successor
assert successor.refresh_token != tokens.refresh_token

client = AuthenticatedClient(base_url=address, token=successor.access_token, raise_on_unexpected_status=True)
post = create_post.sync(client=client, body=PostCreate(title="A title", content="Words"))
assert isinstance(post, PostPublic), post
assert post.owner.username == username
changed = update_post.sync(post.id, client=client, body=PostUpdate(title="Another title"))
assert isinstance(changed, PostPublic), changed
assert changed.title == "Another title"

cast = vote.sync(client=client, body=VoteCast(post_id=post.id, direction=VoteCastDirection.VALUE_1))
assert isinstance(cast, VotePublic), cast
assert cast.votes == 1

for sort in (ContentSort.TOP, ContentSort.HOT, ContentSort.NEW):
    page = list_posts.sync(client=client, sort=sort, limit=100)
    assert page is not None
    assert not isinstance(page, Problem), page
    assert post.id in [item.id for item in page.items]
counted = list_posts.sync(client=client, mine=True, total=True)
assert counted is not None
assert not isinstance(counted, Problem), counted
assert counted.to_dict()["total"] == 1

sessions = list_sessions.sync(client=client)
assert isinstance(sessions, SessionList), sessions
assert [session.is_current for session in sessions.items].count(True) == 1
assert len(sessions.items) == 2
assert sessions.next_ is None

revoked = revoke.sync_detailed(client=anonymous, body=Revocation(token=by_email.refresh_token))
assert revoked.status_code == 200
deleted = delete_post.sync_detailed(post.id, client=client)
assert deleted.status_code == 204
missing = get_post.sync(post.id, client=client)
assert isinstance(missing, Problem), missing
assert missing.status == 404

left = logout.sync_detailed(client=client)
assert left.status_code == 204
ended = refresh.sync(client=anonymous, body=Refresh(refresh_token=successor.refresh_token))
assert ended is not None
assert not isinstance(ended, SessionTokens)
assert ended.type_ == "invalid-refresh-token"
