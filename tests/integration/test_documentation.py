"""The served document and its page: this vault's own addresses, and nothing outside of it."""

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from fakes.documents import document
from fakes.vaults import RunningVault
from mediavault.api.documentation import _addressed
from mediavault.api.older import OlderPage
from mediavault.vault import identifying
from mediavault.vault.syncing import Started


class Links(HTMLParser):
    """Every address in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"src", "href", "action"} and value]
        self.inline += sum(1 for name, _ in attrs if name == "style" or name.startswith("on"))
        self.inline += tag == "style" or (tag == "script" and "src" not in dict(attrs))


async def get(vault: RunningVault, path: str, **headers: str) -> Any:
    return await vault.ask("GET", vault.api_url + path, **headers)


async def test_the_document_is_served_without_a_key(vault: RunningVault):
    answer = await get(vault, "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json["paths"].keys() == document()["paths"].keys()
    assert answer.json["components"] == document()["components"]


async def test_it_names_this_vaults_own_addresses(vault: RunningVault):
    answer = (await get(vault, "/openapi.json")).json
    assert [server["url"] for server in answer["servers"]] == ["/"]
    media_host = answer["paths"]["/v2/{token}"]["servers"]
    assert [server["url"] for server in media_host] == [vault.served.media_url]


def test_the_packages_own_document_stays_as_it_is():
    before = msgspec.json.encode(document())
    addressed = _addressed(document(), "https://media.example")
    assert addressed["paths"]["/v2/{token}"]["servers"][0]["url"] == "https://media.example"
    assert msgspec.json.encode(document()) == before
    assert _addressed(document(), None)["paths"] == document()["paths"]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_who_has_it_is_told_so_only_when_asking(vault: RunningVault, path: str):
    first = await get(vault, path)
    etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await get(vault, path, if_none_match=known)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    for other in ('"other"', "other", ""):
        assert (await get(vault, path, if_none_match=other)).body == first.body
    assert (await get(vault, path, if_match='"other"')).status == 200
    head = await vault.ask("HEAD", vault.api_url + path)
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", etag)


async def test_the_page_asks_for_nothing_outside(vault: RunningVault):
    page = await get(vault, "/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    links = Links(page.body.decode())
    assert links.inline == 0
    assert len(links.found) >= 4
    for link in links.found:
        assert link == "data:," or (link.startswith("/") and not link.startswith("//"))
        if link.startswith("/"):
            assert (await get(vault, link)).status == 200


async def test_its_policy_lets_nothing_else_through(vault: RunningVault):
    policy = (await get(vault, "/docs")).headers["Content-Security-Policy"]
    told = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert told["default-src"] == "'none'"
    assert told["script-src"] == "'self'"
    assert told["connect-src"] == f"'self' {vault.served.media_url}"
    assert {told[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert not re.search(r"\*|unsafe-eval|https:(?!//)", policy)


async def test_assets_never_change_where_they_are(vault: RunningVault):
    page = (await get(vault, "/docs")).body.decode()
    types = {}
    for link in Links(page).found:
        if link.startswith("/docs/assets/"):
            asset = await get(vault, link)
            types[link.rpartition("/")[2]] = asset.headers["Content-Type"]
            assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert asset.headers["X-Content-Type-Options"] == "nosniff"
            assert len(asset.body) > 100
    script = "text/javascript; charset=utf-8"
    assert types == {
        "swagger-ui.css": "text/css; charset=utf-8",
        "swagger-ui-bundle.js": script,
        "initialize.js": script,
    }


@pytest.mark.parametrize(
    "path", ["0/initialize.js", "{digest}/LICENSE", "{digest}/..%2findex.html", "{digest}/%2e%2e", "{digest}/", "x"]
)
async def test_nothing_else_is_an_asset(vault: RunningVault, path: str):
    found = re.search(r"/docs/assets/(\w+)/", (await get(vault, "/docs")).body.decode())
    assert found
    answer = await get(vault, "/docs/assets/" + path.replace("{digest}", found[1]))
    assert (answer.status, answer.json["code"]) == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("schema", "struct"),
    [
        ("OlderMediaItem", identifying.OlderItemView),
        ("OlderVariant", identifying.OlderVariantView),
        ("OlderPage", OlderPage),
        ("OlderListQueued", Started),
    ],
)
def test_the_older_shapes_are_the_structs(schema: str, struct: type[msgspec.Struct]):
    told = document()["components"]["schemas"][schema]
    fields = {field.encode_name: field.required for field in msgspec.structs.fields(struct)}
    assert set(told["properties"]) == set(fields)
    assert set(told["required"]) == {name for name, required in fields.items() if required}


def test_an_older_item_adds_id_and_source_to_the_current_one():
    schemas = document()["components"]["schemas"]
    assert set(schemas["OlderMediaItem"]["properties"]) == set(schemas["MediaItem"]["properties"])
    assert set(schemas["OlderVariant"]["properties"]) - set(schemas["Variant"]["properties"]) == {
        *("id", "source", "derived")
    }
