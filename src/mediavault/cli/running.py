"""Running a program's one coroutine: on the fastest loop there is, until it ends or a signal ends it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Run it to its end; whether that came by itself.

    At SIGTERM or SIGINT it is cancelled and puts itself in order. A second SIGINT ends the process at once.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signalled(work))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_signalled(work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    loop = asyncio.get_running_loop()
    running = loop.create_task(work())
    signalled = False

    def stop() -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            running.cancel()

    def interrupted() -> None:
        if signalled:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        stop()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        await running
    except asyncio.CancelledError:
        if not signalled:
            raise
    return not signalled
