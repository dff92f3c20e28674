"""How stories of a state machine are told: how many, how long, and one of them again."""

import os

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

#: The letters between the quotes of a failure's `@reproduce_failure('…', b'…')`: that story alone is told again.
REPLAY = "MEDIAVAULT_REPLAY"
#: How many stories the long tests tell instead.
STORIES = "MEDIAVAULT_STORIES"


def tell(machine: type[RuleBasedStateMachine], *, stories: int, steps: int) -> None:
    """Tell so many stories of at most so many steps; a failure is shortened, and printed as a program."""
    told = settings(
        max_examples=stories,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
    if replay := os.environ.get(REPLAY):
        machine = hypothesis.reproduce_failure(hypothesis.__version__, replay.encode())(machine)
    run_state_machine_as_test(machine, settings=told)


def long_run(stories: int) -> int:
    """How many stories a long test tells."""
    return int(os.environ.get(STORIES, stories))
