"""Robust minus natural at the low end, paired by seed: python low.py results.parquet

Means over seeds with 95 % intervals (Student's t), for each target set, and for the mean of those unlike the source's images.
"""

import pathlib
import sys

import numpy
import polars

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from intervals import half_width

NEAR = "cifar10"


def interval(values):
    values = numpy.asarray(values, dtype=numpy.float64)
    if len(values) < 2:
        return f"{values.mean():+.1f}"
    return f"{values.mean():+.1f} ± {half_width(values):.1f}"


results = polars.read_parquet(sys.argv[1])
cells = {}
for row in results.iter_rows(named=True):
    key = (row["blocks"], row["images"], row["epoch"], row["source"], row["target"])
    cells.setdefault(key, {})[row["seed"]] = 100.0 * row["test_accuracy"]

targets = sorted({key[4] for key in cells}, key=lambda name: (name == NEAR, name))
far = [target for target in targets if target != NEAR]
sources = [source for source in dict.fromkeys(key[3] for key in cells) if source != "natural"]
for blocks in sorted({key[0] for key in cells}, reverse=True):
    print(f"\n| blocks {blocks} | " + " | ".join(targets) + " | mean of the far sets |")
    print("|---" * (len(targets) + 2) + "|")
    for images, epoch in sorted({key[1:3] for key in cells if key[0] == blocks}):
        natural = {target: cells[blocks, images, epoch, "natural", target] for target in targets}
        means = " | ".join(f"{numpy.mean(list(natural[target].values())):.1f}" for target in targets)
        print(f"| {images} images, epoch {epoch}: natural | {means} | |")
        for source in sources:
            own = {target: cells[blocks, images, epoch, source, target] for target in targets}
            apart = {target: {seed: own[target][seed] - natural[target][seed] for seed in natural[target]} for target in targets}
            seeds = sorted(apart[targets[0]])
            row = [interval(list(apart[target].values())) for target in targets]
            row.append(interval([numpy.mean([apart[target][seed] for target in far]) for seed in seeds]))
            print(f"| {source} minus natural, {len(seeds)} seeds | " + " | ".join(row) + " |")
