"""Reads the data of Figure 2 and prints, as Markdown, who gets where first.

python table.py figure2.csv…     for each file: epochs until 95 % of the natural source's last accuracy, and robust minus natural
"""

import csv
import pathlib
import sys
from collections import defaultdict

NEAR = "cifar10"


def read(path):
    """Accuracy by target, source and epoch, in percent."""
    accuracy = defaultdict(dict)
    for row in csv.DictReader(path.open()):
        if row["panel"] == "a":
            accuracy[row["target"], row["source"]][int(row["at"])] = float(row["value"])
    return accuracy


def table(path):
    accuracy = read(path)
    targets = sorted({target for target, _ in accuracy}, key=lambda name: (name == NEAR, name))
    sources = list(dict.fromkeys(source for _, source in accuracy))
    epochs = sorted(accuracy[targets[0], sources[0]])
    print(f"\n{path.parent.name}\n\n| epochs to 95 % of natural's last | " + " | ".join(targets) + " |")
    print("|---" * (1 + len(targets)) + "|")
    for source in sources:
        reached = []
        for target in targets:
            goal = 0.95 * accuracy[target, "natural"][epochs[-1]]
            first = [epoch for epoch in epochs if accuracy[target, source][epoch] >= goal]
            reached.append(str(first[0]) if first else "–")
        print(f"| {source} | " + " | ".join(reached) + " |")
    print("\n| minus natural, mean of the far sets | " + " | ".join(map(str, epochs)) + " |")
    print("|---" * (1 + len(epochs)) + "|")
    far = [target for target in targets if target != NEAR]
    for source in sources:
        if source == "natural":
            continue
        pairs = [[accuracy[target, source][epoch] - accuracy[target, "natural"][epoch] for target in far] for epoch in epochs]
        print(f"| {source} | " + " | ".join(f"{sum(pair) / len(pair):+.1f}" for pair in pairs) + " |")


for name in sys.argv[1:]:
    table(pathlib.Path(name))
