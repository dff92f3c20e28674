"""Receivers as they are: busy, hanging, refusing one connection; and more than one vault that sends."""

from collections import defaultdict
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from fakes.clocks import Clock
from fakes.receivers import Answer, Received, receiving
from fakes.running import serving
from fakes.told import QUICK, Told, another_vault, told_vault
from fakes.vaults import AURORA, CORAL, JUNIPER, RunningVault, until
from mediavault.catalog import outbox
from mediavault.domain import event_types
from mediavault.domain.times import HOUR, iso8601
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox


async def until_tried(told: Told, endpoint_id: str) -> Any:
    """The one delivery once it was tried."""

    async def tried() -> Any:
        (line,) = await told.log(endpoint_id)
        return line if line["attempts"] else None

    return await until(tried)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("is_date", [False, True])
async def test_a_receiver_that_names_a_time_is_left_alone_until_then(tmp_path: Path, status: int, is_date: bool):
    clock = Clock()
    clock.now -= clock.now % 1000  # a date has no milliseconds
    async with told_vault(tmp_path, now=clock) as told:
        text = formatdate(clock.now / 1000 + 300, usegmt=True) if is_date else "300"
        told.receiver.answers.append(Answer(status, {"Retry-After": text}))
        endpoint = await told.endpoint()
        await told.test(endpoint["id"])
        line = await until_tried(told, endpoint["id"])
        assert (line["state"], line["lastStatus"]) == ("pending", status)
        assert line["nextAttemptAt"] == iso8601(clock.now + 300_000)
        clock.forward(300_000)
        (delivered,) = await told.until_logged(endpoint["id"], "delivered")
        assert delivered["attempts"] == 2


@pytest.mark.parametrize(
    ("answer", "latest_ms"),
    [
        (Answer(503, {"Retry-After": "999999999"}), 1 * HOUR),
        (Answer(429, {"Retry-After": "whenever"}), 15),
        (Answer(500, {"Retry-After": "300"}), 15),
        (Answer(429), 15),
    ],
)
async def test_no_receiver_puts_a_delivery_off_for_longer_than_an_hour_or_with_another_status(
    tmp_path: Path, answer: Answer, latest_ms: int
):
    clock = Clock()
    async with told_vault(tmp_path, now=clock) as told:
        told.receiver.answers.append(answer)
        endpoint = await told.endpoint()
        await told.test(endpoint["id"])
        line = await until_tried(told, endpoint["id"])
        assert iso8601(clock.now) < line["nextAttemptAt"] <= iso8601(clock.now + latest_ms)


async def test_what_a_receiver_says_is_printable_and_short_wherever_it_is_shown(tmp_path: Path):
    says = b"\x1b]0;owned\x07\x1b[2Jno\r\n\x00 \xff\xfe\xe2\x80\xaetxt" + b"x" * 5_000
    async with told_vault(tmp_path, deliveries=replace(QUICK, tries=1)) as told:
        told.receiver.answers.append(Answer(500, body=says))
        endpoint = await told.endpoint()
        await told.test(endpoint["id"])
        (dead,) = await told.until_logged(endpoint["id"], "dead")
    assert dead["lastError"].isprintable()
    assert dead["lastError"].startswith("the receiver answered 500: ")
    assert len(dead["lastError"]) <= 500


async def test_a_receiver_that_hangs_is_given_up_in_time(tmp_path: Path):
    quick = replace(QUICK, timeout_seconds=0.2, tries=2)
    async with told_vault(tmp_path, deliveries=quick) as told:
        told.receiver.quick.clear()
        endpoint = await told.endpoint()
        await told.test(endpoint["id"])
        (dead,) = await told.until_logged(endpoint["id"], "dead")
        assert (dead["attempts"], dead["lastStatus"]) == (2, None)
        assert dead["lastError"] == "no answer within 0.2 seconds"


async def test_a_connection_whose_events_are_refused_holds_up_no_other(tmp_path: Path):
    async with told_vault(tmp_path, deliveries=replace(QUICK, tries=1000, first_delay_ms=1)) as told:
        refused = await told.vault.connect()
        told.receiver.refused = lambda received: received.json["data"]["connection"]["id"] == refused
        endpoint = await told.endpoint()
        assert (await told.vault.call("POST", f"/v2/account/connections/{refused}/invalidate")).status == 200
        await told.receiver.until(2)
        others = {await told.vault.connect(CORAL), await told.vault.connect(JUNIPER)}
        delivered = await until(lambda: _of_others(told, endpoint["id"], refused))
        assert {line["connectionId"] for line in delivered} == others


async def _of_others(told: Told, endpoint_id: str, refused: str) -> list[Any]:
    lines = [line for line in await told.log(endpoint_id, "state=delivered") if line["connectionId"] != refused]
    return lines if len(lines) == 2 else []


async def test_two_vaults_that_send_deliver_everything_in_the_order_of_each_connection(tmp_path, postgres_database):
    sandbox, same = Sandbox(), {"database_url": postgres_database, "master_key": b"\x5a" * 32}
    one_each = {"deliveries": replace(QUICK, tries=50, first_delay_ms=1, sent_at_once=1)}
    async with (
        receiving() as receiver,
        serving(application(sandbox)) as url,
        another_vault(tmp_path / "1", sandbox, url, receiver, name="first", **same, **one_each) as first,
        another_vault(tmp_path / "2", sandbox, url, receiver, name="second", **same, **one_each) as second,
    ):
        await Told(first, receiver).endpoint()
        receiver.quick.clear()
        receiver.answers.extend([200, 200, 500, 200, 503] * 4)
        connections = [await first.connect(creator) for creator in (AURORA, CORAL, JUNIPER)]
        waiting = await receiver.until(2)
        assert {each.headers["user-agent"] for each in waiting} == {"first", "second"}
        receiver.quick.set()
        for turn in range(5):
            here = (first, second)[turn % 2]
            paths = [f"/v2/account/connections/{each}/invalidate" for each in connections]
            assert [(await here.call("POST", path)).status for path in paths] == [200] * 3
            assert [await here.connect(creator) for creator in (AURORA, CORAL, JUNIPER)] == connections
        recorded = await _recorded(first)
        wanted = {id for id, (_, connection) in recorded.items() if connection}

        async def told_of_all() -> bool:
            return wanted <= {each.headers["svix-id"] for each in receiver.received if each.answered == 200}

        await until(told_of_all, 60)
        _check_order(receiver.received, recorded)


async def _recorded(vault: RunningVault) -> dict[str, tuple[int, str]]:
    """Every event of the vault's one organisation: its number and its connection, by its id."""
    catalog = vault.vault.foundation.catalog
    (organisation,) = await vault.vault.foundation.authorising.organisations()
    rows = await outbox.after(catalog, organisation.id, 0, 1000)
    return {row.id: (row.seq, row.connection_id) for row in rows if row.type in event_types.BY_DEFAULT}


def _check_order(received: list[Received], recorded: dict[str, tuple[int, str]]) -> None:
    """Of one connection, nothing was sent before what is older was taken."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for each in received:
        number, connection = recorded[each.headers["svix-id"]]
        numbers[connection].append(number)
    assert len(numbers) == 3
    for told in numbers.values():
        assert told == sorted(told)
        assert len(set(told)) > 5
