"""When the readers of a growing file are told that it has grown."""

import asyncio

from mediavault.vault.fills.progress import Progress

MIB = 1 << 20


class Told:
    """A reader who waits, is told, and waits again."""

    def __init__(self, progress: Progress) -> None:
        self.times = 0
        self.once = asyncio.Event()
        self._progress = progress
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            await self._progress.wait()
            self.times += 1
            self.once.set()

    async def settled(self) -> int:
        """How often, once everything that was told has been heard."""
        for _ in range(3):
            await asyncio.sleep(0)
        return self.times

    def leave(self) -> None:
        self._task.cancel()


async def test_what_comes_after_a_pause_is_told_at_once():
    progress = Progress()
    told = Told(progress)
    await told.settled()
    progress.add(1)
    assert await told.settled() == 1
    told.leave()


async def test_what_pours_in_is_told_in_steps_and_none_of_it_is_forgotten():
    progress = Progress()
    told = Told(progress)
    await told.settled()
    progress.add(1)
    assert await told.settled() == 1
    told.once.clear()
    for _ in range(7):
        progress.add(MIB)  # at once, for the loop has had no turn that took any time
    assert await told.settled() <= 2
    async with asyncio.timeout(5):
        await told.once.wait()
    told.leave()


async def test_a_large_step_waits_for_no_time_to_pass():
    progress = Progress()
    told = Told(progress)
    await told.settled()
    progress.add(1)
    await told.settled()
    before = told.times
    progress.add(64 * MIB)
    assert await told.settled() == before + 1
    told.leave()


async def test_what_cannot_wait_is_told_at_once():
    progress = Progress()
    told = Told(progress)
    await told.settled()
    progress.add(1)
    await told.settled()
    progress.tell()
    assert await told.settled() == 2
    told.leave()
