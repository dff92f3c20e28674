"""The verbs of owners, of the platform and of time: what each must do to the vault, and what it may."""

from typing import Any

from fakes.stepping import LEASE_MS, UNDO_MS
from fakes.vault_model import KEEPING, Connection, VariantModel
from fakes.vault_story import LIST_ID, Permits, Person, anything
from fakes.vault_views import Views


class Verbs(Views):
    """Everything that can be done to a vault."""

    # -- observing and keeping --

    async def observe(self, person: Person) -> None:
        """The creator's vault passes the gateway: everything it shows is known afterwards."""
        shown = {str(person.media[name].id) for name in person.upstream}
        answer = await self.call(person, "GET", "/v2/access/vault/media?limit=100")
        assert answer.status == 200, answer.body
        assert b"/cdn/" not in answer.body, "an origin URL came through"
        await self.check({"seen_again": lambda variant: variant.media_id in shown}, adopts=True)
        connection = self.connected(person)
        for name in person.upstream:
            for label in person.media[name].renditions:
                assert connection.variants[str(person.media[name].id), label].is_live

    async def ask_for(self, variant: VariantModel) -> None:
        """POST to its media URL: it is queued, whatever policy says."""
        before = variant.status
        viewing = await self.stage.view(variant.id, "POST", {})
        await self.check({"queued": lambda each: each is variant})
        if before == "removed":
            assert viewing.status == 404
        else:
            assert viewing.status == 202
            assert variant.status == ("pending" if before == "edge_only" else before)

    async def store(self) -> None:
        """Let the storer work until nothing is left that it can do now."""
        due = []
        for person in self.people:
            for variant in person.connection.variants.values() if person.connection else ():
                if variant.status != "pending":
                    continue
                if self._will_be_stored(person, variant):
                    due.append(variant)
                self._note_trouble(person, variant)
        await self.stage.store()
        await self.check(self._storing_permits())
        if not self.stage.is_storing:
            assert [each for each in due if each.status != "stored"] == []

    def _will_be_stored(self, person: Person, variant: VariantModel) -> bool:
        connection, row = self.connected(person), self.rows[variant.id]
        kept = connection.suits(variant) or row["decided_by"] == "asked for"
        alone = not connection.settings["storageLimitBytes"] and row["run_at"] <= self.stage.clock()
        return kept and alone and self.is_healthy(person, variant)

    def _storing_permits(self) -> Permits:
        limited = {
            variant.id
            for person in self.people
            if person.connection and person.connection.settings["storageLimitBytes"]
            for variant in person.connection.variants.values()
            if not person.connection.is_pinned(variant)
        }
        return {
            **dict.fromkeys(("claimed", "stored", "released", "failed"), anything),
            "removed": lambda variant: variant.status == "stored" and variant.id in limited,
            "unqueued": lambda variant: not self._connection_of(variant).suits(variant),
        }

    def _connection_of(self, variant: VariantModel) -> Connection:
        (connection,) = [
            each.connection for each in self.people if each.connection and variant in each.connection.variants.values()
        ]
        return connection

    async def release(self) -> None:
        """Faults end, and what they kept back goes on."""
        was_storing = self.stage.is_storing
        for person in self.people:
            for variant in person.connection.variants.values() if person.connection else ():
                if variant.status in {"pending", "storing"} or any(each.variant is variant for each in self.waiting):
                    self._note_trouble(person, variant)
        await self.finish_waiting()
        if was_storing:
            await self.stage.store()
        await self.check(self._storing_permits() if was_storing else {})

    # -- removing and undoing --

    async def delete(self, person: Person, media_id: str) -> None:
        """All of an item go; a pin is no obstacle for a person."""
        mine = self.connected(person).of(media_id)
        live = [each for each in mine if each.is_live]
        freed = sum(self.rows[each.id]["size_bytes"] for each in live if each.status == "stored")
        answer = await self.call(person, "DELETE", f"/v2/vault-plus/media/{media_id}")
        await self.check({"removed": lambda variant: variant in live})
        assert answer.status == (200 if live else 404), answer.body
        assert not any(each.is_live for each in mine)
        if live:
            assert answer.json == {"success": True, "mediaId": media_id, "freedBytes": freed}

    async def purge(self, person: Person) -> None:
        """All of a connection go."""
        live = [each for each in self.connected(person).variants.values() if each.is_live]
        freed = sum(self.rows[each.id]["size_bytes"] for each in live if each.status == "stored")
        answer = await self.call(person, "DELETE", "/v2/vault-plus/media")
        await self.check({"removed": lambda variant: variant in live})
        assert not any(each.is_live for each in live)
        assert answer.json == {"success": True, "purgedCount": len(live), "freedBytes": freed}

    async def restore(self, person: Person, media_id: str) -> None:
        """What was removed comes back, while its bytes are kept, if there is room."""
        connection, since = self.connected(person), self.stage.clock() - UNDO_MS
        mine = [each for each in connection.of(media_id) if each.retained and each.status in {"removed", "edge_only"}]
        mine = [each for each in mine if (each.removed_at or 0) > since]
        others = [
            each for each in connection.variants.values() if each.status == "stored" and not connection.is_pinned(each)
        ]
        limited = bool(connection.settings["storageLimitBytes"])
        answer = await self.call(person, "POST", f"/v2/vault-plus/media/{media_id}/restore")
        await self.check(
            {
                "restored": lambda variant: variant in mine,
                "removed": lambda variant: variant in mine or (limited and variant in others),
            }
        )
        if not mine:
            assert answer.status == 404
        elif answer.status != 409 or not limited:
            assert answer.status == 200, answer.body
            assert answer.json["restoredCount"] == len(mine)
            assert all(each.status == "stored" for each in mine)

    async def pin(self, person: Person, media_id: str, *, pinned: bool) -> None:
        """Keep policy away from an item, or let it."""
        connection = self.connected(person)
        path, body = f"/v2/vault-plus/media/{media_id}/pin", {"reason": "evidence"} if pinned else None
        answer = await self.call(person, "PUT" if pinned else "DELETE", path, json=body)
        is_there = any(each.is_live for each in connection.of(media_id))
        assert answer.status == (200 if is_there else 404), answer.body
        if is_there:
            (connection.pinned.add if pinned else connection.pinned.discard)(media_id)
        await self.check({})

    # -- policy --

    async def change(self, person: Person, patch: dict[str, Any]) -> None:
        """Other settings: what follows from them is done when the answer comes."""
        connection, now = self.connected(person), self.stage.clock()
        before = dict(connection.settings)
        wanted_before = {each.id for each in connection.variants.values() if connection.wants(each)}
        connection.settings |= patch
        settings = connection.settings
        keeping = any(before[name] != settings[name] for name in KEEPING)
        limiting = settings["storageLimitBytes"] and settings["storageLimitPurgeStrategy"] != "block_new"
        everything = list(connection.variants.values())
        must_go = [each for each in everything if keeping and connection.must_go(each, now)]
        newly = [each for each in everything if each.id not in wanted_before and self._is_wanted(connection, each)]
        path = f"/v2/account/connections/{connection.id}/settings"
        answer = await self.stage.caller.call("PATCH", path, json={"vaultPlus": {"settings": patch}})
        assert answer.status == 200, answer.body
        stored = [each for each in everything if each.status == "stored"]
        unpinned = [each for each in everything if not connection.is_pinned(each)]
        await self.check(
            {
                "removed": lambda each: each in must_go or (limiting and each in stored and each in unpinned),
                "unqueued": lambda each: each in unpinned and not connection.wants(each),
                "queued": lambda each: each.id not in wanted_before and connection.wants(each),
            }
        )
        assert not any(each.is_live for each in must_go)
        assert [each for each in newly if each.status != "pending"] == []
        gone = [each for each in stored if not each.is_live]
        purged = answer.json.get("purgeResult", {"purgedCount": 0, "freedBytes": 0})
        freed = sum(self.rows[each.id]["size_bytes"] for each in gone)
        assert purged == {"purgedCount": len(gone), "freedBytes": freed}
        if limiting:
            self._check_room(connection)

    def _check_room(self, connection: Connection) -> None:
        """Within the limit, or only pinned media are left."""
        stored = [each for each in connection.variants.values() if each.status == "stored"]
        used = sum(self.rows[each.id]["size_bytes"] for each in stored)
        over = used > connection.settings["storageLimitBytes"]
        assert not over or all(connection.is_pinned(each) for each in stored)

    # -- lists --

    async def follow_list(self, person: Person, verb: str) -> None:
        """Add or sync the creator's list."""
        connection = self.connected(person)
        shown = {str(item.id): _fingerprint(item) for item in person.folder.media}
        cached = {media_id for media_id in self._media_ids(person) if any(e.is_live for e in connection.of(media_id))}
        changed, gone = set[str](), set[str]()
        if verb == "sync":
            differs = {each for each, shape in shown.items() if person.recorded.get(each, shape) != shape}
            changed = cached & differs
            gone = {each for each in (connection.baseline or {}) if each not in shown and each in cached}
            gone -= connection.pinned
        fresh = [
            each for each in connection.variants.values() if each.media_id in shown and each.media_id not in cached
        ]
        answer = await self.call(person, "PUT", f"/v2/vault-plus/lists/{person.folder.id}/{verb}")
        assert answer.status == 200, answer.body
        permits: Permits = {
            "removed": lambda variant: variant.media_id in changed | gone,
            "seen_again": lambda variant: variant.media_id in shown,
            "queued": lambda variant: variant.media_id in shown and connection.suits(variant),
        }
        await self.check(permits, adopts=True)
        assert answer.json["seen"] == len(shown)
        self._check_listed(person, shown, changed, fresh)
        if verb == "sync":
            assert answer.json["removedItems"] == len(gone)
            assert not any(each.is_live for media_id in gone for each in connection.of(media_id))
            connection.baseline = dict(shown)
            person.recorded = dict(shown)
        else:
            person.recorded = {k: v for k, v in shown.items() if k not in cached} | {
                k: person.recorded.get(k, v)
                for k, v in (shown | person.recorded).items()
                if k in cached or k not in shown
            }

    def _media_ids(self, person: Person) -> set[str]:
        return {str(item.id) for item in person.media.values()}

    def _check_listed(
        self, person: Person, shown: dict[str, Any], changed: set[str], fresh: list[VariantModel]
    ) -> None:
        connection = self.connected(person)
        for media_id in shown:
            for label in person.media[person.name_of(media_id)].renditions:
                assert connection.variants[media_id, label].is_live
        for media_id in changed:
            for variant in connection.of(media_id):
                variant.newest = len(self.bytes.history[media_id, variant.label]) - 1
        for variant in fresh + [each for media_id in changed for each in connection.of(media_id)]:
            kept_out = self.rows[variant.id]["kept_out"] is not None
            assert variant.status == "pending" or kept_out or not connection.suits(variant), variant

    # -- time and crashes --

    async def sweep(self) -> None:
        """A sweep removes what time has ended, and nothing else; what nothing refers to is gone afterwards."""
        now = self.stage.clock()
        over, dead = [], []
        for person in self.people:
            for variant in person.connection.variants.values() if person.connection else ():
                connection = self.connected(person)
                if (
                    variant.status == "stored"
                    and connection.is_over(variant, now)
                    and not connection.is_pinned(variant)
                ):
                    over.append(variant)
                if variant.status == "storing" and variant.claimed_at + LEASE_MS <= now:
                    dead.append(variant)
        await self.stage.vault.sweeps.sweep()
        await self.check(
            {
                "removed": lambda variant: variant in over,
                "released": lambda variant: variant in dead,
                "failed": lambda variant: variant in dead,
            },
            afterwards=self._let_go_of_retained,
        )
        assert not any(each.is_live for each in over)
        assert not any(each.status == "storing" for each in dead)
        await self.verify()

    def _let_go_of_retained(self) -> None:
        """Past the undo window; what is fetched anew keeps its old bytes until the new ones are there.

        Also where that failed, unless policy would remove them.
        """
        now = self.stage.clock()
        for person in self.people:
            for variant in person.connection.variants.values() if person.connection else ():
                connection = self.connected(person)
                is_over = not connection.suits(variant) or connection.is_over(variant, now)
                if variant.is_superseded and is_over and not connection.is_pinned(variant):
                    variant.kept_since = None
        for variant in self._by_id().values():
            is_past = variant.retained and (variant.removed_at or 0) <= self.stage.clock() - UNDO_MS
            if is_past and variant.status not in {"pending", "storing"} and not variant.is_superseded:
                variant.retained, variant.kept_since = False, None

    async def crash(self) -> None:
        """kill -9 and a start: nothing changes but that leases are taken back and views since the flush are lost."""
        await self.stage.crash()
        self.judge_waiting()
        for variant in self._by_id().values():
            variant.counted = variant.perhaps = 0
        await self.check({"released": anything, "failed": anything})
        assert not any(variant.status == "storing" for variant in self._by_id().values())

    async def restart(self) -> None:
        """A stop and a start: nothing is lost, not even a view."""
        await self.stage.stop()
        self.judge_waiting()
        wanted = self.flushed()
        await self.stage.start()
        given_back = [each for each in self._by_id().values() if each.status == "storing"]
        permits: Permits = {
            "queued": lambda variant: variant in wanted,
            "released": lambda variant: variant in given_back,
        }
        await self.check(permits)
        assert all(variant.status == "pending" for variant in wanted + given_back)

    # -- reading --

    async def read(self, person: Person) -> None:
        """Items, batches, pages and explanations say what the model says."""
        connection = self.connected(person)
        ids = sorted(self._media_ids(person))
        alive = {each: {v.label: v.status for v in connection.of(each) if v.is_live} for each in ids}
        batch = await self.call(person, "POST", "/v2/vault-plus/media/batch", json={"mediaIds": ids})
        assert _statuses(batch.json) == {each: statuses for each, statuses in alive.items() if statuses}
        assert [item["id"] for item in batch.json["items"]] == [each for each in ids if alive[each]]
        for status in ("edge_only", "pending", "storing", "stored", "removed"):
            page = await self.call(person, "GET", f"/v2/vault-plus/media?status={status}")
            if page.status != 200:
                assert status == "removed"
                continue
            assert set(_statuses(page.json)) == {each for each, s in alive.items() if status in s.values()}
        for media_id, statuses in alive.items():
            item = await self.call(person, "GET", f"/v2/vault-plus/media/{media_id}")
            assert item.status == (200 if statuses else 404)
            for label, shown in (item.json["media"] if statuses else {}).items():
                variant = connection.variants[media_id, label]
                told = (shown["status"], shown["accessCount"], shown["storedAt"], shown["lastAccessedAt"])
                assert told == (variant.status, variant.flushed, variant.stored_at, variant.viewed_at)
        await self.check({})


def _statuses(page: Any) -> dict[str, dict[str, str]]:
    return {item["id"]: {label: each["status"] for label, each in item["media"].items()} for item in page["items"]}


def _fingerprint(item: Any) -> tuple[str, int]:
    full = item.renditions["full"]
    return full.path, full.content.size


__all__ = ["LIST_ID", "Verbs"]
