"""Writes linalg-*.json: matrices of prescribed condition number with results computed in 60 decimal digits.

    pip install numpy scipy mpmath && python make-linalg.py

The matrices are float64 numbers, taken as exact; mpmath works on them with 60 digits and the results are rounded once
to float64, so the expected values are right to the last bit and every error belongs to the code under test. numpy
makes the matrices, and the eigenvalues of general matrices, whose own conditioning is stored beside them.
"""
import json
import pathlib

import mpmath as mp
import numpy as np

mp.mp.dps = 60
here = pathlib.Path(__file__).parent
rng = np.random.default_rng(20240607)


def orthogonal(n):
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def spectrum(n, condition):
    return condition ** (-np.arange(n) / (n - 1))


def rows(m):
    return [[float(x) for x in row] for row in (m.tolist() if isinstance(m, (np.ndarray, mp.matrix)) else m)]


def column(m):
    return [float(x) for x in m]


def write(name, cases):
    (here / f"linalg-{name}.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def general(condition, m, n):
    k = min(m, n)
    return (orthogonal(m)[:, :k] * spectrum(k, condition)) @ orthogonal(n)[:k]


conditions = [1e1, 1e4, 1e7, 1e10]

cases = []
for condition in conditions:
    n = 10
    a = general(condition, n, n)
    b = rng.standard_normal((n, 2))
    am = mp.matrix(a.tolist())
    inverse = am ** -1
    singular = mp.svd_r(am, compute_uv=False)
    cases.append(dict(condition=condition, a=rows(a), b=rows(b), x=rows(inverse * mp.matrix(b.tolist())), inverse=rows(inverse),
                      logAbsDet=float(mp.log(abs(mp.det(am)))), sign=int(mp.sign(mp.det(am))), singularValues=column(singular)))
write("general", cases)

cases = []
for condition in conditions:
    n = 10
    q = orthogonal(n)
    a = (q * spectrum(n, condition)) @ q.T
    a = (a + a.T) / 2
    b = rng.standard_normal((n, 2))
    am = mp.matrix(a.tolist())
    values, vectors = mp.eigsy(am)
    root = vectors * mp.diag([mp.sqrt(v) for v in values]) * vectors.T
    cases.append(dict(condition=condition, a=rows(a), b=rows(b), cholesky=rows(mp.cholesky(am)), x=rows(am ** -1 * mp.matrix(b.tolist())),
                      logDet=float(mp.log(mp.det(am))), eigenvalues=column(sorted(values)), sqrt=rows(root)))
write("symmetric", cases)

cases = []
for condition in conditions:
    for m, n in [(14, 6), (6, 14)]:
        a = general(condition, m, n)
        b = rng.standard_normal(m)
        am = mp.matrix(a.tolist())
        bm = mp.matrix(b.tolist())
        # Full rank: the pseudo-inverse through the exact normal equations.
        x = (am.T * am) ** -1 * am.T * bm if m > n else am.T * (am * am.T) ** -1 * bm
        lam = mp.mpf("1e-3")
        ridge = (am.T * am + lam * mp.eye(n)) ** -1 * am.T * bm
        residual = float(mp.norm(am * x - bm) / mp.norm(bm))
        cases.append(dict(condition=condition, a=rows(a), b=column(b), x=column(x), relativeResidual=residual, ridge=column(ridge)))
write("least-squares", cases)

cases = []
for condition in [1e1, 1e3, 1e5]:
    for complex_ in [False, True]:
        n = 8
        if complex_:
            values = rng.standard_normal(n) + 1j * rng.standard_normal(n)
            v = general(condition, n, n) + 0j
            a = v @ np.diag(values) @ np.linalg.inv(v)
        else:
            v = general(condition, n, n)
            blocks = np.zeros((n, n))
            for i in range(0, n, 2):
                re, im = rng.standard_normal(2)
                blocks[i:i + 2, i:i + 2] = [[re, im], [-im, re]] if i < n - 2 else [[re, 0], [0, im]]
            a = v @ blocks @ np.linalg.inv(v)
        am = mp.matrix([[mp.mpc(complex(x)) for x in row] for row in a.tolist()])
        values, vectors = mp.eig(am)
        columns = []
        for j in range(n):
            c = vectors[:, j]
            columns.append(c / mp.norm(c))
        unit = mp.matrix(n, n)
        for j in range(n):
            unit[:, j] = columns[j]
        s = mp.svd_c(unit, compute_uv=False)
        cases.append(dict(re=rows(a.real), im=rows(a.imag), valuesRe=[float(x.real) for x in values], valuesIm=[float(x.imag) for x in values],
                          vectorCondition=float(s[0] / s[n - 1])))
write("eigen", cases)
