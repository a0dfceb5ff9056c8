"""The PRM reads a problem in the tokens that the policy was asked with, whatever the prompt's style."""

from __future__ import annotations

import json

import pytest

from eduprm.core.command_line import UsageError, load_settings
from eduprm.pipeline.make_problems import problems_of
from eduprm.pipeline.prm_input import PLAIN, PrmInput, chosen_format, policy_format
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.train_prm import _format
from eduprm.policy import BUNDLED_MODEL, STEPS_MODEL
from eduprm.prm import InputBuilder, InputFormat
from eduprm.prm.testing import byte_tokenizer
from eduprm.problems import messages_for
from eduprm.problems.prompts import shot_styles
from eduprm.search import PolicyTokenizer

QUESTIONS = ("What is 2 + 3?", "Is {problem} a word? \n", "May <|im_end|> stand here?")


def settings_of(*flags: str) -> TrainSettings:
    return load_settings(TrainSettings, flags)


@pytest.mark.parametrize("model", [BUNDLED_MODEL, STEPS_MODEL])
def test_the_prompts_of_policy_and_prm_are_the_same_tokens(model):
    policy = PolicyTokenizer(model)
    tokenizer = InputBuilder.from_pretrained(model).tokenizer
    for style in (*shot_styles(), "zero_shot", "steps"):
        builder = InputBuilder(tokenizer, policy_format(style))
        for question in QUESTIONS:
            assert builder.prompt_ids(question) == policy.encode_chat(messages_for(question, style)), style


def test_the_prm_of_a_run_reads_the_prompts_of_its_forest(tmp_path):
    file = tmp_path / "mine.jsonl"
    asked = [*QUESTIONS, *(f"What is {n} + 1?" for n in range(8))]
    file.write_text("".join(json.dumps({"question": one, "answer": "5"}) + "\n" for one in asked))
    settings = settings_of("--problems", str(file), "--policy.model", BUNDLED_MODEL)
    folder = RunFolder(tmp_path / "run")
    problems, style = problems_of(
        settings.problem, policy=settings.policy, seed=0, folder=folder.root, file=file
    )
    folder.write_json("stages/problems.json", {"style": style})
    format, line = _format(settings, folder)
    assert line == "reads problems in the policy's own prompt (chat, style gsm8k)"
    builder = InputBuilder.from_pretrained(settings.backbone, format)
    assert set(problems["question"]) == set(asked)
    for question, ids in problems.select("question", "prompt_token_ids").rows():
        assert builder.prompt_ids(question) == ids, question


def test_a_single_setting_changes_that_setting_alone():
    own = policy_format("gsm8k")
    format, line = chosen_format(
        settings_of("--prm.input.system", "Be brief.").prm.input, "gsm8k", has_chat_template=True
    )
    assert format == own.model_copy(update={"system": "Be brief."})
    assert line.startswith(
        "reads problems as chat, system 'Be brief.', 4 worked examples, template '{problem}'"
    )
    assert line.endswith("by --prm.input; the policy's prompt (chat, style gsm8k) is another")
    assert PrmInput(separator="<s>").resolved(own) == own.model_copy(update={"separator": "<s>"})
    assert PrmInput(examples=False).resolved(own).examples == ()
    assert PrmInput(system="").resolved(policy_format("steps")).system is None
    assert PrmInput(kind="plain").resolved(own) == PLAIN
    with pytest.raises(UsageError, match=r"--prm.input: expected no system turn in a plain prompt"):
        settings_of("--prm.input.kind", "plain", "--prm.input.system", "Be brief.")


def test_where_the_prompt_cannot_be_read_a_line_says_so():
    format, line = chosen_format(PrmInput(), "gsm8k", has_chat_template=False)
    assert format == PLAIN
    assert "its tokenizer has no chat template for the policy's prompt (style gsm8k)" in line
    format, line = chosen_format(PrmInput(), None, has_chat_template=True)
    assert format == PLAIN
    assert "prompts of their own, which it does not read" in line


def test_runs_of_before_go_on_and_formats_without_examples_are_written_as_before(tmp_path):
    folder, now = RunFolder(tmp_path), stage_settings(settings_of())["prm"]
    before = {name: value for name, value in now.items() if not name.startswith("prm.input")}
    folder.begin("prm", {**before, "prm.input": None}, {})
    folder.check("prm", now, {})
    with pytest.raises(UsageError, match=r"prm\.input\.system was"):
        folder.check("prm", stage_settings(settings_of("--prm.input.system", "Now"))["prm"], {})
    assert "examples" not in InputFormat().model_dump(mode="json")
    shown = policy_format("products")
    assert InputFormat.model_validate(shown.model_dump(mode="json")) == shown


def test_worked_examples_are_turns_and_no_part_of_a_plain_prompt():
    builder = InputBuilder(byte_tokenizer(), InputFormat(examples=(("1 + 1?", "<eos>"),), append_eos=False))
    said = builder.tokenizer.decode(builder.prompt_ids("2 + 2?"))
    assert said == "<|user|>1 + 1?<eos><|assistant|><eos><eos><|user|>2 + 2?<eos><|assistant|>"
    ends = builder.prompt_ids("2 + 2?").count(builder.eos_id)
    assert ends == 3  # the one that an example spells out is text
    with pytest.raises(ValueError, match="expected none in a plain prompt"):
        InputFormat(kind="plain", examples=(("1 + 1?", "2"),))
