"""The verbs of viewers: what they may be answered, whatever state a variant is in."""

from fakes.vault_model import Connection, VariantModel
from fakes.vault_story import Person, Story, Waiting
from fakes.viewing import Viewing

#: What a viewer asks for; `{far}` is near the end of what the origin has now, `{etag}` the variant's last ETag.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "whole": ("GET", {}),
    "head": ("HEAD", {}),
    "start": ("GET", {"Range": "bytes=0-99"}),
    "middle": ("GET", {"Range": "bytes=2000-2999"}),
    "far": ("GET", {"Range": "bytes={far}-"}),
    "end": ("GET", {"Range": "bytes=-50"}),
    "unchanged": ("GET", {"If-None-Match": "{etag}"}),
    "same": ("GET", {"Range": "bytes=0-99", "If-Range": "{etag}"}),
}
_FROM_THE_START = {"whole", "start", "unchanged", "same"}
_SUCCESS = {200, 206, 304, 416}


class Views(Story):
    """Viewers of the vault."""

    async def view(self, person: Person, variant: VariantModel, kind: str) -> None:
        """One request. What is live and whose bytes are there, here or at its origin, is answered."""
        must = self._must_answer(person, variant)
        if not self._has_bytes(variant):
            self._note_trouble(person, variant)
        method, headers = KINDS[kind]
        named = {
            "etag": variant.last_etag or '"none"',
            "far": str(len(self.bytes.contents[self.bytes.now(variant)]) - 60),
        }
        asked = {name: text.format(**named) for name, text in headers.items()}
        viewing = await self.stage.view(variant.id, method, asked)
        counts = kind in _FROM_THE_START
        if viewing in self.stage.viewings:
            self.waiting.append(Waiting(viewing, variant))
            self._count(variant, viewing, counts=counts, is_over=False)
        else:
            self._count(variant, viewing, counts=counts, is_over=True)
            self._judge(variant, viewing, must=must)
        await self.check({})

    async def view_grave(self, variant: VariantModel) -> None:
        """What a connection had that is no more is nobody's."""
        for method in ("GET", "HEAD", "POST"):
            viewing = await self.stage.view(variant.id, method, {})
            assert viewing.status == 404

    def _has_bytes(self, variant: VariantModel) -> bool:
        """Whether the vault has durable bytes to serve, whatever the origin does."""
        anew = variant.status in {"pending", "storing"} or (
            variant.status == "edge_only" and self.rows[variant.id]["attempts"] > 0
        )
        return variant.status == "stored" or ((anew or variant.is_superseded) and variant.retained)

    def _must_answer(self, person: Person, variant: VariantModel) -> bool:
        return variant.is_live and (self._has_bytes(variant) or self.is_healthy(person, variant))

    def _count(self, variant: VariantModel, viewing: Viewing, *, counts: bool, is_over: bool) -> None:
        """A view is counted when its answer begins."""
        if not counts or viewing.noted or (viewing.status is not None and viewing.status not in _SUCCESS - {416}):
            return
        viewing.noted = viewing.status is not None
        if viewing.noted:
            variant.counted += 1
        elif is_over:
            variant.perhaps += 1
        variant.seen_at = self.stage.clock()

    def _judge(self, variant: VariantModel, viewing: Viewing, *, must: bool) -> None:
        status, headers = viewing.status, viewing.headers
        self.happened[f"{variant.status} {'cut' if viewing.broken else status}"] += 1
        if must:
            assert not viewing.broken, f"a viewer of {variant} was cut off"
            assert status in _SUCCESS, f"{variant} was answered {status}: {viewing.body!r}"
        if not variant.is_live:
            assert status == 404, f"{variant} was answered {status}"
        if status is None or viewing.broken:
            return
        if status not in _SUCCESS:
            assert status >= 400
            assert headers["Cache-Control"] == "no-store"
            return
        self._judge_success(variant, viewing, status)

    def _judge_success(self, variant: VariantModel, viewing: Viewing, status: int) -> None:
        headers, asked = viewing.headers, viewing.asked
        if status == 416:
            size = int(headers["Content-Range"].removeprefix("bytes */"))
            first = int(asked["Range"].removeprefix("bytes=").partition("-")[0])
            assert size <= first
            return
        etag = headers["ETag"]
        if status == 304:
            assert asked["If-None-Match"] == etag
        else:
            body = None if viewing.method == "HEAD" else viewing.body
            self.bytes.answered(variant, status, headers, body)
        if asked.get("If-Range") and status == 206:
            assert asked["If-Range"] == etag
        variant.last_etag = etag
        self._judge_durable(variant, etag)

    def _judge_durable(self, variant: VariantModel, etag: str) -> None:
        """Durable bytes keep their ETag, and are not older than a change that the vault has noticed."""
        if not self._has_bytes(variant):
            return
        variant.etag = variant.etag or etag
        assert etag == variant.etag, f"{variant} was served under {etag}"
        if variant.status == "stored" and variant.newest is not None:
            history = self.bytes.history[variant.media_id, variant.label]
            allowed = set(history[variant.newest :])
            assert self.bytes.named[etag].candidates & allowed, f"{variant} was stored from before its change"

    async def finish_waiting(self) -> None:
        """The origin goes on with what it kept back; nobody gets a part for the whole."""
        self.stage.release()
        await self.stage.finish_viewings()
        await self.stage.settle()
        self.judge_waiting()

    def judge_waiting(self) -> None:
        """What those got who were kept waiting: the whole or a break."""
        for each in self.waiting:
            self.happened[f"waited {'cut' if each.viewing.broken else each.viewing.status}"] += 1
            counts = not each.viewing.noted and "Range" not in each.viewing.asked and each.viewing.method == "GET"
            self._count(each.variant, each.viewing, counts=counts, is_over=True)
            if each.viewing.status in {200, 206} and not each.viewing.broken:
                body = None if each.viewing.method == "HEAD" else each.viewing.body
                self.bytes.answered(each.variant, each.viewing.status, each.viewing.headers, body)
        self.waiting.clear()
        self.stage.viewings.clear()

    async def flush(self) -> None:
        """Write the views down: policy sees them, and queues what it wants now."""
        wanted = self.flushed()
        await self.stage.vault.counting.flush()
        await self.check_flushed(wanted)

    def flushed(self) -> list[VariantModel]:
        """Let the model write its views down; what policy queues then."""
        wanted = []
        for person in self.people:
            for variant in person.connection.variants.values() if person.connection else ():
                if self._flush(variant) and self._is_wanted(self.connected(person), variant):
                    wanted.append(variant)
        for variant in self.graves:
            self._flush(variant)
        return wanted

    async def check_flushed(self, wanted: list[VariantModel]) -> None:
        """What was wanted is queued, and nothing else."""
        permits = {"queued": lambda variant: variant in wanted}
        await self.check(permits)
        assert all(variant.status == "pending" for variant in wanted)

    def _flush(self, variant: VariantModel) -> bool:
        """Whether there was anything to write."""
        counted, variant.counted = variant.counted, 0
        variant.slack, variant.perhaps = variant.slack + variant.perhaps, 0
        if counted:
            variant.flushed += counted
            variant.viewed_at = max(variant.viewed_at, variant.seen_at)
        return counted > 0

    def _is_wanted(self, connection: Connection, variant: VariantModel) -> bool:
        row = self.rows[variant.id]
        alone = row["attempts"] == 0 and row["kept_out"] is None
        return variant.status == "edge_only" and alone and connection.wants(variant)
