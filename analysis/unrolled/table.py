"""The table of README.md: how each kind of score agrees with training again, by recipe.

usage: python-with-polars-and-numpy table.py WORK
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from intervals import by_query, interval

work = pathlib.Path(sys.argv[1])
recipes = ["paper", "mid", "smooth"]


def results(run):
    return json.loads((work / run / "run.json").read_text())


print("| | " + " | ".join(recipes) + " |\n|" + " --- |" * (len(recipes) + 1))
accuracy = [100 * results(recipe)["results"]["test"]["accuracy"] for recipe in recipes]
print("| test accuracy, % | " + " | ".join(f"{value:.1f}" for value in accuracy) + " |")
rows = [("**unrolled**", "unrolled-lds")] + [(f"blocks, λ = {damping}", f"lds-{damping}") for damping in ("0", "1e-2", "1e-1")]
for name, part in rows + [("head, λ = 0", "head-lds")]:
    print(f"| {name} | " + " | ".join(interval(by_query(f"{work}/{recipe}-{part}")) for recipe in recipes) + " |")
seeds = [results(f"{recipe}-trained")["results"]["lds_seeds"] for recipe in recipes]
print("| *one seed with another* | " + " | ".join(f"{seed['one_with_another']:.2f}" for seed in seeds) + " |")
print("| *the true effects, at most* | " + " | ".join(f"{seed['most_to_expect']:.2f}" for seed in seeds) + " |")
growth = [results(f"{recipe}-unrolled")["results"]["solver"]["way_back_growth"] for recipe in recipes]
print("| *`way_back_growth`* | " + " | ".join(f"{value:.1f}" for value in growth) + " |")
