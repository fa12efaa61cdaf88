"""Features of CIFAR-10's size for `run.sh`'s last row: 50,000 training images and 10,000 queries, d = 2048, f32.

Rows of the paper job's features drawn with replacement, each number with a normal deviate of 0.3 standard deviations of its
column added, so that no two rows are equal; labels travel along. Writes $BENCH/features/large/{train,test}; half a minute.
"""

import os
import pathlib

import numpy as np

NOISE, STEP = 0.3, 2000
folder = pathlib.Path(os.environ["BENCH"]) / "features"

for seed, (part, count) in enumerate({"train": 50_000, "test": 10_000}.items()):
    rng = np.random.default_rng(seed)
    features = np.load(folder / "d2048" / f"{part}_features.npy")
    labels = np.load(folder / "d2048" / f"{part}_labels.npy")
    rows = rng.integers(0, len(features), count)
    spread = NOISE * features.std(0)
    out = folder / "large" / part
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "labels.npy", labels[rows])
    drawn = np.lib.format.open_memmap(out / "features.npy", "w+", "f4", (count, features.shape[1]))
    for start in range(0, count, STEP):
        chosen = rows[start : start + STEP]
        noise = rng.standard_normal((len(chosen), features.shape[1]), dtype="f4")
        drawn[start : start + STEP] = features[chosen] + noise * spread
    drawn.flush()
