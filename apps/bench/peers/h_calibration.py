"""The h-calibration loss of arXiv 2506.17968 and its gradient by probability, in numpy double precision."""

import numpy as np


def clusters_of(p, count, iterations=15):
    """Bounds of 1-D k-means clusters of sorted values: centroids start evenly spaced, ties go to the lower cluster."""
    prefix = np.concatenate([[0.0], np.cumsum(p)])
    centroids = p[0] + (p[-1] - p[0]) * np.arange(count) / (count - 1)
    bounds = None
    for _ in range(iterations + 1):
        inner = np.searchsorted(p, (centroids[:-1] + centroids[1:]) / 2, side="right")
        following = np.concatenate([[0], inner, [len(p)]])
        if bounds is not None and np.array_equal(following, bounds):
            break
        bounds = following
        sizes = np.diff(bounds)
        sums = prefix[bounds[1:]] - prefix[bounds[:-1]]
        centroids = np.where(sizes > 0, sums / np.maximum(sizes, 1), centroids)
    return bounds


def window_sums(values, window):
    n = len(values)
    prefix = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(n)
    half = window // 2
    return prefix[np.minimum(n, positions + half + 1)] - prefix[np.maximum(0, positions - half)]


def loss_and_gradient(probs, labels, window, clusters, epsilon=1e-20, scale=1e5):
    rows, classes = probs.shape
    p_all = probs.astype(np.float64).ravel()
    occurred = np.zeros((rows, classes))
    occurred[np.arange(rows), labels] = 1
    error_all = p_all - occurred.ravel()
    order_all = np.argsort(p_all, kind="stable")
    label_of = np.repeat(labels, classes)[order_all]
    gradient = np.zeros_like(p_all)
    total = 0.0
    for left_out in range(classes):
        order = order_all[label_of != left_out]
        if len(order) == 0:
            continue
        bounds = clusters_of(p_all[order], clusters)
        sizes = np.diff(bounds)
        weight = np.repeat(1 / (clusters * (sizes + 1e-5)), sizes)
        mean = window_sums(error_all[order], window) / (window + 1)
        excess = np.maximum(0, np.abs(mean) - epsilon)
        total += np.dot(weight, excess)
        slope = np.where(excess > 0, np.sign(mean) * weight, 0)
        gradient[order] += window_sums(slope, window) / (window + 1)
    factor = scale / classes
    return factor * total, (factor * gradient).reshape(rows, classes)
