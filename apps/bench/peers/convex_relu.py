"""ADMM of arXiv 2201.01965 (Algorithm 1) in numpy double precision, its u-step by the Woodbury identity."""

import numpy as np


def admm(arrays, settings):
    x, y, d = (arrays[name].astype(np.float64) for name in ("x", "y", "D"))
    beta, rho = settings["beta"], settings["rho"]
    rows, features = x.shape
    count = len(d)
    sign = 2 * np.concatenate([d, d]) - 1
    active = np.concatenate([d, -d])
    inverse = np.linalg.inv(np.eye(features) + x.T @ x)
    scaled = x @ inverse
    middle = np.linalg.inv(rho * np.eye(rows) + 2 * (d.T @ d) * (scaled @ x.T))
    pull = active * (y / rho)
    v, dual = np.zeros((2 * count, features)), np.zeros((2 * count, features))
    s, cone_dual = np.zeros((2 * count, rows)), np.zeros((2 * count, rows))

    residuals = np.zeros(3)

    def outputs(projected):
        return (d * (projected[:count] - projected[count:])).sum(0)

    def step():
        nonlocal v, s, dual, cone_dual
        u = (v - dual + (sign * (s - cone_dual) + pull) @ x) @ inverse
        z = middle @ outputs(u @ x.T)
        correction = (d * z) @ scaled
        u[:count] -= correction
        u[count:] += correction
        last, last_s = v, s
        moved = u + dual
        norms = np.sqrt((moved * moved).sum(1, keepdims=True))
        v = moved * np.maximum(0, 1 - beta / rho / np.maximum(norms, 1e-300))
        dual = moved - v
        g = sign * (u @ x.T)
        lifted = g + cone_dual
        s = np.maximum(0, lifted)
        cone_dual = lifted - s
        # Residuals, as a solver needs them to stop.
        residuals[0] = np.sqrt(((u - v) ** 2).sum() + ((g - s) ** 2).sum())
        residuals[1] = np.sqrt(((v - last) ** 2).sum() + ((s - last_s) ** 2).sum())
        residuals[2] = np.sqrt((v**2).sum() + (s**2).sum())
        error = outputs(v @ x.T) - y
        return 0.5 * error @ error + beta * np.sqrt((v * v).sum(1)).sum()

    return step
