"""An estimator of your own in place of the five factors.

You will see the same short question go to light by the built-in estimate, and to heavy by an
estimator that knows this application: what its users ask about contracts is hard, however
short it is.

    python examples/own_estimator.py
"""

from tiered_llm import (
    ComplexityEstimate,
    ComplexityEstimator,
    Estimator,
    RoutingRequest,
    Tier,
    TieredChatModel,
)


class ContractsAreHard:
    """Scores what mentions contracts 0.9, and leaves the rest to another estimator."""

    def __init__(self, other: Estimator) -> None:
        """Take the estimator to ask for everything else."""
        self.other = other

    def estimate_request(self, request: RoutingRequest) -> ComplexityEstimate:
        """Estimate one request: quick, without side effects, never raising."""
        if "contract" not in request.message[:10_000].lower():
            return self.other.estimate_request(request)
        return ComplexityEstimate(
            score=0.9,
            factors={"mentions_contract": 1.0},
            shares={"mentions_contract": 0.9},
            recommended_tier=Tier.HEAVY,
            estimator="contracts/1",
        )


def main() -> None:
    """Ask the same with each estimator."""
    question = "May we end this contract early?"
    for estimator in (None, ContractsAreHard(ComplexityEstimator())):
        model = TieredChatModel.from_settings(estimator=estimator)
        routing = model.invoke(question).response_metadata["routing"]
        name = type(estimator).__name__ if estimator else "built in"
        print(f"{name}: {routing['tier']}, score {routing['score']:.2f}")


if __name__ == "__main__":
    main()
