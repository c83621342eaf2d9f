"""The encoder as the engine drives it: the images of several studies at once, by the fastest way the machine has.

The archive's `encode` is frozen: batch norms folded into convolutions, channels last. On a GPU it is recorded as CUDA
graphs; on a CPU, where OpenVINO is installed (the extra `openvino`), that runs the same graph, in float32 or bfloat16.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from app.inference.anatomy import Cells
from app.inference.checkpoint import Checkpoint, frozen_encode
from app.inference.chest import MAPPED_VIEW
from app.inference.decisions import Decider, Decisions
from app.inference.encoder_output import EncoderOutput
from app.inference.network.cuda_graphs import CudaRecorder, Recorder
from app.inference.options import OperatingPoint

SIZES = (1, 2, 4, 8, 16, 32, 64)  # a batch is filled up to one of these: every new size costs a compilation

Encode = Callable[[Tensor], EncoderOutput]  # of images f32[B,1,S,S]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the network sees in one study of V views, before a word is written, and what is decided of it.

    `finding_logits` F+1 of the study; `view_logits` V times 2 and `ood_logits` V times K of its images; `read`, V of
    them, says which count; `evidence` f32[V,P,F+1] for each finding and for the whole by position, in reading order;
    `cross_kv` for the decoder, as the archive gives it.
    """

    finding_logits: list[float]
    view_logits: list[list[float]]
    ood_logits: list[list[float]]
    read: list[bool]
    evidence: Tensor
    decisions: Decisions
    cross_kv: list[Tensor]


class StudyEncoder:
    """Encodes the views of studies together and joins them study by study."""

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        encode: Encode,
        decide: Decider,
        *,
        views_read: Sequence[bool],
        views_mapped: Sequence[bool],
        max_views: int,
        device: torch.device,
    ) -> None:
        """`module` joins the views (`join`, `begin`), `encode` stands for its `encode`; `views_read` says of each view
        whether images of it are read, `views_mapped` whether lungs and heart are looked for in them."""
        self._module, self._encode, self._decide = module, encode, decide
        self._views_read, self._views_mapped = (
            torch.tensor(list(views), device=device) for views in (views_read, views_mapped)
        )
        self.max_views, self.device = max_views, device
        self.max_images = SIZES[-1]
        if device.type == "cpu":
            # More than one a thread gain nothing there (they fit the caches less well), and each waits for the others.
            self.max_images = max(size for size in SIZES if size <= torch.get_num_threads())

    def __call__(
        self, studies: Sequence[Tensor], points: Sequence[OperatingPoint]
    ) -> tuple[list[Encoding], list[Tensor]]:
        """Encodes f32[V,1,S,S] of each study, V from 1 to `max_views`, decided at its operating point; also `cross_kv`
        of all, study first."""
        images = torch.cat(list(studies)).to(self.device)
        mask = torch.zeros(len(studies), self.max_views, dtype=torch.bool)
        for row, views in zip(mask, studies, strict=True):
            row[: len(views)] = True
        given = mask.flatten().nonzero()[:, 0].to(self.device, non_blocking=True)
        mask = mask.to(self.device, non_blocking=True)
        outputs = map(self._filled, torch.split(images, self.max_images))
        encoded = EncoderOutput(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))
        view = encoded.view_logits.argmax(1)
        read, mapped = self._views_read[view], self._views_mapped[view]
        spread = []
        for part in (encoded.memory, encoded.finding_logits, encoded.view_logits, read):
            room = part.new_zeros(mask.shape + part.shape[1:])
            room.flatten(0, 1).index_copy_(0, given, part)
            spread.append(room)
        memory, finding_logits, view_logits, mask = spread
        findings = self._module.join(finding_logits, mask).tolist()
        counts = [len(views) for views in studies]
        view_parts, ood_parts, anatomy, evidence, read_parts, mapped_parts = (
            torch.split(part, counts)
            for part in (
                encoded.view_logits.cpu(),
                encoded.ood_logits.cpu(),
                encoded.anatomy.cpu(),
                encoded.evidence.cpu(),
                read.cpu(),
                mapped.cpu(),
            )
        )
        decisions = [
            self._decide(findings[i], evidence[i], anatomy[i], mapped_parts[i].tolist(), point)
            for i, point in enumerate(points)
        ]
        facts = torch.tensor([one.facts for one in decisions], device=self.device)
        cross_kv: list[Tensor] = self._module.begin(memory, view_logits, mask, facts)
        encodings = [
            Encoding(
                finding_logits=findings[i],
                view_logits=view_parts[i].tolist(),
                ood_logits=ood_parts[i].tolist(),
                read=read_parts[i].tolist(),
                evidence=evidence[i],
                decisions=one,
                cross_kv=[table[i] for table in cross_kv],
            )
            for i, one in enumerate(decisions)
        ]
        return encodings, cross_kv

    def warm_up(self, image_size: int) -> None:
        """Encodes a batch of every size there will be."""
        for size in (size for size in SIZES if size <= self.max_images):
            for _ in range(2):  # TorchScript compiles at the first calls of a shape
                self._encode(torch.zeros(size, 1, image_size, image_size, device=self.device))

    def _filled(self, images: Tensor) -> EncoderOutput:
        count = len(images)
        size = next(size for size in SIZES if size >= count)
        filled = F.pad(images, [0, 0, 0, 0, 0, 0, 0, size - count])
        return EncoderOutput(*(part[:count] for part in self._encode(filled)))


def study_encoder(
    checkpoint: Checkpoint, encode: Encode, device: torch.device, *, every_view: bool = False
) -> StudyEncoder:
    """The encoder of a checkpoint's studies, whose `encode` on that device is given; with `every_view` it also reads
    images of views that it has not learnt."""
    manifest = checkpoint.manifest
    views_read = [every_view or view in manifest.views_read for view in manifest.view_names]
    return StudyEncoder(
        checkpoint.module,
        encode,
        Decider(manifest, Cells.of(checkpoint.module, manifest.image_size)),
        views_read=views_read,
        views_mapped=[
            taken and view == MAPPED_VIEW for view, taken in zip(manifest.view_names, views_read, strict=True)
        ],
        max_views=manifest.max_views,
        device=device,
    )


def make_encode(module: torch.jit.ScriptModule, precision: str, device: torch.device) -> Encode:
    """The fastest `encode` for the device: `precision` "exact" is float32, "fast" bfloat16 where that is to be had."""
    if device.type == "cuda":
        return RecordedEncode(module, torch.bfloat16 if precision == "fast" else torch.float32, CudaRecorder(device))
    frozen = frozen_encode(module)
    if importlib.util.find_spec("openvino"):
        return OpenVinoEncode(frozen, bfloat16=precision == "fast")
    return lambda images: EncoderOutput(*frozen(images.contiguous(memory_format=torch.channels_last)))


def import_openvino() -> None:
    """What `OpenVinoEncode` imports, where it is installed: it takes a third of a second, in which torch may work."""
    if importlib.util.find_spec("openvino"):
        importlib.import_module("openvino.frontend.pytorch.ts_decoder")


class RecordedEncode:
    """A frozen `encode` by CUDA graphs, one for each number of images."""

    def __init__(self, module: torch.jit.ScriptModule, dtype: torch.dtype, record: Recorder) -> None:
        """`dtype` is what all of it runs in."""
        self._frozen, self._dtype, self._record = frozen_encode(copy.deepcopy(module).to(dtype)), dtype, record
        self._recorded: dict[torch.Size, tuple[Tensor, list[Tensor], Callable[[], None]]] = {}

    def __call__(self, images: Tensor) -> EncoderOutput:
        """Encodes f32[B,1,S,S]."""
        if images.shape not in self._recorded:
            self._recorded[images.shape] = self._prepared(images)
        given, found, replay = self._recorded[images.shape]
        given.copy_(images)
        replay()
        return EncoderOutput(*(part.clone() for part in found))

    def _prepared(self, images: Tensor) -> tuple[Tensor, list[Tensor], Callable[[], None]]:
        given, found = images.clone(), list[Tensor]()

        def work() -> None:
            views = given.to(self._dtype).contiguous(memory_format=torch.channels_last)
            found[:] = [part.float() for part in self._frozen(views)]

        return given, found, self._record(work)


class OpenVinoEncode:
    """A frozen `encode` compiled by OpenVINO for this processor."""

    def __init__(self, frozen: torch.jit.ScriptModule, *, bfloat16: bool) -> None:
        """Raises ImportError without the extra."""
        openvino = importlib.import_module("openvino")
        frontends = importlib.import_module("openvino.frontend")
        decoders = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        # By the frontend itself: `openvino.convert_model` reports its use over the network.
        frontend = frontends.FrontEndManager().load_by_framework("pytorch")
        graph = decoders.TorchScriptPythonDecoder(frozen)
        model = frontend.convert(frontend.load(graph))
        for given in model.get_parameters():
            given.set_element_type(openvino.Type.f32)  # what the graph does not say of its inputs
        model.validate_nodes_and_infer_types()
        model.reshape([-1, 1, -1, -1])
        self._request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def __call__(self, images: Tensor) -> EncoderOutput:
        """Encodes f32[B,1,S,S]."""
        found = self._request.infer([images.numpy()], share_inputs=True).values()
        return EncoderOutput(*(torch.from_numpy(part.copy()) for part in found))
