"""`verify` finds every damage that is planted, once, and nothing in what is clean; on both engines."""

from collections import Counter

import pytest
from sqlalchemy import text

from fakes.clean_vault import NOW, clean_vault, drop_constraints, write
from fakes.planted_more import PLANTS
from mediavault.catalog import organisations
from mediavault.catalog.database import CatalogConfig
from mediavault.catalog.visiting import visit_catalog
from mediavault.domain.findings import INVARIANTS
from mediavault.errors import CatalogError, ConfigError
from mediavault.vault.integrity.blobs import Subset
from mediavault.vault.integrity.verifying import Asked, VerifyConfig, Verifying

DEEP = Asked(deep=True)


async def verify(vault, asked=DEEP):
    visited = await visit_catalog(CatalogConfig(vault.url))
    try:
        return await Verifying(visited, vault.blobs, vault.sealer, lambda: NOW, VerifyConfig(settle_seconds=0)).verify(
            asked
        )
    finally:
        await visited.close()


def found(report):
    named = ("subject", "variant", "blob", "connection", "organisation")
    ids = []
    for finding in report.findings:
        values = {name: getattr(finding, name) for name in named}
        ids.append((finding.code, {value for value in values.values() if value}))
    return ids


async def test_nothing_is_found_in_ten_thousand_clean_items(database_url, tmp_path):
    vault = await clean_vault(database_url, tmp_path, 10_000, 7)
    try:
        for asked in (DEEP, Asked(), Asked(served=False)):
            report = await verify(vault, asked)
            assert report.findings == []
            assert report.blobs > 2_000
    finally:
        await vault.catalog.close()


async def test_each_planted_damage_is_found_exactly_once(database_url, tmp_path):
    vault = await clean_vault(database_url, tmp_path, 900, 7)
    try:
        await drop_constraints(database_url)
        expected = [await plant(vault) for plant in PLANTS.values()]
        report = await verify(vault)
    finally:
        await vault.catalog.close()
    missed, reported = [], found(report)
    for code, row_id in expected:
        of_it = [(other, ids) for other, ids in reported if other == code and row_id in ids]
        if len(of_it) != 1:
            missed.append((code, row_id, len(of_it)))
    assert missed == []
    surplus = Counter(code for code, _ in reported) - Counter(code for code, _ in expected)
    assert surplus == Counter()
    assert len(expected) >= 30
    assert {finding.invariant for finding in report.findings} == set(INVARIANTS) - {7, 13}
    assert all(finding.remedy and "{" not in finding.text for finding in report.findings)


async def test_the_parts_of_a_subset_are_the_whole_and_always_the_same(database_url, tmp_path):
    vault = await clean_vault(database_url, tmp_path, 300, 4)
    try:
        counts = [(await verify(vault, Asked(subset=Subset(n, 3)))).blobs for n in (1, 2, 3, 1)]
        whole = (await verify(vault, Asked())).blobs
    finally:
        await vault.catalog.close()
    assert sum(counts[:3]) == whole
    assert counts[0] == counts[3] > 0


async def test_what_was_only_under_way_is_no_finding(database_url, tmp_path):
    """Between the first look and the second it was put in order."""
    vault = await clean_vault(database_url, tmp_path, 300, 4)
    blob_id = vault.take("stored")["blob_id"]
    vault.path(blob_id).rename(tmp_path / "away")
    visited = await visit_catalog(CatalogConfig(database_url))
    verifying = Verifying(visited, vault.blobs, vault.sealer, lambda: NOW, VerifyConfig(settle_seconds=0))
    look = verifying._blob_findings

    async def put_back(*arguments):
        (tmp_path / "away").rename(vault.path(blob_id))
        return await look(*arguments)

    verifying._blob_findings = put_back  # type: ignore[method-assign]
    try:
        assert (await verifying.verify(DEEP)).findings == []
        assert len(verifying.looked.faults) == 1
    finally:
        await visited.close()
        await vault.catalog.close()


async def test_a_visitor_changes_nothing_and_says_so(database_url, tmp_path):
    vault = await clean_vault(database_url, tmp_path, 30, 2)
    visited = await visit_catalog(CatalogConfig(database_url))
    try:
        with pytest.raises(CatalogError):
            await visited.run(organisations.create, "o", "n", "{}", 0)
        with pytest.raises(CatalogError):
            await visited.fetch_list(text("DELETE FROM variants RETURNING id"), {})
        assert (await verify(vault)).findings == []
    finally:
        await visited.close()
        await vault.catalog.close()


async def test_another_programs_schema_is_not_verified(database_url, tmp_path):
    vault = await clean_vault(database_url, tmp_path, 30, 2)
    try:
        await write(database_url, "UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(ConfigError, match="9999"):
            await visit_catalog(CatalogConfig(database_url))
    finally:
        await vault.catalog.close()
