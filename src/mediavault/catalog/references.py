"""References to blobs: how one ends. The last one dooms the bytes.

Whoever changes both locks the variant before the blob, so that two of them never wait for each other.
"""

from sqlalchemy import bindparam, case, update

from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import BlobState, blobs

#: One statement: of two that let go at once, the second sees what the first left, and so does a store that dedupes.
_RELEASE = (
    update(blobs)
    .where(blobs.c.id == bindparam("blob_id"), blobs.c.refs > 0)
    .values(
        refs=blobs.c.refs - 1,
        state=case((blobs.c.refs == 1, BlobState.DOOMED.value), else_=blobs.c.state),
    )
)


def release(blob_id: str) -> Operation[None]:
    """One reference fewer."""
    yield Do(_RELEASE, {"blob_id": blob_id})
