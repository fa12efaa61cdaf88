"""MNIST's pixels, divided by 255, as features folders, of the test images the first ten: python mnist.py IDX_FOLDER OUT"""

import gzip
import pathlib
import sys

import numpy

source, out = map(pathlib.Path, sys.argv[1:])


def array(name, header):
    return numpy.frombuffer(gzip.open(source / name).read()[header:], dtype=numpy.uint8)


for part, name, count in (("train", "train", 60_000), ("test", "t10k", 10)):
    folder = out / part
    folder.mkdir(parents=True, exist_ok=True)
    pixels = array(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    labels = array(f"{name}-labels-idx1-ubyte.gz", 8)
    numpy.save(folder / "features.npy", pixels[:count].astype(numpy.float32) / 255)
    numpy.save(folder / "labels.npy", labels[:count].astype(numpy.int64))
