"""The search of the stack in containers gives the answers that content's own tests demand of the local stack.

Their PostgreSQL has another version and may have another locale.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack import Stack, join

pytestmark = [
    pytest.mark.compose,
    pytest.mark.skipif("KPI_GATEWAY_URL" not in os.environ, reason="make compose-test runs these"),
]
TABLE = Path(__file__).parents[2] / "services/content/tests/posts/spellings.json"


def test_every_spelling_finds_the_text(stack: Stack) -> None:
    with httpx.Client(base_url=stack.gateway, timeout=30) as client:
        anna = join(client)
        missed = []
        spellings: list[dict[str, Any]] = json.loads(TABLE.read_text("utf-8"))
        for each in spellings:
            # In front, so that the searched text keeps its last word, and no other post is found.
            mark = f"m{uuid.uuid4().hex}"
            body = {"title": mark, "content": f"{mark} {each['text']}"}
            assert client.post("/api/v1/posts", json=body, headers=anna.headers).status_code == 201
            for search in each["found_by"]:
                found = client.get("/api/v1/posts", params={"search": f"{mark} {search}"}).json()["items"]
                missed += [] if [item["title"] for item in found] == [mark] else [(each["text"], search)]
    assert missed == []
