"""Odd but legal: a line break behind a path, a refusal that comes late, a name that was cut."""

from typing import cast

from fakes.vaults import AURORA, KEY
from mediavault.api.limits import LimitConfig, Limits
from mediavault.origin.access_api import AccessApi, Answer, Session, Upstream
from mediavault.origin.client import GuardedClient
from mediavault.origin.pacing import PaceConfig, Pacing
from mediavault.platform.creators import USER_AGENT
from mediavault.vault.authorising import Scope


async def test_a_line_break_behind_a_path_makes_it_another_one(vault):
    connection = await vault.connect()
    await vault.see(connection)
    for path in ("/v2/vault-plus/media%0A", "/v2/vault-plus/purge%0A"):
        answer = await vault.call("DELETE", path, connection=connection)
        assert answer.status == 404, answer.body
    assert (await vault.call("GET", "/v2/vault-plus/media", connection=connection)).json["items"]


async def test_a_refusal_of_the_session_from_before_a_refresh_does_not_expire_the_new_one(vault):
    connection = await vault.connect()
    connecting = vault.vault.api._gateway.access._connecting
    caller = await vault.vault.foundation.authorising.principal(KEY, Scope.ACCOUNT)
    asked_with = await connecting.connection(caller.org_id, connection)
    renewed = {"cookie": AURORA.cookie, "userAgent": USER_AGENT}
    await vault.call("PATCH", f"/v2/account/connections/import/{connection}", json=renewed)
    await connecting.refused(asked_with)
    assert (await connecting.connection(caller.org_id, connection)).state == "active"
    await connecting.refused(await connecting.connection(caller.org_id, connection))
    assert (await connecting.connection(caller.org_id, connection)).state == "expired"


def test_what_remains_of_a_rate_is_never_below_nothing():
    limits = Limits(LimitConfig(key_per_minute=1_200_000), lambda: 0, lambda: 0.0)
    assert limits.keys is not None
    told = dict(limits.keys.headers(60 + 5e-7, 0))  # as sums of floats make it
    assert told[b"x-ratelimit-remaining"] == b"0"


async def test_a_user_whose_name_was_cut_in_the_middle_of_an_emoji_can_be_connected():
    class Cut(AccessApi):
        async def _answer(self, *_):
            return Answer(200, "application/json", b'{"id":7,"username":"u","name":"cut \\ud83d"}', None)

    user = await Cut(cast(GuardedClient, None), Pacing(PaceConfig())).self_(
        Upstream("c", "http://x", Session("a", "b"))
    )
    assert (user.id, user.name) == (7, "cut \ufffd")
