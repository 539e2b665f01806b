"""Sampling by DDIM on the straight path x = (1 - t) x0 + t eps, with a perceptron of the noise, in eager PyTorch."""

import math

import torch


def mlp_sampling(arrays, settings):
    count, steps, half = settings["layers"], settings["steps"], settings["embedding"] // 2
    weights = [(torch.from_numpy(arrays[f"w{i}"]), torch.from_numpy(arrays[f"b{i}"])) for i in range(count)]
    start = torch.from_numpy(arrays["x"])
    frequencies = 1000 * torch.exp(-math.log(10_000) * torch.arange(half) / half)
    times = [0.99 + (0.01 - 0.99) * i / steps for i in range(steps + 1)]
    (first, first_bias), *others = weights

    def noise(x, t):
        # One time for all rows, as on the other side.
        angles = t * frequencies
        features = torch.cat([torch.sin(angles), torch.cos(angles)])
        h = torch.addmm(features @ first[2:] + first_bias, x, first[:2])
        for kernel, bias in others:
            h = torch.addmm(bias, torch.nn.functional.silu(h), kernel)
        return h

    @torch.no_grad()
    def step():
        x = start
        for t, s in zip(times, times[1:]):
            eps = noise(x, t)
            x0 = (x - t * eps) / (1 - t)
            x = (1 - s) * x0 + s * eps
        return (x**2).mean()

    return step


def time_shift(arrays, settings):
    """Time-shift DDIM (algorithm 3) with the exact, biased noise of a Gaussian, over DDPM's schedule."""
    axes, spectrum = torch.from_numpy(arrays["axes"]), torch.from_numpy(arrays["spectrum"])
    start = torch.from_numpy(arrays["x"])
    steps, total, half, cutoff = settings["steps"], settings["indices"], settings["window"] // 2, settings["cutoff"]
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, total, dtype=torch.float64), 0)
    # Row k is index k - 1: row 0 is clean data.
    table = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar]).float()
    nominal = [total - 1 - (i * total) // steps for i in range(steps)] + [-1]

    def noise(x, a):
        rotated = x @ axes
        return (1 + settings["kappa"]) * ((1 - a).sqrt() * rotated / (a * spectrum + 1 - a)) @ axes.T

    @torch.no_grad()
    def step():
        x = start
        index = torch.full((len(x),), nominal[0])
        for m in nominal[1:]:
            a, b = table[index + 1][:, None], table[m + 1]
            eps = noise(x, a)
            x = b.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps
            if m > cutoff:
                low = max(0, m - half)
                candidates = 1 - table[low + 1 : min(total - 1, m + half) + 2]
                index = low + ((x.var(1)[:, None] - candidates) ** 2).argmin(1)
            else:
                index = torch.full((len(x),), m)
        return (x**2).mean()

    return step
