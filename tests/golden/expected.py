"""What the report of the five hundred calls must say, computed by hand.

Tokens, of an attempt: answered 50 read and 20 written, as the servers bill. Refused with 404 or
429: none. Broken with 503: nobody told; the question is estimated at 63. Left after the first
chunk: 63 read and 2 written, estimated.

Seconds: answered 1, 2, 4 by tier; failed 0.5; left 1; the router 0.01 for each call.

    tier       answered        failed                          left
    light      300 + 20        5 (404)                         5
    standard   100             20 (429), 10 + 5 (503)
    heavy      40 + 20 + 10    5 (503)

A token of work takes heavy 4 / (20 + 50 / 100) = 0.1951219… s. GPU shares are 8, 32, 72 over 80.
"""

from __future__ import annotations

CALLS = 500

LEDGER_USED = 34_300  # 490 answers * 70
LEDGER_ORPHANED = 217_325  # (15 + 5 broken, 5 left) * (501 bytes of input bound + 8192 granted)

DISTRIBUTION = {
    "calls": 500,
    "failed": 5,
    "tiers": {
        "light": {
            "asked": 330,  # 300 + 20 + 5 + 5
            "answered": 325,  # 300 + 20, and 5 that were left
            "share": 325 / 495,
            "input_tokens": 16_315,  # 320 * 50 + 5 * 63
            "output_tokens": 6_410,  # 320 * 20 + 5 * 2
        },
        "standard": {
            "asked": 130,  # 100 + 20 + 10
            "answered": 100,
            "share": 100 / 495,
            "input_tokens": 5_945,  # 100 * 50 + 15 * 63
            "output_tokens": 2_000,
        },
        "heavy": {
            "asked": 40,
            "answered": 70,
            "share": 70 / 495,
            "input_tokens": 3_815,  # 70 * 50 + 5 * 63
            "output_tokens": 1_400,
        },
    },
    "tasks": {
        "easy": {"calls": 330, "failed": 5, "light": 325, "standard": 0, "heavy": 0},
        "hard": {"calls": 40, "failed": 0, "light": 0, "standard": 0, "heavy": 40},
        "usual": {"calls": 130, "failed": 0, "light": 0, "standard": 100, "heavy": 30},
    },
    "bands": [  # one question, one score: 0.19
        {
            "from": 0.1,
            "to": 0.2,
            "calls": 500,
            "failed": 5,
            "light": 325,
            "standard": 100,
            "heavy": 70,
        }
    ],
    "fallbacks": 30,  # 20 + 10 that heavy answered for standard
    "fallback_rate": 30 / 495,
}

SAVINGS = {
    "calls": 500,
    "failed_calls": 5,
    "tokens": 35_885,  # 490 * 70 + 5 * 65 + 20 * 63
    "tokens_saved": 24_728,  # 247283.75 / 10
    "cost_reduction_pct": 71.417690,  # 100 * 247283.75 / 346250
    # light 320 * 70 + 5 * 65 = 22725; standard (7000 + 945) * 3 = 23835; heavy (4900 + 315) * 10
    # = 52150; router 5 s / 0.1951219 * 10 = 256.25
    "cost_units": 98_966.25,
    "baseline_cost_units": 346_250,  # (490 * 70 + 5 * 65) * 10
    "cost_units_saved": 247_283.75,
    # light (16315 * 0.1 + 6410 * 0.3) = 3554.5; standard (5945 * 0.4 + 2000 * 1.2) = 4778;
    # heavy (3815 + 1400 * 3) = 8015; router 25.625 * 3 = 76.875; all in millionths
    "usd": 0.016424,  # 16424.375
    "baseline_usd": 0.054245,  # (24500 + 315) * 1 + (9800 + 10) * 3 = 54245
    "usd_saved": 0.037821,  # 37820.625
    # light (320 + 5 + 2.5) * 0.1 = 32.75; standard (200 + 17.5) * 0.4 = 87;
    # heavy (280 + 2.5) * 0.9 = 254.25; router 5 * 0.9 = 4.5
    "gpu_hours": 378.5 / 3600,
    # heavy's own 280 * 0.9 = 252; of light (6410 + 163.15) and of standard (2000 + 50), times
    # 0.1951219 * 0.9: 1514.309268
    "baseline_gpu_hours": 1766.309268 / 3600,
    "gpu_hours_saved": 1387.809268 / 3600,
    "measured": {
        "input_tokens": 24_500,  # 490 * 50
        "output_tokens": 9_800,  # 490 * 20
        "cost_units": 92_400,  # 22400 + 7000 * 3 + 4900 * 10
        "baseline_cost_units": 343_000,
        "cost_units_saved": 250_600,
        "usd": 0.015620,  # 16000 * 0.1 + 6400 * 0.3 + 4400 + 7700
        "baseline_usd": 0.053900,
        "usd_saved": 0.038280,
        # light (320 + 2.5) * 0.1; standard (200 + 10) * 0.4: what was refused is measured too
        "gpu_hours": (32.25 + 84 + 252) / 3600,
        "baseline_gpu_hours": (252 + (6400 + 160 + 2050) * 0.175609756) / 3600,
        "gpu_hours_saved": (1764 - 368.25) / 3600,
    },
    "estimated": {
        "input_tokens": 1_575,  # 25 * 63
        "output_tokens": 10,
        "cost_units": 6_310,  # 325 + 945 * 3 + 315 * 10
        "baseline_cost_units": 3_250,
        "cost_units_saved": -3_060,
        "usd": 0.000728,  # 31.5 + 3 + 378 + 315 = 727.5
        "baseline_usd": 0.000345,
        "usd_saved": -0.000382,  # -382.5, halves to the even
        "gpu_hours": (0.5 + 3 + 2.25) / 3600,  # 5 * 0.1, 7.5 * 0.4, 2.5 * 0.9
        "baseline_gpu_hours": (10 + 3.15) * 0.175609756 / 3600,
        "gpu_hours_saved": (2.309268 - 5.75) / 3600,
    },
    "failed_attempts": {
        "tokens": 1_260,  # 20 * 63
        "cost_units": 5_985,  # 945 * 3 + 315 * 10
        "usd": 0.000693,
        "gpu_hours": (0.25 + 7 + 2.25) / 3600,  # 2.5 * 0.1, 17.5 * 0.4, 2.5 * 0.9
    },
    "router": {
        "seconds": 5.0,
        "cost_units": 256.25,
        "usd": 0.000077,
        "gpu_hours": 4.5 / 3600,
    },
    "baseline": {
        "tier": "heavy",
        "model_id": "vllm/qwen2.5:72b",
        "s_per_token": 4 / 20.5,
        "basis": "tenant",
        "attempts": 70,
        "reference_gpu_gb": 80.0,
    },
}

FAULTS = {
    "calls": 500,
    "failed": 5,
    "fallbacks": 30,
    "fallback_rate": 30 / 495,
    "attempts": 540,  # 500, 30 more by heavy, 2 * 5 more in vain
    "outcomes": {
        "light": {"answered": 320, "failed": 5, "abandoned": 5},
        "standard": {"answered": 100, "failed": 35, "abandoned": 0},
        "heavy": {"answered": 70, "failed": 5, "abandoned": 0},
    },
    "faults": {
        "light": {"configuration": 5},
        "standard": {"rate_limited": 20, "server_error": 15},
        "heavy": {"server_error": 5},
    },
    "errors": {"AllTiersFailedError": 5},
}


def _spread(count: int, seconds: float) -> dict[str, object]:
    return {"count": count, "mean_s": seconds, "max_s": seconds}


LATENCY = {
    "light": {**_spread(320, 1.0), "first_token": _spread(20, 1.0)},
    "standard": {**_spread(100, 2.0), "first_token": {"count": 0, "mean_s": None, "max_s": None}},
    "heavy": {**_spread(70, 4.0), "first_token": {"count": 0, "mean_s": None, "max_s": None}},
}
"""Quantiles are estimates: each is held to its promise instead."""

# Wilson at 95 %: 45 of 50 lies within 0.7864 and 0.9565, 20 of 20 above 0.8389
_LIGHT = {"count": 50, "mean": 0.9, "low": 0.786398, "high": 0.956524}
_HEAVY = {"count": 20, "mean": 1.0, "low": 0.838875, "high": 1.0}

QUALITY = {
    "tiers": {
        "light": _LIGHT,
        "standard": {"count": 0, "mean": None, "low": 0.0, "high": 1.0},
        "heavy": _HEAVY,
    },
    "bands": [
        {"tier": "light", "from": 0.1, "to": 0.2, **_LIGHT},
        {"tier": "heavy", "from": 0.1, "to": 0.2, **_HEAVY},
    ],
    "flags": [],  # the intervals overlap
}
