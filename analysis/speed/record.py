"""Adds one run of ascribe to $BENCH/out/results.jsonl: NAME JOB RUN SECONDS KILOBYTES.

Agreement is of the top-100 lists in rankings.parquet with those of the exact f64 answer, over 200 queries spread evenly.
"""
import json
import os
import sys

import numpy as np
import polars

name, job, run, seconds, kilobytes = sys.argv[1:]
exact = np.load(f"{job}/gt_scores.npy", mmap_mode="r")
ranks = polars.read_parquet(f"{run}/rankings.parquet").filter(polars.col("rank") <= 100)
queries = ranks["query"].unique().sort().to_list()
overlaps = []
for query in queries[:: max(1, len(queries) // 200)]:
    found = set(ranks.filter(polars.col("query") == query)["train"].to_list())
    overlaps.append(len(found & set(np.argpartition(-exact[query], 100)[:100].tolist())) / 100)
record = json.load(open(f"{run}/run.json"))
line = {
    "tool": "ascribe",
    "method": name,
    "wall_total": float(seconds),
    "rss_GB": int(kilobytes) * 1024 / 1e9,
    "top100": float(np.mean(overlaps)),
    "stages": {stage["name"]: round(stage["seconds"], 2) for stage in record["stages"]},
    "certified": record["results"]["certified"],
    "solver": record["results"]["solver"],
    "solves": record["results"]["solves"],
}
with open(os.environ["BENCH"] + "/out/results.jsonl", "a") as file:
    file.write(json.dumps(line) + "\n")
print(json.dumps(line))
