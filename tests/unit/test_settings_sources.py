"""Where settings come from, and which source wins."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiered_llm.errors import ConfigurationError
from tiered_llm.settings import (
    DEFAULT_SPECS,
    DEFAULT_TASK_TIERS,
    DEFAULT_WEIGHTS,
    ComplexitySettings,
    RoutingSettings,
    Settings,
    explain_settings,
    get_settings,
)
from tiered_llm.settings.catalogue import catalogue_of
from tiered_llm.tiers import Tier, TierSpec

pytestmark = pytest.mark.usefixtures("clean_environment")


def origin_of(settings, key):
    return next(origin for origin in settings.origins() if origin.key == key)


def test_the_defaults_are_the_seeds_table():
    settings = get_settings()

    assert {t: (s.model_id, s.cost_weight, s.gpu_memory_gb) for t, s in settings.tiers.items()} == {
        Tier.LIGHT: ("ollama/qwen2.5:7b", Decimal(1), 8),
        Tier.STANDARD: ("ollama/qwen2.5:32b", Decimal(3), 32),
        Tier.HEAVY: ("vllm/qwen2.5:72b", Decimal(10), 72),
    }
    assert settings.routing_enabled
    assert settings.fixed_tier is None
    assert (settings.token_budget_daily, settings.token_budget_monthly) == (1_000_000, 20_000_000)
    assert settings.store == "memory://"
    assert settings.complexity == ComplexitySettings()
    assert settings.routing == RoutingSettings()
    assert settings.tiers == DEFAULT_SPECS
    assert all(origin.source == "default" for origin in settings.origins())


def test_the_seeds_variables_are_read(monkeypatch):
    monkeypatch.setenv("MODEL_ROUTING_ENABLED", "false")
    monkeypatch.setenv("MODEL_FIXED_TIER", "standard")
    monkeypatch.setenv("MODEL_LIGHT", "ollama/llama3.2:3b")
    monkeypatch.setenv("MODEL_STANDARD", "ollama/qwen2.5:14b")
    monkeypatch.setenv("MODEL_HEAVY", "vllm/llama-70b")
    monkeypatch.setenv("TOKEN_BUDGET_DAILY", "1000")
    monkeypatch.setenv("TOKEN_BUDGET_MONTHLY", "30_000")

    settings = get_settings()

    assert not settings.routing_enabled
    assert settings.fixed_tier is Tier.STANDARD
    assert [spec.model_name for spec in settings.tiers.values()] == [
        "llama3.2:3b",
        "qwen2.5:14b",
        "llama-70b",
    ]
    assert (settings.token_budget_daily, settings.token_budget_monthly) == (1000, 30_000)


def test_each_source_wins_over_those_below(clean_environment, monkeypatch):
    here = clean_environment
    toml = "timeout_s = 1\nnum_ctx = 1\nvision = true\nmax_concurrency = 1\n"
    (here / "tiered-llm.toml").write_text(f"[light]\n{toml}")
    (here / ".env").write_text(
        "TIERED_LLM_LIGHT__TIMEOUT_S=2\n"
        "TIERED_LLM_LIGHT__NUM_CTX=2\n"
        "TIERED_LLM_LIGHT__MAX_CONCURRENCY=2\n"
    )
    monkeypatch.setenv("TIERED_LLM_LIGHT__TIMEOUT_S", "3")
    monkeypatch.setenv("TIERED_LLM_LIGHT__NUM_CTX", "3")

    settings = get_settings(light={"timeout_s": 4})

    light = settings.spec("light")
    assert (light.timeout_s, light.num_ctx, light.max_concurrency, light.vision) == (4, 3, 2, True)
    assert [
        (origin_of(settings, f"light.{name}").source, origin_of(settings, f"light.{name}").name)
        for name in ("timeout_s", "num_ctx", "max_concurrency", "vision", "tools")
    ] == [
        ("arguments", "light.timeout_s"),
        ("environment", "TIERED_LLM_LIGHT__NUM_CTX"),
        (".env", "TIERED_LLM_LIGHT__MAX_CONCURRENCY"),
        ("tiered-llm.toml", "light.vision"),
        ("default", "light.tools"),
    ]


def test_every_setting_has_a_variable_that_is_read(monkeypatch):
    for variable, path in catalogue_of(Settings).variables.items():
        monkeypatch.setenv(variable, "   ")  # set but empty is not set
        assert path
    assert get_settings() == Settings()


def test_variables_are_read_in_any_case(monkeypatch):
    monkeypatch.setenv("tiered_llm_light__timeout_s", "7")

    assert get_settings().spec(Tier.LIGHT).timeout_s == 7


@pytest.mark.parametrize("word", ["none", "off", "NONE", "null"])
def test_a_tier_is_switched_off_by_a_word(monkeypatch, word):
    monkeypatch.setenv("MODEL_STANDARD", word)

    settings = get_settings()

    assert settings.standard is None
    assert list(settings.tiers) == [Tier.LIGHT, Tier.HEAVY]
    shown = [origin for origin in settings.origins() if origin.key.startswith("standard.")]
    assert [(o.key, o.value, o.name) for o in shown] == [
        ("standard.model_id", "off", "MODEL_STANDARD")
    ]
    assert settings.public_dict()["standard"] is None


def test_a_tier_is_switched_off_in_toml_and_on_again_by_a_stronger_source(
    clean_environment, monkeypatch
):
    (clean_environment / "tiered-llm.toml").write_text("standard = false\n")
    assert get_settings().standard is None

    monkeypatch.setenv("MODEL_STANDARD", "ollama/qwen2.5:14b")
    standard = get_settings().spec("standard")
    assert (standard.model_id, standard.cost_weight) == ("ollama/qwen2.5:14b", 3)


@pytest.mark.parametrize("off", [None, False, "off"])
def test_a_tier_is_switched_off_by_an_argument(off):
    assert get_settings(heavy=off).heavy is None


def test_another_provider_does_not_inherit_address_and_gpu(monkeypatch):
    monkeypatch.setenv("MODEL_HEAVY", "openai/gpt-4.1")

    heavy = get_settings().spec("heavy")

    assert (heavy.base_url, heavy.gpu_memory_gb, heavy.cost_weight) == (None, 0, 10)


def test_another_provider_that_one_runs_oneself_gets_its_own_address(monkeypatch):
    monkeypatch.setenv("MODEL_LIGHT", "vllm/qwen2.5-7b")

    light = get_settings().spec("light")

    assert (light.base_url, light.gpu_memory_gb) == ("http://localhost:8000/v1", 8)


def test_an_address_that_was_given_stays_whatever_the_provider(monkeypatch):
    monkeypatch.setenv("MODEL_HEAVY", "openai/gpt-4.1")
    monkeypatch.setenv("TIERED_LLM_HEAVY__BASE_URL", "http://proxy/v1")

    assert get_settings().spec("heavy").base_url == "http://proxy/v1"


def test_toml_takes_tables_shorthands_and_plain_ids(clean_environment):
    (clean_environment / "tiered-llm.toml").write_text(
        'heavy = "openai/gpt-4.1"\n'
        'store = "sqlite:///budgets.db"\n'
        "[light]\n"
        'model = "ollama/phi4"\n'
        'num_ctx = "none"\n'
        "[complexity]\n"
        "light_below = 0.2\n"
        "[complexity.keywords]\n"
        "threat = 0.9\n"
        "[routing]\n"
        'critical_capabilities = ["security"]\n'
    )

    settings = get_settings()

    assert settings.spec("heavy").model_id == "openai/gpt-4.1"
    assert settings.spec("light").model_id == "ollama/phi4"
    assert settings.spec("light").num_ctx is None
    assert settings.store == "sqlite:///budgets.db"
    assert settings.complexity.light_below == 0.2
    assert settings.complexity.keywords == {"threat": 0.9}
    assert settings.routing.critical_capabilities == ("security",)
    assert origin_of(settings, "light.model_id").name == "light.model"
    assert origin_of(settings, "complexity.keywords.threat").source == "tiered-llm.toml"


def test_tables_complement_the_defaults_and_false_takes_a_task_out(clean_environment, monkeypatch):
    (clean_environment / "tiered-llm.toml").write_text(
        '[routing.task_tiers]\ntriage = "light"\nthinking = false\n'
    )
    monkeypatch.setenv("TIERED_LLM_ROUTING__TASK_TIERS", '{"summary": "light"}')

    tiers = get_settings().routing.task_tiers

    expected = {**DEFAULT_TASK_TIERS, "triage": Tier.LIGHT, "summary": Tier.LIGHT}
    del expected["thinking"]
    assert tiers == expected


def test_an_empty_table_changes_nothing_unless_it_replaces_a_built_in_list(clean_environment):
    (clean_environment / "tiered-llm.toml").write_text(
        "[complexity.weights]\n[complexity.keywords]\n"
    )

    complexity = get_settings().complexity

    assert complexity.weights == DEFAULT_WEIGHTS
    assert complexity.keywords == {}


def test_lists_and_tables_in_variables(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_ROUTING__CRITICAL_CAPABILITIES", "security, compliance")
    monkeypatch.setenv("TIERED_LLM_COMPLEXITY__KEYWORDS", "none")
    monkeypatch.setenv("TIERED_LLM_HEAVY__MODEL_KWARGS", '{"seed": 1}')
    monkeypatch.setenv("TIERED_LLM_LIGHT", '{"model": "ollama/phi4", "tools": false}')
    monkeypatch.setenv("TIERED_LLM_STANDARD", "ollama/qwen2.5:14b")

    settings = get_settings()

    assert settings.routing.critical_capabilities == ("security", "compliance")
    assert settings.complexity.keywords is None
    assert settings.spec("heavy").model_kwargs == {"seed": 1}
    assert (settings.spec("light").model_id, settings.spec("light").tools) == ("ollama/phi4", False)
    assert settings.spec("standard").model_id == "ollama/qwen2.5:14b"
    monkeypatch.setenv("TIERED_LLM_ROUTING__CRITICAL_CAPABILITIES", '["a, b"]')
    assert get_settings().routing.critical_capabilities == ("a, b",)


def test_ready_sections_as_arguments_replace_the_whole(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_LIGHT__TIMEOUT_S", "3")
    spec = TierSpec(tier="light", model_id="ollama/phi4")
    routing = RoutingSettings(task_tiers={})

    settings = get_settings(light=spec, routing=routing)

    assert settings.light == spec
    assert settings.routing == routing
    assert origin_of(settings, "light.timeout_s").name == "light.timeout_s"
    assert origin_of(settings, "light.timeout_s").source == "arguments"


def test_a_tiers_own_name_may_stand_in_its_table():
    assert get_settings(light={"tier": "light"}) == get_settings()


def test_the_project_file_is_read_where_there_is_no_file_of_ours(clean_environment):
    project = clean_environment / "pyproject.toml"
    project.write_text("[tool.tiered-llm]\ntoken_budget_daily = 5\n")
    settings = get_settings()
    assert settings.token_budget_daily == 5
    origin = origin_of(settings, "token_budget_daily")
    assert (origin.source, origin.name) == ("pyproject.toml", "tool.tiered-llm.token_budget_daily")

    (clean_environment / "tiered-llm.toml").write_text("token_budget_monthly = 7\n")
    settings = get_settings()
    assert (settings.token_budget_daily, settings.token_budget_monthly) == (1_000_000, 7)


@pytest.mark.parametrize("text", ["[tool.other]\n", "broken", "tool = 3\n"])
def test_a_project_file_without_our_table_is_not_ours(clean_environment, text):
    (clean_environment / "pyproject.toml").write_text(text)

    assert get_settings() == Settings()


def test_the_search_goes_up_to_the_projects_root_and_not_beyond(clean_environment, monkeypatch):
    root = clean_environment / "project"
    below = root / "src" / "package"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    (clean_environment / "tiered-llm.toml").write_text("token_budget_daily = 1\n")
    assert get_settings().token_budget_daily == 1_000_000, "outside of a project: here only"

    (root / ".git").mkdir()
    assert get_settings().token_budget_daily == 1_000_000, "not beyond the root"

    (root / "tiered-llm.toml").write_text("token_budget_daily = 2\n")
    settings = get_settings()
    assert settings.token_budget_daily == 2
    assert origin_of(settings, "token_budget_daily").source == "../../tiered-llm.toml"


def test_files_can_be_named_or_left_out(clean_environment, monkeypatch):
    here = clean_environment
    (here / "tiered-llm.toml").write_text("token_budget_daily = 1\n")
    (here / ".env").write_text("TOKEN_BUDGET_MONTHLY=1\n")
    (here / "other.toml").write_text("token_budget_daily = 2\n")
    (here / "other.env").write_text("TOKEN_BUDGET_MONTHLY=2\n")

    named = get_settings(env_file="other.env", config_file=here / "other.toml")
    assert (named.token_budget_daily, named.token_budget_monthly) == (2, 2)
    none = get_settings(env_file=None, config_file=None)
    assert (none.token_budget_daily, none.token_budget_monthly) == (1_000_000, 20_000_000)
    monkeypatch.setenv("TIERED_LLM_CONFIG", "other.toml")
    assert get_settings().token_budget_daily == 2
    monkeypatch.delenv("TIERED_LLM_CONFIG")
    (here / ".env").write_text("TIERED_LLM_CONFIG=other.toml\n")
    assert get_settings().token_budget_daily == 2


def test_dotenv_knows_quotes_comments_and_expansion(clean_environment):
    (clean_environment / ".env").write_text(
        '# models\nexport HOST=gpu1\nTIERED_LLM_HEAVY__BASE_URL="http://${HOST}:8000/v1"\n'
        "OTHER_TOOL=1\nVALUELESS\n"
    )

    assert get_settings().spec("heavy").base_url == "http://gpu1:8000/v1"


def test_a_tier_that_is_off_has_no_spec():
    settings = get_settings(standard=None)

    with pytest.raises(ConfigurationError, match="no tier 'standard' is switched on; use light"):
        settings.spec("standard")
    with pytest.raises(ConfigurationError, match="no tier 'huge'"):
        settings.spec("huge")


def test_settings_are_values():
    settings = get_settings(token_budget_daily=5)

    assert settings == Settings(token_budget_daily=5)
    assert settings != get_settings()
    assert copy.deepcopy(settings) == settings
    copied = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own
    assert copied == settings
    assert copied.origins() == settings.origins()
    with pytest.raises(ValueError, match="frozen"):
        settings.store = "memory://"


def test_explaining_reads_anew_or_takes_what_is_given(monkeypatch):
    settings = get_settings()
    monkeypatch.setenv("TOKEN_BUDGET_DAILY", "5")

    assert explain_settings(settings) == settings.origins()
    daily = next(o for o in explain_settings() if o.key == "token_budget_daily")
    assert (daily.value, daily.source) == ("5", "environment")


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_thresholds_are_taken_in_order_only(low, high):
    thresholds = {"light_below": low, "heavy_from": high}
    if low <= high:
        settings = get_settings(complexity=thresholds)
        assert settings.complexity.model_dump(include=set(thresholds)) == thresholds
    else:
        with pytest.raises(ConfigurationError, match="thresholds out of order"):
            get_settings(complexity=thresholds)
