"""What looks on while a network trains: Keras's callbacks, by Keras's names and signatures.

base        Callback, CallbackList, LambdaCallback
"""

from __future__ import annotations

from chainrule.training.callbacks.base import Callback, CallbackList, LambdaCallback

__all__ = ["Callback", "CallbackList", "LambdaCallback"]
