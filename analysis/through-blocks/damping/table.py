"""The table of README.md: how scores at each damping agree with training again, and how those through blocks differ from the head's.

usage: python-with-polars-and-numpy table.py WORK DAMPING…
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from intervals import by_query, interval

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
