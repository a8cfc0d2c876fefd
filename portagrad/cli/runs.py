"""The commands that look at runs: ``show`` and ``compare``."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from portagrad.cli.shared import errors_as_lines


def runs(typer: Any) -> dict[str, Callable[..., None]]:
    """The commands by name."""
    Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

    def show(
        run: Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)],
        html: Annotated[
            bool, typer.Option("--html", help="Write report.html into the folder, and say where it is.")
        ] = False,
        debug: Debug = False,
    ) -> None:
        """Show a run: how it ended, its results, curves and configuration.

        Also of a run that failed, was stopped or still runs; what is damaged in its folder is said.
        """
        with errors_as_lines(typer, debug):
            from portagrad.cli.terminal import print_run
            from portagrad.train.report import read_run, write_report

            found = read_run(run)
            if html:
                print(write_report(found))
            else:
                print_run(found)

    def compare(
        folders: Annotated[
            list[str],
            typer.Argument(
                metavar="RUN...", help="Folders of runs, patterns, or a folder of runs.", show_default=False
            ),
        ],
        output: Annotated[
            Path | None,
            typer.Option(help="Write a page with the curves, NAME.html, or the table, NAME.csv, instead."),
        ] = None,
        debug: Debug = False,
    ) -> None:
        """Put runs side by side: their results, and the settings in which they differ."""
        with errors_as_lines(typer, debug):
            from portagrad.cli.terminal import print_comparison
            from portagrad.train.report import comparison as side_by_side
            from portagrad.train.report import find_runs, read_run

            found = side_by_side.compare([read_run(folder) for folder in find_runs(folders)])
            if output is None:
                print_comparison(found)
            else:
                side_by_side.write_comparison(found, output)
                print(output)

    return {"show": show, "compare": compare}
