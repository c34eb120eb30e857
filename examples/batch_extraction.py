"""Batch extraction: many texts into one form, eight at a time, each by the cheapest tier.

You will see how many were filled, how they were spread over the tiers, and what was paid for them
against all on heavy.

    python examples/batch_extraction.py
"""

from pydantic import BaseModel

from tiered_llm import ModelMetricsCollector, TieredChatModel


class Contact(BaseModel):
    """Somebody to write to."""

    name: str
    email: str


NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Tony")


def main() -> None:
    """Fill the forms."""
    metrics = ModelMetricsCollector()
    model = TieredChatModel.from_settings(metrics=metrics)
    extract = model.with_structured_output(Contact)
    texts = [
        f"Extract: name '{name}', email '{name.lower()}{number}@example.org'."
        for number in range(5)
        for name in NAMES
    ]
    found = extract.batch(texts, config={"max_concurrency": 8}, return_exceptions=True)

    filled = [contact for contact in found if isinstance(contact, Contact)]
    print(f"{len(filled)} of {len(texts)} filled, the last one: {filled[-1]}")
    report = metrics.get_report()
    tiers = report["distribution"]["tiers"]
    print("answered:", ", ".join(f"{tier} {told['answered']}" for tier, told in tiers.items()))
    print(f"saved {report['savings']['cost_reduction_pct']:.0f} % of all-heavy")


if __name__ == "__main__":
    main()
