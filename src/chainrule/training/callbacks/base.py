"""What a callback is, and the list of them that the training loop calls.

    on_train_begin            once
      on_epoch_begin          each epoch
        on_train_batch_begin  each step, where any callback asks for steps
        on_train_batch_end
      on_epoch_end            with `logs`: the epoch's means; what a callback adds to them stands in the history
    on_train_end              once, also after an early stop

The hooks, their order and their arguments are Keras's, so that a callback written for Keras needs another base class
and nothing else. Besides `model` and `params` there is `training` (chainrule.training.loop.Training).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError, SettingError, warn
from chainrule.messages import say

if TYPE_CHECKING:
    from chainrule.training.loop import Training

Logs = dict[str, float]


class Callback:
    """Looks on while a network trains, and may end the training or change its learning rate and weights.

    `training` is what it may look at and change, `model` what is trained (a Network, or the model it belongs to),
    `params` has epochs, steps and verbose. To end the training: `self.training.stop = True`, or Keras's
    `self.model.stop_training = True`.

    Example:
    >>> class Worst(Callback):
    ...     loss = 0.0
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.loss = max(self.loss, logs["loss"])
    >>> from chainrule.training.network import formula
    >>> net = formula("input x\\ntarget t\\nparameter w = zeros\\np = w*x\\nE = (p - t)**2")
    >>> worst = Worst()
    >>> _ = net.fit([1.0], [1.0], epochs=2, callbacks=[worst], verbose=0, engine="interpreter")
    >>> worst.loss
    1.0
    """

    training: Training | None = None
    params: Mapping[str, Any] | None = None
    _model: Any = None

    @property
    def model(self) -> Any:
        """What is trained."""
        return self._model

    def set_model(self, model: Any) -> None:
        """Called before on_train_begin."""
        self._model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called before on_train_begin: epochs, steps (of an epoch) and verbose."""
        self.params = params

    def set_training(self, training: Training | None) -> None:
        """Called before on_train_begin, where there is a training."""
        self.training = training

    state_names: tuple[str, ...] = ()
    """The attributes that it needs to go on after a checkpoint: numbers, texts, arrays, lists, tuples, dicts."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {name: getattr(self, name) for name in self.state_names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Called after on_train_begin, where a training goes on from a checkpoint."""
        for name in self.state_names:
            setattr(self, name, state[name])

    @property
    def per_batch(self) -> bool:
        """Whether it must be called at each step; a training without such a callback runs whole epochs compiled."""
        return _overrides(self, *TRAIN_BATCH_HOOKS)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Epoch number `epoch`, from 0, is about to start."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Epoch number `epoch`, from 0, reached `logs`; the names of validation start with val_."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of on_train_batch_begin."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of on_train_batch_end."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Step number `batch` of this epoch, from 0, is about to start."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Step number `batch` of this epoch is done; `logs` are the means over this epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Never called: a test is one compiled pass."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Never called: a test is one compiled pass."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Never called: a prediction is one compiled pass."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Never called: a prediction is one compiled pass."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """The training is about to start."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """The training is over; `logs` are those of the last epoch."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """A test, or the validation after an epoch, is about to start."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """A test reached `logs`."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """A prediction is about to start."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """A prediction is over."""


TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def _overrides(callback: object, *hooks: str) -> bool:
    """Whether an object has a hook of its own, from its class or put on it alone."""
    own = [getattr(callback, hook) for hook in hooks if hasattr(callback, hook)]
    plain = {getattr(Callback, hook) for hook in hooks}
    # Keras marks the hooks that do nothing.
    return any(getattr(h, "__func__", h) not in plain and not getattr(h, "_is_default", False) for h in own)


class LambdaCallback(Callback):
    """A callback of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs["loss"]))`.

    Raises: SettingError for a name that is no hook.
    """

    def __init__(
        self,
        on_epoch_begin: Any = None,
        on_epoch_end: Any = None,
        on_train_begin: Any = None,
        on_train_end: Any = None,
        on_train_batch_begin: Any = None,
        on_train_batch_end: Any = None,
        **kwargs: Any,
    ):  # Keras's signature
        named = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for hook, function in named.items():
            if hook not in HOOKS:
                raise SettingError(say("callbacks.no_such_hook", name=hook, known=", ".join(HOOKS)))
            if function is not None:
                setattr(self, hook, function)


class _PlainFunction(Callback):
    """A function (epoch, logs), called after each epoch; False ends the training."""

    def __init__(self, function: Any):
        self.function = function

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.function(epoch, logs) is False and self.training is not None:
            self.training.stop = True


class CallbackList:
    """All callbacks of one training, called in their order.

    `callbacks` may hold Callback objects, objects with the same hooks (a callback that derives from Keras's own class)
    and plain functions (epoch, logs), of which one that returns False ends the training.
    Raises: SettingError for what is neither.
    """

    def __init__(self, callbacks: Any = None, training: Training | None = None, model: Any = None):
        self.training = training
        self.model = getattr(training, "model", None) if model is None else model
        self.callbacks: list[Any] = [_as_callback(c) for c in _flat(callbacks)]
        params = _params(training)
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback.set_training(training)
            callback.set_model(self.model)
            callback.set_params(params)

    def append(self, callback: Any) -> None:
        """One more, called after the others."""
        added = CallbackList(callback, self.training, self.model)
        self.callbacks += added.callbacks

    def __len__(self) -> int:
        return len(self.callbacks)

    @property
    def per_batch(self) -> bool:
        """Whether any callback must be called at each step; only then does the loop go step by step."""
        return any(
            c.per_batch if isinstance(c, Callback) else _overrides(c, "on_train_batch_begin", "on_train_batch_end")
            for c in self.callbacks
        )

    def state_dict(self) -> list[dict[str, Any]]:
        """Of each callback its name, and its state where it has one."""
        states = [c.state_dict() if hasattr(c, "state_dict") else None for c in self.callbacks]
        return [{"name": _name(c), "state": s} for c, s in zip(self.callbacks, states, strict=True)]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Give each its state back; one that cannot keep any is told of.

        Raises: SettingError where these are other callbacks, or a state does not fit.
        """
        then, now = [state["name"] for state in states], [_name(c) for c in self.callbacks]
        if then != now:
            shown = [", ".join(some) or "–" for some in (then, now)]
            raise SettingError(say("checkpoints.callbacks", then=shown[0], now=shown[1]))
        for callback, state in zip(self.callbacks, states, strict=True):
            if _forgets(callback):
                warn(say("checkpoints.stateless", callback=_name(callback)))
            elif state["state"] is not None and hasattr(callback, "load_state_dict"):
                try:
                    callback.load_state_dict(state["state"])
                except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                    if isinstance(error, ChainruleError):
                        raise
                    raise SettingError(say("checkpoints.odd_state", callback=_name(callback))) from error

    def on_train_begin(self, logs: Logs | None = None) -> None:
        model = self.model
        if model is not None and getattr(model, "stop_training", False):  # of the training before
            model.stop_training = False
        self._call("on_train_begin", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Callbacks may add to `logs`: call it before the history takes them."""
        self._call("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._call("on_test_begin", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._call("on_test_end", logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._call("on_predict_begin", logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._call("on_predict_end", logs)

    def _call(self, hook: str, *arguments: Any) -> None:
        *first, logs = arguments
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            # By name: Keras's own callbacks and LambdaCallback's functions take both ways.
            getattr(callback, hook)(*first, logs)
        if self.training is not None and getattr(self.model, "stop_training", False):
            self.training.stop = True


def _name(callback: object) -> str:
    return type(callback).__name__


def _forgets(callback: object) -> bool:
    """Whether it may know something that no checkpoint has: one that is not chainrule's, and has no state_dict."""
    if type(callback).__module__.startswith("chainrule.") and not isinstance(callback, _PlainFunction):
        return False
    own = getattr(type(callback), "state_dict", Callback.state_dict)
    return own is Callback.state_dict and not getattr(callback, "state_names", ())


def _params(training: Training | None) -> dict[str, Any]:
    plan, history = getattr(training, "plan", None), getattr(training, "history", None)
    return {
        "epochs": getattr(plan, "epochs", 1),
        "steps": getattr(history, "steps_per_epoch", None),
        "verbose": getattr(plan, "verbose", 0),
    }


def _flat(callbacks: Any) -> Iterable[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, list | tuple):
        return [c for part in callbacks for c in _flat(part)]
    return [callbacks]


def _as_callback(callback: Any) -> Any:
    if isinstance(callback, type):
        raise SettingError(say("callbacks.a_class", name=callback.__name__))
    if isinstance(callback, Callback) or all(hasattr(callback, h) for h in ("set_model", "set_params", *HOOKS)):
        return callback
    if callable(callback):
        return _PlainFunction(callback)
    raise SettingError(say("callbacks.no_callback", came=type(callback).__name__))
