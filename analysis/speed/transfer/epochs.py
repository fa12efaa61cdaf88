"""Seconds an epoch of a transfer, what keeping activations took before, and the test accuracy. Usage: epochs.py RUN NETWORK"""

import csv
import json
import statistics
import sys

folder, network = sys.argv[1:]
with open(f"{folder}/training.csv") as file:
    rows = list(csv.DictReader(file))
# The last epoch measures the test images as well.
seconds = [float(row["seconds"]) for row in rows[:-1]]
with open(f"{folder}/run.json") as file:
    run = json.load(file)
training = next(stage["seconds"] for stage in run["stages"] if stage["name"] == "training")
before = training - sum(float(row["seconds"]) for row in rows)
print(f"ascribe {network} blocks {run['options']['blocks']}: {statistics.median(seconds):.3f} s an epoch, "
      f"{before:.2f} s before the first, test accuracy {100 * run['results']['test']['accuracy']:.2f} %", flush=True)
