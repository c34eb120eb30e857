"""The settings of budgets: read from every source, refused with file, key and what is right."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tiered_llm import BudgetManager, BudgetRule
from tiered_llm.budgets.ledger import MAX_PARTS
from tiered_llm.errors import ConfigurationError
from tiered_llm.settings import Settings, get_settings
from tiered_llm.settings.budget import DEFAULT_RULE, LARGEST, RESERVED_RULE

pytestmark = pytest.mark.usefixtures("clean_environment")

TOML = """
[budget]
time_zone = "Asia/Kathmandu"
thresholds = [50, 90]
lease_s = 60
output_bound = 512
cut_margin = 8
on_store_error = "allow"
store_error_allowance = 9000
on_orphan = "release"

[[budget.rules]]
name = "tokens"
daily = 1_000

[[budget.rules]]
name = "money"
unit = "usd"
monthly = 250.75
mode = "degrade"
by = ["user", "agent"]
tier = "heavy"

[budget.tenants.acme]
daily = 5_000
"money/monthly" = 900.5
"""


def refused(**budget):
    with pytest.raises(ConfigurationError) as caught:
        get_settings(budget=budget)
    return [(p.key, p.wrong, p.right) for p in caught.value.problems]


def test_everything_is_read_from_a_file(clean_environment):
    (clean_environment / "tiered-llm.toml").write_text(TOML, encoding="utf-8")

    budget = get_settings().budget

    assert budget.time_zone == "Asia/Kathmandu"
    assert budget.thresholds == (50, 90)
    assert (budget.lease_s, budget.output_bound, budget.cut_margin) == (60.0, 512, 8)
    assert (budget.on_store_error, budget.store_error_allowance) == ("allow", 9_000)
    assert budget.on_orphan == "release"
    assert [rule.name for rule in budget.rules] == ["tokens", "money"]
    money = budget.rules[1]
    assert (money.monthly, money.mode, money.tier) == (Decimal("250.75"), "degrade", "heavy")
    assert money.by == ("user", "agent")
    limits = {"tokens/daily": Decimal(5_000), "money/monthly": Decimal("900.5")}
    assert budget.tenant_limits == {"acme": limits}


def test_everything_is_read_from_the_environment(monkeypatch):
    for name, value in {
        "TIME_ZONE": "Pacific/Apia",
        "THRESHOLDS": "50,100",
        "ON_ORPHAN": "release",
        "TENANTS": '{"acme": {"monthly": 7}}',
        "RULES": '[{"name": "users", "by": ["user"], "daily": 0.1, "unit": "usd"}]',
    }.items():
        monkeypatch.setenv(f"TIERED_LLM_BUDGET__{name}", value)

    budget = get_settings().budget

    assert budget.time_zone == "Pacific/Apia"
    assert budget.thresholds == (50, 100)
    assert budget.on_orphan == "release"
    assert budget.rules[0].daily == Decimal("0.1")
    assert budget.tenant_limits == {"acme": {"users/monthly": Decimal(7)}}


def test_a_manager_takes_all_of_them(clean_environment):
    (clean_environment / "tiered-llm.toml").write_text(TOML, encoding="utf-8")

    manager = BudgetManager.from_settings()

    money = BudgetRule(
        name="money",
        unit="usd",
        monthly=Decimal("250.75"),
        mode="degrade",
        by=("user", "agent"),
        tier="heavy",
    )
    assert manager.plan.rules == (BudgetRule(name="tokens", daily=1_000), money)
    assert manager.plan.zone("acme") == "Asia/Kathmandu"
    assert manager.plan.thresholds == (50, 90)
    assert manager.usage("acme")["daily"].limit == 5_000
    assert manager.usage("other")["daily"].limit == 1_000
    assert manager.usage("acme")["daily"].resets_at.minute == 15  # midnight in Kathmandu


def test_the_defaults_are_one_rule_of_two_limits():
    manager = BudgetManager.from_settings(Settings(token_budget_daily=10, token_budget_monthly=20))

    assert manager.plan.rules == (BudgetRule(name=DEFAULT_RULE, daily=10, monthly=20),)


@pytest.mark.parametrize("zone", ["Mars/Base", "Europe", "", "../../etc/passwd", "/etc/passwd"])
def test_a_zone_must_exist(zone):
    wrong, right = f"{zone!r} is no time zone", "write an IANA name such as Europe/Berlin"

    assert refused(time_zone=zone) == [("budget.time_zone", wrong, right)]


@pytest.mark.parametrize(
    ("given", "key", "right"),
    [
        ({"thresholds": [80, 0]}, "budget.thresholds.1", "a whole number from 1 up, 100 at most"),
        ({"thresholds": 80}, "budget.thresholds", "a list"),
        ({"lease_s": 0}, "budget.lease_s", "a number above 0"),
        ({"lease_s": float("inf")}, "budget.lease_s", "a number above 0"),
        ({"output_bound": 0}, "budget.output_bound", "a whole number above 0"),
        ({"cut_margin": -1}, "budget.cut_margin", "a whole number from 0 up"),
        ({"on_store_error": "retry"}, "budget.on_store_error", "deny, allow"),
        ({"store_error_allowance": -1}, "budget.store_error_allowance", "a whole number from 0 up"),
        ({"on_orphan": "forget"}, "budget.on_orphan", "charge, release"),
        ({"rules": {"name": "a"}}, "budget.rules", "a list"),
        (
            {"rules": ["a"]},
            "budget.rules.0",
            "a table of name, unit, daily, monthly, mode, by, tier",
        ),
    ],
)
def test_a_value_that_cannot_work_is_told_with_what_can(given, key, right):
    ((found, _, said),) = refused(**given)

    assert (found, said) == (key, f"write {right}")


def test_to_allow_without_an_allowance_is_refused_where_it_was_written():
    key = "budget.on_store_error"
    wrong = "on_store_error is allow, and the allowance is 0 tokens"

    assert refused(on_store_error="allow") == [
        (key, wrong, "write the tokens that a process may use then, or deny")
    ]
    assert get_settings(budget={"on_store_error": "allow", "store_error_allowance": 1})


@pytest.mark.parametrize(
    ("rule", "key", "wrong", "right"),
    [
        ({"daily": 5}, "name", "is missing", "write text"),
        ({"name": "a", "dayly": 5}, "dayly", "unknown key", "did you mean daily?"),
        (
            {"name": "a/b"},
            "name",
            "cannot name a rule",
            "write a short name without /, and not 'tier'",
        ),
        (
            {"name": RESERVED_RULE},
            "name",
            "cannot name a rule",
            "write a short name without /, and not 'tier'",
        ),
        ({"name": "a", "daily": 0}, "daily", "'0' should be greater than 0", "a number above 0"),
        ({"name": "a", "unit": "eur"}, "unit", "'eur' should be", "write tokens, cost_units, usd"),
        ({"name": "a", "mode": "no"}, "mode", "'no' should be", "hard, degrade, soft, interrupt"),
        ({"name": "a", "by": ["x"]}, "by.0", "'x' should be", "write tier, user, agent"),
        ({"name": "a", "tier": "x"}, "tier", "'x' should be", "write light, standard, heavy"),
        (
            {"name": "a", "daily": 0.5},
            "daily",
            "rule 'a': 0.5 tokens cannot be counted",
            "write whole tokens",
        ),
        (
            {"name": "a", "unit": "usd", "monthly": 1_000_000.1},
            "monthly",
            "rule 'a': 1000000.1 usd cannot be counted",
            "1000000 usd at most",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_named_with_its_place(rule, key, wrong, right):
    ((found, said, better),) = refused(rules=[{"name": "fine"}, rule])

    assert found == f"budget.rules.1.{key}"
    assert said.startswith(wrong)
    assert better.endswith(right)


def test_two_rules_of_one_name_are_refused():
    assert refused(rules=[{"name": "a"}, {"name": "a"}]) == [
        ("budget.rules.1.name", "a second rule 'a'", "give each its own")
    ]


@pytest.mark.parametrize(
    ("limits", "wrong", "right"),
    [
        ({"dayly": 5}, "there is no budget 'dayly'", "daily, monthly, money/daily, money/monthly"),
        ({"tenant/daily": 5}, "there is no budget 'tenant/daily'", "money/monthly"),
        ({"daily": -1}, "should be greater than or equal to 0", "write a number from 0 up"),
        ({"daily": "x"}, "should be a valid decimal", "write a number from 0 up"),
        (7, "should be a valid dictionary", "write a table of names and values"),
        ({"daily": 10**7}, "a limit of 'daily' cannot be counted", "1000000 usd at most"),
        ({"daily": 1, "money/daily": 1}, "one budget under two names", "keep one of the two"),
    ],
)
def test_a_tenants_limit_that_cannot_work_is_refused_without_its_name(limits, wrong, right):
    ((key, said, better),) = refused(
        rules=[{"name": "money", "unit": "usd"}], tenants={"secret-tenant": limits}
    )

    assert key == "budget.tenants"
    assert wrong in said
    assert right in better
    assert "secret-tenant" not in said + better


def test_a_rule_that_was_refused_has_no_echo_in_the_tenants_limits():
    ((key, *_),) = refused(rules=[{"name": "a", "daily": -1}], tenants={"acme": {"a/daily": 1}})

    assert key == "budget.rules.0.daily"


def test_the_largest_limits_are_the_ledgers():
    for unit, largest in LARGEST.items():
        assert BudgetRule(name="a", unit=unit).units(MAX_PARTS) == largest
    assert refused_default(10**15 + 1) == [("token_budget_daily", "1000000000000000 at most")]
    assert get_settings(token_budget_daily=10**15)


def refused_default(limit):
    with pytest.raises(ConfigurationError) as caught:
        get_settings(token_budget_daily=limit)
    return [(p.key, p.right) for p in caught.value.problems]


def test_tenants_are_never_shown_and_rules_as_they_were_written():
    settings = get_settings(
        budget={
            "tenants": {"secret-tenant": {"daily": 5}},
            "rules": [{"name": "a", "daily": 5, "by": ["user"], "tier": "heavy"}],
        }
    )

    values = {origin.key: origin.value for origin in settings.origins()}
    assert values["budget.tenants"] == "1 tenant(s), not shown"
    assert values["budget.rules"] == '[{"by": ["user"], "daily": 5, "name": "a", "tier": "heavy"}]'
    assert values["budget.thresholds"] == "[80, 95]"
    assert "secret-tenant" not in f"{settings!r} {settings.origins()} {settings.public_dict()}"
