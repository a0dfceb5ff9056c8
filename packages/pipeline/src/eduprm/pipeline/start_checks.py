"""What only the stages `label` and `prm` read, tried out before a run computes anything.

Losses and scorers import torch, so the settings, which answer `--help` too, do not look at them. A run does, at its
start: what they refuse is said before hours of search and not after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eduprm.core.command_line import UsageError
from eduprm.core.errors import first_line
from eduprm.core.registry import load, make
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import STAGES, TrainSettings

__all__ = ["check_gold_answers", "check_start", "unread_labels"]


def check_start(settings: TrainSettings, folder: RunFolder) -> None:
    """Make the grader, losses and scorer of stages that are still to be done, and look for what the PRM begins from.

    Raises:
        UsageError: one line that names the flag, what was expected and what came.
    """
    first = min(map(STAGES.index, settings.rerun), default=len(STAGES))
    todo = [stage for at, stage in enumerate(STAGES) if at >= first or not folder.is_done(stage)]
    if "label" in todo:
        _check_grader(settings)
    if "prm" in todo:
        _check_training(settings)
        if settings.prm.backbone is not None:
            _check_backbone(settings, settings.prm.backbone)


def check_gold_answers(settings: TrainSettings, folder: RunFolder) -> None:
    """Before trees grow: whether the grader takes gold answers of the problems that are there.

    Raises:
        UsageError: none of those to train on, or none of those held out.
    """
    import polars as pl

    from eduprm.pipeline.gold_check import check_some_gold
    from eduprm.pipeline.label_trees import grader_name, open_grader

    name = grader_name(settings.problem, settings.problems)
    with open_grader(name, settings.problem.grader_options) as grader:
        check_some_gold(pl.read_parquet(folder.path("problems.parquet")), grader, name)


def unread_labels(settings: TrainSettings) -> list[str]:
    """A line for each option of labels that changes nothing for any of the losses (their `ignores`).

    Examples:
        >>> from eduprm.pipeline.settings_parts import LabelSettings
        >>> unread_labels(TrainSettings(_cli_parse_args=[], label=LabelSettings(node_weight="one")))
        ['--label.node-weight one changes nothing for the losses fork, language_model']
    """
    losses, label = settings.prm.train.losses, settings.label
    found = [getattr(load("eduprm.prm.losses", name, "Loss"), "ignores", ()) for name in losses]
    ignored = set(found[0]).intersection(*found)
    rule, plain = (load("eduprm.label.rules", name, "Rule") for name in (label.rule, "uniform"))
    if rule.values is plain.values:
        # It differs in weights alone. A loss that reads no values learns from leaves, and asks which of them weigh 0.
        rule_unread = hasattr(rule, "weights") and ignored == {"weights"}
    else:
        rule_unread = not hasattr(rule, "weights") and "values" in ignored
    flags = {
        "--label.node-weight one": label.node_weight == "one" and "weights" in ignored,
        "--label.target hard": label.target == "hard" and "values" in ignored,
        f"--label.rule {label.rule}": rule_unread,
    }
    whom = f"the losses {', '.join(losses)}" if len(losses) > 1 else f"the loss {next(iter(losses))}"
    return [f"{flag} changes nothing for {whom}" for flag, unread in flags.items() if unread]


def _check_grader(settings: TrainSettings) -> None:
    from eduprm.pipeline.label_trees import grader_name, open_grader

    with _named("--problem.task"):
        name = grader_name(settings.problem, settings.problems)
    with open_grader(name, settings.problem.grader_options):
        pass


def _check_training(settings: TrainSettings) -> None:
    from eduprm.prm.adapters import trained_outputs
    from eduprm.prm.arguments import check_scheduler

    train = settings.prm.train
    with _named("--prm.train.losses"):
        for name in train.losses:
            make("eduprm.prm.losses", name, "Loss")
    with _named("--prm.train.scoring.kind"):
        make("eduprm.prm.scorers", train.scoring.kind, "Scorer", {"settings": train.scoring})
    with _named("--prm.train.losses, --prm.train.scoring.kind"):
        trained_outputs(train)
    rule = settings.label.rule
    if (
        getattr(load("eduprm.label.rules", rule, "Rule"), "by_step", False)
        and train.scoring.solution == "last"
    ):
        raise UsageError(
            f"--label.rule {rule}, --prm.train.scoring.kind {train.scoring.kind}: labels of this rule speak of each "
            "step alone, this scorer's last score of the whole solution: expected a scorer of single steps, step_head"
        )
    with _named("--prm.train.scheduler"):
        check_scheduler(train.scheduler)


def _check_backbone(settings: TrainSettings, name: str) -> None:
    from eduprm.policy import resolve_model
    from eduprm.prm.classifiers import classifier_class
    from eduprm.prm.loading import read_model_config

    with _named("--prm.backbone"):
        config = read_model_config(resolve_model(name), trust_remote_code=settings.policy.trust_remote_code)
        if load("eduprm.prm.scorers", settings.prm.train.scoring.kind, "Scorer").needs == "head":
            classifier_class(config, name)


@contextmanager
def _named(flag: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, ImportError) as error:
        raise UsageError(f"{flag}: {first_line(error)}") from None
