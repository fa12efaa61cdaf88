"""MNIST's pixels, divided by 255, as features folders: python mnist.py IDX_FOLDER OUT"""

import gzip
import pathlib
import sys

import numpy

source, out = map(pathlib.Path, sys.argv[1:])


def array(name, header):
    return numpy.frombuffer(gzip.open(source / name).read()[header:], dtype=numpy.uint8)


for part, name in (("train", "train"), ("test", "t10k")):
    folder = out / part
    folder.mkdir(parents=True, exist_ok=True)
    pixels = array(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    labels = array(f"{name}-labels-idx1-ubyte.gz", 8)
    numpy.save(folder / "features.npy", pixels.astype(numpy.float32) / 255)
    numpy.save(folder / "labels.npy", labels.astype(numpy.int64))
