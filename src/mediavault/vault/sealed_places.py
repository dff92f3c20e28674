"""Every column of the catalog that holds sealed secrets, with the place each ciphertext is sealed for."""

from collections.abc import Callable
from dataclasses import dataclass

from mediavault.catalog import sealed
from mediavault.catalog.sealed import SealedColumn, SealedRow
from mediavault.vault import connecting, notifying, origin_urls


@dataclass(frozen=True)
class SealedPlaces:
    """A column, and how the place of one of its ciphertexts follows from the row."""

    column: SealedColumn
    of: Callable[..., tuple[str, ...]]

    def place(self, row: SealedRow) -> tuple[str, ...]:
        """The one place where the row's ciphertext opens."""
        return self.of(*row.place)

    def __str__(self) -> str:
        """`table.column`."""
        return f"{self.column.table}.{self.column.column}"


def fact_place(name: str) -> tuple[str, ...]:
    """Where a fact of the installation lies, which is nobody's."""
    return ("installation", "content", "", name)


#: In the order in which a rotation walks them.
SEALED = (
    SealedPlaces(sealed.SESSIONS, connecting.session_place),
    SealedPlaces(sealed.WEBHOOK_SECRETS, notifying.secret_place),
    SealedPlaces(sealed.PREVIOUS_WEBHOOK_SECRETS, notifying.previous_secret_place),
    SealedPlaces(sealed.ORIGIN_URLS, origin_urls.place),
    SealedPlaces(sealed.CHECK, fact_place),
)
