"""The table of README.md: how scores at each damping agree with training again, and how those through blocks differ from the head's.

usage: python-with-polars-and-numpy table.py WORK DAMPING…
"""

import sys

import numpy as np
import polars as pl

DRAWS = 5000


def by_query(run):
    """Spearman's correlation over the halves, query by query."""
    table = pl.read_parquet(f"{run}/lds.parquet").filter(pl.col("estimator") == "run")
    correlation = pl.corr("predicted", "actual", method="spearman").alias("spearman")
    return table.group_by("query").agg(correlation).sort("query")["spearman"].to_numpy()


def interval(values):
    draws = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


work, *dampings = sys.argv[1:]
targets = [f"{target}-{source}" for target in ("digits", "cifar10") for source in ("natural", "robust")]


def row(name, values):
    print(f"| {name} | " + " | ".join(interval(value) for value in values) + " |")


def found(part, damping):
    return [by_query(f"{work}/{target}-{part}-{damping}") for target in targets]


print("| through, λ | " + " | ".join(targets) + " |\n|" + " --- |" * (len(targets) + 1))
for damping in dampings:
    row(f"head, {damping}", found("head-lds", damping))
for damping in dampings:
    row(f"blocks, {damping}", found("lds", damping))
head = found("head-lds", "0")
for damping in dampings:
    row(f"*blocks, {damping}, minus head, 0*", [own - other for own, other in zip(found("lds", damping), head)])
