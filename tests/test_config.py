"""Settings: which source wins, what each says of itself, and what a wrong one is answered."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading

import pytest

from portagrad import config, use
from portagrad.config import configure, explain, get, setting
from portagrad.device import current_device
from portagrad.errors import BackendUnavailableError, ConfigError

pytest.importorskip("array_api_strict")  # its three devices stand for a machine's


@pytest.fixture(autouse=True)
def nothing_set(tmp_path, monkeypatch):
    """A folder, an environment and a process in which nothing sets anything."""
    for name in ("PORTAGRAD_DEVICE", "PORTAGRAD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    config.reload()
    configure(device=None, debug=None)
    yield
    configure(device=None, debug=None)
    config.reload()


def line():
    """The line on which the caller of this function stands."""
    return sys._getframe(1).f_lineno


def test_the_default_is_numpy():
    assert str(current_device()) == "cpu"
    assert get("debug") is False
    assert explain("device") == "device = cpu (the default)"


def test_each_source_outranks_those_below_it(tmp_path, monkeypatch):
    seen = [str(current_device())]
    (tmp_path / "portagrad.toml").write_text('debug = true\ndevice = "strict:device1"\n')
    config.reload()
    seen.append(str(current_device()))
    monkeypatch.setenv("PORTAGRAD_DEVICE", "strict")
    seen.append(str(current_device()))
    called = line() + 1
    configure(device="strict:device2")
    seen.append(str(current_device()))
    with use("numpy"):
        entered = line() - 1
        seen.append(str(current_device()))
        assert explain("device").splitlines() == [
            f"device = cpu (with pg.use('numpy') at {__file__}:{entered})",
            f"  overrides device = strict:device2 (pg.configure at {__file__}:{called})",
            "  overrides device = strict (the variable PORTAGRAD_DEVICE)",
            f"  overrides device = strict:device1 ({tmp_path / 'portagrad.toml'}, line 2)",
            "  overrides device = cpu (the default)",
        ]
    assert seen == ["cpu", "strict:device1", "strict:CPU_DEVICE", "strict:device2", "cpu"]
    assert str(current_device()) == "strict:device2"
    assert {name: one.layer for name, one in config.settings().items()} == {"device": "call", "debug": "file"}


def test_a_call_of_use_holds_until_the_next():
    use("strict:device1")
    assert setting("device").layer == "call"
    assert setting("device").origin == f"pg.use('strict:device1') at {__file__}:{line() - 2}"
    use("strict:device2")
    configure(debug=True)
    assert (str(current_device()), get("debug")) == ("strict:device2", True)
    configure(device=None)
    assert (str(current_device()), get("debug")) == ("cpu", True)


def test_blocks_nest_and_are_undone_on_exceptions():
    with use("strict:device1") as outer:
        assert current_device() is outer
        with pytest.raises(ZeroDivisionError), use("strict:device2"):
            assert str(current_device()) == "strict:device2"
            _ = 1 / 0
        assert current_device() is outer
    assert str(current_device()) == "cpu"


def test_a_block_entered_later_is_a_block_all_the_same():
    use("strict:device1")
    kept = use("strict:device2")  # not entered: it holds
    assert str(current_device()) == "strict:device2"
    with kept:
        assert str(current_device()) == "strict:device2"
        with kept, use("cpu"):
            assert str(current_device()) == "cpu"
    assert str(current_device()) == "strict:device1"
    with contextlib.ExitStack() as stack:
        stack.enter_context(use("cpu"))
        assert str(current_device()) == "cpu"
    assert str(current_device()) == "strict:device1"


def test_a_block_is_local_to_its_thread():
    seen, inside, done = [], threading.Event(), threading.Event()

    def elsewhere():
        with use("strict:device2"):
            inside.set()
            done.wait(10)
            seen.append(str(current_device()))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert inside.wait(10)
    assert str(current_device()) == "cpu"
    with use("strict:device1"):
        done.set()
        thread.join()
        assert str(current_device()) == "strict:device1"
    assert seen == ["strict:device2"]


def test_no_thread_sees_a_block_of_another_even_while_it_is_entered():
    before, stop, seen = sys.getswitchinterval(), threading.Event(), set()

    def enter():
        while not stop.is_set():
            with use("strict:device1"):
                pass

    threads = [threading.Thread(target=enter) for _ in range(3)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        seen.update(str(current_device()) for _ in range(3000))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert seen == {"cpu"}


def test_a_call_reaches_every_thread():
    use("strict:device1")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(str(current_device())))
    thread.start()
    thread.join()
    assert seen == ["strict:device1"]


def test_a_block_is_local_to_its_task():
    async def main():
        entered = asyncio.Event()

        async def inside():
            with use("strict:device1"):
                entered.set()
                await asyncio.sleep(0)
                return str(current_device())

        async def outside():
            await entered.wait()
            return str(current_device())

        return await asyncio.gather(inside(), outside())

    assert asyncio.run(main()) == ["strict:device1", "cpu"]


def test_the_nearest_folder_with_settings_wins(tmp_path, monkeypatch):
    (tmp_path / "portagrad.toml").write_text('device = "strict:device1"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text('[project]\nname = "device"\ndevice = "no"\n')
    monkeypatch.chdir(inner)
    assert setting("device").origin == f"{tmp_path / 'portagrad.toml'}, line 1"
    (tmp_path / "a" / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.portagrad]\ndevice = "strict"\n'
    )
    config.reload()
    assert setting("device").origin == f"{tmp_path / 'a' / 'pyproject.toml'}, line 4"
    (tmp_path / "a" / "portagrad.toml").write_text('device = "numpy"\n')
    config.reload()
    assert setting("device").origin == f"{tmp_path / 'a' / 'portagrad.toml'}, line 1"
    monkeypatch.chdir(tmp_path)
    assert str(current_device()) == "strict:device1"


@pytest.mark.parametrize(
    "text",
    ["[project\n", '[tool.other]\ndevice = "x"\n', "{{ cookiecutter.name }}\n", ""],
    ids=["broken", "foreign", "template", "empty"],
)
def test_another_tools_pyproject_is_left_alone(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    config.reload()
    assert setting("device").layer == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('devise = "cpu"', ", line 1: unknown setting 'devise'; did you mean 'device'?"),
        ("# x\nlearning = 3", ", line 2: unknown setting 'learning'; known: device, debug"),
        ("device = 3", ", line 1: device must be a device's name, such as 'cuda:0', not 3"),
        ("debug = 1", ", line 1: debug must be true or false, not 1"),
        ('debug = "yes"', ", line 1: debug must be true or false, not 'yes'"),
        ("device = cpu", ": Invalid value (at line 1, column 10)"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_where(tmp_path, text, message):
    (tmp_path / "portagrad.toml").write_text(text)
    config.reload()
    with pytest.raises(ConfigError) as caught:
        current_device()
    assert str(caught.value) == f"{tmp_path / 'portagrad.toml'}{message}"


def test_a_table_of_the_wrong_shape(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nportagrad = 3\n")
    config.reload()
    with pytest.raises(ConfigError, match=r"pyproject.toml: \[tool.portagrad\] must be a table, not 3"):
        get("device")


def test_a_name_that_means_nothing_says_who_set_it(tmp_path, monkeypatch):
    (tmp_path / "portagrad.toml").write_text('\ndevice = "cudaa"\n')
    config.reload()
    wrong = "no device is called 'cudaa'; did you mean 'cuda'?; names are auto, cpu, cuda, "
    with pytest.raises(ConfigError) as caught:
        current_device()
    start = f"device = cudaa ({tmp_path / 'portagrad.toml'}, line 2): {wrong}"
    assert str(caught.value).startswith(start)
    monkeypatch.setenv("PORTAGRAD_DEVICE", "strict:device9")
    with pytest.raises(
        ConfigError, match=r"device = strict:device9 \(the variable PORTAGRAD_DEVICE\): no device"
    ):
        current_device()
    with use("cpu"):  # what is in force is right, so what it overrides is not looked at
        assert str(current_device()) == "cpu"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("True", True), ("off", False), ("", False)])
def test_a_flag_from_the_environment(monkeypatch, text, value):
    monkeypatch.setenv("PORTAGRAD_DEBUG", text)
    assert get("debug") is value


def test_a_wrong_flag_from_the_environment(monkeypatch):
    monkeypatch.setenv("PORTAGRAD_DEBUG", "maybe")
    with pytest.raises(ConfigError, match=r"PORTAGRAD_DEBUG: debug must be one of 1, true, .*'maybe'"):
        get("debug")


def test_configure_changes_all_or_nothing():
    with pytest.raises(ConfigError, match=r"pg.configure at .*: no device is called 'nowhere'"):
        configure(debug=True, device="nowhere")
    assert get("debug") is False
    with pytest.raises(ConfigError, match="debug must be true or false, not 1"):
        configure(device="strict", debug=1)
    assert str(current_device()) == "cpu"
    with pytest.raises((ConfigError, BackendUnavailableError)):
        configure(device="cupy:99")
    assert str(current_device()) == "cpu"


def test_an_unknown_setting():
    with pytest.raises(ConfigError, match=r"unknown setting 'debugg'; did you mean 'debug'\?"):
        get("debugg")


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert str(current_device()) == "cpu"


def test_importing_the_settings_writes_nothing_and_loads_no_library(tmp_path):
    code = (
        "import sys, portagrad.config, portagrad.device\n"
        "portagrad.current_device()\n"
        "print([m for m in ('cupy', 'torch', 'jax', 'dask', 'array_api_strict') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert os.listdir(tmp_path) == []
