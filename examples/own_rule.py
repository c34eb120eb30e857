"""A routing rule of your own beside the default ones.

You will see two calls of a critical agent, which prefers the heavy tier. The second one is
batch work: the rule keeps it off heavy, also as a fallback, and says so in the reasons.

    python examples/own_rule.py
"""

from collections.abc import Iterator

from tiered_llm import ModelRouter, Tier, TieredChatModel, get_settings
from tiered_llm.routing import DEFAULT_RULES, Bar, Lower, Verdict, View

AUDITOR = {"name": "auditor", "criticality": "high"}


def batch_stays_off_heavy(view: View) -> Iterator[Verdict]:
    """Batch work may wait, so it need not take the GPUs of interactive work."""
    if view.request.task_type == "batch":
        yield Lower(Tier.STANDARD, "batch work does not need heavy")
        yield Bar(Tier.HEAVY, "heavy is kept for interactive work")


def main() -> None:
    """Ask the same as interactive and as batch work."""
    settings = get_settings()
    router = ModelRouter(settings, rules=[*DEFAULT_RULES, batch_stays_off_heavy])
    model = TieredChatModel.from_settings(settings, router=router)

    for task_type in (None, "batch"):
        config = {"configurable": {"task_type": task_type, "agent_spec": AUDITOR}}
        answer = model.invoke("Read today's access log and list what is odd.", config=config)
        routing = answer.response_metadata["routing"]
        print(f"task type {task_type}: {routing['tier']}, then {routing['fallbacks']}")
        for reason in routing["reasons"]:
            print(f"  {reason}")


if __name__ == "__main__":
    main()
