"""Copies of models, made once for each: a new one on every step would be built anew each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiered_llm.chat_model import TieredChatModel

MOST: Final = 8
"""Models of which copies are kept; an agent seldom has more than one."""


class _Made(NamedTuple):
    fields: Mapping[str, Any]
    changed: Mapping[str, Any]
    copy: TieredChatModel


class Copies:
    """Keeps a model's copy with some fields changed. Safe for threads: at worst it copies twice."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._made: tuple[_Made, ...] = ()

    def of(self, model: TieredChatModel, **changed: Any) -> TieredChatModel:
        """The copy that was made before of these fields, with these changes, or a new one.

        A decision is carried over: its model is a copy for one call, and has the same fields.
        """
        copy = self._kept(model, changed)
        return copy if model.decided is None else copy.with_decision(model.decided)

    def _kept(self, model: TieredChatModel, changed: dict[str, Any]) -> TieredChatModel:
        fields = vars(model)
        for made in self._made:
            if made.changed == changed and _same(made.fields, fields):
                return made.copy
        copy = model.with_decision(None).model_copy(update=changed)
        copy.stages  # noqa: B018  # built here, or each copy for a call would build its own
        self._made = (_Made(dict(fields), changed, copy), *self._made[: MOST - 1])
        return copy


def _same(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether the values are the same objects; some models' are slow to compare."""
    return some.keys() == others.keys() and all(some[name] is others[name] for name in some)
