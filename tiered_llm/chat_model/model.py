"""`TieredChatModel`: a chat model that is three.

It subclasses `BaseChatModel` and overrides its public methods, so that the tier's own model
owns the only model run: tokens are streamed once and usage is counted once, under every
callback. The pipeline's fallback chain is the one chain run around it.
"""

from __future__ import annotations

import asyncio
import builtins
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Literal, Self

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import (
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import override

from tiered_llm.budgets import BudgetManager
from tiered_llm.chat_model.configurable import ConfigurableTieredModel
from tiered_llm.chat_model.deciding import DecidingModel
from tiered_llm.chat_model.events import async_event_stream, event_stream
from tiered_llm.chat_model.generating import configs_for, joined
from tiered_llm.chat_model.preparing import prepare, refuse_restart_with_tools
from tiered_llm.chat_model.structured import StructuredTieredModel
from tiered_llm.chat_model.tier_models import (
    endpoints_for,
    refuse_unknown,
    refuse_what_cannot_be_handed_down,
)
from tiered_llm.complexity import ComplexityEstimator
from tiered_llm.fallback import (
    DEFAULT_FAULTS,
    PROCESS_HEALTH,
    BoundTools,
    Entry,
    FallbackPolicy,
    FaultTable,
    Health,
    Structured,
)
from tiered_llm.metrics import ModelMetricsCollector
from tiered_llm.pipeline import Pipeline
from tiered_llm.providers import Endpoint
from tiered_llm.routing import ModelRouter
from tiered_llm.settings import DEFAULT_SPECS, Settings, get_settings
from tiered_llm.telemetry import Telemetry
from tiered_llm.tiers import Tier, TierSpec
from tiered_llm.types import AgentSpec
from tiered_llm.watching import Watchers

_TIER_FIELDS = ("light", "standard", "heavy")


class TieredChatModel(DecidingModel):
    """Each call goes to the cheapest tier that will do.

    ```python
    model = TieredChatModel(light="ollama/qwen2.5:7b", heavy="vllm/qwen2.5:72b")
    answer = model.invoke("Hello", config={"configurable": {"task_type": "simple_qa"}})
    answer.response_metadata["routing"]["tier"]
    ```

    A tier is a model id, a `TierSpec`, or a ready chat model or runnable; any non-empty
    subset will do, and with none given the settings' tiers are taken. Arguments beside the
    fields below are refused. Safe to use from many threads and event loops.

    Raises:
        ConfigurationError: At the start, for tiers or settings that cannot work.
        NoCapableTierError: At a call that no tier can serve.
        BudgetExceededError: At a call for which its tenant's budget has no room.
        AllTiersFailedError: At a call for which every capable tier failed.
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    light: Any = Field(default=None, repr=False)
    """Model of the light tier."""
    standard: Any = Field(default=None, repr=False)
    """Model of the standard tier."""
    heavy: Any = Field(default=None, repr=False)
    """Model of the heavy tier."""
    settings: InstanceOf[Settings] | None = Field(default=None, exclude=True, repr=False)
    """Settings in force; `get_settings()` if left out."""
    estimator: Any = Field(default=None, exclude=True, repr=False)
    """Who estimates complexity: an `Estimator`; the five factors if left out."""
    router: InstanceOf[ModelRouter] | None = Field(default=None, exclude=True, repr=False)
    """Who routes; the default rules over the tiers given if left out."""
    faults: InstanceOf[FaultTable] | None = Field(default=None, exclude=True, repr=False)
    """Which errors are which fault, and what each leads to; the built-in table if left out."""
    health: InstanceOf[Health] | None = Field(default=None, exclude=True, repr=False)
    """The breakers and the retry budget; the process's own, shared by all models, if left out."""

    budget: InstanceOf[BudgetManager] | None = Field(default=None, exclude=True, repr=False)
    """Who holds tenants to their budgets; nobody if left out."""
    metrics: InstanceOf[ModelMetricsCollector] | None = Field(
        default=None, exclude=True, repr=False
    )
    """Who is given a record of every call; nobody if left out."""
    telemetry: InstanceOf[Telemetry] | None = Field(default=None, exclude=True, repr=False)
    """What OpenTelemetry is told; as the settings say if left out."""

    tenant_id: str | None = Field(default=None, exclude=True, repr=False)
    """Who pays, where a call does not say."""
    user_id: str | None = Field(default=None, exclude=True, repr=False)
    """The tenant's user, where a call does not say."""
    task_type: str | None = None
    """Kind of task, where a call does not say."""
    agent_spec: AgentSpec | None = None
    """The asking agent, where a call does not say."""
    tier: Tier | None = None
    """Tier to insist on, where a call does not say."""
    session_id: str | None = Field(default=None, exclude=True, repr=False)
    """The conversation, where a call does not say."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Longest time of a call in seconds, over all attempts; the settings' if left out."""
    min_output_tokens: int | None = Field(default=None, gt=0)
    """Longest answer, in tokens, that a budget must have room for, where a call does not say."""
    on_interrupt: Literal["raise", "restart"] | None = None
    """What a stream does that broke off after content; the settings' if left out."""

    _built: tuple[tuple[Any, ...], Pipeline] | None = PrivateAttr(default=None)

    def __init__(self, **fields: Any) -> None:
        """Check the arguments' names first: `BaseChatModel` would take any.

        Raises:
            ConfigurationError: An argument that is none of the fields, or tiers and
                settings that cannot work.
        """
        refuse_unknown(fields, type(self).model_fields)
        if fields.get("settings") is None:
            router = fields.get("router")
            fields["settings"] = router.settings if router is not None else get_settings()
        super().__init__(**fields)

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **fields: Any) -> Self:
        """A model of the settings' tiers; `get_settings()` if none are handed in."""
        return cls(settings=settings, **fields)

    @field_serializer("light", "standard", "heavy")
    def _dump_tier(self, value: Any) -> Any:
        """A tier as its spec without key: a model kept in a graph's state finds its tiers again."""
        return value.dump() if isinstance(value, Endpoint) else value

    @field_validator("tenant_id", "user_id", "session_id", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return None if value is None else str(value)

    @field_validator("agent_spec", mode="before")
    @classmethod
    def _parse_agent_spec(cls, value: Any) -> Any:
        return AgentSpec.parse(value)

    @model_validator(mode="after")
    def _start(self) -> Self:
        stages = self.stages
        for tier, endpoint in stages.endpoints.items():
            setattr(self, tier.value, endpoint)
        self._built = (self._parts(), stages)
        refuse_what_cannot_be_handed_down(self, stages.endpoints)
        return self

    # --- the pipeline ---

    @property
    def stages(self) -> Pipeline:
        """The pipeline behind the model; made anew when one of its parts is replaced."""
        parts = self._parts()
        built = (self.__pydantic_private__ or {}).get("_built")  # on every call: past __getattr__
        if built is None or any(a is not b for a, b in zip(built[0], parts, strict=True)):
            built = self._built = (parts, self._build())
        return built[1]

    @property
    def interrupt_policy(self) -> str:
        """What a stream does that broke off after content: `raise` or `restart`."""
        return self.on_interrupt or self.stages.fallback.policy.fallback.on_interrupt

    def _parts(self) -> tuple[Any, ...]:
        return (
            *(self.light, self.standard, self.heavy),
            *(self.settings, self.estimator, self.router, self.faults, self.health),
            *(self.budget, self.metrics, self.telemetry),
        )

    def _build(self) -> Pipeline:
        settings = self.settings or get_settings()
        given = {Tier(name): getattr(self, name) for name in _TIER_FIELDS}
        endpoints = endpoints_for(given, settings)
        specs = {tier: endpoint.spec for tier, endpoint in endpoints.items()}
        health = self.health or PROCESS_HEALTH
        return Pipeline(
            estimator=self.estimator or ComplexityEstimator(settings.complexity),
            router=self.router.with_specs(specs)
            if self.router
            else ModelRouter(settings, specs=specs),
            endpoints=endpoints,
            policy=FallbackPolicy(
                fallback=settings.fallback,
                breaker=settings.breaker,
                faults=self.faults or DEFAULT_FAULTS,
                health=health,
            ),
            watchers=self._watchers(settings, specs, health),
        )

    def _watchers(
        self, settings: Settings, specs: builtins.dict[Tier, TierSpec], health: Health
    ) -> Watchers:
        telemetry = self.telemetry or Telemetry.from_settings(settings)
        telemetry.instruments.watch(health, self.budget, telemetry.tenants)
        if self.metrics is not None:
            self.metrics.watch_health(health)
        return Watchers(
            metrics=self.metrics,
            telemetry=telemetry,
            specs={**DEFAULT_SPECS, **specs},
            clock=health.clock,
        )

    # --- LangChain's doors ---

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """One answer, its routing in `response_metadata["routing"]`."""
        answer: AIMessage = self.stages.invoke(*prepare(self, input, config, kwargs, stop=stop))
        return answer

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """One answer, its routing in `response_metadata["routing"]`."""
        prepared = prepare(self, input, config, kwargs, stop=stop)
        answer: AIMessage = await self.stages.ainvoke(*prepared)
        return answer

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The answer in chunks; the last one's metadata holds the routing."""
        return self.stages.stream(*prepare(self, input, config, kwargs, stop=stop))

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """The answer in chunks; the last one's metadata holds the routing."""
        return self.stages.astream(*prepare(self, input, config, kwargs, stop=stop))

    @override
    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: builtins.dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """The generations for each list of messages, one after the other."""
        configs = configs_for(
            len(messages),
            run_id,
            {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name},
        )
        results = [
            self.stages.invoke(*prepare(self, m, c, kwargs, stop=stop, entry=Entry.GENERATE))
            for m, c in zip(messages, configs, strict=True)
        ]
        return joined(results)

    @override
    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: builtins.dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """The generations for each list of messages, all at once."""
        configs = configs_for(
            len(messages),
            run_id,
            {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name},
        )
        results = await asyncio.gather(
            *(
                self.stages.ainvoke(*prepare(self, m, c, kwargs, stop=stop, entry=Entry.GENERATE))
                for m, c in zip(messages, configs, strict=True)
            ),
            return_exceptions=True,
        )
        return joined(results)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """For code that calls past the public methods; they do not come here."""
        del run_manager  # whoever has one has opened a model run of its own
        result = self.generate([messages], stop, **kwargs)
        return ChatResult(generations=result.generations[0], llm_output=result.llm_output)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """For code that calls past the public methods; they do not come here."""
        del run_manager  # whoever has one has opened a model run of its own
        result = await self.agenerate([messages], stop, **kwargs)
        return ChatResult(generations=result.generations[0], llm_output=result.llm_output)

    def _chat_model_stream_v3(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> ChatModelStream:
        """What `stream_events(version="v3")` returns."""
        prepared = prepare(self, input, config, kwargs, stop=stop, entry=Entry.EVENTS)
        return event_stream(lambda: self.stages.stream(*prepared))

    async def _achat_model_stream_v3(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncChatModelStream:
        """What `astream_events(version="v3")` returns."""
        prepared = prepare(self, input, config, kwargs, stop=stop, entry=Entry.EVENTS)
        return async_event_stream(lambda: self.stages.astream(*prepared))

    # --- binding ---

    def bind_tools(
        self,
        tools: Sequence[builtins.dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: builtins.dict[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; each tier that can call tools formats them in its own way.

        Raises:
            NotImplementedError: No tier can call tools.
            UnsupportedArgumentError: A stream that breaks off would begin anew.
        """
        specs = [endpoint.spec for endpoint in self.stages.endpoints.values()]
        if tools and not any(spec.tools for spec in specs):
            msg = f"no tier can call tools: {', '.join(spec.model_id for spec in specs)}"
            raise NotImplementedError(msg)
        if tools and self.interrupt_policy == "restart":
            refuse_restart_with_tools()
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=BoundTools(tools), **kwargs)

    def with_structured_output(
        self,
        schema: builtins.dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers in a schema; each tier structures in its own way.

        Args:
            schema: A pydantic class, a TypedDict, a JSON schema or an OpenAI function.
            include_raw: Whether the answer is a dict of `raw`, `parsed` and `parsing_error`;
                the routing is then in the raw message's metadata.
            kwargs: `method` and `strict`, as the tiers' models take them.
        """
        given = {name: value for name, value in kwargs.items() if value is not None}
        return StructuredTieredModel(
            self, Structured(schema, {"include_raw": include_raw, **given})
        )

    def configurable_fields(self, **kwargs: Any) -> RunnableSerializable[LanguageModelInput, Any]:
        """Let a call's config set fields, also of what is bound to the model later.

        Raises:
            ValueError: One of them is no field.
        """
        super().configurable_fields(**kwargs)  # checks the names
        return ConfigurableTieredModel(default=self, fields=kwargs)

    def __getstate__(self) -> builtins.dict[Any, Any]:
        """Pickle without the pipeline: it is built anew where the model arrives."""
        state = super().__getstate__()
        private = state.get("__pydantic_private__") or {}
        return {**state, "__pydantic_private__": {**private, "_built": None}}
