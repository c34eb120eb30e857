"""What is refused at the start: file, key, what was wrong, what would be right."""

from __future__ import annotations

import pytest

from tiered_llm.errors import ConfigurationError
from tiered_llm.settings import get_settings
from tiered_llm.tiers import TierSpec

pytestmark = pytest.mark.usefixtures("clean_environment")


def refused(**overrides):
    with pytest.raises(ConfigurationError) as caught:
        get_settings(**overrides)
    return [(p.source, p.key, p.wrong, p.right) for p in caught.value.problems]


def refused_toml(here, text, name="tiered-llm.toml"):
    (here / name).write_text(text)
    return refused()


def test_everything_wrong_is_told_at_once_in_the_order_of_the_sources(
    clean_environment, monkeypatch
):
    (clean_environment / "tiered-llm.toml").write_text(
        'colour = "red"\n[light]\ncost_weight = 20\n[complexity]\nheavy_from = 0.2\n'
    )
    (clean_environment / ".env").write_text("TIERED_LLM_LIGTH__TOOLS=true\n")
    monkeypatch.setenv("MODEL_LIGHT", "qwen")
    monkeypatch.setenv("TOKEN_BUDGET_DAILY", "0")

    problems = refused(standrad="ollama/x")

    assert [(source, key) for source, key, _, _ in problems] == [
        ("tiered-llm.toml", "colour"),
        ("tiered-llm.toml", "light.cost_weight"),
        ("tiered-llm.toml", "complexity.heavy_from"),
        (".env", "TIERED_LLM_LIGTH__TOOLS"),
        ("environment", "MODEL_LIGHT"),
        ("environment", "TOKEN_BUDGET_DAILY"),
        ("arguments", "standrad"),
    ]


def test_a_refusal_names_file_key_wrong_and_right(clean_environment):
    assert refused_toml(clean_environment, '[heavy]\nbase_ulr = "http://x"\n') == [
        ("tiered-llm.toml", "heavy.base_ulr", "unknown key", "did you mean base_url?")
    ]


def test_unknown_keys_of_a_project_file_are_named_in_full(clean_environment):
    found = refused_toml(clean_environment, "[tool.tiered-llm.routing]\nx = 1\n", "pyproject.toml")

    assert [key for _, key, _, _ in found] == ["tool.tiered-llm.routing.x"]
    assert found[0][3].startswith("known here: critical_capabilities, ")


def test_other_tools_variables_are_none_of_ours(monkeypatch):
    monkeypatch.setenv("MODEL_LITE", "x")
    monkeypatch.setenv("TIERED_LLM_DEBUG", "1")

    get_settings()


def test_an_unknown_variable_of_ours_gets_the_nearest_name(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_COMPLEXITY__LIGHT_BELLOW", "0.2")

    (_, key, wrong, right) = refused()[0]

    assert (key, wrong) == ("TIERED_LLM_COMPLEXITY__LIGHT_BELLOW", "unknown variable")
    assert right == "did you mean TIERED_LLM_COMPLEXITY__LIGHT_BELOW?"


def test_two_names_for_one_setting_must_agree(monkeypatch):
    monkeypatch.setenv("MODEL_LIGHT", "ollama/a")
    monkeypatch.setenv("TIERED_LLM_LIGHT__MODEL_ID", "ollama/a")
    get_settings()

    monkeypatch.setenv("TIERED_LLM_LIGHT__MODEL_ID", "ollama/b")
    assert "which is the same setting" in refused()[0][2]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = 1\n[light\n", "line 2", "malformed TOML"),
        ("[light]\nmodel_id =\n", "line 2", "Invalid value"),
        ("a = 1\na = 2\n", "line 2", "Cannot overwrite a value"),
        ('[light]\nmodel_id = """x', "line 2", "malformed TOML"),
    ],
)
def test_malformed_toml_is_told_with_its_line(clean_environment, text, line, said):
    ((source, key, wrong, _),) = refused_toml(clean_environment, text)

    assert (source, key) == ("tiered-llm.toml", line)
    assert said in wrong
    assert "(at" not in wrong


def test_a_malformed_dotenv_is_told_with_its_line_and_nothing_of_it(clean_environment):
    (clean_environment / ".env").write_text("MODEL_LIGHT=ollama/a\nhunter2 is the key\n")

    ((source, key, wrong, right),) = refused()

    assert (source, key, wrong, right) == (
        ".env",
        "line 2",
        "not an assignment",
        "write NAME=value",
    )


@pytest.mark.parametrize("which", ["env_file", "config_file"])
def test_a_named_file_must_be_there_and_readable(clean_environment, which):
    missing = refused(**{which: "gone.toml"})
    assert [(source, wrong) for source, _, wrong, _ in missing] == [("gone.toml", "does not exist")]

    assert "cannot be read" in refused(**{which: clean_environment})[0][2]
    (clean_environment / "latin").write_bytes(b"caf\xe9 = 1\n")
    assert "not UTF-8 at byte 3" in refused(**{which: "latin"})[0][2]


def test_a_file_named_by_variable_must_be_there(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_CONFIG", "gone.toml")

    assert refused()[0][0] == "gone.toml"


def test_a_named_project_file_must_have_our_table(clean_environment):
    (clean_environment / "pyproject.toml").write_text("[tool.other]\n")

    ((_, key, wrong, _),) = refused(config_file="pyproject.toml")

    assert (key, wrong) == ("tool.tiered-llm", "no such table")


@pytest.mark.parametrize("model_id", ["qwen2.5:7b", "", "ollama/", "ollama/a b", "/x"])
def test_malformed_ids_are_refused(model_id):
    ((source, key, wrong, right),) = refused(light={"model_id": model_id})

    assert (source, key) == ("arguments", "light.model_id")
    assert "is not a model id" in wrong
    assert right == "write provider/model, as in 'ollama/qwen2.5:7b'"


@pytest.mark.parametrize(
    "url",
    ["localhost:11434", "ftp://host", "http://", "http://[x", "http://h:port", "http://h:0", "h"],
)
def test_malformed_urls_are_refused(url):
    ((_, key, wrong, right),) = refused(heavy={"base_url": url})

    assert (key, wrong) == ("heavy.base_url", "not a URL")
    assert "'http://localhost:11434'" in right


def test_a_url_with_a_space_is_refused():
    assert refused(heavy={"base_url": "http://gpu 1/v1"})[0][2] == "not a URL"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host",
        "memory",
        "memory:",
        "sqlite://",
        "sqlite:///",
        "sqlite://file.db",
        "redis://",
        "redis:///0",
        "redis://host:port",
        "redis://host:0",
        "rediss://[",
    ],
)
def test_malformed_store_urls_are_refused(url):
    ((_, key, _, right),) = refused(store=url)

    assert key == "store"
    assert "://" in right


@pytest.mark.parametrize(
    "url", ["memory://", "sqlite:///a.db", "sqlite:////var/a.db", "redis://h", "rediss://:p@h:1/2"]
)
def test_store_urls_of_every_kind_are_taken(url):
    assert get_settings(store=url).store == url


def test_a_light_tier_costlier_than_heavy_is_refused(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_LIGHT__COST_WEIGHT", "20")

    ((source, key, wrong, right),) = refused(standard=None)

    assert (source, key) == ("environment", "TIERED_LLM_LIGHT__COST_WEIGHT")
    assert wrong == "the light tier is costlier than the heavy tier: weight 20 against 10"
    assert right == "weights must not fall from light to heavy"


def test_the_setting_that_somebody_gave_is_blamed_not_the_default():
    ((_, key, _, _),) = refused(heavy={"cost_weight": 2})

    assert key == "heavy.cost_weight"


def test_equal_cost_weights_are_fine():
    get_settings(light={"cost_weight": 3})


def test_thresholds_out_of_order_are_refused():
    ((_, key, wrong, _),) = refused(complexity={"light_below": 0.8})

    assert key == "complexity.light_below"
    assert wrong == "thresholds out of order: light_below 0.8 is above heavy_from 0.7"


@pytest.mark.parametrize(
    ("weights", "key", "wrong"),
    [
        ({"message_complexity": 0.5}, "complexity.weights.message_complexity", "sum to 1.2"),
        ({"charm": 0.0}, "complexity.weights.charm", "unknown factor"),
        (
            {"message_complexity": -0.1, "keyword_signals": 0.6},
            "complexity.weights.message_complexity",
            "-0.1 is out of range",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, key, wrong):
    ((_, found, said, _),) = refused(complexity={"weights": weights})

    assert found == key
    assert wrong in said


def test_a_weight_that_is_missing_is_named():
    from tiered_llm.settings import ComplexitySettings

    problems = refused(complexity=ComplexitySettings(weights={"message_complexity": 1.0}))

    assert len(problems) == 4
    assert {wrong for _, _, wrong, _ in problems} == {"this factor has no weight"}


@pytest.mark.parametrize(
    "name", ["keywords", "extra_keywords", "capabilities", "extra_capabilities"]
)
def test_strengths_out_of_range_are_refused(name):
    ((_, key, wrong, right),) = refused(complexity={name: {"threat": 1.5}})

    assert (key, wrong, right) == (
        f"complexity.{name}.threat",
        "1.5 is out of range",
        "write 0 to 1",
    )


@pytest.mark.parametrize("name", ["num_ctx", "max_output_tokens"])
def test_more_tokens_than_the_window_are_refused(name):
    ((_, key, wrong, _),) = refused(light={name: 40_000})

    assert key == f"light.{name}"
    assert wrong == "40000 tokens exceed the context window of 32768"


def test_a_reserve_that_leaves_no_room_is_refused():
    ((_, key, wrong, _),) = refused(routing={"output_reserve_tokens": 32_768})

    assert key == "routing.output_reserve_tokens"
    assert "no tier room" in wrong


def test_a_fixed_tier_that_is_off_is_refused():
    ((_, key, wrong, right),) = refused(fixed_tier="light", light=None)

    assert key == "fixed_tier"
    assert wrong == "names the tier light, which is switched off"
    assert "standard, heavy" in right


def test_one_tier_must_remain():
    ((_, _, wrong, _),) = refused(light=None, standard=None, heavy=None)

    assert wrong == "every tier is switched off"


def test_a_spec_of_another_tier_is_refused():
    spec = TierSpec(tier="heavy", model_id="ollama/a")

    ((_, key, wrong, _),) = refused(light=spec)

    assert (key, wrong) == ("light.tier", "holds the spec of tier heavy")


@pytest.mark.parametrize(
    ("overrides", "key", "right"),
    [
        ({"routing_enabled": "maybe"}, "routing_enabled", "write true or false"),
        ({"fixed_tier": "huge"}, "fixed_tier", "write light, standard, heavy"),
        ({"token_budget_daily": 0}, "token_budget_daily", "write a whole number above 0"),
        (
            {"complexity": {"light_below": 2}},
            "complexity.light_below",
            "write a number from 0 up, 1 at most",
        ),
        ({"light": {"cost_weight": "x"}}, "light.cost_weight", "write a number above 0"),
        ({"light": {"model_id": 5}}, "light.model_id", "write text"),
        (
            {"complexity": {"weights": "x"}},
            "complexity.weights",
            "write a table of names and values, in variables as JSON",
        ),
        (
            {"routing": {"critical_capabilities": 5}},
            "routing.critical_capabilities",
            "write a list",
        ),
        (
            {"routing": {"critical_capabilities": [5]}},
            "routing.critical_capabilities.0",
            "write text",
        ),
        (
            {"routing": {"task_tiers": {"a": "b"}}},
            "routing.task_tiers.a",
            "write light, standard, heavy",
        ),
        ({"routing": 5}, "routing", "give a table, as in [routing]"),
        ({"light": 5}, "light", "give a table, a model id, or false for no tier"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_what_would_be_right(overrides, key, right):
    ((_, found, _, said),) = refused(**overrides)

    assert (found, said) == (key, right)


def test_a_section_of_the_wrong_class_is_refused():
    from tiered_llm.settings import ComplexitySettings

    ((_, key, _, _),) = refused(routing=ComplexitySettings())

    assert key == "routing"


def test_a_refused_value_causes_no_second_problem():
    assert len(refused(complexity={"light_below": "x", "heavy_from": 0.1})) == 1


def test_tables_in_variables_are_json(monkeypatch):
    monkeypatch.setenv("TIERED_LLM_ROUTING__TASK_TIERS", "triage=light")
    monkeypatch.setenv("TIERED_LLM_LIGHT", "{")
    monkeypatch.setenv("TIERED_LLM_COMPLEXITY", "simple")

    found = {key: (wrong, right) for _, key, wrong, right in refused()}

    assert found["TIERED_LLM_ROUTING__TASK_TIERS"] == (
        "not JSON: Expecting value at character 1",
        """write JSON, as in '{"name": "value"}'""",
    )
    assert found["TIERED_LLM_LIGHT"][0].startswith("not JSON")
    assert found["TIERED_LLM_COMPLEXITY"][0] == "not a table"
