"""A tier that does not answer, and the one that answers in its place.

You will see the attempts of one call: light is given an address where nothing listens, so it
fails as `unreachable`, and the next tier answers. Then the same call with light insisted on:
nobody steps in, and the error tells what was tried.

    python examples/fallback.py
"""

from tiered_llm import AllTiersFailedError, TieredChatModel, TierSpec, get_settings

NOBODY_HOME = "http://127.0.0.1:9"


def main() -> None:
    """Call a model whose light tier is down."""
    settings = get_settings()
    light = TierSpec(tier="light", model_id="ollama/qwen2.5:7b", base_url=NOBODY_HOME)
    model = TieredChatModel(
        light=light, standard=settings.spec("standard"), heavy=settings.spec("heavy")
    )

    routing = model.invoke("Hello").response_metadata["routing"]
    print(f"decided {routing['decided_tier']}, answered by {routing['tier']}")
    for attempt in routing["attempts"]:
        print(f"  {attempt['tier']}: {attempt['fault'] or attempt['outcome']}")

    try:
        model.invoke("Hello", config={"configurable": {"tier": "light"}})
    except AllTiersFailedError as error:
        print(error)


if __name__ == "__main__":
    main()
