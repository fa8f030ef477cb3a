"""Decode many image files in worker processes, in order.

The workers are plain subprocesses that speak over pipes, not a `multiprocessing` pool: a pool would import the user's
main script again in every worker (or fork a process that runs torch's threads), and this needs neither. Threads reach
about 0.8 of the processes' rate, since Pillow holds the interpreter lock between a file's blocks.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np

from ncbench.contracts.dataset import ImageFile
from ncbench.contracts.errors import DataError
from ncbench.data.store.decode import Framing, decode

CHUNK = 16  # files a request: 2.4 MB of answers at 224 px, and few enough to keep every worker busy at the end
_WORTH_A_WORKER = 8  # requests; with fewer, a worker takes longer to start than it saves
# glibc would give the memory of every image back to the system, which costs a fifth of the time (mallopt(3)).
_KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 26), "MALLOC_MMAP_THRESHOLD_": str(1 << 25)}
_HEADER = struct.Struct("<I")  # the bytes of the reason that follows; 0: the image's pixels follow


def decode_in_order(
    files: Sequence[ImageFile], framing: Framing, workers: int | None = None
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Decode files; yield them a chunk at a time, in order.

    Args:
        files: N files; a path is read by the worker, anything else here.
        framing: How every image is fitted to one size (H, W).
        workers: Processes; None for one a core, as far as there is work for each. One alone would be of no help, so
            then the files are decoded here.

    Yields:
        (n, H, W, 3) uint8 images, and n reasons, "" where the file was good. A bad file's image is left blank.

    Raises:
        DataError: A worker ended before its time; the message names the files it had in hand.
    """
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    count = min(_cores(), len(chunks) // _WORTH_A_WORKER) if workers is None else min(workers, len(chunks))
    if count < 2:
        yield from (_decode_chunk(chunk, framing) for chunk in chunks)
        return
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    crew = [_Worker(framing) for _ in range(count)]
    for worker in crew:
        idle.put(worker)

    def work(chunk: Sequence[ImageFile]) -> tuple[np.ndarray, list[str]]:
        worker = idle.get()
        try:
            return worker.decode(chunk)
        finally:
            idle.put(worker)

    pending: deque[Future[tuple[np.ndarray, list[str]]]] = deque()
    with ThreadPoolExecutor(count) as threads:
        try:
            for chunk in chunks:
                pending.append(threads.submit(work, chunk))
                if len(pending) > 2 * count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            for worker in crew:
                worker.stop()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_chunk(files: Sequence[ImageFile], framing: Framing) -> tuple[np.ndarray, list[str]]:
    images = np.zeros((len(files), *framing.size, 3), dtype=np.uint8)
    reasons = [""] * len(files)
    for position, file in enumerate(files):
        try:
            images[position] = decode(_path_or_content(file), framing)
        except ValueError as error:
            reasons[position] = str(error) or "it cannot be decoded"
    return images, reasons


def _path_or_content(file: ImageFile) -> Path | bytes:
    return file if isinstance(file, Path) else file.read_bytes()


class _Worker:
    def __init__(self, framing: Framing) -> None:
        self.size = framing.size
        # -P and an explicit path: a folder the user happens to stand in must not shadow an import.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", __name__, json.dumps(asdict(framing))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_KEEP_FREED_MEMORY, **os.environ, "PYTHONPATH": path},
        )

    def decode(self, files: Sequence[ImageFile]) -> tuple[np.ndarray, list[str]]:
        if self.process.stdin is None or not isinstance(self.process.stdout, io.BufferedReader):
            raise RuntimeError("a decoding worker has no pipes")
        images = np.zeros((len(files), *self.size, 3), dtype=np.uint8)
        reasons = [""] * len(files)
        given = [_path_or_content(file) for file in files]
        # A line with a path, or the number of bytes, of each; then the bytes.
        line = json.dumps([len(one) if isinstance(one, bytes) else os.fsencode(one).hex() for one in given])
        try:
            # The worker reads the whole request before it answers, so neither side can wait for the other.
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.writelines(one for one in given if isinstance(one, bytes))
            self.process.stdin.flush()
            for position in range(len(files)):
                (reason_bytes,) = _HEADER.unpack(_exactly(self.process.stdout, _HEADER.size))
                if reason_bytes:
                    reasons[position] = _exactly(self.process.stdout, reason_bytes).decode()
                elif self.process.stdout.readinto(images[position].data) != images[position].nbytes:
                    raise EOFError
        except (OSError, EOFError) as error:
            code = self.process.wait()
            raise DataError(
                f"A decoding process ended unexpectedly (exit code {code}) between {files[0]} and {files[-1]}."
            ) from error
        return images, reasons

    def stop(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be sent has no reader any more
                    continue
        self.process.wait()


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    answer = pipe.read(length)
    if len(answer) != length:
        raise EOFError
    return answer


def _serve(framing: Framing) -> None:
    """Answer requests on standard input until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        given = [
            _exactly(requests, one) if isinstance(one, int) else Path(os.fsdecode(bytes.fromhex(one)))
            for one in json.loads(line)
        ]
        for file in given:
            try:
                image = decode(file, framing)
            except ValueError as error:
                reason = (str(error) or "it cannot be decoded").encode()
                answers.write(_HEADER.pack(len(reason)) + reason)
            else:
                answers.write(_HEADER.pack(0))
                answers.write(np.ascontiguousarray(image).data)
        answers.flush()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    try:
        _serve(Framing(**{**given, "size": tuple(given["size"])}))
    except (BrokenPipeError, EOFError):
        os._exit(1)  # the parent was killed: there is nobody to tell, and what is unsent would be sent at exit
