"""What "verify and escalate" gains and costs, on recorded outcomes of real models.

Each prompt is taken for a turn of an agent whose steps are verified, by a test or a schema: a step
is right if the tier's recorded answer was. A turn goes on until a step is right, six steps at most;
where each one goes is asked of the router, with its own rules. A tier's outcome for a prompt is
recorded once, so another try on the same tier never helps: the case that favours small numbers.
Costs are in cost units, for steps of equal length: 1, 3 and 10.

The recorded outcomes are of single questions: they say nothing of kinds of steps (planning, acting,
reading), so `routing.step_tiers` stays empty.

    python bench/agent_steps.py DATA.jsonl.gz … [--json]

Each line of the data is an object with `y`: the quality in [0, 1] of `light`, perhaps `standard`,
and `heavy`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tiered_llm import ComplexityEstimate, ModelRouter, RoutingRequest, Tier, get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_STEPS = 6
RIGHT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy on one set: share of turns that end well, and cost units of a turn."""

    data: str
    turns: int
    policy: str
    well: float
    cost: float
    steps: float


def read(path: Path) -> list[Mapping[Tier, float]]:
    """The outcomes of each prompt."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        given = [json.loads(line)["y"] for line in lines]
    return [{Tier(t): float(v) for t, v in y.items() if v is not None} for y in given]


class Policy:
    """Where steps go: from a tier on, and up after so many failures."""

    def __init__(self, start: Tier, escalate_after: int, tiers: Sequence[Tier]) -> None:
        """Make the router that will be asked."""
        settings = get_settings(routing={"escalate_after": escalate_after})
        specs = {tier: settings.spec(tier) for tier in tiers}
        self.name = f"{start.value}, " + (
            f"up after {escalate_after}" if escalate_after else "held"
        )
        self._router = ModelRouter(settings, specs=specs)
        self._estimate = ComplexityEstimate(score=0.0, recommended_tier=start)

    def turn(self, right: Mapping[Tier, float]) -> Iterator[Tier]:
        """The tier of each step of one turn, until one is right."""
        held: Tier | None = None
        failed = 0
        for _ in range(MOST_STEPS):
            request = RoutingRequest(held_tier=held, in_turn=held is not None, failed_steps=failed)
            tier = self._router.decide(request, self._estimate).tier
            yield tier
            if right[tier] >= RIGHT:
                return
            failed = failed + 1 if tier == held else 1
            held = tier


def measure(path: Path) -> Iterator[Row]:
    """Every policy on one set."""
    outcomes = read(path)
    tiers = sorted(outcomes[0])
    weights = {tier: get_settings().spec(tier).cost_weight for tier in tiers}
    policies = [Policy(Tier.LIGHT, after, tiers) for after in (0, 1, 2, 3)]
    for policy in (*policies, Policy(Tier.HEAVY, 0, tiers)):
        turns = [(list(policy.turn(each)), each) for each in outcomes]
        well = sum(each[steps[-1]] >= RIGHT for steps, each in turns)
        cost = sum(float(weights[tier]) for steps, _ in turns for tier in steps)
        yield Row(
            data=path.name.partition(".")[0],
            turns=len(turns),
            policy=policy.name,
            well=well / len(turns),
            cost=cost / len(turns),
            steps=sum(len(steps) for steps, _ in turns) / len(turns),
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", nargs="+", type=Path, help="recorded outcomes, JSON lines, gzip")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    rows = [row for path in given.data for row in measure(path)]
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    print(f"{'':26} {'turns':>6} {'policy':20} {'end well':>8} {'cost':>6} {'steps':>6}")
    for row in rows:
        told = f"{row.well:8.1%} {row.cost:6.1f} {row.steps:6.2f}"
        print(f"{row.data:26} {row.turns:6} {row.policy:20} {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
