"""Fine-tuning in PyTorch as one would write it: the frozen part runs in every epoch, in evaluation mode and without gradients.

Images are decoded beforehand and lie in memory as floats. Prints seconds an epoch and the accuracy on the test images.
Usage: python transfer.py SOURCE.safetensors NETWORK SIDE BLOCKS IMAGES EPOCHS BATCH RATE TRAIN.parquet TEST.parquet;
a TEST of another kind is left out.
"""

import io
import json
import statistics
import sys
import time

import numpy as np
import polars
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open

from networks import NETWORKS

source, name, side, blocks, images, epochs, batch, rate, train, test = sys.argv[1:]
side, blocks, images, epochs, batch = map(int, (side, blocks, images, epochs, batch))
torch.manual_seed(0)


def read(path, count=None):
    """The first `count` / classes images of each class, or all."""
    table = polars.read_parquet(path)
    labels = table["label"].to_numpy()
    rows = np.arange(len(labels))
    if count is not None:
        classes = np.unique(labels)
        rows = np.concatenate([np.flatnonzero(labels == c)[:count // len(classes)] for c in classes])
    decode = lambda row: Image.open(io.BytesIO(row["bytes"])).convert("RGB").resize((side, side), Image.BILINEAR)
    pixels = np.stack([np.asarray(decode(table["img"][int(row)])) for row in rows])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels[rows].astype(np.int64))


def own_names(net):
    """torchvision's name of each of our tensors."""
    stages, c = [], None
    for block in net.blocks:
        width = block.bn1.num_features
        if width != c:
            stages.append(0)
            c = width
        yield f"layer{len(stages)}.{stages[-1]}", block
        stages[-1] += 1


x, y = read(train, images)
x_test, y_test = read(test) if test.endswith('.parquet') else (x[:0], y[:0])
net = NETWORKS[name](int(y.max()) + 1)
with safe_open(source, "pt") as file:
    tensors = {key: file.get_tensor(key) for key in file.keys()}
    metadata = file.metadata()
take = lambda module, prefix: module.load_state_dict(
    {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}, strict=False)
take(net.stem[0], "conv1.")
take(net.stem[1], "bn1.")
for prefix, block in own_names(net):
    missing = [key for key in take(block, prefix + ".").missing_keys if "num_batches" not in key]
    assert not missing, missing
torch.nn.init.normal_(net.fc.weight)
torch.nn.init.zeros_(net.fc.bias)

described = json.loads(metadata["normalisation"])
mean, deviation = (torch.tensor(described[key], dtype=torch.float32).view(1, 3, 1, 1) for key in ("mean", "deviation"))
x, x_test = (x - mean) / deviation, (x_test - mean) / deviation

trained = list(net.blocks)[len(net.blocks) - blocks:] + [net.fc]
net.requires_grad_(False)
for module in trained:
    module.requires_grad_(True)
optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], float(rate), momentum=0.9, weight_decay=5e-4)
schedule = torch.optim.lr_scheduler.StepLR(optimiser, max(epochs // 3, 1), 0.1)
seconds = []
for epoch in range(epochs):
    started = time.perf_counter()
    net.eval()
    for module in trained:
        module.train()
    for rows in torch.randperm(len(x)).split(batch):
        optimiser.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
    schedule.step()
    seconds.append(time.perf_counter() - started)
net.eval()
with torch.no_grad():
    right = sum((net(a).argmax(1) == b).sum().item() for a, b in zip(x_test.split(250), y_test.split(250)) if len(b))
accuracy = f", test accuracy {100 * right / len(y_test):.2f} %" if len(y_test) else ""
print(f"torch   {name} blocks {blocks}: {statistics.median(seconds):.3f} s an epoch{accuracy}", flush=True)
