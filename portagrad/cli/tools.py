"""The commands around a run: a starting configuration, a learning rate, predictions, a model for others."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from portagrad.cli.shared import errors_as_lines
from portagrad.errors import ConfigError, DataError


def tools(typer: Any) -> dict[str, Callable[..., None]]:
    """The commands by name."""
    Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
    Device = Annotated[str | None, typer.Option(help="Where: cpu, cuda:0, torch:cuda:0, jax, auto, ...")]
    Model = Annotated[
        Path, typer.Argument(help="model.safetensors, or the folder of its run.", show_default=False)
    ]

    def init(
        path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("portagrad-run.toml"),
        data: Annotated[Path | None, typer.Option(help="A data file, for what can be found in it.")] = None,
        task: Annotated[
            str, typer.Option(help="What is learned: classification or regression.")
        ] = "classification",
        force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
        debug: Debug = False,
    ) -> None:
        """Write a configuration to start from: every key with a word on it and its default."""
        with errors_as_lines(typer, debug):
            from portagrad.train import write_starter

            write_starter(path, data, task=task, force=force)
            print(f"{path}: portagrad train {path} runs it")

    def predict(
        model: Model,
        data: Annotated[
            str,
            typer.Argument(
                help="CSV, NPZ, NPY, IDX or Parquet; - for CSV from the standard input.", show_default=False
            ),
        ],
        output: Annotated[
            Path | None, typer.Option(help="A CSV file; by default the standard output.")
        ] = None,
        probabilities: Annotated[
            bool, typer.Option("--probabilities", help="A column per class with its probability.")
        ] = False,
        labels: Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME",
                help="The column (CSV, Parquet) or array (NPZ) with the right answers; prints how well they "
                "are met. Repeatable, for a regression with several outputs.",
            ),
        ] = None,
        inputs: Annotated[str | None, typer.Option(help="The array of inputs in an NPZ file.")] = None,
        device: Device = None,
        debug: Debug = False,
    ) -> None:
        """Predict with a trained model, some thousand rows at a time."""
        with errors_as_lines(typer, debug):
            from portagrad.train import load_model
            from portagrad.train.predict import predict_rows
            from portagrad.train.run_folder import replacing

            trained = load_model(model, device=device)
            write = partial(
                predict_rows, trained, data, probabilities=probabilities, labels=labels or (), inputs=inputs
            )
            if output is not None and not output.parent.is_dir():
                raise ConfigError(f"--output: no folder {output.parent}")
            try:
                if output is None:
                    score = write(sys.stdout)
                    sys.stdout.flush()
                else:
                    with replacing(output) as part, part.open("w", encoding="utf-8", newline="") as file:
                        score = write(file)
            except BrokenPipeError:  # the reader, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None
            if score:
                print(score, file=sys.stderr)

    def export(
        model: Model,
        output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file.")] = Path("model.onnx"),
        debug: Debug = False,
    ) -> None:
        """Write a trained model as ONNX: inputs in their own units, a batch of any size."""
        with errors_as_lines(typer, debug):
            from portagrad.onnx import export_trained
            from portagrad.train import load_model

            export_trained(load_model(model, device="cpu"), output)
            print(output)

    def find_lr(
        config: Annotated[Path, typer.Argument(help="The run's configuration.", show_default=False)],
        settings: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting. Repeatable."),
        ] = None,
        steps: Annotated[int, typer.Option(min=3, help="Steps of the sweep.")] = 100,
        low: Annotated[float, typer.Option(help="The first learning rate.")] = 1e-7,
        high: Annotated[float, typer.Option(help="The last.")] = 10.0,
        output: Annotated[Path | None, typer.Option(help="A JSON file with the sweep.")] = None,
        plot: Annotated[Path | None, typer.Option(help="A figure of it, NAME.png or NAME.svg.")] = None,
        device: Device = None,
        debug: Debug = False,
    ) -> None:
        """Suggest a learning rate: train a copy at rates that grow, and see where the loss falls fastest."""
        with errors_as_lines(typer, debug):
            from portagrad.train import load_config
            from portagrad.train.loop import sweep
            from portagrad.train.run_folder import write_text

            if not 0 < low < high:
                raise ConfigError(f"--low, --high: expected 0 < low < high, got {low:g} and {high:g}")
            if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
                raise ConfigError(f"--plot: {plot} ends neither in .png nor in .svg")
            found = sweep(load_config(config, settings or (), device=device), steps=steps, low=low, high=high)
            if output is not None:
                write_text(output, found.json() + "\n")
            if plot is not None:
                found.draw(plot)
            if found.suggestion is None:
                raise DataError(
                    "the loss fell at no learning rate of the sweep; try a wider --low and --high"
                )
            print(f"optimizer.lr = {found.suggestion:.2g}")

    return {"init": init, "predict": predict, "export": export, "lr-find": find_lr}
