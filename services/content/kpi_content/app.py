"""The content service as one application."""

from fastapi import FastAPI
from kpi_shared.app import build_service
from kpi_shared.feed.follower import feed_checks, revocation_feed
from kpi_shared.feed.reporting import token_keys
from kpi_shared.http.refusals import refuse_early
from kpi_shared.paging import cursor_sealer
from kpi_shared.product import PRODUCT

from kpi_content import __version__
from kpi_content.conversations.endpoints import router as conversations
from kpi_content.conversations.member_endpoints import router as members
from kpi_content.housekeeping import housekeeping
from kpi_content.inbox.worker import inbox
from kpi_content.live.endpoints import router as live_streams
from kpi_content.live.endpoints import uploads
from kpi_content.live.worker import live
from kpi_content.messages.endpoints import router as messages
from kpi_content.posts.endpoints import router as posts
from kpi_content.search.places import find_refusal, search_places
from kpi_content.settings import ContentSettings
from kpi_content.votes.endpoints import router as votes

# 100,000 characters of a message may take 12 bytes each if a client escapes them all, and its metadata comes to that.
_MAX_BODY_BYTES = 2 * 1024 * 1024


def create_app(settings: ContentSettings | None = None) -> FastAPI:
    settings = settings or ContentSettings.load()
    app = build_service(
        settings,
        title=f"{PRODUCT} content",
        version=__version__,
        tags={
            "posts": "Posts: reading, searching, writing",
            "votes": "Votes for posts",
            "conversations": "Conversations: reading, writing, sharing",
            "messages": "Messages of conversations",
        },
        # An upload has the path of a message in one piece, and comes before it.
        routers=[posts, votes, conversations, members, uploads, messages, live_streams],
        resources=[cursor_sealer, search_places, revocation_feed, inbox, token_keys, live, housekeeping],
        checks=feed_checks(settings),
        max_body_bytes=_MAX_BODY_BYTES,
    )
    app.state.hides_deleted = settings.hides_deleted
    refuse_early(app, find_refusal)
    return app
