"""The sandbox's misbehaviour: each fault is what it says, and ends when it should."""

import asyncio

import aiohttp
import pytest

from fakes.running import serving
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox

SIZE = 400_000


@pytest.fixture
def sandbox():
    return Sandbox()


@pytest.fixture
async def base_url(sandbox):
    async with serving(application(sandbox)) as base_url:
        yield base_url


@pytest.fixture
async def client():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def url(sandbox, base_url):
    item = sandbox.add_media("aurora", type="photo", size_bytes=SIZE)
    return sandbox.media_url(item.renditions["full"].path, base_url)


async def test_a_status_comes_as_often_as_was_said(sandbox, client, url):
    armed = sandbox.faults.add(Fault(path="/cdn/", status=503, times=2, retry_after="soon"))
    statuses = []
    for _ in range(3):
        async with client.get(url) as answer:
            statuses.append((answer.status, answer.headers.get("Retry-After")))
    assert statuses == [(503, "soon"), (503, "soon"), (200, None)]
    assert armed.hits == 2


async def test_other_paths_are_spared(sandbox, client, url):
    sandbox.faults.add(Fault(path="/vault/", status=503))
    async with client.get(url) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("cut", [0, 1, 300_000, SIZE - 1])
async def test_a_truncated_answer_declares_all_and_sends_exactly_so_much(sandbox, client, url, cut):
    sandbox.faults.add(Fault(truncate_at=cut))
    async with client.get(url) as answer:
        assert answer.headers["Content-Length"] == str(SIZE)
        assert len(await answer.content.readexactly(cut)) == cut
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert sandbox.log.records()[-1].bytes_sent == cut


async def test_a_page_instead_of_the_media(sandbox, client, url):
    sandbox.faults.add(Fault(body="<html>Sign in</html>"))
    async with client.get(url) as answer:
        assert (answer.status, answer.content_type, await answer.text()) == (200, "text/html", "<html>Sign in</html>")


async def test_a_lying_type_more_headers_and_no_length(sandbox, client, url):
    sandbox.faults.add(Fault(content_type="text/plain", headers={"ETag": '"w"', "X-A": "b"}, omit_content_length=True))
    async with client.get(url) as answer:
        assert (answer.content_type, answer.headers["X-A"], answer.headers["ETag"]) == ("text/plain", "b", '"w"')
        assert "Content-Length" not in answer.headers
        assert len(await answer.read()) == SIZE


async def test_a_redirect(sandbox, client, url, base_url):
    sandbox.faults.add(Fault(redirect=f"{base_url}/elsewhere", status=307))
    async with client.get(url, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (307, f"{base_url}/elsewhere")


async def test_a_range_that_is_ignored_and_a_206_that_nobody_asked_for(sandbox, client, url):
    sandbox.faults.add(Fault(ignore_range=True, times=1))
    async with client.get(url, headers={"Range": "bytes=5-9"}) as answer:
        assert (answer.status, len(await answer.read())) == (200, SIZE)
    sandbox.faults.add(Fault(status=206))
    async with client.get(url) as answer:
        assert (answer.status, len(await answer.read())) == (206, SIZE)


async def test_a_rate_is_kept(sandbox, client, url):
    sandbox.faults.add(Fault(bytes_per_second=1_000_000))
    started = asyncio.get_running_loop().time()
    async with client.get(url) as answer:
        assert len(await answer.read()) == SIZE
    # The last piece of 20 ms goes out when those before it had their time.
    assert asyncio.get_running_loop().time() - started >= 0.37


async def test_latency_comes_before_the_answer(sandbox, client, url):
    sandbox.faults.add(Fault(latency_ms=60))
    started = asyncio.get_running_loop().time()
    async with client.get(url) as answer:
        assert asyncio.get_running_loop().time() - started >= 0.06
        assert answer.status == 200


async def test_a_stall_lasts_until_it_is_cleared(sandbox, client, url):
    armed = sandbox.faults.add(Fault(stall_at=1000, times=1))
    async with client.get(url) as answer:
        assert len(await answer.content.readexactly(1000)) == 1000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.content.readany(), 0.1)
        armed.clear()
        assert len(await answer.read()) == SIZE - 1000


async def test_faults_are_set_and_cleared_over_http(client, url, base_url):
    faults = f"{base_url}/_sandbox/faults"
    async with client.post(faults, json={"path": "/cdn/", "stall_at": 10}) as answer:
        assert answer.status == 201
    async with client.get(url) as stalled:
        await stalled.content.readexactly(10)
        async with client.get(faults) as answer:
            assert [(fault["stall_at"], fault["hits"]) for fault in await answer.json()] == [(10, 1)]
        async with client.delete(faults) as answer:
            assert answer.status == 204
        assert len(await stalled.read()) == SIZE - 10


@pytest.mark.parametrize("fault", [{"stall": 1}, {"times": 0}, {"status": 99}, {"truncate_at": -1}, []])
async def test_a_fault_that_cannot_be_is_refused(client, base_url, fault):
    async with client.post(f"{base_url}/_sandbox/faults", json=fault) as answer:
        assert answer.status == 400


def test_nor_can_it_be_made_in_python():
    with pytest.raises(ValueError, match="times must be at least 1"):
        Fault(times=0)


async def test_the_server_stops_at_once_even_while_answers_stall(sandbox):
    item = sandbox.add_media("aurora", type="photo", size_bytes=SIZE)
    sandbox.faults.add(Fault(stall_at=10))
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        async with serving(application(sandbox)) as base_url:
            answer = await session.get(sandbox.media_url(item.renditions["full"].path, base_url))
            await answer.content.readexactly(10)
            stopping = loop.time()
        assert loop.time() - stopping < 1
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_client_that_leaves_a_huge_answer_frees_the_server(sandbox, client, base_url):
    item = sandbox.add_media("aurora", type="video", size_bytes=1 << 40)
    url = sandbox.media_url(item.renditions["full"].path, base_url)
    async with client.get(url) as answer:
        await answer.content.readexactly(1 << 20)
    async with client.get(url, headers={"Range": "bytes=-7"}) as answer:
        assert await answer.read() == item.renditions["full"].content.read((1 << 40) - 7, 1 << 40)
