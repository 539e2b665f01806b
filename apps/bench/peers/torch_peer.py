"""Workloads in eager PyTorch."""

import numpy as np
import torch

import h_calibration

# Inputs −log p of the piecewise linear map; beyond, the last slope goes on.
MAP_RANGE = 100.0


def set_threads(count):
    torch.set_num_threads(count)


class HCalibrationLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, probs, labels, window, clusters):
        loss, gradient = h_calibration.loss_and_gradient(probs.detach().numpy(), labels, window, clusters)
        ctx.save_for_backward(torch.from_numpy(gradient.astype(np.float32)))
        return torch.tensor(loss, dtype=torch.float32)

    @staticmethod
    def backward(ctx, slope):
        return ctx.saved_tensors[0] * slope, None, None, None


def h_calibration_epoch(arrays, settings):
    logits = torch.from_numpy(arrays["logits"])
    count = settings["segments"]
    width = MAP_RANGE / count
    slopes = torch.from_numpy(arrays["slopes"]).requires_grad_()
    optimizer = torch.optim.Adam([slopes], lr=settings["learningRate"])
    labels, window, clusters = arrays["labels"], settings["window"], settings["clusters"]

    def step():
        optimizer.zero_grad()
        x = -torch.log_softmax(logits, 1)
        segment = (x / width).long().clamp(max=count - 1)
        steep = slopes.abs()
        knots = (torch.cumsum(steep, 0) - steep) * width
        probs = torch.softmax(-(knots[segment] + steep[segment] * (x - segment * width)), 1)
        loss = HCalibrationLoss.apply(probs, labels, window, clusters)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def mlp_step(arrays, settings):
    x = torch.from_numpy(arrays["x"])
    y = torch.from_numpy(arrays["y"]).long()
    params = [torch.from_numpy(arrays[name]).requires_grad_() for name in ("w1", "b1", "w2", "b2")]
    w1, b1, w2, b2 = params
    optimizer = torch.optim.Adam(params, lr=settings["learningRate"])

    def step():
        optimizer.zero_grad()
        logits = torch.relu(x @ w1 + b1) @ w2 + b2
        loss = torch.nn.functional.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


workloads = {"h-calibration-epoch": h_calibration_epoch, "mlp-step": mlp_step}
