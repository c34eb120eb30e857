"""A call as LangChain makes it, read into what the pipeline takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from uuid import UUID

from langchain_core.runnables.config import ensure_config, merge_configs

from tiered_llm.budgets import CallWallet, Payer
from tiered_llm.chat_model.context import CONTEXT_NAMES, read_context
from tiered_llm.complexity import read_conversation
from tiered_llm.errors import UnsupportedArgumentError
from tiered_llm.fallback import BoundTools, Call, Entry, Plain, WithTools
from tiered_llm.providers import PARAMETER_NAMES, Parameters, check_arguments
from tiered_llm.tiers import Ability, Tier
from tiered_llm.types import RoutingRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tiered_llm.budgets import BudgetManager
    from tiered_llm.chat_model.context import CallContext
    from tiered_llm.chat_model.model import TieredChatModel
    from tiered_llm.complexity.messages import Conversation
    from tiered_llm.fallback import Shape
    from tiered_llm.types import StepKind

_BINDING_OPTIONS = ("tool_choice", "strict", "parallel_tool_calls", "response_format")

_HANDED_DOWN = ("cache", "rate_limiter", "disable_streaming", "output_version", "verbose")
"""Fields of `BaseChatModel` that act where the model run is: in the tiers' models."""

_ALSO_WHEN_FALSE = frozenset({"cache", "streaming"})
"""Those of them whose False says something else than their default."""


class Prepared(NamedTuple):
    """A call made ready for the pipeline, in the order of its arguments."""

    request: RoutingRequest
    call: Call
    messages: list[BaseMessage]
    config: RunnableConfig


def prepare(  # noqa: PLR0913  # LangChain's own arguments, and the shape
    model: TieredChatModel,
    input: LanguageModelInput,
    config: RunnableConfig | None,
    arguments: dict[str, Any],
    *,
    stop: list[str] | None = None,
    entry: Entry = Entry.MESSAGE,
    shape: Shape | None = None,
) -> Prepared:
    """Make a call ready; nothing is decided or sent yet.

    Raises:
        ConfigurationError: A malformed context value: an unknown tier, a bad agent spec.
        UnsupportedArgumentError: A call-time argument that some tier does not know.
    """
    config = _outer_config(model, ensure_config(config))
    messages = model._convert_input(input).to_messages()  # noqa: SLF001  # as every door of BaseChatModel does
    rest = dict(arguments)
    parameters = _parameters(model, rest)
    per_tier = _per_tier(rest.pop("tier_kwargs", None) or {})
    shape = shape or _shape(rest)
    if rest or per_tier:
        models = {tier: end.model for tier, end in model.stages.endpoints.items()}
        check_arguments(models, rest, per_tier)
    call = Call(
        shape=shape,
        parameters=parameters,
        arguments=rest,
        tier_arguments=per_tier,
        overrides=_overrides(model),
        stop=stop if stop is not None else model.stop,
        entry=entry,
    )
    call.may_restart = _may_restart(model, call)
    context = read_context(config, {name: getattr(model, name) for name in CONTEXT_NAMES})
    call.deadline_s = context.deadline_s
    if model.budget is not None:
        call.wallet = _wallet(model.budget, messages, context, call)
    long_tokens = model.stages.router.settings.routing.long_result_tokens
    request = _request(messages, context, call, long_tokens)
    call.input_tokens = request.input_tokens
    call.decided = model.decided
    call.watch = model.stages.watchers.watch(request, config)
    if call.watch is not None:
        config["run_id"] = UUID(call.watch.run_id)  # traces and records know it by one name
    return Prepared(request, call, messages, config)


def _wallet(
    budget: BudgetManager, messages: list[BaseMessage], context: CallContext, call: Call
) -> CallWallet:
    agent = context.agent_spec.name if context.agent_spec else ""
    payer = Payer(tenant_id=context.tenant_id, user_id=context.user_id, agent=agent or None)

    def sent_to(tier: Tier) -> list[Any]:
        given = {**call.arguments, **call.tier_arguments.get(tier, {})}
        formats = [given[name] for name in ("response_format", "format") if given.get(name)]
        return [*call.shape.described, *(given.get("tools") or []), *formats]

    return CallWallet(budget, payer, messages, sent_to, least=context.min_output_tokens or 1)


def _may_restart(model: TieredChatModel, call: Call) -> bool:
    """Whether a stream that breaks off may begin anew; never where tools could have been called.

    Raises:
        UnsupportedArgumentError: It is asked for, and tools are bound.
    """
    if model.interrupt_policy != "restart":
        return False
    if isinstance(call.shape, WithTools) or call.arguments.get("tools"):
        refuse_restart_with_tools()
    return isinstance(call.shape, Plain)


def refuse_restart_with_tools() -> NoReturn:
    """Say why a stream with tools never begins anew.

    Raises:
        UnsupportedArgumentError: Always.
    """
    msg = (
        "on_interrupt='restart' cannot be used with tools: a call that was streamed may have "
        "been acted on; give this model on_interrupt='raise'"
    )
    raise UnsupportedArgumentError(msg)


def _outer_config(model: TieredChatModel, config: RunnableConfig) -> RunnableConfig:
    """The caller's config with the model's own callbacks, tags and metadata below it."""
    own: RunnableConfig = {}
    if model.callbacks:
        own["callbacks"] = model.callbacks
    if model.tags:
        own["tags"] = model.tags
    if model.metadata and model.metadata.keys() != {"lc_versions"}:
        own["metadata"] = model.metadata
    merged = merge_configs(own, config) if own else config
    if not merged.get("run_name"):
        merged["run_name"] = model.name or "TieredChatModel"
    return merged


def _parameters(model: TieredChatModel, arguments: dict[str, Any]) -> Parameters:
    """The call's sampling parameters over the model's own; taken out of the arguments."""
    parameters = Parameters(
        **{name: arguments.pop(name, getattr(model, name)) for name in PARAMETER_NAMES}
    )
    if not isinstance(parameters.max_tokens, int | None):
        msg = f"max_tokens is a whole number of tokens, not {type(parameters.max_tokens).__name__}"
        raise UnsupportedArgumentError(msg)
    return parameters


def _per_tier(given: Mapping[str, Mapping[str, Any]]) -> dict[Tier, dict[str, Any]]:
    unknown = [name for name in given if name not in set(Tier)]
    if unknown:
        msg = f"tier_kwargs: {unknown[0]!r} is no tier; the tiers are {', '.join(Tier)}"
        raise UnsupportedArgumentError(msg)
    return {Tier(name): dict(arguments) for name, arguments in given.items()}


def _shape(arguments: dict[str, Any]) -> Shape:
    """The shape that call-time arguments stand for; what it uses is taken out of them."""
    if not isinstance(arguments.get("tools"), BoundTools):
        return Plain()
    tools = arguments.pop("tools")
    options = {name: arguments.pop(name) for name in _BINDING_OPTIONS if name in arguments}
    return WithTools(tools, options) if tools or options else Plain()


def _overrides(model: TieredChatModel) -> dict[str, Any]:
    """What the tiers' models take over from the outer model."""
    given = {name: getattr(model, name) for name in (*_HANDED_DOWN, "streaming")}
    return {
        name: value
        for name, value in given.items()
        if value or (value is False and name in _ALSO_WHEN_FALSE)
    }


def _request(
    messages: list[BaseMessage], context: CallContext, call: Call, long_tokens: int
) -> RoutingRequest:
    said = read_conversation(messages)
    needs = call.shape.needs | _needs_of(call.arguments)
    return RoutingRequest(
        message=said.message,
        context_tokens=said.context_tokens,
        history_length=said.history_length,
        agent_capabilities=context.agent_spec.capabilities if context.agent_spec else (),
        task_type=context.task_type,
        agent_spec=context.agent_spec,
        tenant_id=context.tenant_id,
        session_id=context.session_id,
        forced_tier=context.tier,
        needs=needs | {Ability.VISION} if said.has_images else needs,
        input_tokens=said.input_tokens + call.shape.tokens,
        max_output_tokens=call.parameters.max_tokens,
        held_tier=said.held_tier,
        in_turn=said.in_turn,
        prefix_tokens=said.prefix_tokens,
        step=_step(said, long_tokens, with_tools=Ability.TOOLS in needs),
        failed_steps=said.failed_steps,
    )


def _step(said: Conversation, long_tokens: int, *, with_tools: bool) -> StepKind:
    """What kind of step of an agent's turn a call is."""
    if said.in_turn:
        return "reading" if said.result_tokens >= long_tokens else "acting"
    return "planning" if with_tools else "plain"


def _needs_of(arguments: Mapping[str, Any]) -> frozenset[Ability]:
    """Abilities that call-time arguments ask for."""
    needs = {Ability.TOOLS} if arguments.get("tools") else set()
    wanted = arguments.get("response_format")
    if wanted is not None:
        plain = isinstance(wanted, dict) and wanted.get("type") == "json_object"
        needs.add(Ability.JSON_MODE if plain else Ability.STRUCTURED_OUTPUT)
    return frozenset(needs)
