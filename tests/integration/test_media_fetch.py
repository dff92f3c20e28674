"""What an origin's answer to a part means: taken to the byte, or not at all."""

from collections.abc import AsyncIterator

import pytest

from fakes.raw_origin import Ending, head, raw_origin
from mediavault.errors import OriginChanged, OriginError, OriginRefused, RangesUnusable
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig, GuardedClient
from mediavault.origin.media_fetch import FetchedHead, Pin, Wanted, fetch

TAG = '"one"'
PIN = Pin(1000, TAG, None)
WANTED = Wanted(100, 110)
OLD, DATE = "Wed, 01 Jan 2025 00:00:00 GMT", "Thu, 02 Jan 2025 00:00:00 GMT"


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    dialling = GuardedClient(ClientConfig(allow=AllowList.parse("127.0.0.0/8")))
    yield dialling
    await dialling.close()


async def fetched(
    client: GuardedClient, answer: bytes, wanted: Wanted | None = WANTED, pin: Pin | None = PIN
) -> FetchedHead:
    async with raw_origin(answer, Ending.FIN) as origin, fetch(client, origin.url, wanted, pin) as (found, _):
        return found


def part(content_range: str, length: int = 10, **headers: str) -> bytes:
    named = {"content_range": content_range, "content_length": length, "etag": TAG} | headers
    return head("206 Partial Content", **{name: value for name, value in named.items() if value != ""})


async def test_the_part_that_was_asked_for_is_taken(client):
    found = await fetched(client, part("bytes 100-109/1000"))
    assert (found.start, found.stop, found.size_bytes, found.is_part) == (100, 110, 1000, True)


async def test_a_shorter_part_than_was_asked_for_is_taken_as_what_it_is(client):
    found = await fetched(client, part("bytes 100-104/1000", 5))
    assert (found.start, found.stop) == (100, 105)


@pytest.mark.parametrize(
    ("content_range", "length"),
    [
        ("", 10),
        ("bytes 0-9/1000", 10),
        ("bytes 101-110/1000", 10),
        ("bytes 100-119/1000", 20),
        ("bytes 100-109/*", 10),
        ("bytes */1000", 10),
        ("bytes 100-109/1000", 11),
        ("bytes 109-100/1000", 10),
        ("bytes 100-109/105", 10),
        ("items 100-109/1000", 10),
        ("bytes 100-109/" + "9" * 30, 10),
        ("bytes \u0661\u0660\u0660-109/1000", 10),
    ],
)
async def test_a_part_that_is_elsewhere_or_does_not_say_is_not_taken(client, content_range, length):
    answer = part(content_range.encode().decode("latin-1"), length)
    with pytest.raises(RangesUnusable):
        await fetched(client, answer)


@pytest.mark.parametrize(
    "answer",
    [
        part("bytes 100-109/1001"),
        part("bytes 100-109/1000", etag='"two"'),
        head(content_length=1001, etag=TAG),
        head(content_length=1000, etag='"two"'),
        head("416 Range Not Satisfiable", content_range="bytes */50", content_length=0),
    ],
)
async def test_what_is_of_another_object_is_told_from_the_same(client, answer):
    with pytest.raises(OriginChanged):
        await fetched(client, answer)


async def test_a_part_without_the_name_of_the_whole_is_not_taken(client):
    with pytest.raises(RangesUnusable):
        await fetched(client, part("bytes 100-109/1000", etag=""))


async def test_a_416_of_an_object_as_long_is_no_change(client):
    with pytest.raises(RangesUnusable):
        await fetched(client, head("416 Range Not Satisfiable", content_range="bytes */1000", content_length=0))


async def test_a_date_names_an_object_only_when_it_is_old_enough(client):
    pins = [
        (await fetched(client, head(content_length=10, **{"Last-Modified": OLD, "Date": date}), None, None)).pin
        for date in (DATE, OLD, "nonsense")
    ]
    assert [pin.validator for pin in pins] == [OLD, None, None]


@pytest.mark.parametrize("etag", ['W/"weak"', "bare", '"broken', '"a"b"', ""])
async def test_a_weak_or_broken_tag_names_nothing(client, etag):
    assert (await fetched(client, head(content_length=10, etag=etag), None, None)).pin.validator is None


async def test_a_whole_body_under_the_same_name_is_the_same_object(client):
    found = await fetched(client, head(content_length=1000, etag=TAG))
    assert (found.start, found.stop, found.is_part) == (0, 1000, False)


async def test_a_206_to_a_plain_get_is_no_answer(client):
    with pytest.raises(OriginError, match="206"):
        await fetched(client, part("bytes 0-9/10"), None, None)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_refusal_tells_its_status(client, status):
    with pytest.raises(OriginRefused) as refused:
        await fetched(client, head(f"{status} No", content_length=0))
    assert refused.value.status == status
