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
