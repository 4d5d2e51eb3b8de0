"""The composite position bias of agent attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .resize import interpolate
from .rules.agent_bias import AgentBiasRule, check_side
from .tables import GridTable, draw_table


class AgentBias(AgentBiasRule, nn.Module):
    """Bias between agents and positions for one of the two sides of agent attention, ``N = prod(grid)``:

    - ``side="keys"`` (agents read positions): ``() -> (heads, agents, prefix + N)``
    - ``side="queries"`` (positions read agents): ``() -> (heads, prefix + N, agents)``

    ``bias = bilinear(weight -> grid) + axes[0] + axes[1] + ...``: a small table enlarged to the grid, and for each axis of the
    grid a table that is constant along the others. Prefix tokens have a table of their own and come first.

    Args:
        heads: number of heads.
        agents: number of agents.
        table: extent of the small table on each axis.
        side: ``"keys"`` or ``"queries"``.
        std: standard deviation of the initial tables (truncated normal).

    Agent attention, Han et al. 2024 (arXiv 2312.08874). In its code and checkpoints, for the keys and the queries:

    ==========  ===========================================  ===========================================
    weight      ``an_bias (h, n, 7, 7)``                     ``na_bias (h, n, 7, 7)``
    axes.0      ``ah_bias (1, h, n, H, 1)``                  ``ha_bias (1, h, H, 1, n)``
    axes.1      ``aw_bias (1, h, n, 1, W)``                  ``wa_bias (1, h, 1, W, n)``
    prefix      ``ac_bias (1, h, n, 1)``                     ``ca_bias (1, h, 1, n)``
    ==========  ===========================================  ===========================================

    The one- and three-dimensional forms (linear, trilinear, one axis less or more) are not in the paper.

    Example:
        >>> AgentBias((14, 14), 1, heads=2, agents=9)().shape
        torch.Size([2, 9, 197])
    """

    roles = {"weight": "table", "axes": "table", "prefix": "table"}

    def __init__(
        self,
        grid: tuple[int, ...],
        prefix: int,
        *,
        heads: int,
        agents: int,
        table: int = 7,
        side: str = "keys",
        std: float = 0.02,
    ):
        super().__init__()
        check_side(side)
        self.grid, self.keys, self.std = tuple(grid), side == "keys", std
        rank = len(self.grid)
        self.weight = nn.Parameter(torch.empty(heads, agents, *(table,) * rank))
        self.axes = nn.ParameterList()
        for axis, extent in enumerate(self.grid):
            size = [extent if other == axis else 1 for other in range(rank)]
            self.axes.append(nn.Parameter(torch.empty(1, heads, *([agents, *size] if self.keys else [*size, agents]))))
        size = [agents, prefix] if self.keys else [prefix, agents]
        self.prefix = nn.Parameter(torch.empty(1, heads, *size)) if prefix else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            draw_table(parameter, self.std)

    def tables(self) -> dict[str, tuple[GridTable, ...]]:
        """How the table of each axis lies on it."""
        first = 3 if self.keys else 2
        return {f"axes.{axis}": (GridTable(first + axis, (extent,)),) for axis, extent in enumerate(self.grid)}

    def forward(self) -> Tensor:
        bias = interpolate(self.weight, self.grid, "bilinear").flatten(2)
        axes = self.axes[0]
        for axis in range(1, len(self.grid)):
            axes = axes + self.axes[axis]
        if self.keys:
            bias = bias + axes[0].flatten(2)
            return bias if self.prefix is None else torch.cat([self.prefix[0], bias], dim=2)
        bias = bias.transpose(1, 2) + axes[0].flatten(1, -2)
        return bias if self.prefix is None else torch.cat([self.prefix[0], bias], dim=1)
