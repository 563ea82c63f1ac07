"""The lock of a new service is what a compilation would give."""

from kpi_cli import layout
from kpi_cli.generate.locks import derive_lock, find_inner

LOCK = """\
alpha==1 \\
    --hash=sha256:aa
    # via kpi-shared
beta==2 ; python_full_version < '3.14' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via
    #   alpha
    #   kpi-auth (services/auth/pyproject.toml)
gamma==3 \\
    --hash=sha256:dd
    # via delta
delta==4 \\
    --hash=sha256:ee
    # via kpi-auth (services/auth/pyproject.toml)

# The following packages were excluded from the output:
# kpi-shared
"""


def test_what_only_others_want_is_left_out() -> None:
    assert (
        derive_lock(LOCK, root="kpi-shared")
        == """\
alpha==1 \\
    --hash=sha256:aa
    # via kpi-shared
beta==2 ; python_full_version < '3.14' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via alpha

# The following packages were excluded from the output:
# kpi-shared
"""
    )


def test_the_lock_of_content_is_that_of_the_shared_library() -> None:
    """It has no requirements of its own, so uv has compiled what is derived here from another lock."""
    checkout = layout.find().checkout
    auth, content = ((checkout / "services" / name / "requirements.txt").read_text() for name in ("auth", "content"))
    assert derive_lock(auth, root="kpi-shared", inner=find_inner(checkout)) == content
