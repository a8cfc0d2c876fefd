"""Devices: their names, which there are, and moves between them."""

import copy
import itertools
import pickle
import sys
import types
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import portagrad as pg
from portagrad import backend as backends
from portagrad.backend import Backend, _loaded, get_backend, registered
from portagrad.device import Device, _known, device, device_of, devices, report, transfer, use
from portagrad.errors import BackendUnavailableError, ConfigError

DTYPES = ("bool", "int8", "int32", "int64", "uint8", "float32", "float64", "complex64", "complex128")


@pytest.fixture(autouse=True)
def jax_with_64_bits():
    """JAX holds what NumPy holds, where it is installed."""
    try:
        import jax
    except ModuleNotFoundError:
        yield
        return
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def library(name):
    """A backend whose library must be installed for the test to mean anything."""
    try:
        return get_backend(name)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


def test_a_name_gives_its_device_back():
    everywhere = devices()
    assert str(everywhere[0]) == "cpu"
    for place in everywhere:
        assert device(str(place)) is place
        assert device(place) is place
        assert device(f"{place.backend.name}:{place.backend.device_name(place.native)}".rstrip(":")) is place
        assert pickle.loads(pickle.dumps(place)) is place
        assert copy.deepcopy({"at": place}) == {"at": place}
        assert repr(place) == f"device('{place}')"
    assert len(set(everywhere)) == len(everywhere)
    assert device("cpu") != "cpu"


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("numpy", "cpu"),
        ("numpy:cpu", "cpu"),
        ("torch", "torch:cpu"),
        ("torch:cpu", "torch:cpu"),
        ("jax:cpu", "jax:cpu:0"),
        ("jax:cpu:0", "jax:cpu:0"),
        ("dask", "dask"),
        ("strict", "strict:CPU_DEVICE"),
        ("strict:cpu", "strict:CPU_DEVICE"),
        ("strict:device1", "strict:device1"),
    ],
)
def test_what_a_name_may_look_like(spec, name):
    library(spec.partition(":")[0])
    assert str(device(spec)) == name


def test_arrays_and_native_devices_stand_for_devices():
    for place in devices():
        x = transfer(np.ones(2), place)
        assert device(x) is device_of(x) is place
        if not isinstance(place.native, str):
            assert device(place.native) is place
    assert device(np.float64(1.0)) is device("cpu")  # what NumPy's reductions return
    assert device(pg.tensor(np.ones(2))) is device("cpu")
    strict = library("strict")
    assert device(pg.tensor(strict.xp.ones(2, device=strict.devices()[1]))) is device("strict:device1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nunpy", "no device is called 'nunpy'; did you mean 'numpy'?; names are auto, cpu, cuda, "),
        ("qwertz:0", "no device is called 'qwertz:0'; names are auto, cpu, cuda, "),
        ("", "no device is called ''; names are auto, "),
        ("cpu:1", "no device is called 'cpu:1': NumPy has one device, 'cpu', not 'cpu:1'"),
        ("torch:cuda:77", "no device is called 'torch:cuda:77': torch's devices here are cpu"),
        ("jax:tpu:9", "no device is called 'jax:tpu:9': JAX's devices here are "),
        (
            "dask:cluster",
            "no device is called 'dask:cluster': Dask arrays have one device, 'dask', not 'cluster'",
        ),
        (
            "strict:device3",
            "no device is called 'strict:device3': array-api-strict's devices are CPU_DEVICE, ",
        ),
    ],
)
def test_a_name_that_stands_for_nothing(spec, message):
    if spec.partition(":")[0] in registered():
        library(spec.partition(":")[0])
    with pytest.raises(ConfigError) as caught:
        device(spec)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("spec", [3, None, [1.0, 2.0], object(), (1, 2)])
def test_what_is_no_device_at_all(spec):
    with pytest.raises(TypeError, match="neither a device's name, a device, nor an array; names are auto"):
        device(spec)
    with pytest.raises(TypeError, match="is not an array of any installed backend"):
        transfer(spec, device("cpu"))


@pytest.fixture
def no_cupy(monkeypatch):
    """The registry as in a fresh process, CuPy's adapter not yet imported."""

    def concerns_cupy(name):
        return name.partition(".")[0] in ("cupy", "portagrad_cupy") or name == "array_api_compat.cupy"

    modules = {name: sys.modules.pop(name) for name in list(sys.modules) if concerns_cupy(name)}
    places = {spec: _known.pop(spec) for spec in list(_known) if spec == "auto" or "cu" in str(_known[spec])}
    monkeypatch.setattr(backends, "_loaded", {name: b for name, b in _loaded.items() if name != "cupy"})
    yield
    for name in filter(concerns_cupy, list(sys.modules)):
        del sys.modules[name]
    for spec in [spec for spec in _known if spec == "auto" or "cu" in str(_known[spec])]:
        del _known[spec]
    sys.modules.update(modules)
    _known.update(places)


def test_cuda_without_cupy_says_what_to_install(no_cupy, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    message = (
        "CuPy is not installed: pip install 'portagrad[cuda12]' for CUDA 12, or 'portagrad[cuda13]' for "
        "CUDA 13; nvidia-smi shows which the driver supports"
    )
    with pytest.raises(BackendUnavailableError) as caught:
        device("cuda:0")
    assert str(caught.value) == message
    assert next(line for line in report() if line.name == "cupy").reason == message
    assert str(device("auto")) == "cpu"


class AnyFunction(types.ModuleType):
    """A module that has every function."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: args


@pytest.fixture
def cupy_with(no_cupy, monkeypatch):
    """CuPy with as many GPUs as asked for, or with a driver that fails; only what the adapter calls."""

    def install(gpus, driver=12080):
        class CUDARuntimeError(RuntimeError):
            pass

        class CudaDevice:
            __hash__ = None

            def __init__(self, number):
                self.id = number

            def __eq__(self, other):
                return self.id == other.id

        def count():
            if isinstance(gpus, str):
                raise CUDARuntimeError(gpus)
            return gpus

        runtime = types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, getDeviceCount=count, driverGetVersion=lambda: driver
        )
        out_of_memory = type("OutOfMemoryError", (MemoryError,), {})
        cupy = types.ModuleType("cupy")
        cupy.__version__ = "14.0.0"
        cupy.ndarray, cupy.asnumpy = type("ndarray", (), {"__module__": "cupy"}), np.asarray
        cupy.cuda = types.SimpleNamespace(
            runtime=runtime, Device=CudaDevice, memory=types.SimpleNamespace(OutOfMemoryError=out_of_memory)
        )
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.special"):
            monkeypatch.setitem(sys.modules, name, AnyFunction(name))
        sys.modules["cupyx.scipy"].special = sys.modules["cupyx.scipy.special"]
        monkeypatch.setitem(sys.modules, "array_api_compat.cupy", types.ModuleType("array_api_compat.cupy"))
        compat = sys.modules["array_api_compat"]
        monkeypatch.setattr(compat, "cupy", sys.modules["array_api_compat.cupy"], raising=False)

    return install


def test_cupy_names_its_gpus(cupy_with):
    cupy_with(2)
    assert str(device("cuda")) == str(device("cupy")) == str(device("cupy:cuda:0")) == "cuda:0"
    assert device("cuda:1") is device("cupy:1") is device(device("cuda:1").native)
    assert str(device("auto")) == "cuda:0"
    with pytest.raises(ConfigError, match="called 'cuda:2': CuPy's devices are cuda:0, cuda:1, not"):
        device("cuda:2")
    line = next(line for line in report() if line.name == "cupy")
    assert (line.version, [str(d) for d in line.devices], line.usable) == (
        "14.0.0",
        ["cuda:0", "cuda:1"],
        True,
    )


@pytest.mark.parametrize(
    ("gpus", "driver", "message"),
    [
        (
            "cudaErrorInsufficientDriver",
            0,
            "CuPy 14.0.0 is installed, but there is no NVIDIA driver: install one, or pass the GPU on to the "
            "container (docker run --gpus all); nvidia-smi shows whether it works",
        ),
        (
            "cudaErrorNoDevice: no CUDA-capable device is detected",
            12080,
            "CuPy 14.0.0 is installed, but CUDA does not work: cudaErrorNoDevice: no CUDA-capable device is "
            "detected",
        ),
        (0, 12080, "CuPy 14.0.0 is installed, but sees no GPU; is CUDA_VISIBLE_DEVICES set to hide it?"),
    ],
    ids=["no driver", "broken", "no gpu"],
)
def test_cupy_without_a_gpu_imports_and_explains_itself(cupy_with, gpus, driver, message):
    cupy_with(gpus, driver)
    with pytest.raises(BackendUnavailableError) as caught:
        device("cuda")
    assert str(caught.value) == message
    line = next(line for line in report() if line.name == "cupy")
    assert (line.version, line.devices, line.usable, line.reason) == ("14.0.0", (), False, message)
    assert str(device("auto")) == "cpu"


def test_the_report_names_every_backend_and_the_one_in_force():
    lines = {line.name: line for line in report()}
    assert set(lines) == set(registered())
    assert lines["numpy"].version == np.__version__
    assert [name for name, line in lines.items() if line.default] == ["numpy"]
    for line in lines.values():
        assert bool(line.devices) == line.usable == (not line.reason)
    library("strict")
    with use("strict:device1"):
        assert [line.name for line in report() if line.default] == ["strict"]


def test_the_report_survives_a_wrong_setting(monkeypatch):
    monkeypatch.setenv("PORTAGRAD_DEVICE", "nowhere")
    assert not any(line.default for line in report())


def test_a_broken_adapter_is_reported_and_raises_nothing_else(monkeypatch):
    broken = EntryPoint("broken", "portagrad_of_nowhere:backend", backends.GROUP)
    wrong = EntryPoint("wrong", "math:no_such_name", backends.GROUP)
    points = {**registered(), "broken": broken, "wrong": wrong}
    fake = lambda: points  # noqa: E731
    fake.cache_clear = lambda: None
    monkeypatch.setattr(backends, "registered", fake)
    with pytest.raises(BackendUnavailableError, match="'broken' needs portagrad_of_nowhere, which is not"):
        get_backend("broken")
    with pytest.raises(BackendUnavailableError, match="'wrong' cannot be imported: AttributeError"):
        get_backend("wrong")
    with pytest.raises(BackendUnavailableError, match="no backend is named 'nothing'; installed: broken"):
        get_backend("nothing")


def test_every_pair_of_devices_every_dtype():
    rows = np.asarray([[0, 1, 2], [3, 4, 5]])
    for start, end in itertools.product(devices(), repeat=2):
        for dtype in DTYPES:
            x = transfer(rows.astype(dtype), start)
            y = transfer(x, end)
            assert device_of(y) is end
            back = transfer(y, device("cpu"))
            assert back.dtype == dtype
            np.testing.assert_array_equal(back, rows.astype(dtype))
            if start == end:
                assert y is x


@pytest.mark.parametrize(
    "x",
    [
        np.arange(6.0)[::-2],
        np.broadcast_to(np.float32(2.0), (2, 3)),
        np.arange(6.0).reshape(2, 3).T,
        np.zeros((0, 3)),
        np.asarray(1.5),
        np.float64(2.5),
        np.arange(3, dtype=">f8"),
        np.ones(3, dtype=bool)[::-1],
    ],
    ids=["reversed", "read-only", "transposed", "empty", "zero-dimensional", "scalar", "big-endian", "mask"],
)
def test_awkward_host_arrays(x):
    for place in devices()[1:]:
        y = transfer(transfer(x, place), device("cpu"))
        assert (y.shape, y.dtype) == (x.shape, x.dtype.newbyteorder("="))
        np.testing.assert_array_equal(y, x)


def test_libraries_share_no_memory():
    for place in devices()[1:]:
        x = np.zeros(3)
        y = transfer(x, place)
        z = transfer(y, device("cpu"))
        x[0] = z[1] = 1.0
        np.testing.assert_array_equal(transfer(y, device("cpu")), [0.0, 0.0, 0.0])


def test_torch_keeps_its_own_gradients():
    library("torch")
    import torch

    with pytest.raises(RuntimeError, match="requires grad"):
        transfer(torch.ones(2, requires_grad=True), device("cpu"))
    np.testing.assert_array_equal(
        transfer(torch.ones(2).to(torch.complex64).conj(), device("cpu")), [1.0, 1.0]
    )


def test_jax_says_how_to_hold_64_bits():
    library("jax")
    import jax

    jax.config.update("jax_enable_x64", False)
    with pytest.raises(TypeError, match=r"JAX holds no float64 unless .* JAX_ENABLE_X64=1 .* float32"):
        transfer(np.ones(2), device("jax"))
    assert transfer(np.ones(2, dtype="float32"), device("jax")).dtype == np.float32


def test_dask_is_moved_to_and_from_lazily():
    library("dask")
    x = transfer(np.ones(3), device("dask"))
    assert type(x).__module__.startswith("dask")
    assert transfer(x + 1, device("dask")).dask


class _Accelerated:
    """An array on an accelerator (kDLCUDA), which may be handed on without the host."""

    shape, dtype = (2,), np.dtype(float)

    def __init__(self, values, place="gpu:0"):
        self.values, self.place = values, place

    def __dlpack_device__(self):
        return (2, 0)


class _Other(_Accelerated):
    pass


def _library(name, kind, from_dlpack):
    def refuse(*args):
        raise AssertionError("the values visited the host")

    def asarray(x, copy):
        assert copy
        return kind(list(x.values), x.place)

    return Backend(
        name=name,
        xp=types.SimpleNamespace(from_dlpack=from_dlpack, asarray=asarray),
        array_types=(kind,),
        devices=lambda: ["gpu:0", "gpu:1"],
        parse_device=lambda text: text or "gpu:0",
        device_of=lambda x: x.place,
        put=lambda x, place: kind(x.values, place),
        to_numpy=refuse,
        from_numpy=lambda a, place: kind(list(a), place),
    )


def test_accelerators_exchange_without_the_host(monkeypatch):
    near = _library("near", _Accelerated, None)
    far = _library("far", _Other, lambda x: _Other(x.values))
    deaf = _library("deaf", _Other, lambda x: (_ for _ in ()).throw(BufferError("not from there")))
    monkeypatch.setitem(_loaded, "near", near)
    monkeypatch.setitem(backends.BY_TYPE, _Accelerated, near)
    monkeypatch.setitem(backends.BY_TYPE, _Other, far)
    x = _Accelerated([1.0, 2.0])
    here, there = (transfer(x, Device(far, place, f"far:{place}")) for place in ("gpu:0", "gpu:1"))
    assert (here.values, here.place, type(here)) == ([1.0, 2.0], "gpu:0", _Other)
    assert here.values is not x.values
    assert (there.values, there.place) == ([1.0, 2.0], "gpu:1")
    with pytest.raises(AssertionError, match="visited the host"):
        transfer(x, Device(deaf, "gpu:0", "deaf:gpu:0"))
    for name in [name for name in _known if name.startswith(("near", "far", "deaf"))]:
        del _known[name]


def test_nothing_leaves_its_device_forwards_or_backwards():
    strict = library("strict")
    place = strict.devices()[2]
    x, w = (
        strict.xp.asarray([0.5, 1.5], device=place),
        strict.xp.asarray([[1.0, 2.0], [3.0, 4.0]], device=place),
    )

    def loss(w):
        h = pg.tanh(w @ x)
        return pg.sum(pg.where(h > 0, h, 0.0) ** 2) + pg.mean(w[:, 0] / pg.exp(pg.max(w)))

    def results():
        yield pg.grad(loss)(w)
        yield pg.hessian(loss)(w)
        yield pg.hvp(loss, (w,), (w,))[0]
        yield pg.jvp(pg.grad(loss), (w,), (w,))[1]
        yield from pg.value_and_grad(loss)(w)

    for y in results():
        assert y.device == place


def test_devices_do_not_mix_at_any_order():
    library("strict")
    here, there = (transfer(np.ones(2), device(name)) for name in ("strict:device1", "strict:device2"))
    wrong = r"on strict:device1\n  x2: strict .* on strict:device2\nmove one of them, .*, \"strict:device1\""
    for transform in (lambda f: f, pg.grad, pg.hessian, lambda f: lambda x: pg.jvp(f, (x,), (x,))):
        with pytest.raises(pg.DeviceMismatchError, match=wrong):
            transform(lambda x: pg.sum(pg.multiply(x * x, there)))(here)
    moved = pg.grad(lambda x: pg.sum(pg.to_device(x, "strict:device2") * there))(here)
    assert moved.device == here.device


def test_a_tensors_own_device_is_where_it_stays(xp_device):
    """By the name that its library has for it: Dask's is "cpu", which is portagrad's for NumPy."""
    x = pg.namespace(xp_device).ones(2, device=xp_device)
    y = x.__array_namespace__().asarray(x, device=x.device)
    assert pg.device(y) == pg.device(x) == xp_device
