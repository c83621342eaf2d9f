# Serving only: no training code, no compilers, not root. The root file system may be read-only.
#   docker build -t xray-report .
# The default torch build carries CUDA; for a smaller CPU-only image give PyTorch's CPU index:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t xray-report:cpu .
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# g++ for the decoder's compiled step (app/inference/native); it brings `strip`.
RUN apt-get update && apt-get install --yes --no-install-recommends g++
RUN python -m venv /opt/venv
COPY constraints.txt /src/
# torch first and alone: it is most of the image and changes least.
RUN /opt/venv/bin/pip install --no-compile ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -c /src/constraints.txt torch
COPY pyproject.toml README.md LICENSE /src/
COPY weights/LICENSE /src/weights/
COPY app /src/app
RUN /opt/venv/bin/pip install --no-compile -c /src/constraints.txt "/src[hospital,openvino,tracing]"
# What serving never opens: tests, torch's headers, tools and symbols, OpenVINO's other devices and formats, the two further
# copies of every library of GDCM, installers.
RUN cd /opt/venv/lib/python3.11/site-packages \
    && find . -depth -type d \( -name tests -o -path ./torch/test -o -path ./torch/include -o -path ./openvino/include \) \
        -exec rm -r {} + \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find openvino/libs \( -name '*_gpu_*' -o -name '*_npu_*' -o -name cache.json -o -name '*_onnx_*' -o -name '*_tensorflow_*' \
        -o -name '*_paddle_*' -o -name '*_gguf_*' -o -name '*_jax_*' \) -delete \
    && strip --strip-unneeded torch/lib/libtorch_cpu.so torch/lib/libtorch_python.so \
    && for copy in _gdcm/lib*.so.*; do ln -sf "$(basename "${copy%%.so.*}").so" "$copy"; done \
    && /opt/venv/bin/pip uninstall --yes --quiet setuptools pip

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin xray
# What `xray-report pacs` remembers: a volume there belongs to the user, too.
RUN install --directory --owner=xray --mode=0700 /var/lib/xray-report
COPY --from=build /opt/venv /opt/venv
COPY weights /weights
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XRAY_REPORT_CHECKPOINT=/weights/xray-report-reference.pt \
    XRAY_REPORT_HOST=0.0.0.0 \
    XRAY_REPORT_PORT=8000
# Bytecode of what is imported when it serves and reports, Python's own modules included, and of nothing else.
RUN python -c "import importlib, pkgutil, app; \
    [importlib.import_module(one.name) for one in pkgutil.walk_packages(app.__path__, 'app.') if 'ray' not in one.name and '._' not in one.name]" \
    && xray-report predict --fhir --pdf /tmp/page.pdf /weights/samples/effusion.jpg > /tmp/report.json \
    && rm /tmp/page.pdf /tmp/report.json
ENV PYTHONDONTWRITEBYTECODE=1
USER xray
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"XRAY_REPORT_PORT\"]}/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["xray-report", "serve"]
