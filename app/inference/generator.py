"""Checkpoint, preprocessing, engine and tokenizer as one: images in, a `Report` out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.engine.engine import Engine
from app.inference.engine.observer import Observer, Silent
from app.inference.engine.request import Generation, Refuse, refuse_none
from app.inference.engine.step_graphs import StepGraphs
from app.inference.errors import NoUsableViewError, StudyError
from app.inference.manifest import Manifest, Threshold
from app.inference.network.cuda_graphs import CudaRecorder
from app.inference.network.decoder import ArchiveDecoder
from app.inference.network.devices import choose_device, choose_precision, configure_backend
from app.inference.network.encoder import Encoding, OpenVinoEncode, import_openvino, make_encode, study_encoder
from app.inference.network.packed_decoder import PackedDecoder, decoder_name, make_decoder
from app.inference.ood import NotAChestXrayError, OodMode, OodPolicy
from app.inference.options import MAX_QUEUE, MAX_ROWS, OPERATING_POINTS, DecodingOptions, OperatingPoint
from app.inference.preprocessing import Preprocessor
from app.inference.report_builder import ReportBuilder, Shapes, no_usable_view
from app.inference.self_test import compare_self_test, run_self_test
from app.inference.served_model import Image, Limits, ServedModel
from app.report import Report

logger = logging.getLogger(__name__)


class Generator:
    """A checkpoint at work on one device."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        max_rows: int = MAX_ROWS,
        max_queue: int = MAX_QUEUE,
        observer: Observer | None = None,
        ood: OodMode = "refuse",
        every_view: bool = False,
        cuda_graphs: bool = True,
    ) -> None:
        """`threads` for torch in this process; None leaves it as it is. `ood` is what becomes of a study with an image
        that is no chest radiograph, `every_view` reads also views that the model has not learnt. `cuda_graphs` False
        launches every kernel by itself, for comparison.

        Raises `UnsupportedDeviceError`, and `CheckpointError` when the self-test fails on the device."""
        if threads:
            torch.set_num_threads(threads)
        self.device = choose_device(device)
        precision = choose_precision(precision, self.device)
        self.manifest = checkpoint.manifest
        self._module = checkpoint.module.to(self.device)
        if self.device.type != "cpu":
            configure_backend(self.device)
            compare_self_test(run_self_test(self._module, self.device), self.manifest.self_test, tolerance=1e-2)
        self._preprocessor = Preprocessor(self._module, self.device)
        self._answering = ThreadPoolExecutor(1, thread_name_prefix="answer")
        encode = make_encode(self._module, precision, self.device)
        decoder = make_decoder(self._module, precision)
        self.decoder_name = decoder_name(decoder)
        if isinstance(decoder, ArchiveDecoder) and not isinstance(encode, OpenVinoEncode):
            precision = "exact"  # nothing runs faster than that here
        limits = Limits(self.manifest.max_views, self.manifest.max_new_tokens, max_rows, max_queue)
        self.model = describe(checkpoint, self.device, precision, limits)
        self._graphs: StepGraphs | None = None
        if cuda_graphs and self.device.type == "cuda" and isinstance(decoder, PackedDecoder):
            self._graphs = StepGraphs(decoder, CudaRecorder(self.device))
        self._encoder = study_encoder(checkpoint, encode, self.device, every_view=every_view)
        self._ood = OodPolicy(self.manifest.ood.thresholds if self.manifest.ood else None, ood)
        self._observer: Observer = observer or Silent()
        self._builder = ReportBuilder(checkpoint, self._module, self._ood)
        self._warm = False
        self._engine = Engine(
            self._encoder,
            decoder,
            max_new_tokens=limits.max_new_tokens,
            max_rows=max_rows,
            max_queue=max_queue,
            observer=self._observer,
            graphs=self._graphs,
        )

    @classmethod
    def load(cls, path: Path, *, sha256: str | None = None, **settings: Any) -> Generator:
        """Verifies and loads a checkpoint file. Raises `CheckpointError` with what did not match."""
        with ThreadPoolExecutor(1) as beside:
            beside.submit(import_openvino)  # while the self-test runs; what is wrong with it shows where it is used
            checkpoint = load_checkpoint(path, sha256)
        return cls(checkpoint, **settings)

    @property
    def ready(self) -> bool:
        """Whether it is warm and takes studies."""
        return self._warm and self._engine.alive

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._engine.alive

    @property
    def queue_depth(self) -> int:
        """Studies waiting for rows."""
        return self._engine.queue_depth

    @property
    def turn_seconds(self) -> float:
        """How long the engine's turn at work has lasted; 0 while idle."""
        return self._engine.turn_seconds

    def retry_after(self) -> float:
        """Seconds until the queue of now is worked off, at the rate of late."""
        return self._engine.retry_after()

    def warm_up(self) -> None:
        """Encodes batches of every size and runs studies of one and several views and widths, so that the first request
        finds everything compiled. Once warm it runs the studies only: the encoder is the engine's then."""
        image = np.zeros((64, 80), np.uint8)
        image[16:48, 20:60] = 200
        if not self._warm:
            with torch.inference_mode():
                self._encoder.warm_up(self.manifest.image_size)
        self._try_out(image)
        if self._graphs and not self._warm:
            self._record(image)
        self._warm = True

    def _try_out(self, image: Image) -> None:
        tokens = min(8, self.model.limits.max_new_tokens)
        started: list[Future[Report]] = []
        for views, beams in 2 * ((1, 1), (2, self.model.default_options.num_beams), (self.model.limits.max_views, 4)):
            if len(started) >= self.model.limits.max_queue:
                started.pop(0).result()
            options = DecodingOptions(num_beams=beams, max_new_tokens=tokens)
            started.append(self._submit([image] * views, options, heatmaps=True))
        for future in started:
            future.result()

    def _record(self, image: Image) -> None:
        """Records the default width's steps of all lengths, for 1, 2, 4 … studies; other widths when they come."""
        longest = self.model.limits.max_new_tokens
        options = DecodingOptions(self.model.default_options.num_beams, min_new_tokens=longest, max_new_tokens=longest)
        studies = 1
        while studies <= min(self.model.limits.max_queue, self.model.limits.max_rows // options.num_beams):
            for future in [self._submit([image], options) for _ in range(studies)]:
                future.result()
            studies *= 2

    def submit(
        self,
        images: Sequence[Image],
        options: DecodingOptions,
        deadline: float | None = None,
        tag: object = None,
        *,
        operating_point: OperatingPoint = OPERATING_POINTS[0],
        heatmaps: bool = False,
    ) -> Future[Report]:
        """Queues one study of greyscale images [H,W]; uint8 and uint16 span their range, float32 is 0..1.

        `deadline` is a `time.monotonic` time; the observer learns by `tag` who was encoded together; `operating_point`
        decides what is present; with `heatmaps` the report says where the model looked. Cancelling the future frees its
        rows. Raises `EngineFullError`, `EngineStoppedError`, `InvalidOptionError` beyond the model's limits, and
        ValueError for a study without images or with too many.
        """
        if not 1 <= len(images) <= self.model.limits.max_views:
            raise ValueError(f"a study has 1 to {self.model.limits.max_views} images, not {len(images)}")
        options.check_model(self.model.limits.max_new_tokens)
        return self._submit(images, options, deadline, tag, self._refusal, operating_point, heatmaps=heatmaps)

    def _submit(
        self,
        images: Sequence[Image],
        options: DecodingOptions,
        deadline: float | None = None,
        tag: object = None,
        refuse: Refuse = refuse_none,  # our own trials are no radiographs
        operating_point: OperatingPoint = OPERATING_POINTS[0],
        *,
        heatmaps: bool = False,
    ) -> Future[Report]:
        views: Future[Tensor] = Future()
        generation = self._engine.submit(views, options, deadline, tag, refuse, operating_point)
        answer: Future[Report] = Future()
        shapes = [image.shape for image in images]
        # The engine has better things to do than reading what it wrote.
        generation.add_done_callback(lambda done: self._answering.submit(self._answer, answer, shapes, heatmaps, done))
        answer.add_done_callback(lambda done: generation.cancel() if done.cancelled() else None)
        self._preprocessor.start(images, views, generation)
        return answer

    def _refusal(self, encoding: Encoding) -> NotAChestXrayError | NoUsableViewError | None:
        for score, outcome in self._ood.outcomes(encoding.ood_logits):
            self._observer.ood_scored(score, outcome)
        return self._ood.refusal(encoding.ood_logits) or no_usable_view(encoding.read, self.manifest)

    def close(self, drain_seconds: float = 0.0) -> None:
        """Takes no more studies, finishes what is in flight within `drain_seconds`, fails the rest."""
        self._engine.close(drain_seconds)
        self._preprocessor.close()
        self._answering.shutdown()

    def _answer(self, answer: Future[Report], shapes: Shapes, heatmaps: bool, generation: Future[Generation]) -> None:
        with suppress(InvalidStateError):  # the client left meanwhile
            if generation.cancelled():
                answer.cancel()
            elif error := generation.exception():
                answer.set_exception(error)
            elif not answer.cancelled():
                try:
                    report = self._builder.build(generation.result(), shapes, heatmaps=heatmaps)
                except Exception as error:
                    logger.warning("a report could not be put together: %s", type(error).__name__)
                    answer.set_exception(StudyError("the report could not be put together"))
                else:
                    answer.set_result(report)


def describe(checkpoint: Checkpoint, device: torch.device, precision: str, limits: Limits) -> ServedModel:
    """A checkpoint as it is served."""
    manifest = checkpoint.manifest
    return ServedModel(
        name=manifest.name,
        version=manifest.version,
        sha256=checkpoint.sha256,
        device=str(device),
        precision=precision,
        intended_use=manifest.intended_use,
        training_data=manifest.training_data,
        metrics=manifest.metrics,
        image_size=manifest.image_size,
        section_names=manifest.section_names,
        finding_names=tuple(finding.name for finding in manifest.findings),
        view_names=manifest.view_names,
        views_read=manifest.views_read,
        operating_points=operating_points(manifest),
        default_options=manifest.default_options,
        limits=limits,
    )


def operating_points(manifest: Manifest) -> dict[OperatingPoint, dict[str, Threshold]]:
    """Of each operating point, the threshold of everything that is decided by one."""
    decided = [*manifest.findings, *filter(None, [manifest.abnormal])]
    return {point: {one.name: one.thresholds[point] for one in decided} for point in OPERATING_POINTS}
