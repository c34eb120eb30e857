"""Reading LangChain messages."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from tiered_llm.complexity import Conversation, read_conversation
from tiered_llm.tiers import Tier
from tiered_llm.tokens import IMAGE_TOKENS, MESSAGE_OVERHEAD_TOKENS, estimate_tokens

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}


def answer(text="fine", routing=None, **rest):
    metadata = {} if routing is None else {"routing": routing}
    return AIMessage(text, response_metadata=metadata, **rest)


def test_no_messages():
    assert read_conversation([]) == Conversation()


def test_one_ask():
    read = read_conversation([HumanMessage("Hello")])
    tokens = MESSAGE_OVERHEAD_TOKENS + estimate_tokens("Hello")
    assert read == Conversation(message="Hello", input_tokens=tokens)


def test_the_latest_ask_counts_and_what_stood_before():
    read = read_conversation(
        [SystemMessage("Be brief."), HumanMessage("one"), answer(), HumanMessage("two")]
    )
    assert read.message == "two"
    assert read.history_length == 2
    assert read.context_tokens == MESSAGE_OVERHEAD_TOKENS + estimate_tokens("Be brief.")
    assert not read.in_turn


def test_without_an_ask_everything_is_history():
    read = read_conversation([SystemMessage("s"), answer(routing={"tier": "heavy"})])
    assert (read.message, read.history_length, read.in_turn) == ("", 1, False)
    assert read.held_tier is Tier.HEAVY


def test_tool_results_are_context():
    call = {"name": "search", "args": {"q": "tickets " * 50}, "id": "1"}
    result = ToolMessage("found " * 100, tool_call_id="1")
    read = read_conversation([HumanMessage("find"), answer("", tool_calls=[call]), result])
    assert read.in_turn
    assert read.message == "find"
    assert read.history_length == 0
    assert read.context_tokens == MESSAGE_OVERHEAD_TOKENS + estimate_tokens("found " * 100)
    assert read.input_tokens > read.context_tokens + 50


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            HumanMessage([{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}]),
            "a\nb",
        ),
        (HumanMessage(["a", {"type": "input_text", "text": "b"}]), "a\nb"),
        (HumanMessage([IMAGE]), ""),
        (HumanMessage([{"type": "text", "text": None}, {"type": 3}, {}]), ""),
        (HumanMessage([]), ""),
        (HumanMessageChunk(content="chunk"), "chunk"),
        (ChatMessage("as user", role="User"), "as user"),
    ],
)
def test_the_text_of_an_ask(message, text):
    assert read_conversation([message]).message == text


@pytest.mark.parametrize(
    "block",
    [
        IMAGE,
        {"type": "image", "base64": "A" * 100_000, "mime_type": "image/png"},
        {"type": "input_audio", "input_audio": {"data": "A" * 100_000}},
        {"type": "file", "file": {"file_data": "A" * 100_000}},
        {"type": "tool_result", "content": [IMAGE]},
        {"type": "non_standard", "value": IMAGE},
    ],
)
def test_media_are_seen_and_not_counted_as_text(block):
    read = read_conversation([HumanMessage([{"type": "text", "text": "look"}, block])])
    assert read.has_images
    assert IMAGE_TOKENS < read.input_tokens < IMAGE_TOKENS + 20


def test_media_count_wherever_they_stand():
    read = read_conversation([HumanMessage([IMAGE]), answer(), HumanMessage("and now?")])
    assert read.has_images
    assert not read_conversation([HumanMessage("no image")]).has_images


def test_text_files_are_context_not_ask():
    file = {"type": "text-plain", "text": "long report " * 100}
    read = read_conversation([HumanMessage([file, {"type": "text", "text": "Summarize."}])])
    assert read.message == "Summarize."
    assert read.context_tokens == estimate_tokens("long report " * 100)
    assert read.input_tokens > read.context_tokens
    assert read_conversation([HumanMessage([{"type": "text-plain"}])]).context_tokens == 0


def test_calls_are_counted_once():
    args = {"q": ["word " * 200, 42, None, True]}
    call = {"name": "search", "args": args, "id": "1"}
    block = {"type": "tool_use", "id": "1", "name": "search", "input": args}
    plain = read_conversation([AIMessage("", tool_calls=[call])])
    double = read_conversation([AIMessage([block], tool_calls=[call])])
    assert plain.input_tokens == double.input_tokens > 200


def test_reasoning_blocks_are_counted_as_text():
    block = {"type": "reasoning", "reasoning": "because " * 50, "extras": {"more": ("so",)}}
    assert read_conversation([AIMessage([block])]).input_tokens > 50


@pytest.mark.parametrize(
    ("message", "context"),
    [
        (ChatMessage("rules", role="developer"), True),
        (ChatMessage("rules", role="system"), True),
        (FunctionMessage("result", name="f"), True),
        (ChatMessage("hm", role="critic"), False),
        (ChatMessage("hm", role="assistant"), False),
        (RemoveMessage(id="1"), False),
    ],
)
def test_kinds_of_messages(message, context):
    read = read_conversation([message])
    assert bool(read.context_tokens) is context
    assert read.message == ""


def test_a_thread_holds_its_latest_tier_and_prefix():
    messages = [
        HumanMessage("one"),
        answer(routing={"tier": "heavy"}),
        HumanMessage("two"),
        answer(routing={"tier": "light"}),
        answer("unrouted"),
        HumanMessage("three"),
    ]
    read = read_conversation(messages)
    assert read.held_tier is Tier.LIGHT
    assert read.prefix_tokens == read_conversation(messages[:4]).input_tokens


def test_in_a_turn_only_its_own_messages_hold():
    earlier = [HumanMessage("one"), answer(routing={"tier": "heavy"}), HumanMessage("two")]
    result = ToolMessage("r", tool_call_id="1")
    read = read_conversation([*earlier, answer(""), result])
    assert (read.in_turn, read.held_tier, read.prefix_tokens) == (True, None, 0)
    held = AIMessageChunk(content="", response_metadata={"routing": {"tier": "standard"}})
    read = read_conversation([*earlier, held, result])
    assert (read.in_turn, read.held_tier) == (True, Tier.STANDARD)
    assert read.prefix_tokens == read_conversation([*earlier, held]).input_tokens


@pytest.mark.parametrize(
    "routing", ["heavy", 3, [], {}, {"tier": None}, {"tier": "huge"}, {"tier": ["heavy"]}]
)
def test_odd_metadata_holds_nothing(routing):
    read = read_conversation([HumanMessage("one"), answer(routing=routing), HumanMessage("two")])
    assert (read.held_tier, read.prefix_tokens) == (None, 0)


def test_the_tier_itself_may_stand_in_the_metadata():
    read = read_conversation([answer(routing={"tier": Tier.HEAVY}), HumanMessage("two")])
    assert read.held_tier is Tier.HEAVY


def test_depth_and_size_are_the_senders_choice():
    nested = {"type": "custom", "value": "deep"}
    for _ in range(5_000):
        nested = {"type": "custom", "value": [nested]}
    message = HumanMessage.model_construct(content=[nested, "x" * 10_000_000])
    assert read_conversation([message]).input_tokens > 1_000_000
