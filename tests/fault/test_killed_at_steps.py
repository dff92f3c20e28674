"""kill -9 before and after every named step of the store protocol and every transaction of its scenes."""

import pytest

from fakes.crash_ground import Ground
from fakes.crash_runs import Scenes

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The fail-points of each scene, and how often each is reached: a step of `blobs.steps` or of an edge file, or a
#: transaction.
FAIL_POINTS = {
    "store": {
        "catalog.claim": 1,
        "staging.write": 1,
        "staging.move": 1,
        "catalog.reserve": 1,
        "steps.link_file": 1,
        "steps.open_regular": 1,
        "steps.restrict_file": 1,
        "steps.sync_file": 1,
        "steps.make_folder": 2,
        "steps.rename_file": 1,
        "steps.sync_folder": 3,
        "steps.unlink_file": 1,
        "catalog.settle_fetched": 1,
    },
    "remove": {
        "catalog.remove_item": 1,
        "catalog.doom_dead_intents": 1,
        "catalog.release_retained": 1,
        "catalog.doomed": 1,
        "steps.unlink_file": 1,
        "steps.sync_folder": 1,
        "catalog.forget": 1,
    },
    "restore": {"catalog.restore_item": 1},
    "sweep": {
        "catalog.reclaim": 1,
        "catalog.doom_dead_intents": 1,
        "catalog.doomed": 1,
        "steps.unlink_file": 2,
        "steps.sync_folder": 1,
        "catalog.forget": 1,
    },
    "quarantine": {
        "catalog.quarantine": 1,
        "steps.make_folder": 1,
        "steps.rename_file": 1,
        "steps.sync_folder": 3,
        "catalog.forget": 1,
        "catalog.settle_fetched": 1,
    },
    "move": {
        "catalog.intend": 1,
        "steps.create_file": 1,
        "steps.sync_file": 1,
        "steps.make_folder": 2,
        "steps.rename_file": 1,
        "steps.sync_folder": 3,
        "catalog.settle": 1,
        "catalog.expire": 1,
        "catalog.doomed": 1,
        "steps.unlink_file": 2,
        "catalog.forget": 1,
    },
    "move to a bucket": {
        "catalog.intend": 1,
        "bucket.put": 1,
        "bucket.measure": 1,
        "catalog.settle": 1,
        "catalog.expire": 1,
        "bucket.delete": 1,
        "steps.unlink_file": 1,
        "catalog.forget": 1,
    },
}
EVERY = [
    (scene, {"at": at, "nth": nth, "side": side})
    for scene, points in FAIL_POINTS.items()
    for at, times in points.items()
    for nth in range(1, times + 1)
    for side in ("before", "after")
]
#: What every run of the tests tries; `make test-long` tries the rest too.
IN_EVERY_RUN = 5


def _row(number: int, scene: str, point: dict[str, object]) -> object:
    marks = [] if number % IN_EVERY_RUN == 0 else [pytest.mark.long]
    return pytest.param(scene, point, marks=marks, id=f"{scene}-{point['side']}-{point['at']}-{point['nth']}")


@pytest.mark.parametrize(("scene", "fail_point"), [_row(n, *each) for n, each in enumerate(EVERY)])
async def test_a_kill_at_a_named_step_loses_nothing_and_leaves_nothing(
    ground: Ground, played: Scenes, scene, fail_point
):
    async with ground.copy(scene) as copy:
        outcome = await played.play(copy.job, fail_point=fail_point)
        assert not outcome.done, "the step was not reached"
        assert await copy.check_crashed() == []
        assert await copy.check_recovered(done=False) == []
