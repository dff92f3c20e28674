"""Sending viewers to the bucket: a stored blob's bytes then never pass through this process."""

from collections.abc import Callable

from mediavault.blobs.store import BlobKey
from mediavault.domain import media_type
from mediavault.domain.responding import Answer
from mediavault.serving.responses import Response, disposition
from mediavault.serving.sources import Source, StoredBlob

#: `(key, seconds, content type, disposition)`: a URL that gives the blob to whoever has it, for so long; None where
#: nobody can say where it lies without asking.
Elsewhere = Callable[[BlobKey, int, str, str], str | None]


def redirected(source: Source, answer: Answer, elsewhere: Elsewhere | None, *, seconds_left: int) -> Response | None:
    """The redirect, in place of bytes of a blob; None where the vault answers itself.

    It does for conditions and HEAD, which need no bytes, and for everything a browser might run as a document: only the
    vault's own answers have the headers that keep it from that. The URL lives no longer than the one it was asked by.
    """
    if elsewhere is None or not isinstance(source, StoredBlob) or not answer.slices or answer.head_only:
        return None
    content_type = source.representation.content_type
    if seconds_left < 1 or media_type.canonical(content_type) not in media_type.INLINE_SAFE:
        return None
    url = elsewhere(source.key, seconds_left, content_type, disposition(content_type))
    if url is None:
        return None
    # 307: the method and the Range are asked again as they are. No cache may keep it: what is removed is removed here.
    headers = (
        ("location", url),
        ("content-length", "0"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    )
    return Response(307, headers)
