"""A training that goes on from a checkpoint: what must be the same, what is put back, what is written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chainrule.data.sources.fingerprint import fingerprint_of
from chainrule.errors import SettingError, warn
from chainrule.messages import say
from chainrule.training.checkpoint_file import Checkpoint, Position, made_by
from chainrule.training.checkpoints import check_same
from chainrule.training.feed import Stream
from chainrule.training.weights import Data

if TYPE_CHECKING:
    from chainrule.training.loop import Training

NONE = "–"


def settings_of(training: Training) -> dict[str, str]:
    """What must be the same for a training to go on, by the names of fit's options. Raises: SettingError, FileError."""
    plan, network, rates = training.plan, training.network, training.rates
    schedule = plan.learning_rate if isinstance(plan.learning_rate, str) else rates.values.get("eta")
    asked: dict[str, Any] = {
        "optimizer": training.rule,
        "learning_rate": schedule,
        "hyper": {n: v for n, v in sorted({**network.hyper, **rates.values}.items()) if n != "eta"},
        "batch_size": training.batch,
        "seed": plan.seed,
        "shuffle": bool(plan.shuffle),
        "engine": plan.engine,
        "sparse": plan.sparse,
        "frozen": sorted(plan.frozen),
        "dtype": network.dtype,
    }
    if rates.spans:  # the schedule is another one where it spans another number of epochs
        asked |= {"epochs": plan.epochs, "initial_epoch": plan.initial_epoch}
    if isinstance(training.data, Stream) and training.data.class_weight:  # of arrays they are among the rows
        asked["class_weight"] = {str(label): float(w) for label, w in training.data.class_weight.items()}
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in asked.items()}
    data = {"data": _fingerprint(training, training.data)}
    if training.validation is not None:
        data["validation"] = _fingerprint(training, training.validation)
    return {"formulas": _without_comments(network.formulas), **texts, **data}


def _without_comments(formulas: str) -> str:
    """A model in the style of Keras names its layers there, and a second one of the process has other names."""
    return "\n".join(line.partition("#")[0].rstrip() for line in formulas.splitlines())


def _fingerprint(training: Training, data: Data | Stream) -> str:
    """Raises: SettingError where a training is to go on with rows that cannot be had again."""
    if isinstance(data, Data):
        return fingerprint_of(training.named(data))
    reason = data.source.cannot_replay()
    if reason is None:
        return data.source.fingerprint()
    if training.resumed is not None:
        raise SettingError(say("checkpoints.no_replay", name=data.source.name, reason=reason))
    return NONE


def go_on_from(training: Training, checkpoint: Checkpoint) -> None:
    """The checkpoint's weights and counts go into the network.

    Raises: SettingError where it is of another training.
    """
    check_same(checkpoint, training.settings)
    network, position = training.network, training.position
    # The formulas and the rows are the same, so the shapes are: those of the network's own are only looked at.
    network.keep(_checked(training, checkpoint))
    network.steps, network.epochs = position.before + position.done, position.epochs
    if position.rate is not None:
        training.rates.set_rate(position.rate)
    now = made_by()
    others = [name for name in now if checkpoint.made_by.get(name) != now[name]]
    if others:
        then = ", ".join(f"{name} {checkpoint.made_by.get(name, NONE)}" for name in others)
        warn(say("checkpoints.other_device", then=then, now=", ".join(f"{name} {now[name]}" for name in others)))


def _checked(training: Training, checkpoint: Checkpoint) -> dict[str, Any]:
    """The weights, of the dtype and the shapes that the network and its steps have. Raises: SettingError."""
    network, sizes = training.network, training.network.sizes
    declared = {t.name: t for t in network.system.of_role("parameter", "state")}
    for tensor in ({t.name: t for t in training.program.kept} | declared).values():
        came, wanted = checkpoint.weights.get(tensor.name), tuple(sizes[i] for i in tensor.indices)
        # A state of the rule that is not there begins at 0.
        if (came is None and tensor.name in declared) or (came is not None and came.shape != wanted):
            then = NONE if came is None else came.shape
            raise SettingError(
                say("checkpoints.other_setting", path=checkpoint.path, name=tensor.name, then=then, now=wanted)
            )
    return {name: array.astype(network.dtype, copy=False) for name, array in checkpoint.weights.items()}


def restore_history(training: Training, checkpoint: Checkpoint) -> None:
    """What earlier epochs reached, and what the callbacks knew; the weights and the rate too, where one set them anew
    when it was told that a training begins."""
    for epoch, logs in checkpoint.history:
        training.history.add(epoch, {n: v for n, v in logs.items() if n != "seconds"}, logs["seconds"])
    training.callbacks.load_state_dict(checkpoint.callbacks)
    position = checkpoint.position
    training.set_weights(_checked(training, checkpoint))
    if position.rate is not None:
        training.rates.set_rate(position.rate)
    training.watcher.note(
        say("checkpoints.resumed", path=checkpoint.path, epoch=position.epoch + 1, step=position.steps)
    )


def checkpoint_of(training: Training, position: Position) -> Checkpoint:
    """The training at this moment."""
    weights = {**training.network.kept, **training.runner.state()}
    history = list(zip(training.history.epoch, training.history.rows, strict=True))
    callbacks = training.callbacks.state_dict()
    return Checkpoint(training.network.formulas, training.settings, position, weights, history, callbacks)
