"""The command `portagrad`."""

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

from portagrad.cli.runs import runs
from portagrad.cli.shared import FAILED, WRONG, errors_as_lines, print_table
from portagrad.cli.tools import tools
from portagrad.errors import ConfigError

EXTRA = ("typer", "rich", "matplotlib", "safetensors", "jinja2")


def main() -> None:
    """Run the command line; the console script `portagrad`."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"portagrad: the command line needs {' and '.join(missing)}, not installed here: "
            "pip install 'portagrad[train]'",
            file=sys.stderr,
        )
        raise SystemExit(WRONG)
    make_app()()


def make_app() -> Any:
    """The Typer application with its commands; it needs the extra ``train``."""
    import typer

    app = typer.Typer(
        name="portagrad",
        help="Differentiate array-API code; train networks on any array library.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root(typer))
    for command in (_train(typer), _devices(typer), _check(typer)):
        app.command()(command)
    for name, command in {**runs(typer), **tools(typer)}.items():
        app.command(name)(command)
    return app


def _root(typer: Any) -> Any:
    def print_version(asked: bool) -> None:
        if asked:
            from importlib.metadata import version

            print(f"portagrad {version('portagrad')}")
            raise typer.Exit

    def root(
        version: Annotated[
            bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        """Differentiate array-API code; train networks on any array library."""

    return root


def _train(typer: Any) -> Any:
    def train(
        config: Annotated[
            Path | None, typer.Argument(help="The run's configuration, a TOML file.", show_default=False)
        ] = None,
        resume: Annotated[
            Path | None,
            typer.Option(metavar="RUN", help="Go on with the run in this folder, from its last checkpoint."),
        ] = None,
        device: Annotated[
            str | None, typer.Option(help="Where to train: cpu, cuda:0, torch:cuda:0, jax, auto, ...")
        ] = None,
        settings: Annotated[
            list[str] | None,
            typer.Option(
                "--set", metavar="KEY=VALUE", help="Replace a setting, e.g. optimizer.lr=0.01. Repeatable."
            ),
        ] = None,
        output: Annotated[
            Path | None, typer.Option(help="The run's folder; by default a new one under runs/.")
        ] = None,
        compile: Annotated[
            bool, typer.Option("--compile/--no-compile", help="Run steps as a compiled plan, or op by op.")
        ] = True,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        """Train a network, a classifier or a regression, as a TOML file describes it.

        Reads NPZ, CSV, IDX, NPY and Parquet data, checks everything before it starts, and leaves the model,
        metrics, plots and a summary in the run's folder. Ctrl-C and SIGTERM finish the batch and save first,
        with the exit codes 130 and 143.
        """
        with errors_as_lines(typer, debug):
            from portagrad import train
            from portagrad.distributed import world

            given = [*(settings or ()), *([] if compile else ["train.compile=false"])]
            shown = train.best_progress()
            if (config is None) == (resume is None):
                raise ConfigError(
                    "give either a configuration or --resume RUN, such as --resume runs/digits-1"
                )
            if resume is not None:
                if output is not None:
                    raise ConfigError("--output: a run that goes on stays in its folder; leave it out")
                result = train.resume(resume, given, device=device, progress=shown)
            elif config is not None:
                whole = train.load_config(config, given, device=device, output=output)
                result = train.fit(whole, name=config.stem, progress=shown)
            if world().rank == 0:
                print(result)

    return train


def _devices(typer: Any) -> Any:
    def devices(
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        """Show the backends: which are usable, which not and why, and which device is in force."""
        with errors_as_lines(typer, debug):
            from portagrad.config import explain
            from portagrad.device import report

            rows = [
                (
                    line.name + (" *" if line.default else ""),
                    line.version or "-",
                    ", ".join(map(str, line.devices)) or "-",
                    "yes" if line.usable else f"no: {' '.join(line.reason.split())}",
                )
                for line in report()
            ]
            print_table(("backend", "version", "devices", "usable"), rows)
            print(explain("device"))

    return devices


def _check(typer: Any) -> Any:
    def check(
        devices: Annotated[
            list[str] | None,
            typer.Option(metavar="DEVICE[,DEVICE...]", help="Which devices; every usable one by default."),
        ] = None,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        """Check on this machine that gradients are right, and the same on every device.

        First and second order, of typical functions. Exits with 1 if one is not.
        """
        with errors_as_lines(typer, debug):
            from portagrad.testing import check_devices

            chosen = [name.strip() for given in devices or () for name in given.split(",") if name.strip()]
            found = check_devices(chosen or None)
            rows = [
                (
                    row.device,
                    row.function,
                    row.status,
                    f"{row.error:.1e}" if row.error >= 0 else "-",
                    row.message,
                )
                for row in found
            ]
            print_table(("device", "function", "result", "error", ""), rows)
            bad = sum(row.status != "ok" for row in found)
            print(f"{len(found) - bad} of {len(found)} checks passed")
            if bad:
                raise typer.Exit(FAILED)

    return check
