"""Records that the owner of the database cuts off at the end of the chain."""

import pytest
from audit_support import Trail
from kpi_auth.audit import chain_repository
from kpi_auth.audit.chain import Place


async def test_records_cut_off_at_the_end_are_found_though_the_chain_has_grown_again(trail: Trail) -> None:
    await trail.add(10)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events WHERE seq > 8")
    await trail.add(5)
    await trail.chain()
    # A checkpoint at place 8 has been signed in the meantime.
    assert await trail.problem() == ("removed", 9, None)


async def test_a_running_process_finds_a_cut_though_the_checkpoints_are_gone_too(trail: Trail) -> None:
    chainer = trail.chainer()
    await trail.add(10)
    await trail.chain(chainer)
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events WHERE seq > 8", "DELETE FROM audit_checkpoints")
    assert await trail.problem() is None
    await trail.add(5)
    await trail.chain(chainer)
    assert await trail.problem() == ("removed", 1, None)


async def test_deleting_what_a_process_has_signed_again_hides_no_cut(trail: Trail) -> None:
    chainer = trail.chainer()
    await trail.add(10)
    await trail.chain(chainer)
    cuts = {8: "DELETE FROM audit_events WHERE seq > 8", 6: "DELETE FROM audit_events WHERE seq > 6"}
    for last, cut in cuts.items():
        async with trail.owner() as owner:
            await owner.run(cut, "DELETE FROM audit_checkpoints")
        await trail.chain(chainer)
        # Twice: what it signs again is deleted again.
        for _ in range(2):
            async with trail.owner() as owner:
                await owner.run("DELETE FROM audit_checkpoints")
            await trail.chain(chainer)
            signed = await trail.rows("SELECT DISTINCT seq FROM audit_checkpoints WHERE seq > 8")
            assert [row.seq for row in signed] == [10]
            assert await trail.problem() == ("removed", last + 1, None)
    # Nor does it sign them again and again.
    before = await trail.rows("SELECT id FROM audit_checkpoints")
    await trail.chain(chainer)
    assert await trail.rows("SELECT id FROM audit_checkpoints") == before


async def test_a_cut_of_everything_stays_known_while_the_chain_grows_again(trail: Trail) -> None:
    chainer = trail.chainer()
    await trail.add(10)
    await trail.chain(chainer)
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events", "DELETE FROM audit_checkpoints")
    await chainer.step()
    await trail.add(15)
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_checkpoints")
    await trail.chain(chainer)
    assert await trail.problem() == ("removed", 1, None)


async def test_a_checkpoint_of_a_lost_place_stays_however_many_follow(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_repository, "_KEPT_HEADS", 2)
    await trail.add(10)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events WHERE seq > 8")
    for _ in range(6):
        await trail.add()
        await trail.chain()
    assert await trail.problem() == ("removed", 1, None)
    # Checkpoints of places that are in the chain are forgotten.
    assert len(await trail.rows("SELECT id FROM audit_checkpoints")) < 7


async def test_a_place_that_was_written_down_elsewhere_finds_a_cut_that_nothing_else_shows(trail: Trail) -> None:
    await trail.add(10)
    await trail.chain()
    known = (await trail.verify()).head
    assert (await trail.verify(expected=known)).problem is None
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events WHERE seq > 8", "DELETE FROM audit_checkpoints")
    assert await trail.problem() is None
    found = (await trail.verify(expected=known)).problem
    assert found is not None
    assert (found.wrong, found.seq) == ("removed", 9)
    assert (await trail.verify(expected=Place(8, bytes(37)))).problem is not None
