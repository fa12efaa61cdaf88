"""One training step in PyTorch, as benches/training.rs does it. Usage: python step.py [ROUNDS]"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F

from networks import NETWORKS

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
for name, side, batch, billions in (("cifar-resnet18", 32, 128, 0.556), ("resnet50", 224, 8, 4.09)):
    torch.manual_seed(0)
    net = NETWORKS[name](10).train()
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.rand(batch, 3, side, side), torch.arange(batch) % 10
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        optimiser.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimiser.step()
        seconds.append(time.perf_counter() - started)
    step = statistics.median(seconds[1:])
    print(f"torch   {name} {side} batch {batch}: {step:.3f} s a step, {6 * billions * batch / step:.0f} GFLOP/s", flush=True)
