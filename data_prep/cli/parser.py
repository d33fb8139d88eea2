"""Subcommands of ``python -m data_prep``: their arguments and help texts."""

import argparse
from collections.abc import Callable
from pathlib import Path

from data_prep.cli.commands import (
    run_append,
    run_audit,
    run_bench_codecs,
    run_borders,
    run_census,
    run_label,
    run_phantom,
    run_preview,
    run_report,
    run_scan,
    run_shard,
    run_submit,
    run_verify,
)
from data_prep.errors import Reason
from data_prep.settings import config_file
from data_prep.shard_format.sidecar import SPLITS


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; ``args.run`` is the function of the chosen one."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep",
        description="Archives of radiographs (DICOM, PNG, JPEG) → de-identified WebDataset shards.",
        epilog="Usual order: scan, shard, verify, audit, borders, report. phantom makes an archive to try it on.",
    )
    add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return parser


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add all subcommands to a parser, which may have others."""
    _add_making(commands)
    _add_label(commands)
    _add_reading(commands)


def _add_making(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    phantom = _command(commands, "phantom", run_phantom, "write a synthetic archive with known findings")
    phantom.add_argument("out", type=Path, metavar="OUT", help="new folder for the archive")
    phantom.add_argument("--patients", type=int, required=True, metavar="N", help="how many patients")
    phantom.add_argument("--seed", type=int, required=True, metavar="S", help="another seed, other patients")
    phantom.add_argument("--workers", type=int, default=0, metavar="W", help="processes; 0 (default): one per core")
    phantom.add_argument("--contrast", type=float, default=1.0, metavar="F", help="times that of findings (default: 1)")

    scan = _command(commands, "scan", run_scan, "read the headers of an archive into a private folder", overrides=True)
    scan.add_argument("archives", nargs="+", metavar="ARCHIVE", help="folders or files with films")
    scan.add_argument("--out", type=Path, required=True, metavar="PRIVATE", help="private folder; outside the archives")

    shard = _command(commands, "shard", run_shard, "write de-identified shards of the scanned films", overrides=True)
    shard.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan made")
    shard.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards")
    shard.add_argument("--dry-run", action="store_true", help="show plan, size and time, and write nothing")

    bench = _command(commands, "bench-codecs", run_bench_codecs, "compare codecs on films of yours", overrides=True)
    bench.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan made")
    bench.add_argument("--films", type=int, default=24, metavar="N", help="how many films (default: 24)")

    submit = _command(commands, "submit", run_submit, "shard on a Slurm cluster, as an array of jobs", overrides=True)
    submit.add_argument("private", type=Path, metavar="PRIVATE", help="private folder, on a disk that all nodes see")
    submit.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards, likewise")
    submit.add_argument("--append", action="store_true", help="write what the archive has gained, as append does")

    append = _command(
        commands, "append", run_append, "write new films, and refused ones that can be read now, as a generation",
        overrides=True,
    )  # fmt: skip
    append.add_argument("private", type=Path, metavar="PRIVATE", help="private folder of a later scan")
    append.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards that are there")
    append.add_argument(
        "--reason", action="append", default=[], choices=list(Reason), metavar="R",
        help="without another scan: try again only files refused for this reason of rejects.parquet, such as"
        " decoder_crashed; may be given several times (default: all files that are not there)",
    )  # fmt: skip


def _add_label(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    label = _command(
        commands,
        "label",
        run_label,
        "turn what experts and reports say into labels of the shards' films",
        overrides=True,
    )
    label.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan made")
    label.add_argument(
        "--labels", type=Path, action="append", default=[], metavar="labels.csv",
        help="table of labels; several: one per reader (default: those of the public data set)",
    )  # fmt: skip
    label.add_argument(
        "--boxes", type=Path, action="append", default=[], metavar="B",
        help="CSV table, COCO file, or folder of VOC or YOLO files; several: one per reader",
    )  # fmt: skip
    label.add_argument(
        "--adjudication", type=Path, action="append", default=[], metavar="A",
        help="labels or boxes, in any of these forms, that overrule readers",
    )  # fmt: skip
    label.add_argument(
        "--reports", type=Path, nargs="+", default=[], metavar="R", help="CSV tables or folders of report texts"
    )
    label.add_argument("--language", choices=("de", "en"), help="of all reports (default: found for each)")
    label.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards")


def _add_reading(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verify = _command(commands, "verify", run_verify, "check all shards, and have damaged ones written anew by shard")
    verify.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards")

    audit = _command(commands, "audit", run_audit, "prove that nothing outside the allow-list is in the shards")
    audit.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards")
    audit.add_argument(
        "--private", type=Path, action="append", default=[], metavar="PRIVATE",
        help="also look for every original identifier; may be given several times, for shards from several scans",
    )  # fmt: skip
    audit.add_argument("--phantom", type=Path, metavar="OUT", help="also look for all that a phantom has planted")

    borders = _command(commands, "borders", run_borders, "draw the borders of films, where burned-in text stands")
    borders.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards")
    borders.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new folder for the sheets")
    borders.add_argument("--films", type=int, default=12, metavar="N", help="films per kind of device (default: 12)")

    census = _command(commands, "census", run_census, "count what a private or a public folder holds")
    census.add_argument("folder", type=Path, metavar="FOLDER", help="PRIVATE (before sharding) or PUBLIC (after it)")
    census.add_argument(
        "--out", type=Path, metavar="OUT", help="folder for census.csv, .parquet and .html; of PRIVATE: inside it"
    )

    report = _command(commands, "report", run_report, "write one page about the shards for those who answer for them")
    report.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards, finished or not")
    report.add_argument("--out", type=Path, required=True, metavar="report.html", help="page to write")
    report.add_argument(
        "--private", type=Path, metavar="PRIVATE", help="add unknown words, years and rare values; --out is inside it"
    )

    preview = _command(
        commands, "preview", run_preview, "draw a sheet of films, as training sees them, for a human eye"
    )
    preview.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards")
    preview.add_argument("--out", type=Path, required=True, metavar="sheet.png", help="picture to write")
    preview.add_argument("--films", type=int, default=48, metavar="N", help="how many films (default: 48)")
    preview.add_argument("--split", choices=SPLITS, help="films of this split only")
    preview.add_argument("--boxes", action="store_true", help="only films with boxes, and draw these")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    what: str,
    *,
    overrides: bool = False,
) -> argparse.ArgumentParser:
    example = "key=value words set single settings, after the file: workers=8" if overrides else None
    command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=example)
    command.set_defaults(run=run, takes_overrides=overrides)
    if overrides and name != "append":  # which takes the settings of the folder
        config = name if name in {"scan", "label"} else "shard"
        command.add_argument(
            "--config", type=config_file("data_prep"), metavar="NAME|FILE",
            help=f"YAML file, or {config} for configs/data_prep/{config}.yaml",
        )  # fmt: skip
    return command
