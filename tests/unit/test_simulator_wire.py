"""The bytes on the wire, compared with what Ollama and vLLM are known to send."""

from __future__ import annotations

import json

import httpx
import pytest

from tiered_llm.testing import Answer, Fault, SimulatedModel, Simulator

MODEL = "qwen2.5:7b"
HI = [{"role": "user", "content": "Hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
CALL = Answer(text="So.", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c1"}])


@pytest.fixture(scope="module")
def small():
    models = [SimulatedModel(name=MODEL, context_window=100, num_ctx=50)]
    with Simulator(models) as simulator:
        yield simulator


@pytest.fixture
def sim(small):
    small.reset()
    return small


@pytest.fixture
def client(sim):
    with httpx.Client(base_url=sim.url) as client:
        yield client


def chat(client, **body):
    return client.post("/api/chat", json={"model": MODEL, "messages": HI, **body})


def complete(client, **body):
    return client.post("/v1/chat/completions", json={"model": MODEL, "messages": HI, **body})


def lines(response):
    return [json.loads(line) for line in response.text.splitlines()]


def events(response):
    assert response.text.endswith("data: [DONE]\n\n")
    parts = response.text.removesuffix("data: [DONE]\n\n").split("\n\n")[:-1]
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_what_is_told_about_the_models(client):
    assert client.get("/").text == "Ollama is running"
    assert client.get("/health").status_code == 200
    assert "version" in client.get("/api/version").json()
    assert [m["name"] for m in client.get("/api/tags").json()["models"]] == [MODEL]
    shown = client.post("/api/show", json={"model": MODEL}).json()
    assert "tools" in shown["capabilities"]
    assert shown["model_info"]["simulated.context_length"] == 100
    assert "NO MODEL" in shown["modelfile"]
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["max_model_len"], card["owned_by"]) == (MODEL, 100, "vllm")


def test_unknown_models_are_404_in_each_dialect(client, sim):
    assert chat(client, model="x").json() == {"error": "model 'x' not found"}
    assert client.post("/api/show", json={"name": "x"}).status_code == 404
    answer = complete(client, model="x")
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }
    }
    assert [record.outcome for record in sim.requests] == ["rejected", "rejected"]
    assert sim.billed() == (0, 0)


def test_ollama_streams_unless_told_otherwise(client, sim):
    sim.script(MODEL, Answer(text="Good day"), Answer(text="Good day"))
    streamed = chat(client)
    assert streamed.headers["content-type"] == "application/x-ndjson"
    *pieces, end = lines(streamed)
    assert [p["message"]["content"] for p in pieces] == ["Good", " day"]
    assert not any(piece["done"] for piece in pieces)
    assert (end["done"], end["done_reason"], end["eval_count"]) == (True, "stop", 2)
    assert end["prompt_eval_count"] == sim.requests[0].input_tokens == 5
    whole = chat(client, stream=False).json()
    assert whole["message"] == {"role": "assistant", "content": "Good day"}
    assert (whole["done"], whole["eval_count"]) == (True, 2)
    assert [record.stream for record in sim.requests] == [True, False]


def test_ollama_sends_tool_calls_as_whole_objects(client, sim):
    sim.script(MODEL, CALL, CALL)
    *_, called, _end = (line["message"] for line in lines(chat(client, tools=[TOOL])))
    function = {"index": 0, "name": "f", "arguments": {"a": 1}}
    assert called["tool_calls"] == [{"id": "c1", "function": function}]
    whole = chat(client, tools=[TOOL], stream=False).json()["message"]
    assert whole == {"role": "assistant", "content": "So.", "tool_calls": called["tool_calls"]}


def test_ollama_gives_a_call_that_is_no_json_as_text(client, sim):
    sim.script(MODEL, Answer(tool_calls=[{"name": "f", "args": '{"a": '}]))
    assert chat(client, stream=False).json()["message"]["content"].endswith('"arguments": {"a": ')


def test_ollama_obeys_its_options(client, sim):
    sim.always(MODEL, Answer(text="one two three"))
    assert lines(chat(client, options={"num_predict": 2}))[-1]["done_reason"] == "length"
    assert chat(client, stream=False, options={"num_predict": -1}).json()["eval_count"] == 3
    stopped = chat(client, stream=False, options={"stop": [" two"], "temperature": 0, "seed": 1})
    assert stopped.json()["message"]["content"] == "one"


@pytest.mark.parametrize("form", ["json", {"properties": {"a": {"type": "integer"}}}])
def test_ollama_holds_the_answer_to_a_format(client, form):
    assert isinstance(
        json.loads(chat(client, stream=False, format=form).json()["message"]["content"]), dict
    )


def test_ollama_cuts_what_exceeds_the_window_and_answers_anyway(client, sim):
    long = [{"role": "user", "content": "word " * 60}]
    system = [{"role": "system", "content": "Be short."}]
    kept = chat(client, stream=False, messages=[*system, *long, *HI])
    assert kept.json()["prompt_eval_count"] == 7 + 5
    assert chat(client, stream=False, messages=long).json()["prompt_eval_count"] == 50
    wider = chat(client, stream=False, messages=long, options={"num_ctx": 80})
    assert wider.json()["prompt_eval_count"] == 65
    assert {record.outcome for record in sim.requests} == {"answered"}


def test_openai_stream_as_vllm_sends_it(client, sim):
    sim.script(MODEL, Answer(text="Good day"))
    answer = complete(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    role, good, day, end = events(answer)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["delta"] for c in (good, day)] == [
        {"content": "Good"},
        {"content": " day"},
    ]
    assert end["choices"][0]["finish_reason"] == "stop"
    assert not any("usage" in chunk for chunk in (role, good, day, end))


def test_openai_stream_ends_with_the_usage_if_asked(client, sim):
    sim.script(MODEL, Answer(text="Good day"))
    *_, last = events(complete(client, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert sim.billed(MODEL) == (5, 2)


def test_openai_stream_tells_the_usage_so_far_if_asked(client, sim):
    sim.script(MODEL, Answer(text="Good day"))
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(complete(client, stream=True, stream_options=options))
    assert [c["usage"]["completion_tokens"] for c in chunks] == [0, 1, 2, 2, 2]


def test_openai_whole_answer(client, sim):
    sim.script(MODEL, Answer(text="Good day"))
    body = complete(client).json()
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Good day"}
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)
    assert (body["object"], body["model"]) == ("chat.completion", MODEL)
    assert body["usage"]["total_tokens"] == 7


def test_openai_tool_calls_are_streamed_in_pieces(client, sim):
    sim.script(MODEL, CALL, CALL)
    chunks = [c["choices"][0] for c in events(complete(client, stream=True, tools=[TOOL]))]
    deltas = [c["delta"]["tool_calls"][0] for c in chunks if "tool_calls" in c["delta"]]
    assert deltas[0] == {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
    }
    assert "".join(d["function"]["arguments"] for d in deltas) == '{"a": 1}'
    assert chunks[-1]["finish_reason"] == "tool_calls"
    whole = complete(client, tools=[TOOL]).json()["choices"][0]["message"]
    assert whole["content"] == "So."
    assert whole["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("required", True),
        ({"type": "function", "function": {"name": "f"}}, True),
        ("auto", False),
        ("none", False),
    ],
)
def test_openai_tool_choice(client, choice, called):
    message = complete(client, tools=[TOOL], tool_choice=choice).json()["choices"][0]["message"]
    assert ("tool_calls" in message) is called
    assert (message["content"] is None) is called


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_openai_token_limits_and_stop(client, sim, limit):
    sim.always(MODEL, Answer(text="one two three"))
    short = complete(client, **{limit: 2}).json()
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 2
    stopped = complete(client, stop=" two", seed=1, temperature=0.5).json()["choices"][0]
    assert (stopped["message"]["content"], stopped["stop_reason"]) == ("one", " two")
    assert complete(client, stop=[" three"]).json()["choices"][0]["message"]["content"] == "one two"


def test_openai_answer_ends_where_the_window_does(client, sim):
    sim.script(MODEL, Answer(text="word " * 200))
    body = complete(client).json()
    assert body["usage"]["total_tokens"] == 100
    assert body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"schema": {"properties": {"a": {}}}}},
    ],
)
def test_openai_response_formats(client, form):
    text = complete(client, response_format=form).json()["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text), dict)


OLD = (
    "This model's maximum context length is 100 tokens. However, you requested 204 tokens "
    "(204 in the messages, 0 in the completion). "
    "Please reduce the length of the messages or completion."
)
NEW = (
    "This model's maximum context length is 100 tokens. However, your request has 204 input "
    "tokens. Please reduce the length of the input messages."
)
LATEST = (
    "You passed 204 input tokens and requested 10 output tokens. However, the model's context "
    "length is only 100 tokens, resulting in a maximum input length of 90 tokens. Please reduce "
    "the length of the input prompt. (parameter=input_tokens, value=204)"
)


@pytest.mark.parametrize(
    ("wording", "limit", "text"), [("old", None, OLD), ("new", None, NEW), ("latest", 10, LATEST)]
)
def test_openai_overflow_is_refused_in_vllms_words(wording, limit, text):
    model = SimulatedModel(name=MODEL, context_window=100, overflow_wording=wording)
    long = [{"role": "user", "content": "word " * 199}]
    with Simulator([model]) as sim, httpx.Client(base_url=sim.url) as client:
        answer = complete(client, messages=long, max_tokens=limit)
        assert sim.billed() == (0, 0)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == text


def test_openai_refuses_more_output_than_the_window_holds(client, sim):
    sim.script(MODEL, Answer(text="kept for the next"))
    message = complete(client, max_tokens=96).json()["error"]["message"]
    assert message == (
        "'max_tokens' or 'max_completion_tokens' is too large: 96. This model's maximum context "
        "length is 100 tokens and your request has 5 input tokens (96 > 100 - 5)."
    )
    assert complete(client).json()["choices"][0]["message"]["content"] == "kept for the next"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": None},
        {"n": 2},
        {"stream_options": {"include_usage": True}},
        {"tool_choice": "auto"},
        {"max_tokens": 0},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    ],
)
def test_openai_refuses_what_vllm_refuses(client, sim, body):
    answer = complete(client, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "BadRequestError"
    assert sim.requests[0].outcome == "rejected"


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("raw", ["{", "[]"])
def test_a_body_that_is_no_object_is_refused(client, path, raw):
    assert client.post(path, content=raw).status_code == 400


def test_ollama_refuses_messages_that_are_no_list(client):
    assert chat(client, messages="Hi").status_code == 400


def test_both_dialects_count_the_same_tokens(client, sim):
    call = {"name": "f", "arguments": {"a": 1}}
    told = {"name": "f", "arguments": '{"a": 1}'}
    result = {"role": "tool", "content": "2"}
    chat(
        client,
        tools=[TOOL],
        options={"num_ctx": 100},
        messages=[
            *HI,
            {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
            result,
        ],
    )
    complete(
        client,
        tools=[TOOL],
        messages=[
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": told}]},
            {**result, "tool_call_id": "c"},
        ],
    )
    ollama, openai = sim.requests
    assert ollama.input_tokens == openai.input_tokens > 5


def test_content_in_parts_and_images_are_read(client, sim):
    text, image = {"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "x"}}
    sim.always(MODEL, lambda request: Answer(text=f"{request.last.text} {request.last.images}"))
    parts = [{"role": "user", "content": [text, text]}]
    assert complete(client, messages=parts).json()["choices"][0]["message"]["content"] == "Hi\nHi 0"
    seen = chat(client, stream=False, messages=[{"role": "user", "content": "Hi", "images": ["x"]}])
    assert seen.json()["message"]["content"] == "Hi 1"
    assert complete(client, messages=[{"role": "user", "content": [image]}]).status_code == 400


def test_text_that_is_no_valid_unicode_does_not_break_the_server(client, sim):
    sim.script(MODEL, Answer(text="\ud800"))
    assert complete(client).json()["choices"][0]["message"]["content"] == "?"


def test_the_record_holds_what_was_sent(client, sim):
    client.post(
        "/v1/chat/completions",
        json={"model": MODEL, "messages": HI},
        headers={"authorization": "Bearer key"},
    )
    (record,) = sim.requests
    assert (record.protocol, record.path, record.model) == ("openai", "/v1/chat/completions", MODEL)
    assert record.body["messages"] == HI
    assert record.headers["authorization"] == "Bearer key"
    assert "Bearer" not in repr(record)


def test_connections_are_closed_after_the_answer_unless_kept(client):
    assert client.get("/").headers["connection"] == "close"
    with Simulator([], keep_alive=True) as sim, httpx.Client(base_url=sim.url) as kept:
        assert "connection" not in kept.get("/").headers


def test_a_status_without_a_name_is_sent_all_the_same(client, sim):
    sim.script(MODEL, Fault.status(599))
    answer = chat(client)
    assert (answer.status_code, answer.json()) == (599, {"error": "error"})


def test_retry_after_is_a_header(client, sim):
    sim.script(MODEL, Fault.status(429, retry_after_s=7), Fault.status(429, "slow down"))
    assert complete(client).headers["retry-after"] == "7"
    told = complete(client)
    assert "retry-after" not in told.headers
    assert told.json()["error"]["message"] == "slow down"
