"""A vault that was moved and is started without saying where: viewers wait, the operator is told what to do."""

from typing import Any

from structlog.testing import capture_logs

from fakes.catalog_rows import rows
from fakes.programs import environment, run
from fakes.running import serving
from fakes.variants import see
from fakes.vaults import running_vault
from mediavault.blobs.places import StorageConfig
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox


async def test_a_place_that_was_forgotten_after_a_move_is_said_and_nothing_is_lost(tmp_path):
    data, sandbox, moved_to = tmp_path / "data", Sandbox(), tmp_path / "moved"
    there: dict[str, Any] = {"blobs": moved_to, "storage": StorageConfig(previous=data / "blobs")}
    async with serving(application(sandbox)) as platform_url:
        kept: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url}
        async with running_vault(data, **kept, **there) as vault:
            connection = await vault.connect()
            seen = [await see(vault, connection, size_bytes=50_000 + number) for number in range(2)]
            for each in seen:
                await vault.ask("POST", each.url)
                await each.until_status("stored")
                await each.until_idle()
            turn = await vault.vault.moving.turn(moved_to.as_uri(), "", 60)
            assert turn.left == 0
        async with running_vault(data, **kept) as vault:
            item = await vault.item(connection, seen[0].media.id)
            with capture_logs() as logs:
                for _ in range(3):
                    answer = await vault.ask("GET", item["media"]["full"]["url"])
                    assert (answer.status, answer.json["code"]) == (503, "STORAGE_UNAVAILABLE")
            (line,) = [each for each in logs if each["event"] == "blobs_away"]
            assert moved_to.as_uri() in line["reason"]
            assert "MEDIAVAULT_BLOBS_URL" in line["what_to_do"]
            ready = await vault.call("GET", "/readyz", key=None)
            assert (ready.status, ready.json["checks"]["blobs"]) == (503, "BlobsAway")
            assert {each["state"] for each in await rows(vault.vault.foundation.catalog, "blobs")} == {"live"}
        found = await run("verify", "--data", data, "--json", cwd=tmp_path, env=environment())
        assert [(each["code"], each["subject"]) for each in found.json["report"]["findings"]] == [
            ("place_not_read", moved_to.as_uri())
        ]
        clean = await run("verify", "--data", data, cwd=tmp_path, env=environment(BLOBS_URL=moved_to.as_uri()))
        assert clean.code == 0, clean.out
        async with running_vault(data, **kept, blobs=moved_to) as vault:
            item = await vault.item(connection, seen[0].media.id)
            assert (await vault.ask("GET", item["media"]["full"]["url"])).status == 200
            assert (await vault.call("GET", "/readyz", key=None)).status == 200
