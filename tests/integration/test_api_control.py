"""The control socket answers in the API's shapes; only the data folder's owner opens it."""

import stat

import aiohttp
import pytest

from fakes.documents import validator
from mediavault.errors import NotPermitted
from mediavault.vault.authorising import Scope


async def test_errors_of_the_control_socket_have_the_same_shape(vault):
    socket = str(vault.vault.config.data / "control.sock")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session:
        for method, path, content, status in (
            ("GET", "/nowhere", None, 404),
            ("PUT", "/keys", None, 405),
            ("POST", "/keys", b"{", 400),
            ("POST", "/keys", b'{"organisation": "none", "scopes": ["ACCESS"]}', 404),
            ("POST", "/keys", b'{"organisation": "default", "scopes": []}', 400),
            ("POST", "/organisations", b'{"name": "default"}', 409),
            ("POST", "/organisations", rb'{"name": "a\u0000"}', 400),
            ("POST", "/keys/none/revoke", None, 404),
        ):
            async with session.request(method, f"http://vault{path}", data=content) as answer:
                told = await answer.json()
                assert answer.status == status
                validator({"$ref": "#/components/schemas/Error"}).validate(told)
                assert answer.headers["X-Request-Id"] == told["requestId"]
                if status == 405:
                    assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_organisations_and_keys_are_made_listed_and_ended(vault):
    socket = vault.vault.config.data / "control.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    async with aiohttp.ClientSession("http://vault", connector=aiohttp.UnixConnector(str(socket))) as session:
        async with session.post("/organisations", json={"name": "second"}) as answer:
            assert answer.status == 201
        async with session.post("/keys", json={"organisation": "second", "scopes": ["ACCOUNT"]}) as answer:
            made = await answer.json()
        authorising = vault.vault.foundation.authorising
        assert (await authorising.principal(made["secret"], Scope.ACCOUNT)).organisation == "second"
        async with session.get("/keys") as answer:
            listed = await answer.text()
        assert made["id"] in listed
        assert made["secret"] not in listed
        async with session.post(f"/keys/{made['id']}/revoke") as answer:
            assert answer.status == 200
        with pytest.raises(NotPermitted):
            await authorising.principal(made["secret"], Scope.ACCOUNT)
