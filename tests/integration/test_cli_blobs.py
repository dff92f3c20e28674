"""`mediavault blobs`: checks, and moves beside a running vault, without one, and after a kill."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fakes import s3_server
from fakes.bodies import listed
from fakes.running import serving
from fakes.vaults import running_vault
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.places import StorageConfig
from mediavault.blobs.s3 import S3Blobs
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox


def environment(data: Path, s3_url: str, bucket: str) -> dict[str, str]:
    credentials = s3_server.credentials_of(s3_url)
    secret = data.parent / "secret"
    secret.write_text(credentials.secret_access_key + "\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIAVAULT_", "AWS_"))}
    return kept | {
        "MEDIAVAULT_DATA": str(data),
        "MEDIAVAULT_BLOBS_URL": bucket_url(s3_url, bucket),
        "MEDIAVAULT_BLOBS_PREVIOUS_URL": (data / "blobs").as_uri(),
        "MEDIAVAULT_S3_ACCESS_KEY_ID": credentials.access_key_id,
        "MEDIAVAULT_S3_SECRET_ACCESS_KEY_FILE": str(secret),
    }


def bucket_url(s3_url: str, bucket: str) -> str:
    return f"s3://{bucket}/vault?endpoint=http://{s3_url.partition('@')[2]}&region=us-east-1"


async def started(env: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "mediavault", "--log-level", "error", "blobs", *arguments]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)


async def ran(env: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await started(env, *arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
async def test_blobs_move_beside_the_running_vault_and_back_without_it(tmp_path, s3_url, s3_bucket):
    data, sandbox = tmp_path / "data", Sandbox()
    env = environment(data, s3_url, s3_bucket)
    place, credentials = s3_server.place_of(s3_url, s3_bucket, "vault"), s3_server.credentials_of(s3_url)
    disk, s3 = DiskBlobs(data / "blobs"), S3Blobs(place, credentials)
    async with serving(application(sandbox)) as platform_url:
        options: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url}
        async with running_vault(data, **options) as vault:
            connection = await vault.connect()
            for n in range(3):
                photo, item = await vault.add(connection, type="photo", size_bytes=70_000 + n)
                await vault.ask("GET", item["media"]["full"]["url"])
                await vault.until_stored(connection, photo.id)
        count = len(await listed(disk))
        storage = StorageConfig(place, previous=data / "blobs", credentials=credentials)
        async with running_vault(data, **options, storage=storage) as vault:
            code, out, err = await ran(env, "move", "--to", env["MEDIAVAULT_BLOBS_URL"], "--json")
            assert (code, err) == (0, "")
            assert {name: json.loads(out)[name] for name in ("moved", "left", "failed")} == {
                "moved": count,
                "left": 0,
                "failed": [],
            }
            assert len(await listed(s3)) == count
            code, _, err = await ran(env, "move", "--to", "file:///elsewhere")
            assert (code, "does not read from" in err) == (2, True)
        code, out, _ = await ran(env, "move", "--to", env["MEDIAVAULT_BLOBS_PREVIOUS_URL"])
        assert (code, f"moved {count} " in out) == (0, True)
        async with running_vault(data, **options) as vault:
            answer = await vault.ask("GET", (await vault.item(connection, photo.id))["media"]["full"]["url"])
            assert (answer.status, len(answer.body)) == (200, 70_002)


@pytest.mark.slow
async def test_a_mover_that_is_killed_at_any_moment_is_asked_again_and_nothing_is_lost(tmp_path, s3_url, s3_bucket):
    data, sandbox = tmp_path / "data", Sandbox()
    env = environment(data, s3_url, s3_bucket)
    async with running_vault(data, sandbox=sandbox) as vault:
        connection = await vault.connect()
        items = []
        for n in range(8):
            photo, item = await vault.add(connection, type="photo", size_bytes=600_000 + n)
            body = (await vault.ask("GET", item["media"]["full"]["url"])).body
            await vault.until_stored(connection, photo.id)
            items.append((photo.id, body))
    s3 = S3Blobs(s3_server.place_of(s3_url, s3_bucket, "vault"), s3_server.credentials_of(s3_url))
    for kills in range(1, 4):
        mover = await started(env, "move", "--to", env["MEDIAVAULT_BLOBS_URL"])
        while len(await listed(s3)) < kills and mover.returncode is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.005)
        if mover.returncode is None:
            mover.kill()
        await mover.communicate()
    code, _, err = await ran(env, "move", "--to", env["MEDIAVAULT_BLOBS_URL"])
    assert (code, err) == (0, "")
    storage = StorageConfig(s3.place, credentials=s3_server.credentials_of(s3_url))
    async with running_vault(data, sandbox=sandbox, storage=storage) as vault:
        for media_id, body in items:
            item = await vault.item(connection, media_id)
            assert (await vault.ask("GET", item["media"]["full"]["url"])).body == body


@pytest.mark.parametrize("tidy", [True, False])
async def test_check_uses_every_place_and_tells_of_a_bucket_that_tidies_nothing_up(tmp_path, s3_url, s3_bucket, tidy):
    if tidy:
        s3_server.set_lifecycle(s3_url, s3_bucket)
    env = environment(tmp_path / "data", s3_url, s3_bucket)
    code, out, _ = await ran(env, "check", "--json")
    checks = {(each["place"][:4], each["check"]): each for each in json.loads(out)}
    assert checks["s3:/", "aborts unfinished uploads"]["ok"] is tidy
    assert all(each["ok"] for name, each in checks.items() if name[1] != "aborts unfinished uploads")
    assert code == (0 if tidy else 1)
    assert s3_server.credentials_of(s3_url).secret_access_key not in out


async def test_check_says_what_is_wrong_with_a_place(tmp_path, s3_url):
    env = environment(tmp_path / "data", s3_url, "no-such-bucket")
    code, out, _ = await ran(env, "check")
    assert (code, "the bucket does not exist" in out) == (1, True)
