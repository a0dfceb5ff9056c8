"""Commands and flags in README.md, docs/ and the packages' READMEs: each app takes them as they stand there."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from eduprm.core.command_line import CommandSettings, load_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "packages").glob("*/README.md")),
    ROOT / "examples" / "README.md",
]
SETTINGS = {
    "apps/train": "eduprm.pipeline.settings:TrainSettings",
    "apps/rerank": "eduprm.rank.settings:RankSettings",
    "apps/bench processbench": "eduprm.pipeline.steps.settings:ProcessBenchSettings",
    "apps/bench prmbench": "eduprm.pipeline.steps.settings:PrmBenchSettings",
    "apps/bench verify": "eduprm.pipeline.steps.settings:VerifySettings",
    "apps/bench sampling": "eduprm.pipeline.sampling.settings:SamplingSettings",
    "apps/warmup": "eduprm.teach.settings:WarmupSettings",
    "eduprm.serve": "eduprm.serve.server.settings:ServeSettings",
}
# What pages name of others: SGLang, its router, vLLM, torchrun, uv, ruff, lm-eval-harness, lighteval; one placeholder.
FOREIGN = re.findall(
    r"\S+",
    """--attention-backend --check --chunked-prefill-size --convert --cuda-graph-max-bs --disable-radix-cache --dtype
    --enable-deterministic-inference --enable-lora --extra --grammar-backend --is-embedding --json-model-override-args
    --locked --log-level-http --log_samples --lora-paths --max-running-requests --mem-fraction-static --model-path
    --nnodes --no-sync --nproc-per-node --policy --port --prefill-decode-interval --prefill-decode-interval-min-bs
    --rdzv-backend --rdzv-endpoint --sampling-backend --save-details --standalone --tokenizer-worker-num --worker-urls
    --columns.NAME""",
)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every indented line that runs something, continued lines joined, comments left out."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        for line in re.findall(r"^ {2,}((?:uv run|python|[A-Z_]+=\S+ uv run) .*)$", text, re.M):
            found.append((str(page.relative_to(ROOT)), re.sub(r"\s#\s.*$", "", line).strip()))
    return found


COMMANDS = commands()
OF_APPS = [
    (page, command, app)
    for page, command in COMMANDS
    for app in SETTINGS
    if re.search(rf"(?:\s|-m ){re.escape(app)}(?:\s|$)", command)
]


def settings_of(app: str) -> type[CommandSettings]:
    module, _, name = SETTINGS[app].partition(":")
    kind: type[CommandSettings] = getattr(import_module(module), name)
    return kind


@cache
def help_of(app: str) -> str:
    import contextlib
    import io

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        load_settings(settings_of(app), ["--help"])
    return shown.getvalue()


@pytest.mark.parametrize(("page", "command", "app"), OF_APPS, ids=[f"{p}: {c}" for p, c, _ in OF_APPS])
def test_an_app_takes_a_command_as_it_stands(page, command, app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("apps", "packages"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    arguments = shlex.split(re.split(rf"{re.escape(app)}(?:\s|$)", command, maxsplit=1)[1])
    if "--help" in arguments:
        assert "--" in help_of(app)
        return
    if "..." in arguments:  # the page leaves a value out
        arguments = [part for part in arguments if part not in ("...", "--config")]
    for name in (
        "FILE",
        "problems.jsonl",
        "solutions.jsonl",
        "DATA/gsm8k_test_dev.jsonl",
        "runs/gsm8k-policy/rest.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    # The settings must come to be: names, values, and what goes together are checked with them.
    assert load_settings(settings_of(app), arguments)


def test_there_are_commands_of_every_app():
    assert {app for _, _, app in OF_APPS} == set(SETTINGS)


def test_scripts_and_modules_that_commands_run_are_there():
    count = 0
    for page, command in COMMANDS:
        for script in re.findall(r"\b((?:packages|examples|apps)/[\w./-]+\.(?:py|toml))", command):
            count += 1
            assert (ROOT / script).is_file(), f"{page}: {command}"
            if script.endswith(".py"):
                text = (ROOT / script).read_text()
                for flag in re.findall(r"\s(--[a-z][\w-]*)", command.partition(script)[2]):
                    assert f'"{flag}"' in text or f"{flag[2:].replace('-', '_')}:" in text, (
                        f"{page}: {command}"
                    )
        for module in re.findall(r"-m (eduprm\.[\w.]+)", command):
            path = next(ROOT.glob(f"packages/*/src/{module.replace('.', '/')}*"), None)
            assert path is not None, f"{page}: {command}"
    assert count > 10


def test_flags_that_pages_name_exist():
    known = set(FOREIGN)
    for app in SETTINGS:
        known |= set(re.findall(r"--[a-z][\w.-]*", help_of(app)))
    for script in [*ROOT.glob("packages/*/benchmarks/*.py"), *ROOT.glob("packages/*/src/**/*.py")]:
        known |= set(re.findall(r'"(--[a-z][\w-]*)"', script.read_text()))
    unknown = []
    for page in PAGES:
        for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*[\w]", page.read_text()):
            # A part of settings may be named as a whole: `--server.*`, `--samples`.
            if flag not in known and not any(one.startswith(flag + ".") for one in known):
                unknown.append(f"{page.relative_to(ROOT)}: {flag}")
    assert not unknown, "\n".join(unknown)
