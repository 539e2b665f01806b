"""Writes metrics.json: small inputs with what scikit-learn and scipy say.

    pip install numpy scipy scikit-learn && python make-metrics.py
"""
import json
import pathlib

import numpy as np
import scipy.linalg
from sklearn import metrics
from sklearn.metrics.pairwise import rbf_kernel

rng = np.random.default_rng(20240608)
n, c = 40, 4
logits = np.round(rng.standard_normal((n, c)) * 2, 3)
labels = rng.integers(0, c, n)
p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
scores = np.round(rng.standard_normal(60), 1)  # many ties
binary = (scores + rng.standard_normal(60) > 0).astype(int)
targets = np.round(rng.standard_normal((30, 2)), 4)
predictions = np.round(targets + 0.3 * rng.standard_normal((30, 2)), 4)
x = np.round(rng.standard_normal((25, 3)), 4)
y = np.round(rng.standard_normal((20, 3)) * 1.5 + 0.5, 4)


def mmd(x, y, sigma, unbiased):
    g = 1 / (2 * sigma ** 2)
    xx, yy, xy = rbf_kernel(x, x, g), rbf_kernel(y, y, g), rbf_kernel(x, y, g)
    if not unbiased:
        return xx.mean() + yy.mean() - 2 * xy.mean()
    off = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    return off(xx) + off(yy) - 2 * xy.mean()


def frechet(x, y):
    a, b = np.cov(x.T), np.cov(y.T)
    d = x.mean(0) - y.mean(0)
    return float(d @ d + np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real)


pool = np.concatenate([x, y])
distances = np.sqrt(((pool[:, None] - pool[None]) ** 2).sum(-1))[np.triu_indices(len(pool), 1)]
median = float(np.median(distances))
predicted = p.argmax(1)
line = np.polyfit(x[:, 0], x[:, 1], 1)

out = dict(
    logits=logits.tolist(), labels=labels.tolist(), scores=scores.tolist(), binary=binary.tolist(),
    targets=targets.tolist(), predictions=predictions.tolist(), x=x.tolist(), y=y.tolist(),
    accuracy=float(metrics.accuracy_score(labels, predicted)),
    top2=float(metrics.top_k_accuracy_score(labels, logits, k=2, labels=range(c))),
    nll=float(metrics.log_loss(labels, p, labels=range(c))),
    brier=float(((p - np.eye(c)[labels]) ** 2).sum(1).mean()),
    confusion=metrics.confusion_matrix(labels, predicted, labels=range(c)).tolist(),
    auroc=float(metrics.roc_auc_score(binary, scores)), averagePrecision=float(metrics.average_precision_score(binary, scores)),
    rmse=float(np.sqrt(metrics.mean_squared_error(targets, predictions))), r2=float(metrics.r2_score(targets, predictions)),
    mmdUnbiased=mmd(x, y, 1.3, True), mmdBiased=mmd(x, y, 1.3, False), mmdMedian=mmd(x, y, median, True), frechet=frechet(x, y),
    slope=float(line[0]), intercept=float(line[1]), lineR2=float(np.corrcoef(x[:, 0], x[:, 1])[0, 1] ** 2),
)
(pathlib.Path(__file__).parent / "metrics.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
