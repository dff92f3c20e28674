"""Where an event loop's disk work is done."""

import threading

import pytest

from mediavault.edge.offloading import Offloading


class Disk:
    """Work that takes as long as it is told, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.threads: list[int] = []

    def work(self, seconds: float, *, fails: bool = False) -> float:
        self.threads.append(threading.get_ident())
        self.now += seconds
        if fails:
            raise OSError(5, "Input/output error")
        return seconds


@pytest.fixture
def disk() -> Disk:
    return Disk()


async def test_prompt_work_is_done_at_once(disk):
    offloading = Offloading(lambda: disk.now)
    assert [await offloading.run(disk.work, 0.001) for _ in range(3)] == [0.001] * 3
    assert set(disk.threads) == {threading.get_ident()}


@pytest.mark.parametrize("fails", [False, True])
async def test_after_slow_work_a_thread_does_it_for_a_while(disk, fails):
    offloading = Offloading(lambda: disk.now)
    try:
        await offloading.run(disk.work, 0.2, fails=fails)
    except OSError:
        assert fails
    assert not offloading.is_prompt
    await offloading.run(disk.work, 0.2)
    disk.now += 60
    await offloading.run(disk.work, 0.001)
    here = threading.get_ident()
    assert [thread == here for thread in disk.threads] == [True, False, True]


async def test_what_the_work_raises_is_raised_wherever_it_is_done(disk):
    offloading = Offloading(lambda: disk.now)
    for seconds in (0.2, 0.2):
        with pytest.raises(OSError, match="Input/output"):
            await offloading.run(disk.work, seconds, fails=True)
