"""Turn a checkpoint of pickled weights into one of safetensors: `python -m eduprm.prm.published.convert FOLDER NEW`.

For Math-Shepherd and Skywork's PRMs, which are published as .bin files only. torch reads the pickles with
`weights_only`, which refuses everything but tensors, one file at a time. Config and tokenizer are copied; code is
not. The new folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["convert_folder", "main"]

_COPIED = (".json", ".model", ".txt", ".jinja")
_INDEX = "model.safetensors.index.json"


def convert_folder(source: Path, target: Path) -> list[Path]:
    """Write `source`'s weights as safetensors to the new folder `target`; returns its files of weights.

    Raises:
        ValueError: no .bin file, one that holds more than weights, or a target that is there already.
    """
    pickled = sorted(source.glob("*.bin"))
    if not pickled:
        raise ValueError(f"no *.bin in {source}; name the folder that holds the published files")
    if target.exists():
        raise ValueError(f"{target} is there already; name a new folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        names = _write_weights(pickled, partial)
        for file in source.iterdir():
            if file.suffix in _COPIED and not file.name.endswith(".index.json"):
                shutil.copyfile(file, partial / file.name)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [target / name for name in names]


def _write_weights(pickled: Sequence[Path], folder: Path) -> list[str]:
    from safetensors.torch import save_file

    names: list[str] = []
    places: dict[str, str] = {}
    size = 0
    for number, file in enumerate(pickled, start=1):
        last = f"-{number:05d}-of-{len(pickled):05d}" if len(pickled) > 1 else ""
        name = f"model{last}.safetensors"
        # Tied weights share their numbers; safetensors keeps each name's own.
        weights = {key: value.contiguous().clone() for key, value in _read(file).items()}
        save_file(weights, folder / name, metadata={"format": "pt"})
        names.append(name)
        places |= dict.fromkeys(weights, name)
        size += sum(value.nbytes for value in weights.values())
    if len(names) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
        (folder / _INDEX).write_text(json.dumps(index, indent=2))
    return names


def _read(file: Path) -> dict[str, Any]:
    import torch

    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises its unpickling error, RuntimeError or others for a broken file
        raise ValueError(
            f"{file} holds more than weights, or is broken, and was not read ({type(error).__name__})"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise ValueError(f"expected tensors by name in {file}, got something else")
    return weights


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    if len(arguments) != 2:
        print("convert: expected FOLDER NEW_FOLDER", file=sys.stderr)
        return 2
    try:
        files = convert_folder(Path(arguments[0]), Path(arguments[1]))
    except ValueError as error:
        print(f"convert: {error}", file=sys.stderr)
        return 2
    print(f"wrote {len(files)} file(s) of weights to {arguments[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
