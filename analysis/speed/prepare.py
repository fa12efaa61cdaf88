"""Lays the job's arrays out as ascribe reads them: folders train, test and test10 (ten queries), and head.npz."""
import os
import sys

import numpy as np

job = sys.argv[1]
for side in ("train", "test"):
    os.makedirs(f"{job}/{side}", exist_ok=True)
    for array in ("features", "labels"):
        target = f"{job}/{side}/{array}.npy"
        if not os.path.exists(target):
            os.link(f"{job}/{side}_{array}.npy", target)
os.makedirs(f"{job}/test10", exist_ok=True)
for array in ("features", "labels"):
    np.save(f"{job}/test10/{array}.npy", np.load(f"{job}/test_{array}.npy", mmap_mode="r")[:10])
np.savez(f"{job}/head.npz", weight=np.load(f"{job}/head_weight.npy"), bias=np.load(f"{job}/head_bias.npy"))
