"""The disk under a running vault fails once, at each call in turn: ENOSPC, EDQUOT, EIO, EROFS, EMFILE.

The vault goes on: whoever waited is served in the end, nothing half-written is believed, and no fsync of a file is
tried again: the bytes are fetched anew.
"""

import re
from pathlib import PurePath

import pytest

from fakes.crash_ground import Ground
from fakes.crash_runs import WRITING, Played, Point, Scenes, sampled

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What a call can say on Linux.
CODES = {
    "openat": ("EMFILE", "ENOSPC", "EDQUOT", "EROFS", "EIO"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "pwrite64": ("ENOSPC", "EDQUOT", "EIO"),
    "pwritev": ("ENOSPC", "EDQUOT", "EIO"),
    "pwritev2": ("ENOSPC", "EDQUOT", "EIO"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "rename": ("EIO", "ENOSPC", "EROFS"),
    "link": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "linkat": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "mkdir": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "ftruncate": ("EIO", "EROFS"),
}
SCENES = ["store", "remove", "restore", "sweep", "quarantine", "move"]
LONG = [pytest.mark.long, pytest.mark.timeout(7200)]
TIERS = [pytest.param(5, id="sample"), pytest.param(None, id="all", marks=LONG)]
#: While the vault starts, an error of the disk ends the start, with a reason; it is no scene.
OPENING = "catalog.sqlite-shm"


def retried_syncs(played: Played) -> list[str]:
    """The files whose failed fsync was followed by another."""
    failed: set[str] = set()
    again = []
    for line in played.trace:
        match = re.search(r" fsync\(\d+<(?P<path>[^>]+)>", line)
        if match is None or ".staging" not in PurePath(match["path"]).parts:
            continue
        if "(INJECTED)" in line:
            failed.add(match["path"])
        elif match["path"] in failed:
            again.append(match["path"])
    return again


async def fail(ground: Ground, played: Scenes, scene: str, point: Point, code: str) -> tuple[bool, list[str]]:
    """Whether the call was made to fail, and what is wrong once the scene has ended."""
    path = ground.media["pending"].renditions["full"].path
    fetched = len(ground.sandbox.log.records(path))
    async with ground.copy(scene) as copy:
        outcome = await played.traced(copy.job, (), point, f"error={code}")
        if not outcome.done:
            return outcome.injected, ["the scene did not come to its end"]
        wrong = [f"synced again after a failure: {each}" for each in retried_syncs(outcome)]
        times = len(ground.sandbox.log.records(path)) - fetched
        lost = point.thread == "disk" and point.call == "fsync" and ".staging" in point.on and scene == "store"
        if lost and outcome.injected and times != 2:
            wrong.append(f"the origin was asked {times} times: the bytes that may be lost were used")
        return outcome.injected, [*wrong, *await copy.check_crashed(), *await copy.check_recovered(done=True)]


@pytest.mark.slow
@pytest.mark.parametrize("at_most", TIERS)
@pytest.mark.parametrize("scene", SCENES)
async def test_a_disk_that_fails_once_at_any_call_is_survived(
    sqlite_ground, played, scene, at_most, record_testsuite_property
):
    async with sqlite_ground.copy(scene) as copy:
        points = await played.points(copy.job, WRITING, ["/copy-"])
    faults = [(point, code) for point in points if OPENING not in point.on for code in CODES[point.call]]
    tried = sampled(faults, at_most)
    injected, wrong = 0, {}
    for point, code in tried:
        was_injected, found = await fail(sqlite_ground, played, scene, point, code)
        injected += was_injected
        if found:
            wrong[f"{code} at {point}"] = found
    record_testsuite_property(f"disk faults, {scene}, {at_most}", f"{injected} of {len(faults)}")
    assert wrong == {}
    assert injected >= len(tried) * 0.9
