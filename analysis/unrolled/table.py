"""The table of README.md: how each kind of score agrees with training again, by recipe.

usage: python-with-polars-and-numpy table.py WORK
"""

import csv
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from intervals import by_query, interval

work = pathlib.Path(sys.argv[1])
recipes = ["paper", "large-head", "fast", "mid", "smooth"]


def results(run):
    return json.loads((work / run / "run.json").read_text())


print("| | " + " | ".join(recipes) + " |\n|" + " --- |" * (len(recipes) + 1))
accuracy = [100 * results(recipe)["results"]["test"]["accuracy"] for recipe in recipes]
print("| test accuracy, % | " + " | ".join(f"{value:.1f}" for value in accuracy) + " |")
growth = [results(f"{recipe}-unrolled")["results"]["solver"]["way_back_growth"] for recipe in recipes]
print("| *`way_back_growth`* | " + " | ".join(f"{value:.1f}" for value in growth) + " |")
print("| *trained on halves, in another order* |" + " |" * len(recipes))
dampings = ("0", "1e-2", "1e-1")


def row(name, part, left_out="lds"):
    print(f"| {name} | " + " | ".join(interval(by_query(f"{work}/{recipe}-{part}", left_out)) for recipe in recipes) + " |")


row("**unrolled**", "unrolled-lds")
for damping in dampings:
    row(f"blocks, λ = {damping}", f"lds-{damping}")
row("head, λ = 0", "head-lds")
seeds = [results(f"{recipe}-trained")["results"]["lds_seeds"] for recipe in recipes]
print("| *one seed with another* | " + " | ".join(f"{seed['one_with_another']:.2f}" for seed in seeds) + " |")
print("| *the true effects, at most* | " + " | ".join(f"{seed['most_to_expect']:.2f}" for seed in seeds) + " |")
for what, left_out in (("same batches, one image's loss left out", "leave_one_out"), ("same batches, losses of halves left out", "lds")):
    print(f"| *{what}* |" + " |" * len(recipes))
    row("**unrolled**", "kept", left_out)
    kept = [results(f"{recipe}-kept")["results"][left_out]["rows"][0]["agreement"] for recipe in recipes]
    for name in ("Pearson", "slope"):
        print(f"| unrolled, {name} | " + " | ".join(f"{agreement[name.lower()]['value']:.2f}" for agreement in kept) + " |")
    for damping in dampings:
        row(f"blocks, λ = {damping}", f"kept-{damping}", left_out)


def audited(run):
    """For how many of the test images the rise is within a factor of two of the predicted, and how many times that in the median."""
    rows = csv.DictReader(open(work / run / "measured.csv"))
    times = [float(row["measured_rise"]) / float(row["predicted_rise"]) for row in rows]
    held = sum(0.5 <= value <= 2 for value in times)
    return f"{held} of {len(times)}, {statistics.median(times):.2g}"


for removed, what in ((1, "the most helpful image's loss left out"), (10, "losses of the ten most helpful left out")):
    print(f"| *same batches, {what}* |" + " |" * len(recipes))
    for name, part in (("**unrolled**", "audit"), ("blocks, λ = 1e-1", "audit-at-1e-1")):
        print(f"| {name} | " + " | ".join(audited(f"{recipe}-{part}-{removed}") for recipe in recipes) + " |")
