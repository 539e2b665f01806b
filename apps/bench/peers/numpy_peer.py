"""Workloads in numpy, with gradients written out."""

import numpy as np

import convex_relu
import h_calibration

# Inputs −log p of the piecewise linear map; beyond, the last slope goes on.
MAP_RANGE = 100.0


def set_threads(count):
    """Threads of numpy's BLAS are set by the environment, before it is imported."""


class Adam:
    def __init__(self, params, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.params, self.rate, self.beta1, self.beta2, self.epsilon = params, rate, beta1, beta2, epsilon
        self.means = [np.zeros_like(p) for p in params]
        self.squares = [np.zeros_like(p) for p in params]
        self.count = 0

    def update(self, grads):
        self.count += 1
        corrected1, corrected2 = 1 - self.beta1**self.count, 1 - self.beta2**self.count
        for p, g, m, v in zip(self.params, grads, self.means, self.squares):
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g * g - v)
            p -= self.rate * (m / corrected1) / (np.sqrt(v / corrected2) + self.epsilon)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def h_calibration_epoch(arrays, settings):
    logits, slopes = arrays["logits"], arrays["slopes"]
    count = settings["segments"]
    width = np.float32(MAP_RANGE / count)
    optimizer = Adam([slopes], settings["learningRate"])
    labels, window, clusters = arrays["labels"], settings["window"], settings["clusters"]

    def step():
        shifted = logits - logits.max(1, keepdims=True)
        x = np.log(np.exp(shifted).sum(1, keepdims=True)) - shifted
        segment = np.minimum((x / width).astype(np.int64), count - 1)
        into = x - segment.astype(np.float32) * width
        flat = segment.ravel()
        steep = np.abs(slopes)
        knots = (np.cumsum(steep) - steep) * width
        probs = softmax(-(knots[segment] + steep[segment] * into))
        loss, by_probs = h_calibration.loss_and_gradient(probs, labels, window, clusters)
        by_map = -probs * (by_probs - (by_probs * probs).sum(1, keepdims=True))
        within = np.bincount(flat, weights=(by_map * into).ravel(), minlength=count)
        through = np.bincount(flat, weights=by_map.ravel(), minlength=count)
        # Every segment below the input's own is covered over its whole width.
        above = np.cumsum(through[::-1])[::-1] - through
        optimizer.update([(np.sign(slopes) * (within + width * above)).astype(np.float32)])
        return loss

    return step


def mlp_step(arrays, settings):
    x, y = arrays["x"], arrays["y"]
    w1, b1, w2, b2 = (arrays[name] for name in ("w1", "b1", "w2", "b2"))
    optimizer = Adam([w1, b1, w2, b2], settings["learningRate"])
    rows = np.arange(len(y))

    def step():
        hidden = np.maximum(x @ w1 + b1, 0)
        logits = hidden @ w2 + b2
        probs = softmax(logits)
        loss = -np.log(probs[rows, y]).mean()
        by_logits = probs.copy()
        by_logits[rows, y] -= 1
        by_logits /= len(y)
        by_hidden = (by_logits @ w2.T) * (hidden > 0)
        optimizer.update([x.T @ by_hidden, by_hidden.sum(0), hidden.T @ by_logits, by_logits.sum(0)])
        return loss

    return step


def boosted_units(arrays, settings):
    x, target = arrays["x"].astype(np.float64), arrays["target"].astype(np.float64)
    d, units, outputs, n = settings["features"], settings["units"], settings["outputs"], settings["rows"]
    flat = arrays["weights"].astype(np.float64)
    ends = np.cumsum([d * units, units, units * outputs])
    w1, b1, w2, b2 = np.split(flat, ends)
    # Views into one vector, as a solver would hold them.
    w1, w2 = w1.reshape(units, d), w2.reshape(units, outputs)
    alpha, rate = settings["alpha"], settings["learningRate"]

    def step():
        hidden = 1 / (1 + np.exp(-(x @ w1.T + b1)))
        error = hidden @ w2 + b2 - target
        loss = (0.5 * (error**2).sum() + 0.5 * alpha * ((w1**2).sum() + (w2**2).sum())) / n
        back = (error @ w2.T) * hidden * (1 - hidden)
        grads = (back.T @ x + alpha * w1, back.sum(0), hidden.T @ error + alpha * w2, error.sum(0))
        for weights, gradient in zip((w1, b1, w2, b2), grads):
            weights -= rate / n * gradient
        return loss

    return step


workloads = {
    "boosted-units": boosted_units,
    "convex-relu-admm": convex_relu.admm,
    "h-calibration-epoch": h_calibration_epoch,
    "mlp-step": mlp_step,
}
