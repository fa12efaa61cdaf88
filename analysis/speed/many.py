"""Made-up features of many images beside their parameters: 50,000 training images and 10,000 queries, d = 512, ten classes, f32.

Positive numbers about a mean that classes share, with directions of their own. Writes {train,test}.npz to a folder; seconds.
"""

import pathlib
import sys

import numpy as np

FEATURES, CLASSES = 512, 10
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
directions = rng.normal(size=(CLASSES, FEATURES)).astype("f4")
for part, count in {"train": 50_000, "test": 10_000}.items():
    labels = rng.integers(0, CLASSES, count)
    noise = rng.normal(size=(count, FEATURES)).astype("f4")
    features = np.maximum(0, 0.5 + 0.4 * noise + 0.12 * directions[labels]).astype("f4")
    np.savez(folder / f"{part}.npz", features=features, labels=labels.astype("i8"))
