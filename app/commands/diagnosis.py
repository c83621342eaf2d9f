"""What the service would run with here, why, and what to change: one check a matter, each by whoever knows it."""

from __future__ import annotations

import ipaddress
import os
import platform
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from app.commands import machine, packages
from app.images.sandbox import Worker, WorkerStartError
from app.inference.errors import CheckpointError, UnsupportedDeviceError
from app.settings import PREFIX, Settings, unknown_variables

if TYPE_CHECKING:
    from app.inference.generator import Generator

State = Literal["ok", "note", "warning", "failure"]

_GIBIBYTE = 2**30
# The process with torch and a model of the shipped size, and what a step takes.
_OWN_BYTES = _GIBIBYTE


@dataclass(frozen=True, slots=True)
class Check:
    """One matter: what was found, why it is so, and what to change; the last two may be empty."""

    name: str
    state: State
    found: str
    why: str = ""
    change: str = ""


def checks_of_machine() -> Iterator[Check]:
    """Those that need no settings."""
    yield from _variables()
    yield _software()
    yield _processor()
    yield from map(_extra, packages.EXTRAS)


def checks_of_settings(settings: Settings) -> Iterator[Check]:
    """The others, the model's at last: it takes seconds to load."""
    yield _threads(settings)
    yield _memory(settings)
    yield _port(settings)
    yield _keys(settings)
    yield _decoding(settings)
    yield _limits(settings)
    yield from _model(settings)


def _variables() -> Iterator[Check]:
    for name in unknown_variables(os.environ):
        yield Check("settings", "warning", f"{name} is no setting", "it is ignored", "unset it, or correct its name")


def _software() -> Check:
    torch = packages.installed("torch")
    found = f"Python {platform.python_version()}, torch {torch}, {platform.system()} {platform.machine()}"
    return Check("software", "ok", found)


def _processor() -> Check:
    from app.inference.network.devices import processor_features

    features = [f"{name} {'yes' if there else 'no'}" for name, there in processor_features().items()]
    return Check("processor", "ok", machine.processor(), ", ".join(features))


def _threads(settings: Settings) -> Check:
    cores = machine.usable_cores()
    found = f"{settings.threads} for the network, {settings.decode_workers} processes that decode; {cores} cores usable"
    if settings.threads > cores:
        why = "more threads than cores wait for each other at every step"
        return Check("threads", "warning", found, why, f"{PREFIX}THREADS={max(1, cores - 1)}")
    why = "one core is left to the rest of the service" if settings.threads == cores - 1 else ""
    if settings.threads == cores > 1:
        why = "none is left to the rest of the service"
        return Check("threads", "note", found, why, f"{PREFIX}THREADS={cores - 1}")
    return Check("threads", "ok", found, why)


def _memory(settings: Settings) -> Check:
    memory = machine.memory()
    if not memory.total:
        return Check("memory", "note", "not known on this system")
    found = f"{_gibibytes(memory.available)} available of {_gibibytes(memory.total)}"
    if memory.limit is not None:
        found += f", this container may use {_gibibytes(memory.limit)}"
    need = _OWN_BYTES + settings.max_buffered_bytes
    why = f"up to {_gibibytes(need)} are used: the model, and {PREFIX}MAX_BUFFERED_BYTES of uploads and images"
    if memory.available < _OWN_BYTES:
        return Check("memory", "failure", found, why, "free memory: the model alone takes about 1 GiB")
    if memory.available < need:
        room = max(64 * 2**20, memory.available - _OWN_BYTES)
        return Check("memory", "warning", found, why, f"{PREFIX}MAX_BUFFERED_BYTES={room}")
    return Check("memory", "ok", found, why)


def _extra(name: str) -> Check:
    brings = packages.EXTRAS[name]
    lacking = packages.missing(name)
    if lacking is None:
        return Check(f"extra {name}", "note", "not known to this installation", brings, "install xray-report again")
    if lacking:
        change = f"pip install 'xray-report[{name}]' for {brings}"
        return Check(f"extra {name}", "note", f"missing: {', '.join(lacking)}", f"without it no {brings}", change)
    return Check(f"extra {name}", "ok", "installed", brings)


def _port(settings: Settings) -> Check:
    where = f"{settings.host} port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            if _answers(settings):
                return Check("port", "note", f"{where}: a service of ours runs there")
            return Check(
                "port", "failure", f"{where}: {error.strerror}", "", f"{PREFIX}PORT, or stop what listens there"
            )
    return Check("port", "ok", f"{where} is free")


def _answers(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://{host}:{settings.port}/livez", timeout=2
        ) as answer:
            return bool(answer.status == 200 and b'"ok"' in answer.read(200))
    except OSError:
        return False


def _keys(settings: Settings) -> Check:
    if settings.api_key_hashes:
        return Check("keys", "ok", f"{len(settings.api_key_hashes)} API keys are known")
    if _is_loopback(settings.host):
        return Check("keys", "ok", "none asked for", "only this machine can reach the service")
    why = "others can reach the service, and nobody is asked for a key"
    return Check("keys", "warning", "none asked for", why, f"{PREFIX}API_KEY_HASHES")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _decoding(settings: Settings) -> Check:
    try:
        worker = Worker(settings.max_pixels)
        try:
            worker.prove()
        finally:
            worker.close()
    except WorkerStartError as error:
        change = "more memory, or a smaller XRAY_REPORT_MAX_PIXELS"
        return Check("decoding", "failure", str(error), "images are decoded in processes of their own", change)
    return Check("decoding", "ok", "a process started and decoded an image")


def _limits(settings: Settings) -> Check:
    found = (
        f"{settings.max_rows} beams on the device, {settings.max_queue} studies waiting, "
        f"{settings.max_requests} requests at once"
    )
    why = (
        f"an image may have {settings.max_image_bytes / 2**20:g} MiB and {settings.max_pixels / 1e6:g} megapixels, "
        f"an answer takes {settings.request_deadline_seconds:g} s at most"
    )
    return Check("limits", "ok", found, why)


def _model(settings: Settings) -> Iterator[Check]:
    from app.local_reports import load_generator

    try:
        generator = load_generator(settings)
    except CheckpointError as error:
        change = f"{PREFIX}CHECKPOINT, or get the file and the .sha256 beside it again"
        yield Check("model", "failure", str(error), "what does not match its SHA-256 is never loaded", change)
        return
    except UnsupportedDeviceError as error:
        change = f"{PREFIX}DEVICE=auto and {PREFIX}PRECISION=auto"
        yield Check("device", "failure", str(error), "", change)
        return
    try:
        yield _device(settings, generator)
        yield _precision(settings, generator)
        yield _decoder(generator)
        model = generator.model
        found = f"{model.name} {model.version}, SHA-256 {model.sha256}"
        yield Check("model", "ok", found, "the hash matches, the archive was verified, and its self-test passed")
    finally:
        generator.close()


def _device(settings: Settings, generator: Generator) -> Check:
    from app.inference.network.devices import device_name, device_reason

    found = f"{generator.device}, {device_name(generator.device)}"
    driver = machine.nvidia_driver()
    if driver:
        found += f", NVIDIA driver {driver}"
    why = device_reason(settings.device, generator.device)
    if driver and generator.device.type == "cpu" and settings.device == "auto":
        change = "install a torch built for CUDA that this driver can run (pytorch.org)"
        return Check("device", "warning", found, why, change)
    return Check("device", "ok", found, why)


def _precision(settings: Settings, generator: Generator) -> Check:
    from app.inference.network.devices import fast_bfloat16, precision_reason

    precision = generator.model.precision
    why = precision_reason(settings.precision, precision, generator.device)
    found = f"{precision}, {'bfloat16 where that is faster' if precision == 'fast' else 'float32'}"
    if settings.precision == "auto" and fast_bfloat16(generator.device):
        return Check("precision", "note", found, why, f"{PREFIX}PRECISION=fast, if speed matters more than that")
    return Check("precision", "warning" if settings.precision not in ("auto", precision) else "ok", found, why)


def _decoder(generator: Generator) -> Check:
    from app.inference.native.library import runnable

    if generator.device.type != "cpu" or runnable():
        return Check("decoder", "ok", generator.decoder_name)
    why = "no compiled step was built for this processor: on x86 with AVX2 that is several times as fast"
    return Check("decoder", "note", generator.decoder_name, why, "install the package again where there is a g++")


def _gibibytes(size: int) -> str:
    return f"{size / _GIBIBYTE:.1f} GiB"
