"""A rotation of the master key, killed in its middle and begun again: beside a vault, or by a command alone."""

from pathlib import Path
from typing import Any

import pytest

from fakes.catalog_rows import NOW, connection_row, seen
from fakes.programs import environment, program, serve
from fakes.vaults import until
from mediavault.catalog import connections, observations, sealed
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.seen import SeenVariant
from mediavault.config import read_config
from mediavault.data_folder import DataFolder
from mediavault.foundation import Foundation, open_foundation
from mediavault.vault import connecting, origin_urls
from mediavault.vault.sealed_places import SEALED
from mediavault.vault.sealing import Sealer

MEDIA = 6000


async def _fill(foundation: Foundation) -> None:
    sealer = foundation.sealer
    (organisation,) = await foundation.authorising.organisations()
    place = connecting.session_place(organisation.id, "http://127.0.0.1:1", "1")
    connection = connection_row(organisation.id, "1", session=sealer.seal(b"session", place))
    connection_id = await foundation.catalog.run(connections.save, connection, 4)

    def item(media_id: str) -> Any:
        at = origin_urls.place(organisation.id, connection_id, media_id, "full")
        return seen(media_id, SeenVariant("full", sealer.seal(media_id.encode(), at), media_id, NOW, "image/jpeg"))

    for start in range(0, MEDIA, 500):
        items = [item(str(number)) for number in range(start, start + 500)]
        await foundation.catalog.run(observations.observe, organisation.id, connection_id, items, NOW)


def _ring(data: Path) -> tuple[bytes, ...]:
    return DataFolder(data).master_keys()[0]


async def _is_in_its_middle(catalog: Catalog, data: Path) -> bool:
    ring = _ring(data)
    if len(ring) < 2:
        return False
    prefix = Sealer(*ring).current.prefix
    begun = await sealed.is_any_sealed_so(catalog, sealed.ORIGIN_URLS, prefix)
    return begun and bool(await sealed.sealed_otherwise(catalog, sealed.ORIGIN_URLS, prefix, "", 1))


async def _opened(catalog: Catalog, sealer: Sealer) -> list[bytes]:
    return [
        sealer.open(each.sealed, places.place(each))
        for places in SEALED
        for each in await sealed.all_after(catalog, places.column, "", 10 * MEDIA)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("served", [True, False], ids=["beside a vault that serves", "by a command alone"])
async def test_a_rotation_that_is_killed_in_its_middle_is_ended_by_the_next(tmp_path, database_url, served):
    data = tmp_path / "data"
    env = environment(DATABASE_URL=database_url)
    foundation = await open_foundation(read_config({"MEDIAVAULT_DATABASE_URL": database_url}, data=data))
    await _fill(foundation)
    secrets = await _opened(foundation.catalog, foundation.sealer)
    await foundation.close()
    (old,) = _ring(data)
    rotate = ("master-key", "rotate", "--data", data, "--json")
    catalog = await open_catalog(CatalogConfig(database_url))
    try:

        async def in_its_middle() -> bool:
            return await _is_in_its_middle(catalog, data)

        if served:
            async with serve(data, DATABASE_URL=database_url) as vault:
                await vault.ready()
                async with program(*rotate, cwd=tmp_path, env=env) as command:
                    await until(in_its_middle, 60)
                    await vault.kill()
                    await command.kill()
        else:
            async with program(*rotate, cwd=tmp_path, env=env) as command:
                await until(in_its_middle, 60)
                await command.kill()
        new, behind = _ring(data)
        assert behind == old
        assert await in_its_middle()
        assert await _opened(catalog, Sealer(new, old)) == secrets
        async with program(*rotate, cwd=tmp_path, env=env) as command:
            ended = await command.ended()
        assert ended.code == 0, ended.err
        assert 0 < ended.json["resealed"] < MEDIA
        assert _ring(data) == (new, old)
        assert await _opened(catalog, Sealer(new)) == secrets
    finally:
        await catalog.close()
