"""A Ray cluster: the one at an address, or a private one that ends with the sweep."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ncbench import ConfigurationError, NcbenchError

_OBJECT_STORE_BYTES = 2**27  # nothing is put there; Ray would take a third of the memory
_ANSWER_SECONDS = 10  # for whoever listens at an address; Ray itself asks for minutes where nobody does
_HEAD_SECONDS = 30  # of silence until a head counts as lost: after 60 Ray aborts, and runs are to be told before
_LOOK_SECONDS = 2  # between looks at the head


def require_ray(address: str) -> Any:
    """Return the module ``ray``.

    Args:
        address: What :func:`connected` is to be given.

    Raises:
        ConfigurationError: It is not installed, or the address is one that it is not for.
    """
    if "://" in address:
        raise ConfigurationError(
            f"address={address} is not HOST:PORT. Give this command on a node of the cluster, with address=auto."
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:
        # Ray would leave one in the home folder, which every later `ray start` would then ask for.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    else:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # where something listens that is not Ray: 40 s each
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigurationError(
            f'The launcher ray needs the package ray ({error}): pip install "ncbench[ray]"'
        ) from error


@contextlib.contextmanager
def connected(ray: Any, address: str, messages: Path) -> Iterator[None]:
    """Be connected to a cluster while the context is open.

    Args:
        ray: The module.
        address: ``HOST:PORT``, or ``auto`` for that of this machine; empty for a private one.
        messages: File for what Ray says.

    Raises:
        ConfigurationError: It does not answer or does not start.
    """
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"address": address}
        if not address:
            # /tmp/ray would tell others of this cluster, and keep what it leaves. Sockets need a short path.
            root = "/tmp" if os.name == "posix" else None  # noqa: S108
            folder = tempfile.TemporaryDirectory(prefix="ncbench-ray-", dir=root, ignore_cleanup_errors=True)
            options = {"address": "local", "include_dashboard": False, "_temp_dir": stack.enter_context(folder)}
            options |= {"object_store_memory": _OBJECT_STORE_BYTES}
        stack.callback(ray.shutdown, wait_for_processes=True)
        said_before = messages.stat().st_size if messages.exists() else 0
        try:
            with _errors_in(messages), _signals_kept():
                if address:
                    services = importlib.import_module("ray._private.services")
                    _reach(services.canonicalize_bootstrap_address(address), _ANSWER_SECONDS)
                ray.init(**options, configure_logging=False, log_to_driver=False)
        except Exception as error:  # of whatever type: which ones, Ray does not say
            why = f"({' '.join(str(error).split())})"
            if address and b"Unauthenticated" in messages.read_bytes()[said_before:]:
                advice = "set RAY_AUTH_MODE=token, and have the cluster's token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
                raise ConfigurationError(f"The Ray at {address} asks for a token {why}: {advice}.") from error
            if address:
                advice = "start one with ray start --head, or leave the address out for a Ray of this sweep alone"
                raise ConfigurationError(f"No Ray answers at {address} {why}: {advice}.") from error
            raise ConfigurationError(f"A Ray for this sweep does not start {why}; what it says: {messages}") from error
        stack.enter_context(_messages_in(messages))
        yield


class Head:
    """The head of the cluster that this process is connected to: when it is lost, the nodes end, a minute later.

    Args:
        address: Its ``HOST:PORT``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._heard = self._looked = time.monotonic()

    def check(self) -> None:
        """Look whether it is there, every other second.

        Raises:
            NcbenchError: It has been gone for so long that it is lost.
        """
        now = time.monotonic()
        if now < self._looked + _LOOK_SECONDS:
            return
        self._looked = now
        try:
            _reach(self._address, _LOOK_SECONDS)
            self._heard = now
        except OSError as error:
            if now > self._heard + _HEAD_SECONDS:
                raise NcbenchError(
                    f"The head of the Ray cluster, {self._address}, is lost ({error}), and all runs with it. Start the "
                    "cluster again and give the same command: they go on from their newest checkpoints."
                ) from error


def _reach(address: str, seconds: float) -> None:
    """Connect to an address, and leave.

    Raises:
        OSError: Nobody listens there.
        ValueError: It is no address.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


@contextlib.contextmanager
def _messages_in(path: Path) -> Iterator[None]:
    """Have what Ray logs and prints once it is there written to a file; its start replaces what was there before it."""
    logger, handler = logging.getLogger("ray"), logging.FileHandler(path, delay=True, encoding="utf-8")
    worker = importlib.import_module("ray._private.worker")
    before = logger.handlers[:], worker.print_to_stdstream

    def log(data: Mapping[str, Any], **options: Any) -> None:
        logger.warning("\n".join(data["lines"]))

    logger.handlers[:], worker.print_to_stdstream = [handler], log  # that of lost nodes, among the sweep's own results
    try:
        yield
    finally:
        logger.handlers[:], worker.print_to_stdstream = before
        handler.close()


@contextlib.contextmanager
def _errors_in(path: Path) -> Iterator[None]:
    """Have standard error written to a file, as long as Ray's libraries have none of their own."""
    terminal = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what is done at SIGTERM: Ray would abort, and no run be told."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)
