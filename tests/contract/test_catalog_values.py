"""Values no database should be asked to keep: both engines answer alike, with an error of ours, and lose nothing."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.catalog_rows import NOW, connection_row, dump, row, seen, shown, tenant
from mediavault.catalog import connections, items, organisations
from mediavault.catalog import variants as catalog_variants
from mediavault.errors import CatalogError, CatalogUnavailable

BAD_TEXT = ["nul \0 inside", "\0", "lone \ud800 surrogate", "\udfff"]


@pytest.mark.parametrize("text", BAD_TEXT)
async def test_text_that_is_none_is_refused_and_nothing_is_written(catalog, text):
    owner = await tenant(catalog)
    before = await dump(catalog)
    for given_media in (
        seen(text),
        seen("1", replace(shown(), label=text)),
        seen("1", replace(shown(), origin_key=text)),
        seen("1", observed_path=text),
    ):
        with pytest.raises(CatalogError) as refused:
            await owner.observe(seen("0"), given_media)
        assert not isinstance(refused.value, CatalogUnavailable)
    assert await dump(catalog) == before


@pytest.mark.parametrize("text", BAD_TEXT)
async def test_a_question_with_text_that_is_none_is_refused(catalog, text):
    owner = await tenant(catalog)
    with pytest.raises(CatalogError):
        await items.connection_and_item(catalog, owner.org_id, text, "1")
    with pytest.raises(CatalogError):
        await items.items(catalog, owner.org_id, owner.connection_id, ["1", text])
    with pytest.raises(CatalogError):
        await catalog.run(organisations.create, "org", text, "{}", NOW)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
async def test_an_integer_that_is_too_long_is_refused(catalog, number):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    before = await dump(catalog)
    with pytest.raises(CatalogError) as refused:
        await owner.observe(seen("1", shown(expires_at=number)))
    assert not isinstance(refused.value, CatalogUnavailable)
    with pytest.raises(CatalogError):
        await catalog.run(catalog_variants.count_views, [catalog_variants.Views(variant_id, 1, number)])
    with pytest.raises(CatalogError):
        await connections.listed(catalog, owner.org_id, None, 10, number)
    assert await dump(catalog) == before


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
async def test_the_longest_integers_are_kept(catalog, number):
    owner = await tenant(catalog)
    await owner.observe(seen("1", shown(expires_at=number)))
    assert (await row(catalog, "variants"))["origin_expires_at"] == number


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_a_number_that_is_none_is_refused(catalog, number):
    owner = await tenant(catalog)
    with pytest.raises(CatalogError):
        await owner.observe(seen("1", duration=number))


@pytest.mark.parametrize("wrong", [["a list"], {"a": "dict"}, object()])
async def test_a_value_of_another_type_is_an_error_of_ours(catalog, wrong: Any):
    owner = await tenant(catalog)
    before = await dump(catalog)
    with pytest.raises(CatalogError):
        await owner.observe(seen("1", observed_path=wrong))
    assert await dump(catalog) == before


async def test_text_sorts_by_its_bytes(catalog):
    names = ["Zebra", "apple", "Äpfel", "äpfel", "_", "1", "\U0001f600", "￿"]
    for number, name in enumerate(names):
        await catalog.run(organisations.create, f"org {number}", name, "{}", NOW)
    listed = [organisation.name for organisation in await organisations.all_of_them(catalog)]
    assert listed == sorted(names, key=str.encode)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
async def test_any_other_text_comes_back_as_it_went_in(catalog, text):
    org_id = f"org of {text}"
    await catalog.run(organisations.create, org_id, text, text, NOW)
    found = await organisations.organisation(catalog, org_id)
    assert (found.name, found.settings) == (text, text)
    saved = await catalog.run(connections.save, connection_row(org_id, text, client_reference_id=text), 4)
    connection = await connections.find_connection(catalog, org_id, saved)
    assert connection is not None
    assert (connection.upstream_user_id, connection.client_reference_id) == (text, text)
    await catalog.run(organisations.set_settings, org_id, "{}")
    assert (await organisations.organisation(catalog, org_id)).settings == "{}"
