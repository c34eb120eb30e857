"""The settings as one checked, frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tiered_llm.errors import ConfigurationError, Problem
from tiered_llm.settings import faults
from tiered_llm.settings.budget import BudgetSettings
from tiered_llm.settings.catalogue import DELIMITER, PREFIX, Entry, catalogue_of
from tiered_llm.settings.checks import check
from tiered_llm.settings.masking import masked, masked_url, shown
from tiered_llm.settings.merge import Place, Places, merge, nested, places_of
from tiered_llm.settings.sections import (
    DEFAULT_SPECS,
    BreakerSettings,
    ComplexitySettings,
    FallbackSettings,
    MetricsSettings,
    RoutingSettings,
    TelemetrySettings,
)
from tiered_llm.settings.sources import AUTO, FileChoice, read_layers
from tiered_llm.settings.store_url import checked_store_url
from tiered_llm.tiers import Tier, TierSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One setting's value and where it came from.

    Attributes:
        key: The setting: `light.base_url`.
        value: Its value as text; secrets are masked.
        source: A file's path, `environment`, `.env`, `arguments` or `default`.
        name: The setting in the spelling of its source: `TIERED_LLM_LIGHT__BASE_URL`.
    """

    key: str
    value: str
    source: str
    name: str


class Settings(BaseSettings):
    """Every setting, read from all sources and checked. Frozen.

    Sources, the strongest first: arguments, environment, `.env`, TOML, defaults. Equality is
    by value: where a value came from does not count. Dumps and reprs show no secret, so they
    are for looking at; copy with `model_copy`.

    ```python
    Settings(light="ollama/llama3.2:3b", complexity={"light_below": 0.25})
    ```
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
    )

    routing_enabled: bool = Field(
        default=True,
        description="Choose a tier for each call; if false, every call goes to one fixed tier.",
        json_schema_extra={"env": "MODEL_ROUTING_ENABLED"},
    )
    fixed_tier: Tier | None = Field(
        None,
        description="The tier of every call while routing is disabled; the heaviest if unset.",
        json_schema_extra={"env": "MODEL_FIXED_TIER"},
    )
    light: TierSpec | None = Field(
        DEFAULT_SPECS[Tier.LIGHT],
        description="Intent classification, PII detection, simple questions.",
        json_schema_extra={"env": "MODEL_LIGHT"},
    )
    standard: TierSpec | None = Field(
        DEFAULT_SPECS[Tier.STANDARD],
        description="Agents, skills, most tasks.",
        json_schema_extra={"env": "MODEL_STANDARD"},
    )
    heavy: TierSpec | None = Field(
        DEFAULT_SPECS[Tier.HEAVY],
        description="Thinking, security analysis, architecture.",
        json_schema_extra={"env": "MODEL_HEAVY"},
    )
    token_budget_daily: int = Field(
        1_000_000,
        gt=0,
        description="Tokens that one tenant may use in a day.",
        json_schema_extra={"env": "TOKEN_BUDGET_DAILY"},
    )
    token_budget_monthly: int = Field(
        20_000_000,
        gt=0,
        description="Tokens that one tenant may use in a month.",
        json_schema_extra={"env": "TOKEN_BUDGET_MONTHLY"},
    )
    store: str = Field(
        "memory://",
        repr=False,
        description="Where budgets and metrics are kept: `memory://`, `sqlite:///path`, "
        "`redis://host:6379/0` or `rediss://…`.",
    )
    budget: BudgetSettings = Field(
        default_factory=BudgetSettings, description="How token budgets are held."
    )
    complexity: ComplexitySettings = Field(
        default_factory=ComplexitySettings, description="How complexity is scored."
    )
    routing: RoutingSettings = Field(
        default_factory=RoutingSettings, description="What the routing rules go by."
    )
    fallback: FallbackSettings = Field(
        default_factory=FallbackSettings, description="How far a call goes on after a fault."
    )
    breaker: BreakerSettings = Field(
        default_factory=BreakerSettings,
        description="When an endpoint that keeps failing is left alone.",
    )
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings, description="Where decisions are recorded."
    )
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="What OpenTelemetry is told."
    )

    _places: Places = PrivateAttr(default_factory=Places)

    def __init__(
        self, *, _env_file: FileChoice = AUTO, _config_file: FileChoice = AUTO, **arguments: Any
    ) -> None:
        """Read every source once and check the whole.

        Args:
            _env_file: The `.env` file; `AUTO` is the one of the current directory, if any.
            _config_file: The TOML file; `AUTO` searches as the reference describes.
            **arguments: Settings that win over every other source.

        Raises:
            ConfigurationError: With everything that is wrong, at once.
        """
        known = catalogue_of(type(self))
        layers = read_layers(arguments, _env_file, _config_file, known)
        problems = [problem for layer in layers for problem in layer.problems]
        leaves = merge(layers)
        places = places_of(leaves)
        refused: list[tuple[str, ...]] = []
        try:
            super().__init__(**nested(leaves))
        except ValidationError as error:
            problems += faults.problems_of_values(error, known, places)
            refused = faults.refused_paths(error)
            super().__init__(**nested(faults.without(leaves, refused)))
        problems += faults.problems_of_findings(check(self), refused, known, places)
        if problems:
            rank = {layer.source: number for number, layer in enumerate(layers)}
            raise ConfigurationError(sorted(problems, key=lambda p: rank.get(p.source, -1)))
        self._places = places

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings fixes the names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `__init__` has read: it alone knows where each value stands."""
        return (init_settings,)

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        return checked_store_url(value)

    @field_serializer("store")
    def _mask_store(self, value: str) -> str:
        return masked_url(value)

    @property
    def tiers(self) -> dict[Tier, TierSpec]:
        """The tiers that are on, light first."""
        specs = {tier: getattr(self, tier.value) for tier in Tier}
        return {tier: spec for tier, spec in specs.items() if spec is not None}

    def spec(self, tier: Tier | str) -> TierSpec:
        """The model that serves a tier.

        Raises:
            ConfigurationError: The tier is switched off, or there is no such tier.
        """
        found = self.tiers.get(Tier(tier)) if tier in set(Tier) else None
        if found is None:
            names = ", ".join(self.tiers)
            wrong = f"no tier {str(tier)!r} is switched on"
            problem = Problem(source="arguments", key="tier", wrong=wrong, right=f"use {names}")
            raise ConfigurationError([problem])
        return found

    def origins(self) -> tuple[Origin, ...]:
        """Each setting, its value with secrets masked, and where it came from."""
        entries = catalogue_of(type(self)).entries.values()
        return tuple(origin for entry in entries for origin in self._origins_of(entry))

    def public_dict(self) -> dict[str, Any]:
        """Plain JSON values, nested as in TOML; secrets and tenants' names are masked."""
        data: dict[str, Any] = {}
        for entry in catalogue_of(type(self)).entries.values():
            *outer, name = entry.path
            inside = data
            for step in outer:
                inside = inside.setdefault(step, {})
            inside[name] = masked(entry, self._value(entry))
        for tier in set(Tier) - self.tiers.keys():
            data[tier.value] = None
        return data

    def _value(self, entry: Entry) -> Any:
        value: Any = self
        for step in entry.path:
            value = getattr(value, step, None)
        return value

    def _origins_of(self, entry: Entry) -> list[Origin]:
        value = self._value(entry)
        if getattr(self, entry.path[0]) is None and entry.path[1:] not in {(), ("model_id",)}:
            return []  # of a tier that is off, only who switched it off
        if not entry.is_table or entry.is_private or not value:
            return [_origin(entry, entry.key, value, self._places.of(entry.path))]
        return [
            _origin(entry, f"{entry.key}.{name}", item, self._places.of((*entry.path, name)))
            for name, item in value.items()
        ]


def _origin(entry: Entry, key: str, value: Any, place: Place) -> Origin:
    return Origin(key=key, value=shown(entry, value), source=place.source, name=place.key)


def get_settings(
    *, env_file: FileChoice = AUTO, config_file: FileChoice = AUTO, **overrides: Any
) -> Settings:
    """Read the settings; `overrides` win over every other source.

    Each call reads anew: keep what you get.

    Args:
        env_file: The `.env` file to read, which must exist; `None` reads none.
        config_file: The TOML file to read, which must exist; `None` reads none.
        **overrides: Settings as keyword arguments, sections as mappings.

    Raises:
        ConfigurationError: With everything that is wrong, at once.

    ```python
    settings = get_settings(heavy="openai/gpt-4.1", standard=None)
    ```
    """
    return Settings(_env_file=env_file, _config_file=config_file, **overrides)


def explain_settings(settings: Settings | None = None) -> tuple[Origin, ...]:
    """Where each setting came from: of the given settings, or of those read now."""
    return (settings or get_settings()).origins()
