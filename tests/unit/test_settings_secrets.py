"""Secrets never appear in a repr, an error or a dump."""

from __future__ import annotations

import json
import logging
import traceback

import pytest

from tiered_llm.errors import ConfigurationError
from tiered_llm.settings import Settings, get_settings
from tiered_llm.settings.masking import MASK, masked_url

pytestmark = pytest.mark.usefixtures("clean_environment")

SECRET = "hunter2"
OPTIONS = {"default_headers": {"X-Auth": SECRET}, "seed": 1}


@pytest.fixture
def settings():
    return get_settings(
        store=f"redis://user:{SECRET}@cache:6379/0?password={SECRET}",
        heavy={"api_key": SECRET, "model_kwargs": OPTIONS},
        light={"base_url": f"http://host/v1?api-key={SECRET}&version=2"},
        routing={"tenant_caps": {f"acme-{SECRET}": "light"}},
    )


def test_what_is_for_showing_shows_no_secret(settings):
    shown = [str(settings.origins()), json.dumps(settings.public_dict())]

    assert not any(SECRET in text for text in shown)
    values = {origin.key: origin.value for origin in settings.origins()}
    assert values["heavy.api_key"] == MASK
    assert json.loads(values["heavy.model_kwargs"]) == {"default_headers": MASK, "seed": MASK}
    assert values["store"] == f"redis://user:{MASK}@cache:6379/0?password={MASK}"
    assert values["light.base_url"] == f"http://host/v1?api-key={MASK}&version=2"
    assert values["routing.tenant_caps"] == "1 tenant(s), not shown"


def test_dumps_and_reprs_show_no_secret():
    settings = get_settings(
        store=f"redis://:{SECRET}@cache", heavy={"api_key": SECRET, "model_kwargs": OPTIONS}
    )

    for text in (
        repr(settings),
        str(settings),
        repr(settings.heavy),
        settings.model_dump_json(),
        str(settings.model_dump()),
        str(settings._places),
    ):
        assert SECRET not in text
    assert settings.heavy.api_key.get_secret_value() == SECRET
    assert settings.heavy.model_kwargs == OPTIONS
    assert settings.store == f"redis://:{SECRET}@cache"


@pytest.fixture
def put(clean_environment, monkeypatch):
    """Set a variable in the environment or in `.env`."""

    def put_in(source, variable, value):
        if source == "environment":
            monkeypatch.setenv(variable, value)
        else:
            (clean_environment / ".env").write_text(f"{variable}='{value}'\n", encoding="utf-8")

    return put_in


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TIERED_LLM_HEAVY__MODEL_KWARGS", SECRET),
        ("TIERED_LLM_HEAVY__MODEL_KWARGS", f'["{SECRET}"]'),
        ("TIERED_LLM_HEAVY__MODEL_KWARGS", f'{{"{SECRET}": }}'),
        ("TIERED_LLM_HEAVY", f'{{"api_key": ["{SECRET}"]}}'),
        ("TIERED_LLM_HEAVY__BASE_URL", f"http://user:{SECRET}@host/v1"),
        ("TIERED_LLM_HEAVY__BASE_URL", f"http://user:{SECRET}@ho\u2100st/v1"),
        ("TIERED_LLM_HEAVY__BASE_URL", f"http://{SECRET}:{SECRET}/v1"),
        ("TIERED_LLM_STORE", f"postgres://user:{SECRET}@host"),
        ("TIERED_LLM_STORE", f"redis://user:{SECRET}@host:port"),
        ("TIERED_LLM_STORE", f"redis://user:{SECRET}@[host"),
        ("TIERED_LLM_ROUTING__TENANT_CAPS", f'{{"{SECRET}": "huge"}}'),
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_errors_show_no_secret(put, caplog, variable, value, source):
    caplog.set_level(logging.DEBUG)
    put(source, variable, value)

    with pytest.raises(ConfigurationError) as caught:
        get_settings()

    everything = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert SECRET not in everything
    (problem,) = caught.value.problems
    assert problem.source == source
    assert problem.key.startswith(variable)


def test_the_schema_of_the_settings_is_public():
    assert SECRET not in json.dumps(Settings.model_json_schema())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("sqlite:///a.db?mode=ro", "sqlite:///a.db?mode=ro"),
        ("redis://token@host", f"redis://:{MASK}@host"),
        ("redis://u:p@host:1/2", f"redis://u:{MASK}@host:1/2"),
        ("http://h/?sig=a&b=", f"http://h/?sig={MASK}&b="),
        ("redis://u:p/w@host", f"redis://u:{MASK}@host"),
    ],
)
def test_urls_are_masked(url, shown):
    assert masked_url(url) == shown


def test_public_settings_are_plain_json_and_complete():
    public = get_settings(fixed_tier="heavy").public_dict()

    assert json.loads(json.dumps(public)) == public
    assert public["fixed_tier"] == "heavy"
    assert public["heavy"]["cost_weight"] == 10
    assert public["complexity"]["weights"]["message_complexity"] == 0.3
    assert public["routing"]["critical_capabilities"] == []
    assert set(public) == set(Settings.model_fields)
