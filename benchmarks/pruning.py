"""What judging points on all their seeds is worth: simulated sweeps, against plain ASHA.

    python -m benchmarks.pruning [--quick]

27 points x 3 seeds, 27 epochs. A point has an end value and a speed, a seed an offset and noise.
Plain ASHA judges each trial alone (one trial is one point to it) and then picks the point whose
finished trials have the best mean. Regret: by how much the true end value of the chosen point is
below that of the best one. Cost: epochs run, as a share of all. The regimes differ in how much
seeds differ, in how alike the speeds are, and in how late the first rung comes.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable, Mapping
from itertools import product

from benchmarks.interleaved import verdict
from pg_platform.driver.early_stopping import EarlyStopping
from pg_platform.sweep.schema import EarlyTerminate

POINTS, SEEDS, EPOCHS, SLOTS = 27, 3, 27, 4
SPREAD, NOISE = 0.10, 0.02
REGIMES = tuple(product((0.02, 0.08, 0.2), ((2.0, 12.0), (4.0, 6.0)), (1, 3)))
"""(standard deviation between seeds, range of the speeds in epochs, epoch of the first rung)."""

Trial = tuple[str, int]
Curve = Callable[[Trial, int], float]


def main() -> None:
    """Print regret and cost of both ways in each regime, and the geometric mean of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 sweeps a regime, not 2,000")
    sweeps = 200 if parser.parse_args().quick else 2000
    print("seeds differ by  speeds  first rung   regret of points, of trials alone  (epochs run)")
    ratios = []
    for between, speeds, first in REGIMES:
        rule = EarlyTerminate(type="asha", min_epochs=first, reduction_factor=3)
        regret, cost = compared(sweeps, between, speeds, rule)
        ratios.append(regret["points"] / regret["alone"])
        print(
            f"{between:>15} {speeds[0]:>4g}-{speeds[1]:<4g} {first:>8} {regret['points']:>14.4f}, "
            f"{regret['alone']:.4f}  ({cost['points']:.2f}, {cost['alone']:.2f})  {ratios[-1]:.2f}"
        )
    print(verdict("pruning", statistics.geometric_mean(ratios), "<= 1"))


def compared(
    sweeps: int, between: float, speeds: tuple[float, float], rule: EarlyTerminate
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean regret and mean cost, of points judged whole and of trials judged alone."""
    regrets: dict[str, list[float]] = {"points": [], "alone": []}
    costs: dict[str, list[float]] = {"points": [], "alone": []}
    for number in range(sweeps):
        ends, curve = simulated(random.Random(number), between, speeds)
        for name in regrets:
            finished, epochs = played(curve, list(ends), rule, alone=name == "alone")
            means = {point: statistics.fmean(values) for point, values in finished.items()}
            chosen = max(means, key=lambda point: means[point])
            regrets[name].append(max(ends.values()) - ends[chosen])
            costs[name].append(epochs / (POINTS * SEEDS * EPOCHS))
    return (
        {name: statistics.fmean(values) for name, values in regrets.items()},
        {name: statistics.fmean(values) for name, values in costs.items()},
    )


def simulated(
    draw: random.Random, between: float, speeds: tuple[float, float]
) -> tuple[dict[str, float], Curve]:
    """The true end value of each point, and the curve of each trial."""
    ends = {f"p{i}": draw.gauss(0.5, SPREAD) for i in range(POINTS)}
    speed = {point: draw.uniform(*speeds) for point in ends}
    offsets = {(p, s): draw.gauss(0, between) for p in ends for s in range(SEEDS)}
    noise = {(t, e): draw.gauss(0, NOISE) for t in offsets for e in range(1, EPOCHS + 1)}

    def curve(trial: Trial, epoch: int) -> float:
        risen = 1 - math.exp(-epoch / speed[trial[0]])
        return (ends[trial[0]] + offsets[trial]) * risen + noise[trial, epoch]

    return ends, curve


def played(
    curve: Curve, points: list[str], rule: EarlyTerminate, *, alone: bool
) -> tuple[Mapping[str, list[float]], int]:
    """The end values of the trials that finish, by point, and the epochs that all took."""
    judge = EarlyStopping(rule, maximize=True, epochs=EPOCHS)
    trials = [(point, seed) for point in points for seed in range(SEEDS)]
    named = {t: f"{t[0]}/{t[1]}" if alone else t[0] for t in trials}
    members: dict[str, list[Trial]] = {}
    for trial in trials:
        members.setdefault(named[trial], []).append(trial)
    for name, those in members.items():
        judge.add(name, [seed for _, seed in those])
    queue, at, held = list(trials), dict.fromkeys(trials, 0), set[Trial]()
    finished: dict[str, list[float]] = {}
    epochs = 0
    while queue or held:
        batch, queue = queue[:SLOTS], queue[SLOTS:]
        for trial in batch:
            rung = judge.next_rung(named[trial], at[trial])
            epochs += (rung or EPOCHS) - at[trial]
            at[trial] = rung or EPOCHS
            if rung is None:
                finished.setdefault(trial[0], []).append(curve(trial, EPOCHS))
                continue
            judge.note(named[trial], trial[1], rung, curve(trial, rung))
            judge.arrive(named[trial], trial[1], rung)
            held.add(trial)
        if queue:
            continue  # as the scheduler: promotions wait while there is something else to start
        decisions = judge.decide(idle=True)
        for name in (*decisions.promoted, *decisions.stopped):
            held -= set(members[name])
        queue = [t for name in decisions.promoted for t in members[name]] + queue
    return finished, epochs


if __name__ == "__main__":
    main()
