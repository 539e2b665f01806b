"""Spiking networks in eager PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F


class Spike(torch.autograd.Function):
    """A step whose derivative is the triangle max(0, 1 - |x|)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).float()

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * torch.clamp(1 - x.abs(), min=0)


def sltt_step(arrays, settings):
    """A backward pass in space at every time step; the static input's current is computed once."""
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    steps, decay, mse = settings["steps"], 1 - 1 / settings["tau"], settings["mse"]
    parameter = lambda name: torch.from_numpy(np.ascontiguousarray(arrays[f"params/{name}"])).requires_grad_()
    first, first_norm = [parameter(f"encoder/0/{n}") for n in ("kernel", "bias")], [parameter(f"encoder/1/{n}") for n in ("scale", "offset")]
    second, second_norm = [parameter(f"network/1/{n}") for n in ("kernel", "bias")], [parameter(f"network/2/{n}") for n in ("scale", "offset")]
    readout = [parameter(f"network/4/{n}") for n in ("kernel", "bias")]
    params = [*first, *first_norm, *second, *second_norm, *readout]
    optimizer = torch.optim.SGD(params, lr=settings["learningRate"], momentum=settings["momentum"])
    first_running, second_running = [torch.zeros(256), torch.ones(256)], [torch.zeros(128), torch.ones(128)]

    def step():
        optimizer.zero_grad()
        current = F.batch_norm(torch.addmm(first[1], x, first[0]), *first_running, *first_norm, training=True)
        shown = current.detach().requires_grad_()
        v1, v2, total = 0.0, 0.0, 0.0
        for _ in range(steps):
            u1 = decay * v1 + shown
            s1 = Spike.apply(u1 - 1)
            inner = F.batch_norm(torch.addmm(second[1], s1, second[0]), *second_running, *second_norm, training=True)
            u2 = decay * v2 + inner
            s2 = Spike.apply(u2 - 1)
            logits = torch.addmm(readout[1], s2, readout[0])
            loss = ((1 - mse) * F.cross_entropy(logits, y) + mse * (logits - 1).square().mean()) / steps
            loss.backward()
            v1, v2 = (u1 - s1).detach(), (u2 - s2).detach()
            total = total + loss.detach()
        current.backward(shown.grad)
        optimizer.step()
        return total

    return step
