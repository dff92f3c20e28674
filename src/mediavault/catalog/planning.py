"""Which index a page is read from, and what a database's own planner is told of it.

A page of media can be read in two ways.

- Walk: along the index of the page's order, past what the filters leave out. It is fast where the order meets what is
  asked for soon, however much that is. Where it does not, a page at the wrong end, or the last page, which must find
  that there is no more, reads up to the whole connection.
- Gather: all that one filter lets through, from the index of that filter, and the first of them in the page's order.
  It costs the same on every page: in proportion to what the filter lets through.

The two race, ever further: the first of these that is seen within so many entries decides. A filter lets no more than
that through: gather. At either end of the order so many entries hold a page, or are all there is: walk. So no page
costs more than a few times the cheaper of the two; and as every page of a question pays for the same race, which has
seen both ends of what is walked, the last page costs no more than twice the first. Only a hole in the middle of an
order goes unseen. Rows that change between two pages may turn the decision: both ways give the very same page.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles

F = TypeVar("F")

#: Entries that the race begins with.
START = 1000
#: How much further each round of it goes.
FURTHER = 4


async def gathered(
    filters: Sequence[F],
    passed: Callable[[F, int], Awaitable[int]],
    is_walked: Callable[[int], Awaitable[bool]],
    cost: int = 1,
) -> F | None:
    """The filter to gather from; None to walk.

    `passed` counts what a filter lets through up to a limit, `is_walked` says whether so many entries at either end of
    the order are enough, and `cost` is what gathering an entry costs more than walking past one.
    """
    at_most = START
    while filters:
        for each in filters:
            if await passed(each, at_most // cost + 1) <= at_most // cost:
                return each
        if await is_walked(at_most):
            return None
        at_most *= FURTHER
    return None


class Unindexed(ColumnElement[Any]):
    """A column that no planner is to look up or order by.

    SQLite has no statistics, and may leave a far better index for this one. PostgreSQL has them, but soon plans for any
    values at all, and then takes every range for a narrow one.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column
        self.type = column.type


@compiles(Unindexed)
def _as_a_sum(element: Unindexed, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"({column} || '')" if element.type.python_type is str else f"({column} + 0)"


@compiles(Unindexed, "sqlite")
def _with_plus(element: Unindexed, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.column, **options)}"
