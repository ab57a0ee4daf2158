"""Mini-Monkey's multi-scale adaptive cropping (https://arxiv.org/abs/2408.02034): two grids over one image.

Where one grid cuts through a thing, the other one does not: its lines are kept off those of the first. The shapes are
chosen as InternVL's.
"""

from __future__ import annotations

from dataclasses import dataclass

from tessera.plan.internvl import closest, grids
from tessera.plan.plans import Grid

DETAIL, ADAPTIVE = (4, 12), (3, 7)


@dataclass(frozen=True, slots=True)
class TwoGrids:
    """The tiles of the detailed grid come first, then those of the adaptive one, then the thumbnail."""

    detail: Grid
    adaptive: Grid

    @property
    def tiles(self) -> int:
        """All of them, with the thumbnail."""
        return self.detail.tiles + self.adaptive.tiles + 1


def msac(
    width: int, height: int, tile: int, *, detail: tuple[int, int] = DETAIL, adaptive: tuple[int, int] = ADAPTIVE
) -> TwoGrids:
    """Two grids for an image.

    Args:
        width: pixels.
        height: pixels.
        tile: pixels on a side of a tile.
        detail: least and most tiles of the detailed grid.
        adaptive: least and most tiles of the other one.
    """
    fine = closest(grids(*detail), width, height, tile)
    apart = [grid for grid in grids(*adaptive) if fine.columns % grid.columns or fine.rows % grid.rows]
    return TwoGrids(fine, closest(apart, width, height, tile))
