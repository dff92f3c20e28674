"""What an object's first bytes tell: whether it is media, and of which type."""

from collections.abc import AsyncIterator

from mediavault.domain import media_type
from mediavault.errors import OriginRefused

#: Enough to tell every type that is told by its magic bytes.
SNIFFED_BYTES = 512


async def first_batch(batches: AsyncIterator[list[bytes]]) -> list[bytes]:
    """Enough to tell the type by, or all there are; nothing is copied together."""
    first: list[bytes] = []
    async for batch in batches:
        first += batch
        if sum(map(len, first)) >= SNIFFED_BYTES:
            break
    return first


def start_of(batch: list[bytes]) -> bytes:
    """Enough of a batch to tell the type by."""
    return batch[0] if batch and len(batch[0]) >= SNIFFED_BYTES else b"".join(batch)


async def first_bytes(chunks: AsyncIterator[bytes]) -> bytes:
    """Enough to tell the type by, or all there are."""
    first = b""
    async for chunk in chunks:
        first += chunk
        if len(first) >= SNIFFED_BYTES:
            break
    return first


def verified_content_type(first: bytes, declared: str | None) -> str:
    """The type to serve, from the bytes before the origin's word. Raises OriginRefused for a page instead of media.

    Bytes that nothing tells the type of are no picture and no film for being called one: browsers are given them to
    keep, not to show. Where no byte was seen (`first` is empty), the origin's word is all there is.
    """
    said, sniffed = media_type.canonical(declared), media_type.sniff(first)
    if sniffed is not None and not media_type.is_media(sniffed):
        raise OriginRefused(f"the origin sent {sniffed} instead of media")
    if sniffed is None:
        if media_type.is_generic(said):
            return "application/octet-stream"
        if media_type.is_document(said):
            raise OriginRefused(f"the origin sent {said[:60]} instead of media")
        return said if not first or media_type.may_be(said, first) else "application/octet-stream"
    return said if media_type.family(said) and media_type.agrees(said, sniffed) else sniffed
