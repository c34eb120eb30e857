"""Serving with FastAPI: several workers on one port, one budget, one page of metrics.

You will see two workers answer twenty requests of two tenants, one of whom has a small budget and
gets 429 once it is used up; then what `/metrics` says, which is the same whichever worker answers.
The workers share `TIERED_LLM_STORE`: a Redis, or on one machine a file. Needs `fastapi` and the
extras `redis` and `prometheus`.

    python examples/serving.py
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from tiered_llm import BudgetExceededError, BudgetManager, ModelMetricsCollector, TieredChatModel
from tiered_llm.prometheus import metrics_app

SMALL = {"poor": {"tenant/daily": 400}}

budget = BudgetManager.from_settings(tenant_limits=SMALL)
metrics = ModelMetricsCollector.from_settings()
model = TieredChatModel.from_settings(budget=budget, metrics=metrics, max_tokens=100)

app = FastAPI()
app.mount("/metrics", metrics_app(metrics, budget=budget))


class Question(BaseModel):
    """What a user asks."""

    text: str


@app.get("/ready")
def ready() -> dict[str, bool]:
    """Whether this worker serves."""
    return {"ready": True}


@app.post("/chat")
async def chat(question: Question, x_tenant: Annotated[str, Header()]) -> dict[str, str]:
    """One answer, paid by the tenant."""
    config = {"configurable": {"tenant_id": x_tenant}}
    try:
        answer = await model.ainvoke(question.text, config)
    except BudgetExceededError as error:
        raise HTTPException(429, f"the budget resets at {error.resets_at}") from error
    return {"answer": answer.text, "tier": answer.response_metadata["routing"]["tier"]}


def main() -> None:
    """Start two workers, ask them, read their page, and stop them."""
    with tempfile.TemporaryDirectory() as directory, socket.socket() as taken:
        os.environ.setdefault("TIERED_LLM_STORE", f"sqlite:///{directory}/budgets.db")
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        command = [sys.executable, "-m", "uvicorn", "serving:app", "--workers", "2"]
        where = ["--app-dir", str(Path(__file__).parent), "--port", str(port)]
        quiet = ["--log-level", "error"]
        with subprocess.Popen([*command, *where, *quiet]) as server:  # noqa: S603  # ourselves
            try:
                use(f"http://127.0.0.1:{port}")
            finally:
                server.terminate()


def use(url: str) -> None:
    """Twenty requests, and the page."""
    with httpx.Client(base_url=url, timeout=60.0) as client:
        while not answers(client):
            pass
        codes = {"rich": [], "poor": []}
        for number in range(20):
            tenant = "poor" if number % 2 else "rich"
            given = {"json": {"text": "Hello"}, "headers": {"x-tenant": tenant}}
            codes[tenant].append(client.post("/chat", **given).status_code)
        for tenant, found in codes.items():
            print(f"{tenant}: {found.count(200)} answered, {found.count(429)} refused")
        answered = sum(found.count(200) for found in codes.values())
        pattern = r'tiered_llm_decisions_total\{.*answered_tier="(?!none).*\} (\d+)'
        pages = set()
        while pages != {str(answered)}:  # records are written in batches, 0.2 s apart at most
            page = client.get("/metrics/").text
            pages = {str(sum(float(n) for n in re.findall(pattern, page))).removesuffix(".0")}
        print(f"/metrics says {answered} answered, whichever worker is asked")


def answers(client: httpx.Client) -> bool:
    """Whether a worker serves already."""
    try:
        return client.get("/ready").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
