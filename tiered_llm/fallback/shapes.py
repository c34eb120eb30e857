"""The shape of a call: plain, with tools, or with structured output.

Each tier formats tools and schemas in its own way, so a shape binds them anew for each
tier, once, and remembers the result.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from tiered_llm.fallback.ends import with_end_check
from tiered_llm.providers.dialects import is_ollama, tells_its_end
from tiered_llm.tiers import Ability
from tiered_llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.runnables import Runnable

_REMEMBERED = 32
"""Bindings that a shape keeps; one for each tier, event loop and set of parameters."""


class _Bindings:
    """What has been bound already, by model and by how."""

    __slots__ = ("_bound",)

    def __init__(self) -> None:
        self._bound: dict[tuple[Any, ...], tuple[Any, Runnable[Any, Any]]] = {}

    def get(
        self, model: Any, how: tuple[Any, ...], bind: Callable[[], Runnable[Any, Any]]
    ) -> Runnable[Any, Any]:
        """The binding made before, or a new one.

        The model is kept with it: an id is only unique while its object lives.
        """
        key = (id(model), how)
        found = self._bound.get(key)
        if found is not None and found[0] is model:
            return found[1]
        if len(self._bound) >= _REMEMBERED:
            self._bound.clear()
        bound = bind()
        self._bound[key] = (model, bound)
        return bound


class Shape:
    """How a tier's model is bound for a call."""

    @property
    def needs(self) -> frozenset[Ability]:
        """Abilities that a tier must have for this shape."""
        return frozenset()

    @property
    def tokens(self) -> int:
        """Tokens that the shape adds to the input, estimated."""
        return 0

    @property
    def described(self) -> list[Any]:
        """What the shape adds to the request: tools and schemas, in OpenAI's format."""
        return []

    def bind(
        self, model: Runnable[Any, Any], variant: Callable[[], Runnable[Any, Any]], how: Any
    ) -> Runnable[Any, Any]:
        """The model, bound.

        Args:
            model: The tier's model as it stands; what is remembered hangs on it.
            variant: Makes the copy of it that this call's parameters ask for.
            how: A hashable value that tells one variant from another.
        """
        raise NotImplementedError


class Plain(Shape):
    """Messages in, a message out."""

    def bind(
        self,
        model: Runnable[Any, Any],  # noqa: ARG002  # a plain call hangs nothing on it
        variant: Callable[[], Runnable[Any, Any]],
        how: Any,  # noqa: ARG002
    ) -> Runnable[Any, Any]:
        """The variant itself."""
        return variant()


class BoundTools(list[dict[str, Any]]):
    """Tools in OpenAI's format for whoever looks, and the originals for the tiers.

    Agents look into a binding's `tools` to see what is bound; a tier's own `bind_tools`
    wants what the user gave.
    """

    def __init__(self, originals: Sequence[Any]) -> None:
        """Format the tools; what has no such format stays as it is."""
        super().__init__(_formatted(tool) for tool in originals)
        self.originals = list(originals)
        self.bindings = _Bindings()
        self.tokens = estimate_tokens(json.dumps(list(self), default=str))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the originals: bindings belong to one process's models."""
        return type(self), (self.originals,)


def _formatted(tool: Any) -> dict[str, Any]:
    try:
        return convert_to_openai_tool(tool)
    except (ValueError, NotImplementedError):
        if isinstance(tool, dict):
            return tool  # a provider's built-in tool, in the provider's own format
        raise


class WithTools(Shape):
    """Tools bound by each tier's own `bind_tools`."""

    def __init__(self, tools: BoundTools, options: Mapping[str, Any]) -> None:
        """Take the tools and how they are to be bound: `tool_choice`, `strict` and the like."""
        self._tools, self._options = tools, dict(options)

    @property
    def needs(self) -> frozenset[Ability]:
        """Tools, unless the list of them is empty."""
        return frozenset({Ability.TOOLS}) if self._tools else frozenset()

    @property
    def described(self) -> list[Any]:
        """The tools."""
        return list(self._tools)

    @property
    def tokens(self) -> int:
        """Tokens of the tools' descriptions."""
        return self._tools.tokens

    def bind(
        self, model: Runnable[Any, Any], variant: Callable[[], Runnable[Any, Any]], how: Any
    ) -> Runnable[Any, Any]:
        """The variant with the tools bound, remembered."""
        return self._tools.bindings.get(
            model, (how, _frozen(self._options)), lambda: self._bind(variant())
        )

    def _bind(self, model: Any) -> Runnable[Any, Any]:
        # its client raises on this one; the others are translated or dropped by ChatOllama
        unknown = {"parallel_tool_calls"} if is_ollama(model) else set()
        options = {n: v for n, v in self._options.items() if n not in unknown}
        bound: Runnable[Any, Any] = model.bind_tools(self._tools.originals, **options)
        return bound


class Structured(Shape):
    """Structured output by each tier's own `with_structured_output`."""

    def __init__(self, schema: Any, options: Mapping[str, Any]) -> None:
        """Take the schema and the arguments of `with_structured_output`."""
        self.schema, self.options = schema, dict(options)
        self._bindings = _Bindings()
        self._tokens: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy without the bindings, which belong to one process's models."""
        return type(self), (self.schema, self.options)

    @property
    def needs(self) -> frozenset[Ability]:
        """What the chosen method needs of a tier."""
        method = self.options.get("method")
        needed = {"function_calling": Ability.TOOLS, "json_mode": Ability.JSON_MODE}
        return frozenset({needed.get(method or "", Ability.STRUCTURED_OUTPUT)})

    @property
    def described(self) -> list[Any]:
        """The schema."""
        try:
            return [convert_to_openai_tool(self.schema)]
        except (ValueError, NotImplementedError):
            return [self.schema]

    @property
    def tokens(self) -> int:
        """Tokens of the schema."""
        if self._tokens is None:
            self._tokens = estimate_tokens(json.dumps(self.described[0], default=str))
        return self._tokens

    def bind(
        self, model: Runnable[Any, Any], variant: Callable[[], Runnable[Any, Any]], how: Any
    ) -> Runnable[Any, Any]:
        """The variant with its output structured, remembered."""

        def bind() -> Runnable[Any, Any]:
            bound: Any = variant()
            structured: Runnable[Any, Any] = bound.with_structured_output(
                self.schema, **self.options
            )
            return with_end_check(structured) if tells_its_end(bound) else structured

        return self._bindings.get(model, (how,), bind)


def _frozen(value: Any) -> Any:
    """A hashable image of plain data."""
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(v) for v in value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
