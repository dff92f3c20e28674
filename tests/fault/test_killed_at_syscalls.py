"""kill -9 at the system calls by which bytes, names and statements leave the vault, on both engines.

Each scene is recorded once, then killed before each of the calls it made: nothing is half-visible at that moment, and
once the vault was started again everything is as if the scene had ended, or had never begun.
"""

import pytest

from fakes.crash_ground import Ground
from fakes.crash_runs import SENDING, WRITING, Point, Scenes, sampled

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCENES = ["store", "remove", "restore", "sweep", "quarantine", "move", "first start"]
#: How many of a scene's calls are tried in every run of the tests; `make test-long` tries all.
LONG = [pytest.mark.long, pytest.mark.timeout(7200)]
TIERS = [pytest.param(4, id="sample"), pytest.param(None, id="all", marks=LONG)]


async def kill(ground: Ground, played: Scenes, scene: str, point: Point) -> tuple[bool, list[str]]:
    """Whether the scene was killed there, and what is wrong then."""
    async with ground.copy(scene) as copy:
        outcome = await played.traced(copy.job, (), point, "signal=KILL")
        crashed = [] if outcome.done else await copy.check_crashed()
        return not outcome.done, [*crashed, *await copy.check_recovered(done=outcome.done)]


async def points_of(ground: Ground, played: Scenes, scene: str) -> list[Point]:
    """Where the scene writes; on PostgreSQL also where it sends."""
    async with ground.copy(scene) as copy:
        calls, about = (WRITING + SENDING, ["/copy-", "TCP:"]) if ground.server else (WRITING, ["/copy-"])
        points = await played.points(copy.job, calls, about)
        assert await copy.check_recovered(done=True) == []
    return points


@pytest.mark.slow
@pytest.mark.parametrize("at_most", TIERS)
@pytest.mark.parametrize("scene", SCENES)
async def test_a_kill_at_any_system_call_loses_nothing_and_leaves_nothing(
    ground, played, scene, at_most, record_testsuite_property
):
    points = await points_of(ground, played, scene)
    assert ("sendto" if ground.server else "fsync") in {point.call for point in points}
    tried = sampled(points, at_most)
    killed, wrong = 0, {}
    for point in tried:
        was_killed, found = await kill(ground, played, scene, point)
        killed += was_killed
        if found:
            wrong[str(point)] = found
    engine = "PostgreSQL" if ground.server else "SQLite"
    record_testsuite_property(f"kill points, {engine}, {scene}, {at_most}", f"{killed} of {len(points)}")
    assert wrong == {}
    assert killed >= len(tried) / 2  # the others did not come: to wait for the end takes more calls or fewer
