"""The bound optimiser of transductive clustering in eager PyTorch."""

import torch


def bound_updates(arrays, settings):
    columns = torch.from_numpy(arrays["columns"]).long()
    costs = torch.from_numpy(arrays["costs"])
    weight, updates = settings["lambda"], int(settings["updates"])

    def step():
        y = torch.softmax(-costs, 1)
        message = y[columns].sum(1)
        for _ in range(updates):
            y = torch.softmax(weight * message - costs, 1)
            message = y[columns].sum(1)
            energy = (y * (torch.log(y.clamp_min(1e-20)) + costs - weight * message)).sum()
        return float(energy)

    return step
