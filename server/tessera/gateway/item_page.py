"""A part of a list of items, as OpenAI's API lists them."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from pydantic import BaseModel

from tessera.errors import InvalidRequest

MOST_LISTED, USUALLY_LISTED = 100, 20


class Wanted(NamedTuple):
    """What of the list is to be shown: so many, behind the item of an id, the last ones first or not."""

    most: int
    backwards: bool
    after: str

    @classmethod
    def read(cls, limit: str, order: str, after: str) -> Self:
        """From the query. Raises ``InvalidRequest``, which names what is wrong in it."""
        if order not in ("asc", "desc"):
            raise InvalidRequest("`order` must be `asc` or `desc`.", param="order")
        if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_LISTED):
            raise InvalidRequest(f"`limit` must be a whole number from 1 to {MOST_LISTED}.", param="limit")
        return cls(int(limit), order == "desc", after)


class ItemPage(BaseModel):
    """Some of the items."""

    object: str = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, items: list[dict[str, Any]], wanted: Wanted) -> Self:
        """Those that are wanted of all. Raises ``InvalidRequest``: there is none of the id that they are to follow."""
        items = items[::-1] if wanted.backwards else items
        if wanted.after:
            places = [i for i, item in enumerate(items) if item["id"] == wanted.after]
            if not places:
                raise InvalidRequest("`after` must be the id of an item of this list.", param="after")
            items = items[places[0] + 1 :]
        page = items[: wanted.most]
        ids = [item["id"] for item in page] or [None]
        return cls(data=page, first_id=ids[0], last_id=ids[-1], has_more=len(items) > len(page))
