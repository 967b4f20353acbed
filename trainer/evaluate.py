"""How good a style is, on a scale from the photograph as it is (0) to Gatys' optimisation of the same loss (1)."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from stylebatch.errors import StylebatchError
from stylebatch.files import atomic_write, create, replace, taken
from stylebatch.grid import contact_sheet
from stylebatch.styles import load_style as load_network
from trainer.config import FitConfig
from trainer.content import StylePicture, find_photographs, load_middles, load_photograph, load_style
from trainer.crops import why_broken
from trainer.grain import lattice_energy, mean_of_shifts
from trainer.losses import gram, style_loss
from trainer.objective import Objective
from trainer.report import save_sheet, to_image
from trainer.stability import stability_error
from trainer.terms import TOTAL
from trainer.vgg import VGG16

#: Layers whose Gram matrices no training looks at, and the layer whose self-similarity tells whether content was kept.
UNSEEN_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SIMILARITY_LAYER = "relu4_1"


@dataclass(frozen=True)
class Scores:
    """One photograph. Losses of the photograph, the network's picture and the optimised one, in this order; a score is
    (photograph − network) / (photograph − optimised): 1 is as good as the optimisation, over 1 better.

    Attributes:
        similarity: mean absolute difference between the network's picture and the photograph in the cosine similarities
            between all places, 0 to 2 (Kolkin et al. 2019, arXiv 1904.12785, eq. 8); less is more content kept.
        stability: mean squared change, on [0,1], that a made-up motion leaves after it is undone.
        shifted_style: style loss of the mean of four passes shifted on the network's grid (`grain.mean_of_shifts`).
    """

    photograph: str
    content: list[float]
    style: list[float]
    unseen_style: list[float]
    total: list[float]
    style_score: float
    unseen_style_score: float
    total_score: float
    similarity: float
    stability: float
    shifted_style: float


def evaluate(
    style: str,
    picture: Path,
    photographs: Path,
    *,
    out: Path = Path("evaluation"),
    overwrite: bool = False,
    size: int = 256,
    iterations: int = 100,
    style_size: int = FitConfig.style_size,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    message: Callable[[str], None] = lambda _: None,
) -> Path:
    """Compare a style with the photographs as they are and with Gatys' optimisation (Gatys et al. 2016), which is kept in
    `out/gatys` for the next time. Both are judged by Gatys' two losses, content and style, in the proportion that the style
    was trained with; a mix, in the one that a training would choose.

    Args:
        style: a name, path or mix.
        picture: the painting that it was trained with.
        photographs: a folder.
        overwrite: replace an earlier report.
        size: long side of the photographs.
        iterations: of L-BFGS, from the photograph.
        progress: called with photographs done and in all.
        message: called with one line for each photograph that is passed over.

    Returns:
        The report, `{out}/{style}.md`; beside it `.json` and the sheet `.jpg`: photograph, network, optimised.

    Raises:
        StylebatchError: bad input, or a report that is there.
    """
    if iterations < 1 or size < 64:
        raise StylebatchError(f"`iterations` {iterations}, `size` {size}: must be at least 1 and 64")
    checkpoint = load_network(style)
    name = str(checkpoint.metadata["style"])
    for path in _reports(name, out):
        if os.path.lexists(path) and not overwrite:
            raise StylebatchError(str(taken(path)))
    network, vgg = checkpoint.network(), VGG16()
    painting = load_style(picture, style_size)
    paths, skipped = find_photographs(photographs, out)
    for line in skipped:
        message(f"skipped {line}")
    trained = checkpoint.metadata.get("style_weight")  # a string in the header of a safetensors file
    try:
        weight = None if trained is None else float(trained)
    except (TypeError, ValueError):
        raise StylebatchError(f"style {style}: the style weight in its metadata is {trained!r}, no number") from None
    config = FitConfig(style=picture, style_weight=weight, palette_weight=0.0, shading_weight=0.0)
    objective = Objective(config, vgg, painting, load_middles(paths, len(paths), size)[0])
    unseen = {layer: gram(each, painting.opacity) for layer, each in vgg(painting.image, UNSEEN_LAYERS).items()}
    rows, scores, painted = [], [], []
    for done, path in enumerate(paths):
        try:
            photograph = load_photograph(path, size)
        except Exception:  # Pillow's plug-ins fail in every way on broken files
            message(f"skipped {path}: {why_broken(path)}")
            continue
        with torch.inference_mode():
            stylized, mean = network(photograph), mean_of_shifts(network, photograph)
        optimised = _cached_gatys(objective, photograph, iterations, out / "gatys", painting)
        pictures = (photograph, stylized, optimised)
        scores.append(_scores(path.name, objective, unseen, pictures, mean, stability_error(network, photograph)))
        painted.append(stylized)
        rows.append([to_image(image) for image in pictures])
        progress(done + 1, len(paths))
    how = {"long side": size, "style weight": objective.weights["style"], "L-BFGS iterations": iterations}
    return _write(name, how, scores, _grain(scores, painted), rows, out, replace if overwrite else create)


def gatys(objective: Objective, photograph: Tensor, iterations: int) -> Tensor:
    """Optimise the pixels themselves, by L-BFGS from the photograph (Gatys et al. 2016, section 2.3).

    Deviation: a sigmoid of what is optimised is the picture, so that the loss is that of one that can be shown. Free pixels
    leave [0,1]: their loss is half as high, and over twice as high once they are clamped.

    Args:
        photograph: 1×3×H×W in [0,1].

    Returns:
        The same, the best picture that was seen.
    """
    target = objective.target(photograph)
    pixels = photograph.clamp(0.01, 0.99).logit().contiguous().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [pixels], max_iter=iterations, history_size=20, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    best, lowest = photograph, float("inf")

    def closure() -> Tensor:
        nonlocal best, lowest
        optimizer.zero_grad()
        picture = pixels.sigmoid()
        total = objective(picture, target)[TOTAL]
        total.backward()  # type: ignore[no-untyped-call]
        if total.item() < lowest:
            best, lowest = picture.detach().clone(), total.item()
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return best


def self_similarity(features: Tensor) -> Tensor:
    """Cosine similarities between all places of 1×C×H×W features, over at most 32×32 of them. Returns (H·W)×(H·W)."""
    places = F.normalize(F.adaptive_avg_pool2d(features, (min(32, features.shape[2]), min(32, features.shape[3]))), dim=1)
    flat = places.flatten(2)[0]
    return flat.T @ flat


def _cached_gatys(objective: Objective, photograph: Tensor, iterations: int, folder: Path, painting: StylePicture) -> Tensor:
    """By the content of the photograph and the painting, the weights and the number of iterations."""
    weights = (*(objective.weights[name] for name in ("content", "style", "tv")), iterations)
    key = hashlib.sha256(
        photograph.numpy().tobytes() + painting.image.numpy().tobytes() + repr(weights).encode()
    ).hexdigest()
    path = folder / f"{key[:16]}.safetensors"
    try:
        return load_file(path)["picture"].float()
    except (SafetensorError, OSError):  # not there, or broken off: made again
        picture = gatys(objective, photograph, iterations)
        with atomic_write(path) as file:
            file.write(save({"picture": picture.half()}))
        return picture


@torch.inference_mode()
def _scores(
    name: str,
    objective: Objective,
    unseen: dict[str, Tensor],
    pictures: Sequence[Tensor],
    mean_of_four: Tensor,
    stability: float,
) -> Scores:
    target = objective.target(pictures[0])
    losses = [objective(picture, target) for picture in pictures]
    content_, style, total = ([float(loss[key]) for loss in losses] for key in ("content", "style", TOTAL))
    other = [float(style_loss(objective.vgg(picture, UNSEEN_LAYERS), unseen)) for picture in pictures]
    similar = [self_similarity(objective.vgg(picture, (SIMILARITY_LAYER,))[SIMILARITY_LAYER]) for picture in pictures[:2]]
    return Scores(
        photograph=name,
        content=content_,
        style=style,
        unseen_style=other,
        total=total,
        style_score=_score(style),
        unseen_style_score=_score(other),
        total_score=_score(total),
        similarity=float((similar[0] - similar[1]).abs().mean()),
        stability=stability,
        shifted_style=float(objective(mean_of_four, target)["style"]),
    )


def _grain(scores: Sequence[Scores], painted: Sequence[Tensor]) -> dict[str, float]:
    """How much of the paint is tied to the network's grid, over all photographs."""
    mean, highest = lattice_energy(painted)
    ratio = sum(score.shifted_style for score in scores) / sum(score.style[1] for score in scores)
    return {"lattice energy": mean, "lattice energy, highest": highest, "style loss of four shifted passes, times": ratio}


def _score(losses: list[float]) -> float:
    photograph, network, optimised = losses
    return (photograph - network) / (photograph - optimised) if photograph > optimised else float("nan")


def _write(
    style: str,
    how: dict[str, float],
    scores: Sequence[Scores],
    grain: dict[str, float],
    rows: list[list[Image.Image]],
    out: Path,
    put: Callable[[Path, Path], None],
) -> Path:
    summary = {key: _median_and_spread([getattr(score, key) for score in scores]) for key in _SUMMARY}
    as_data, sheet, text = _reports(style, out)
    photographs = [asdict(score) for score in scores]
    report: dict[str, Any] = {"style": style, **how, "summary": summary, "grain": grain, "photographs": photographs}
    with atomic_write(as_data, put) as file:
        file.write(json.dumps(report, indent=2).encode())
    save_sheet(contact_sheet(rows, ["photograph", style, "optimised"]), sheet, put)
    with atomic_write(text, put) as file:
        file.write(_markdown(style, how, summary, grain, scores).encode())
    return text


def _reports(style: str, out: Path) -> list[Path]:
    """The report as JSON, as a sheet of pictures, as text."""
    return [out / f"{style.replace('/', '_')}.{ending}" for ending in ("json", "jpg", "md")]


#: What is summed up over the photographs, and its name in the report.
_SUMMARY = {
    "style_score": "style score",
    "unseen_style_score": "style score, other layers",
    "total_score": "total score",
    "similarity": "self-similarity error",
    "stability": "stability error",
}


def _median_and_spread(values: list[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return median, lower, upper


def _markdown(
    style: str,
    how: dict[str, float],
    summary: dict[str, tuple[float, float, float]],
    grain: dict[str, float],
    scores: Sequence[Scores],
) -> str:
    conditions = ", ".join(f"{name} {value:g}" for name, value in how.items())
    lines = [f"# {style}", "", f"{len(scores)} photographs, {conditions}. 0: the photograph; 1: the optimised picture.", ""]
    lines += ["| | median | quartiles |", "|---|---|---|"]
    lines += [f"| {_SUMMARY[key]} | {m:.3g} | {low:.3g} to {high:.3g} |" for key, (m, low, high) in summary.items()]
    lines += ["", "| tied to the network's grid | over all |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in grain.items()]
    lines += ["", "| photograph | content | style | total | optimised total | style score | total score |", "|---" * 7 + "|"]
    lines += [
        f"| {s.photograph} | {s.content[1]:.3g} | {s.style[1]:.3g} | {s.total[1]:.3g} | {s.total[2]:.3g} "
        f"| {s.style_score:.3f} | {s.total_score:.3f} |"
        for s in scores
    ]
    return "\n".join([*lines, "", f"![photograph, {style}, optimised]({style.replace('/', '_')}.jpg)", ""])
