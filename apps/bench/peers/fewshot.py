"""Few-shot learning in eager PyTorch: the bound optimiser of transductive clustering, and losses on an episode's embeddings."""

import torch
import torch.nn.functional as F


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


def icnn_loss(x, labels, k, neighbours):
    """-ln of the score of nearest neighbours within and between classes, the point itself left out."""
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    distances, found = torch.topk((squared + 1e-6).sqrt(), neighbours + 1, dim=1, largest=False)
    distances, found = distances[:, 1:], found[:, 1:]
    same = (labels[found] == labels[:, None]).float()
    alien = 1 - same
    nearest_alien = torch.where(alien > 0, distances, torch.full_like(distances, torch.inf)).amin(1, keepdim=True)
    has_alien = torch.isfinite(nearest_alien)
    reach = torch.where(has_alien, nearest_alien, torch.ones_like(nearest_alien)) + 1e-7
    near, own, others = distances[:, :k], same[:, :k], alien[:, :k]
    ratios = near * has_alien / reach
    ratios = ratios / ratios.amax(1, keepdim=True).clamp_min(1)

    def over_rows(values, mask):
        count = mask.sum(1)
        rows = (values * mask).sum(1) / (count + 1e-7)
        return rows.sum() / ((count > 0).sum() + 1e-7)

    within = 1 - over_rows(ratios, own)
    apart = near * others
    between = over_rows(apart / (apart.max() + 1e-7), others) if others.sum() > 0 else torch.ones(())
    score = ((within + between) / 2 + own.mean()) / 2
    return -torch.log(score.clamp_min(1e-7))


def episode_losses(embeddings, ways, shots, queries):
    """The mean of cross-entropy to the prototypes and of the ICNN loss of all points."""
    support, query = embeddings[: ways * shots], embeddings[ways * shots :]
    prototypes = support.reshape(ways, shots, -1).mean(1)
    classes = torch.arange(ways)
    cross = F.cross_entropy(-((query[:, None] - prototypes[None]) ** 2).sum(2), classes.repeat_interleave(queries))
    labels = torch.cat([classes.repeat_interleave(shots), classes.repeat_interleave(queries)])
    return (cross + icnn_loss(embeddings, labels, min(4, shots + queries - 1), shots + queries)) / 2
