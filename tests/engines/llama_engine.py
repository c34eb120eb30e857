"""llama.cpp's server, the C++ one, as the `xllamacpp` wheel carries it."""

from __future__ import annotations

import argparse
import sys

import xllamacpp


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What both servers take on their command lines."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--names", required=True, help="names it is served under, with commas")
    parser.add_argument("--context", type=int, default=8192, help="window of a request, in tokens")
    return parser


def start(given: argparse.Namespace) -> xllamacpp.Server:
    """Start llama.cpp on a free port of the loopback interface; returns once it listens."""
    return xllamacpp.Server(_parameters(given))


def serve_until_closed() -> None:
    """Wait for the end of standard input: the server does not outlive who started it."""
    sys.stdin.read()


def _parameters(given: argparse.Namespace) -> xllamacpp.CommonParams:
    parallel = 4
    parameters = xllamacpp.CommonParams()
    parameters.model.path = given.model
    parameters.model_alias = set(given.names.split(","))
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = parallel
    parameters.n_ctx = given.context * parallel  # split evenly between the slots
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = 64  # a kept-alive connection holds one of these
    parameters.sampling.seed = 1  # the same prompt, the same answer
    parameters.use_jinja = True
    parameters.warmup = parameters.fit_params = parameters.ui = False
    parameters.endpoint_metrics = parameters.endpoint_slots = True
    parameters.offline = True
    parameters.verbosity = 0
    return parameters
