"""The recipe that teaches a policy: a killed training ends with the same adapter, and what it may not do is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from eduprm.core.command_line import UsageError, load_settings
from eduprm.policy import adapter_folder
from eduprm.problems import read_problems
from eduprm.search import PolicyTokenizer
from eduprm.teach.examples import cut_batches, make_examples
from eduprm.teach.held_out import judge, print_judgement
from eduprm.teach.settings import MixPart, WarmupSettings
from eduprm.teach.training import usable_checkpoint
from eduprm.teach.worked_files import read_part, write_leftovers
from eduprm_warmup.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A random model of a thousandth of the size, with the bundled model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from eduprm.policy import BUNDLED_MODEL, resolve_model

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(BUNDLED_MODEL))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def arguments(tiny: Path, run: Path, *more: str) -> list[str]:
    mix = [{"task": "long_sum", "count": 16}, {"task": "equations", "count": 12, "stop": 0.5}]
    flags = {
        "model": tiny,
        "run": run,
        "mix": json.dumps(mix),
        "batch-tokens": 400,
        "save-steps": 2,
        "rise-batches": 1,
        "decay-batches": 2,
        "lora.last-layers": 2,
        "lora.rank": 2,
        "test-tasks": '["equations"]',
        "num-test": 4,
        "max-new-tokens": 8,
    }
    return [*(f"--{name}={value}" for name, value in flags.items()), *more]


@pytest.mark.slow
def test_a_training_that_stopped_goes_on_and_ends_with_the_same_adapter(tiny, tmp_path, capsys):
    assert main(arguments(tiny, tmp_path / "whole")) == 0
    whole = (tmp_path / "whole" / "adapter" / "adapter_model.safetensors").read_bytes()
    config = json.loads((tmp_path / "whole" / "adapter" / "adapter_config.json").read_text())
    assert {name.split(".")[2] for name in config["target_modules"]} == {"1", "2"}
    assert "held-out problems" in capsys.readouterr().out
    rows = (tmp_path / "whole" / "held_out.jsonl").read_text().splitlines()
    assert len(rows) == 4

    # Stopped after four batches, the last two under a falling rate: it goes on from the second.
    assert main(arguments(tiny, tmp_path / "parts", "--max-batches=4")) == 0
    short = (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "parts" / "adapter")
    assert main(arguments(tiny, tmp_path / "parts")) == 0
    assert (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").read_bytes() == whole != short

    assert main(arguments(tiny, tmp_path / "parts", "--learning-rate=0.5")) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_only_checkpoints_of_the_same_training_are_taken_up(tmp_path):
    for step, length in ((20, 100), (80, 100), (100, 100)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": length}))
    (tmp_path / "checkpoint-120").mkdir()  # half-written

    def step(num_batches: int) -> str | None:
        path = usable_checkpoint(tmp_path, num_batches=num_batches, decay_batches=30)
        return path and path.name

    assert step(100) == "checkpoint-100"
    assert step(200) == step(60) == "checkpoint-20"
    assert step(40) is None


@pytest.mark.slow
def test_the_recipe_teaches_what_is_apart_from_what_is_held_out():
    recipe = adapter_folder("smollm2-135m-steps") / "recipe.toml"
    settings = load_settings(WarmupSettings, ["--config", str(recipe)])
    few = [part.model_copy(update={"count": 20}) for part in settings.mix]
    settings = settings.model_copy(update={"mix": few})
    examples = make_examples(settings, [None] * len(few), stop_id=2)
    assert [example.place for example in examples] == sorted(example.place for example in examples)
    assert all(example.solution[-1] == 2 for example in examples)
    batches = cut_batches(examples, batch_tokens=settings.batch_tokens, seed=0)
    assert sum(map(len, batches)) == len(examples) == 20 * len(settings.mix)
    for batch in batches:
        assert len(batch) * max(example.num_tokens for example in batch) <= settings.batch_tokens
    padded = sum(len(batch) * max(example.num_tokens for example in batch) for batch in batches)
    assert padded < 1.1 * sum(example.num_tokens for example in examples)


WORKED = ROOT / "tests" / "data" / "gsm8k_form.jsonl"


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _file_mix(tmp_path: Path, **more: object) -> tuple[Path, list[dict], MixPart]:
    """The hand-written rows, with three behind them that cannot be taught."""
    rows = _rows(WORKED)
    bad = [
        rows[0],
        {"question": "Two and two?", "answer": "4"},
        {"question": "Why?", "answer": "So.\nIt is."},
    ]
    file = tmp_path / "worked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows + bad))
    return file, rows, MixPart(file=file, **more)


def test_a_share_of_a_file_is_taught_and_the_rest_is_for_trees(tmp_path):
    file, rows, part = _file_mix(tmp_path, share=0.5)
    worked = read_part(part)
    assert worked is not None
    assert sorted(worked.rejected["row"]) == [len(rows) + 1, len(rows) + 2, len(rows) + 3]
    taught, rest = set(worked.taught["question"]), set(worked.rest["question"])
    assert taught
    assert rest
    assert taught | rest == {row["question"] for row in rows}
    assert not taught & rest

    # The same questions in another order of the file; a larger share holds the smaller one; count takes of the share.
    file.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    again, more, two = (
        read_part(MixPart(file=file, **part_of))
        for part_of in ({"share": 0.5}, {"share": 0.8}, {"share": 0.5, "count": 2})
    )
    assert again.taught["question"].to_list() == worked.taught["question"].to_list()
    assert taught <= set(more.taught["question"])
    assert set(two.taught["question"]) < taught

    write_leftovers(tmp_path / "run", [worked])
    assert len(_rows(tmp_path / "run" / "rejected" / "mix.jsonl")) == 3
    read = read_problems(tmp_path / "run" / "rest.jsonl", require_answer=True)
    assert set(read.problems["question"]) == rest
    assert "<<" in "".join(row["answer"] for row in _rows(tmp_path / "run" / "rest.jsonl"))
    with pytest.raises(UsageError, match="expected 9 questions or more"):
        read_part(MixPart(file=file, share=0.1, count=9))


def test_each_epoch_has_its_slice_of_the_training_in_an_order_of_its_own(tiny, tmp_path):
    _, rows, part = _file_mix(tmp_path, epochs=3, start=0.4)
    settings = WarmupSettings(model=str(tiny), mix=[part])
    examples = make_examples(settings, [read_part(part)], stop_id=2)
    assert len(examples) == 3 * len(rows)
    passes = [examples[start : start + len(rows)] for start in range(0, len(examples), len(rows))]
    for number, one in enumerate(passes):
        low, high = 0.4 + 0.2 * number, 0.6 + 0.2 * number
        assert all(low <= example.place < high + 1e-9 for example in one)
        assert len({tuple(example.prompt) for example in one}) == len(rows)
    orders = {tuple(tuple(example.prompt) for example in one) for one in passes}
    assert len(orders) == 3

    tokenizer = PolicyTokenizer(str(tiny))
    texts = {tokenizer.decode(example.solution[:-1]) for example in examples}
    assert {re.sub(r"<<.*?>>|\r", "", row["answer"]).rstrip() for row in rows} == texts
    assert all(example.solution[-1] == 2 for example in examples)


@pytest.mark.slow
def test_a_policy_of_a_file_is_judged_and_merged(tiny, tmp_path, capsys):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from eduprm.policy import merged_model
    from eduprm.teach.held_out import held_out_problems

    file, rows, _ = _file_mix(tmp_path)
    test = tmp_path / "held.jsonl"
    held = [{"q": f"What is {n} + 1?", "a": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(6)]
    test.write_text(
        "".join(json.dumps(row) + "\n" for row in [*held, {"q": "Where?", "a": "East\n#### east"}])
    )
    run = tmp_path / "run"
    given = [
        f"--model={tiny}",
        f"--run={run}",
        "--mix",
        json.dumps([{"file": str(file), "share": 0.5, "epochs": 2}]),
        f"--test-file={test}",
        "--test-columns.question=q",
        "--test-columns.answer=a",
        "--num-test=5",
        "--max-new-tokens=8",
        "--batch-tokens=400",
        "--decay-batches=1",
        "--rise-batches=1",
        "--lora.rank=2",
        "--dtype=bfloat16",
    ]
    assert main(given) == 0
    said = capsys.readouterr().out
    for part in ("3 rows cannot be taught", "rest.jsonl", "1 rows of", "tokens/s", "held", "policy made"):
        assert part in said
    solved = _rows(run / "held_out.jsonl")
    assert [row["num_steps"] for row in solved] == [1] * 5
    assert {row["correct"] for row in solved} == {False}

    merged = merged_model(str(tiny), run / "adapter")
    alone = AutoModelForCausalLM.from_pretrained(run / "policy")
    assert alone.dtype == torch.float32
    assert alone.generation_config.eos_token_id == merged.generation_config.eos_token_id
    ids = AutoTokenizer.from_pretrained(run / "policy").apply_chat_template(
        [{"role": "user", "content": rows[0]["question"]}], return_tensors="pt", return_dict=False
    )
    written = [model.generate(ids, do_sample=False, max_new_tokens=12) for model in (merged, alone)]
    assert torch.equal(*written)

    # The right solutions are graded as right, by the number grader.
    settings = load_settings(WarmupSettings, given)
    problems = held_out_problems(settings)
    answers = problems.select("problem_id", "task", "num_steps", "question", text="answer")
    answers = answers.with_columns(text="#### " + answers["text"] + ".0")
    judged = judge(answers, problems)
    assert judged["correct"].all()
    print_judgement(judged, seed=0)

    # Again: nothing is trained and nothing merged; another adapter makes another policy.
    before = (run / "policy" / "model.safetensors").stat().st_mtime_ns
    assert main(given) == 0
    assert "policy is there" in capsys.readouterr().out
    assert (run / "policy" / "model.safetensors").stat().st_mtime_ns == before
    file.write_text(file.read_text() + "\n")
    assert main(given) == 2
    assert "begun with other settings (mix)" in capsys.readouterr().err


def test_wrong_parts_of_the_mix_are_one_line(tmp_path, capsys):
    for part, said in (
        ({"task": "long_sum", "file": "a.jsonl", "count": 1}, "one of task and file, got both"),
        ({"count": 1}, "one of task and file, got neither"),
        ({"task": "long_sum"}, "expected count"),
        ({"task": "long_sum", "count": 1, "share": 0.5}, "share and columns are of a file"),
        ({"file": "a.jsonl", "task_config": {"min_terms": 2}}, "task_config is of a task"),
    ):
        assert main(["--run", str(tmp_path / "run"), "--mix", json.dumps([part])]) == 2
        assert said in capsys.readouterr().err
    assert main(["--run", str(tmp_path / "run"), "--test-tasks", "[]"]) == 2
    assert "--test-tasks" in capsys.readouterr().err
    assert main(["--run", str(tmp_path / "run"), "--test-file", str(tmp_path / "none.jsonl")]) == 2
    assert "--test-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / "apps/warmup/recipes").glob("*.toml")), ids=lambda p: p.stem
)
def test_recipes_parse(recipe):
    assert load_settings(WarmupSettings, ["--config", str(recipe)]).mix


def test_wrong_settings_are_one_line(tmp_path, capsys):
    assert main(["--run", str(tmp_path), "--mix", '[{"task": "long_sum", "count": 1, "start": 1.0}]']) == 2
    assert "start before stop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "nowhere/at-all"], "--model: nowhere/at-all cannot be loaded: "),
        (["--adapter", "gone"], "--adapter: gone holds no adapter_config.json"),
    ],
)
def test_models_that_are_not_there_are_one_line_and_claim_no_folder(
    tmp_path, monkeypatch, capsys, arguments, told
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["--run", "run", "--num-test", "2", *arguments]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run/config.json").exists()


def test_the_default_mix_stands_in_the_help_as_the_flag_takes_it(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    default = re.search(r"\(default: (\[\{.*?\}\])\)", shown)[1].replace('", ', '",')
    assert load_settings(WarmupSettings, ["--mix", default]) == load_settings(WarmupSettings, [])
