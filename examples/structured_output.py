"""Structured output: a pydantic object whichever tier answers.

You will see the object that `with_structured_output` gives, and, with `include_raw=True`,
the tier that filled it in.

    python examples/structured_output.py
"""

from pydantic import BaseModel, Field

from tiered_llm import TieredChatModel


class Contact(BaseModel):
    """A person to write to."""

    name: str = Field(description="The person's name.")
    email: str = Field(description="The e-mail address.")


REQUEST = "Extract the contact: name 'Ada Lovelace', email 'ada@example.org'."


def main() -> None:
    """Extract a contact, without and with the raw message."""
    model = TieredChatModel.from_settings(temperature=0)

    contact = model.with_structured_output(Contact).invoke(REQUEST)
    print(repr(contact))

    answer = model.with_structured_output(Contact, include_raw=True).invoke(REQUEST)
    routing = answer["raw"].response_metadata["routing"]
    print(f"filled in by {routing['tier']}, {routing['model_id']}")


if __name__ == "__main__":
    main()
