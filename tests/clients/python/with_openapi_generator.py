"""The flow as a user of openapi-generator's python client writes it; given the address of a gateway."""

import sys
import uuid
from collections.abc import Callable

from kpi_client import (
    ApiClient,
    ApiException,
    AuthApi,
    Configuration,
    ContentSort,
    PostCreate,
    PostsApi,
    PostUpdate,
    Problem,
    Registration,
    VoteCast,
    VotesApi,
)

address = sys.argv[1]
username = f"u{uuid.uuid4().hex[:16]}"
email = f"{username}@example.com"
password = "a quiet red bicycle"
anonymous = AuthApi(ApiClient(Configuration(host=address)))


def refusal(call: Callable[[], object]) -> Problem:
    """The problem document with which a call is refused."""
    try:
        result = call()
    except ApiException as error:
        problem = Problem.from_json(error.body or "")
        assert problem is not None
        return problem
    raise AssertionError(f"this is not refused: {result}")


user = anonymous.register(Registration(username=username, email=email, password=password))
assert user.username == username
assert user.email == email

assert refusal(lambda: anonymous.login(username=username, password="wrong")).type == "invalid-credentials"

by_email = anonymous.login(email=email, password=password)
tokens = anonymous.login(username=username, password=password)
successor = anonymous.refresh(refresh_token=tokens.refresh_token)
assert successor.refresh_token != tokens.refresh_token

signed_in = ApiClient(Configuration(host=address, access_token=successor.access_token))
posts = PostsApi(signed_in)
post = posts.create_post(PostCreate(title="A title", content="Words"))
assert post.owner.username == username
assert posts.update_post(post.id, PostUpdate(title="Another title")).title == "Another title"
assert VotesApi(signed_in).vote(VoteCast(post_id=post.id, direction=1)).votes == 1

# Reading needs no token; first without one.
for reader in (PostsApi(ApiClient(Configuration(host=address))), posts):
    for sort in (ContentSort.TOP, ContentSort.HOT, ContentSort.NEW):
        page = reader.list_posts(sort=sort, limit=100).actual_instance
        assert page is not None
        assert post.id in [item.id for item in page.items]
counted = posts.list_posts(mine=True, total=True).actual_instance
assert counted is not None
assert counted.to_dict()["total"] == 1

sessions = AuthApi(signed_in).list_sessions()
assert [session.is_current for session in sessions.items].count(True) == 1
assert len(sessions.items) == 2
assert sessions.next is None

anonymous.revoke(token=by_email.refresh_token)
posts.delete_post(post.id)
assert refusal(lambda: posts.get_post(post.id)).status == 404

AuthApi(signed_in).logout()
ended = refusal(lambda: anonymous.refresh(refresh_token=successor.refresh_token))
assert ended.type == "invalid-refresh-token"
