"""`organisations` and `keys`, beside a vault that runs and without one."""

import asyncio
import json
import stat

import pytest

from fakes.callers import caller
from fakes.programs import run, serve
from fakes.vaults import KEY, until
from mediavault.catalog.organisations import KeyRow
from mediavault.cli.durations import milliseconds
from mediavault.cli.operators import Operator
from mediavault.cli.serving import Served, start
from mediavault.config import Config, read_config
from mediavault.domain.times import DAY, HOUR
from mediavault.errors import Conflict, DataFolderLocked, InvalidRequest, NotFound


@pytest.fixture
def config(tmp_path) -> Config:
    return read_config({"MEDIAVAULT_BOOTSTRAP_API_KEY": KEY}, data=tmp_path / "data", api_port=0, media_port=0)


@pytest.fixture(params=["with a vault that runs", "without"])
async def operator(request, config):
    """An operator beside a running vault, and one alone with the folder. It has a loop of its own, as in a command."""
    served = await start(config) if request.param == "with a vault that runs" else None
    yield Operator(config)
    if served is not None:
        await served.stop()


def keys_by_id(operator: Operator) -> dict[str, KeyRow]:
    rows = operator.keys()
    return {row.id: row for row in rows}


async def test_what_is_made_is_listed_and_a_revoked_key_ends(operator: Operator):
    def work() -> None:
        assert operator.create_organisation("studio two").name == "studio two"
        assert [row.name for row in operator.organisations()] == ["default", "studio two"]
        made = operator.create_key("studio two", ["ACCESS"], "laptop")
        assert made.secret.startswith("mv_")
        row = keys_by_id(operator)[made.id]
        assert (row.organisation, row.name, row.scopes) == ("studio two", "laptop", ("ACCESS",))
        assert made.secret.startswith(row.prefix)
        assert row.revoked_at is None
        operator.revoke_key(made.id)
        assert keys_by_id(operator)[made.id].revoked_at is not None

    await asyncio.to_thread(work)


async def test_a_key_rotates_with_an_overlap_and_expires(operator: Operator):
    def work() -> None:
        old = operator.create_key("default", ["ACCOUNT"], "laptop", 90 * DAY)
        new = operator.rotate_key(old.id, 24 * HOUR, 30 * DAY)
        rows = keys_by_id(operator)
        assert (new.replaces, new.scopes) == (old.id, ("ACCOUNT",))
        assert (rows[old.id].replaced_by, rows[old.id].expires_at) == (new.id, new.overlap_until)
        assert rows[new.id].expires_at == new.expires_at
        with pytest.raises(Conflict, match="takes its place already"):
            operator.rotate_key(old.id, 0)
        with pytest.raises(InvalidRequest, match="at most 30 days"):
            operator.rotate_key(new.id, 31 * DAY)
        for key_id in ("none", "../keys"):
            with pytest.raises(NotFound, match="no living key"):
                operator.rotate_key(key_id, 0)

    await asyncio.to_thread(work)


async def test_the_master_key_rotates_and_is_retired(operator: Operator, config: Config):
    def work() -> None:
        (before,) = operator.master_keys()
        assert operator.rotate_master_key()[1].id == before.id
        assert len((config.data / "master.key").read_text().splitlines()) == 2
        with pytest.raises(Conflict, match="master-key rotate"):
            operator.retire_master_keys(at_once=True)
        assert operator.reseal(None).cursor is None
        with pytest.raises(Conflict, match="may live until"):
            operator.retire_master_keys(at_once=False)
        assert [key.id for key in operator.retire_master_keys(at_once=True)] == [before.id]
        (after,) = operator.master_keys()
        assert after.id != before.id
        assert len((config.data / "master.key").read_text().splitlines()) == 1
        with pytest.raises(InvalidRequest, match="none of this walk's"):
            operator.reseal("x")

    await asyncio.to_thread(work)


async def test_signed_urls_of_a_running_vault_live_on_after_a_rotation(vault):
    """The running vault signs with the new key at once, and takes what the old one signed until it is retired."""
    connection = await vault.connect()
    _, item = await vault.add(connection, type="photo")
    old = item["media"]["full"]["url"]
    operator = Operator(vault.vault.config)
    await asyncio.to_thread(operator.rotate_master_key)
    new = (await vault.item(connection, item["id"]))["media"]["full"]["url"]
    assert new != old
    assert (await asyncio.to_thread(operator.reseal, None)).resealed >= 3
    for url in (old, new):
        assert (await vault.ask("GET", url)).status == 200
    await asyncio.to_thread(lambda: operator.retire_master_keys(at_once=True))
    assert [(await vault.ask("GET", url)).status for url in (old, new)] == [403, 200]


async def test_the_last_use_of_a_key_is_written_when_the_vault_stops(config):
    served = await start(config)
    async with caller(str(served.api_url)) as at:
        assert (await at.call("GET", "/v2/account/whoami", key=KEY))[0] == 200
    await served.stop()
    (row,) = await asyncio.to_thread(Operator(config).keys)
    assert row.last_used_at is not None
    assert row.last_used_at >= row.created_at


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1.5h", "1h30m", " 1h", "٣h", "9999999999s"])
def test_a_duration_is_a_number_and_its_unit(text):
    assert milliseconds("24h") == 24 * HOUR
    assert milliseconds("90d") == 90 * DAY
    assert (milliseconds("0s"), milliseconds("15m")) == (0, 15 * 60_000)
    with pytest.raises(InvalidRequest, match="a duration is a number with its unit"):
        milliseconds(text)


async def test_what_cannot_be_done_is_the_same_error_either_way(operator: Operator):
    def work() -> None:
        operator.create_organisation("taken")
        with pytest.raises(Conflict, match="'taken' already"):
            operator.create_organisation("taken")
        for name in ("", " padded", "line\nbreak", "x" * 101):
            with pytest.raises(InvalidRequest, match="1 to 100 printable"):
                operator.create_organisation(name)
        with pytest.raises(NotFound, match=r"no organisation 'nobody'; there is 'default', 'taken' .*create NAME"):
            operator.create_key("nobody", ["ACCESS"], None)
        with pytest.raises(InvalidRequest, match="scopes are ACCOUNT, ACCESS; not ADMIN"):
            operator.create_key("default", ["ADMIN"], None)
        for key_id in ("none", "../keys", "a?b", "a%2Fb", ""):
            with pytest.raises(NotFound, match="no living key"):
                operator.revoke_key(key_id)

    await asyncio.to_thread(work)


async def test_commands_as_people_call_them(tmp_path):
    """Without a server: the first command makes the vault, and tells what was made."""

    async def call(*arguments: str):
        return await run(*arguments, "--data", "data", cwd=tmp_path)

    made = await call("keys", "create", "--scopes", "account", "--json")
    assert made.code == 0
    assert "shown only now" in made.err
    assert made.json.keys() == {"id", "key", "organisation", "scopes", "expiresAt"}
    assert (made.json["organisation"], made.json["scopes"]) == ("default", ["ACCOUNT"])
    listed = await call("keys", "list", "--json")
    assert listed.json[-1].keys() == {
        *("id", "organisation", "name", "prefix", "scopes", "state"),
        *("createdAt", "lastUsedAt", "expiresAt", "replacedBy", "revokedAt"),
    }
    assert made.json["key"] not in listed.out
    assert made.json["id"] in (await call("keys", "list")).out
    again = await call("keys", "revoke", made.json["id"])
    assert (again.code, again.out) == (0, f"key {made.json['id']} revoked\n")


async def test_an_error_is_an_exit_code_and_json_when_asked(tmp_path, config):
    served = await start(config)
    said = {
        ("keys", "create", "--org", "nobody"): (
            5,
            "there is no organisation 'nobody'; there is 'default' (`mediavault organisations list` shows all, "
            "`mediavault organisations create NAME` makes one)",
        ),
        ("organisations", "create", "default"): (8, "there is an organisation 'default' already"),
        ("keys", "create", "--scopes", "ADMIN"): (2, "scopes are ACCOUNT, ACCESS; not ADMIN"),
        ("keys", "create", "--expires-in", "1s"): (2, "a key lives a minute to 3650 days, or without an end"),
        ("keys", "rotate", "none"): (5, "there is no living key 'none'"),
    }
    try:
        for arguments, (code, text) in said.items():
            ended = await run(*arguments, "--data", config.data, "--json", cwd=tmp_path)
            assert (ended.code, ended.out) == (code, "")
            assert json.loads(ended.err) == {"error": text, "exitCode": code}
    finally:
        await served.stop()


@pytest.mark.parametrize(
    "arguments",
    [
        *[("organisations", "list"), ("keys", "list"), ("keys", "revoke", "a"), ("keys", "rotate", "a")],
        *[("master-key", "status"), ("master-key", "rotate"), ("master-key", "retire")],
    ],
)
async def test_a_slip_in_the_folders_name_makes_no_vault(tmp_path, arguments):
    ended = await run(*arguments, "--data", "daat", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert f"there is no vault in {tmp_path / 'daat'}: name the vault's --data folder" in ended.err
    assert not (tmp_path / "daat").exists()


async def test_a_database_that_is_not_there_is_told_with_where_to_look(tmp_path):
    nobody = {"MEDIAVAULT_DATABASE_URL": "postgresql://vault:hidden@127.0.0.1:1/vault"}
    ended = await run("keys", "list", "--data", "data", cwd=tmp_path, env=nobody)
    assert (ended.code, ended.out) == (7, "")
    assert ended.err.startswith("mediavault: PostgreSQL: ")
    assert ended.err.endswith("; does it run where MEDIAVAULT_DATABASE_URL says?\n")
    assert "hidden" not in ended.err


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
async def test_a_key_given_where_its_id_belongs_is_not_repeated(tmp_path, config, verb):
    served = await start(config)
    try:
        ended = await run("keys", verb, "mv_the-key-itself", "--data", config.data, cwd=tmp_path)
    finally:
        await served.stop()
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == "mediavault: there is no living key of that id: `mediavault keys list` shows the ids\n"


async def test_a_running_vault_refuses_a_revoked_key_within_a_second(config):
    served = await start(config)
    operator = Operator(config)
    try:
        async with caller(str(served.api_url)) as at:
            made = await asyncio.to_thread(operator.create_key, "default", ["ACCOUNT"], None)
            assert (await at.call("GET", "/v2/account/whoami", key=made.secret))[0] == 200
            status, answer = await at.call("GET", "/v2/access/self", key=made.secret)
            assert (status, answer["error"]) == (401, "Unauthorized")
            await asyncio.to_thread(operator.revoke_key, made.id)
            revoked_at = asyncio.get_running_loop().time()

            async def refused() -> bool:
                return (await at.call("GET", "/v2/account/whoami", key=made.secret))[0] == 401

            await until(refused)
            assert asyncio.get_running_loop().time() - revoked_at < 1.5
    finally:
        await served.stop()


async def test_the_control_socket_is_its_owners_alone_and_goes_with_the_vault(config):
    served = await start(config)
    control = config.data / "control.sock"
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    await served.stop()
    assert not control.exists()


async def test_a_socket_that_a_killed_vault_left_is_in_nobodys_way(tmp_path):
    async with serve(tmp_path / "data") as vault:
        await vault.ready()
        vault.process.kill()
        await vault.ended()
    assert (tmp_path / "data" / "control.sock").exists()
    config = read_config({}, data=tmp_path / "data")
    assert [row.name for row in await asyncio.to_thread(Operator(config).organisations)] == ["default"]


async def test_commands_at_the_same_time_wait_for_each_other(config):
    operator = Operator(config)
    await asyncio.gather(*(asyncio.to_thread(operator.create_organisation, f"o{n}") for n in range(6)))
    assert len(await asyncio.to_thread(operator.organisations)) == 7


async def test_a_command_during_a_drain_never_opens_the_folder_behind_the_vaults_back(config, monkeypatch):
    monkeypatch.setattr("mediavault.cli.operators._PATIENCE_SECONDS", 0.1)
    served: Served = await start(config)
    (config.data / "control.sock").unlink()  # as the drain does first
    with pytest.raises(DataFolderLocked):
        await asyncio.to_thread(Operator(config).organisations)
    await served.stop()
