"""Argument parser of ``python -m data_prep``: all subcommands with their arguments and help texts."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from data_prep.cli.command_help import CommandParser
from data_prep.cli.commands import (
    run_append,
    run_audit,
    run_bench_codecs,
    run_borders,
    run_census,
    run_label,
    run_phantom,
    run_preview,
    run_publish,
    run_remove,
    run_report,
    run_review,
    run_scan,
    run_shard,
    run_submit,
    run_verify,
)
from data_prep.errors import Reason
from data_prep.settings import config_file, folder_argument
from data_prep.shard_format.sidecar import SPLITS

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"

SETTINGS = {
    "scan": "data_prep.scan.settings:ScanSettings",
    "shard": "data_prep.planning.settings:ShardSettings",
    "submit": "data_prep.planning.settings:SubmitSettings",
    "label": "data_prep.labels.settings:LabelSettings",
}
"""Command → ``module:class`` of its settings."""


def build_parser() -> CommandParser:
    """Build the parser of all subcommands; ``args.run`` is the function of the selected subcommand."""
    parser = CommandParser(
        prog="python -m data_prep",
        description="Archives of radiographs (DICOM, PNG, JPEG) → de-identified WebDataset shards.",
        epilog="Usual order: scan, shard, verify, audit, borders, report. phantom writes a synthetic archive.",
    )
    add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return parser


def add_commands(commands: Commands) -> None:
    """Add all subcommands to the subparsers of a parser, which may have other commands."""
    _add_phantom_command(commands)
    _add_sharding_commands(commands)
    _add_remove_command(commands)
    _add_label_command(commands)
    _add_publish_command(commands)
    _add_inspection_commands(commands)


def _add_phantom_command(commands: Commands) -> None:
    phantom = _command(commands, "phantom", run_phantom, "write a synthetic archive with known findings")
    phantom.add_argument("out", type=Path, metavar="OUT", help="new folder for the archive")
    phantom.add_argument("--patients", type=int, required=True, metavar="N", help="number of patients (required)")
    phantom.add_argument("--seed", type=int, required=True, metavar="S", help="seed of all random draws (required)")
    phantom.add_argument(
        "--workers", type=int, default=0, metavar="W", help="number of processes (default: 0, one per core)"
    )
    phantom.add_argument(
        "--contrast", type=float, default=1.0, metavar="F", help="factor on the contrast of findings (default: 1)"
    )
    phantom.add_argument(
        "--level",
        choices=("clear", "clinical", "hard"),
        default="clinical",
        help="difficulty of the findings (default: clinical)",
    )
    phantom.add_argument(
        "--confound",
        metavar="LABEL=STRENGTH",
        help="make a label more frequent on one scanner: strength 0 (not) to 1 (only there) (default: none)",
    )
    phantom.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="S",
        help="pixels per side of the films relative to those of the scanners, 0.1 to 1 (default: 1)",
    )
    phantom.add_argument(
        "--layout", choices=("general", "hospital"), default="general",
        help="folders and headers: hospital has 14 regions in folders, wrong headers, copies (default: general)",
    )  # fmt: skip
    phantom.add_argument(
        "--misfiled", type=float, default=0.0, metavar="F",
        help="share of the studies of --layout hospital in the folder of another region, 0 to 0.5 (default: 0)",
    )  # fmt: skip


def _add_sharding_commands(commands: Commands) -> None:
    scan = _command(commands, "scan", run_scan, "read the headers of archives into a private folder", settings="scan")
    scan.add_argument("archives", nargs="+", metavar="ARCHIVE", help="folders or files with radiographs")
    scan.add_argument(
        "--out", type=Path, required=True, metavar="PRIVATE", help="private folder, outside the archives (required)"
    )

    shard = _command(commands, "shard", run_shard, "write de-identified shards of the scanned films", settings="shard")
    shard.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan has written")
    shard.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards (required)")
    shard.add_argument("--dry-run", action="store_true", help="print the plan, the size and the time; write nothing")

    bench = _command(
        commands, "bench-codecs", run_bench_codecs, "compare the size and speed of codecs on scanned films",
        settings="shard",
    )  # fmt: skip
    bench.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan has written")
    bench.add_argument("--films", type=int, default=24, metavar="N", help="number of films (default: 24)")

    submit = _command(
        commands,
        "submit",
        run_submit,
        "write shards on a Slurm cluster, as an array of jobs",
        settings="submit",
    )
    submit.add_argument(
        "private", type=Path, metavar="PRIVATE", help="private folder, on a file system that all nodes can read"
    )
    submit.add_argument(
        "--out", type=Path, required=True, metavar="PUBLIC",
        help="folder of the shards, on a file system that all nodes can write (required)",
    )  # fmt: skip
    submit.add_argument("--append", action="store_true", help="run append instead of shard (default: shard)")

    append = _command(
        commands, "append", run_append, "add new films, and rejected files that can be read now, as a generation",
        settings="shard",
    )  # fmt: skip
    append.add_argument("private", type=Path, metavar="PRIVATE", help="private folder of a later scan")
    append.add_argument(
        "--out", type=Path, required=True, metavar="PUBLIC", help="existing folder of the shards (required)"
    )
    append.add_argument(
        "--reason", action="append", default=[], choices=list(Reason), metavar="REASON",
        help="without another scan: try only files rejected for this reason of rejects.parquet, such as"
        " decoder_crashed; may be given several times (default: all files that are not in the shards)",
    )  # fmt: skip


def _add_publish_command(commands: Commands) -> None:
    publish = _command(commands, "publish", run_publish, "copy finished shards to object storage")
    publish.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards")
    publish.add_argument(
        "url", type=folder_argument, metavar="URL", help="where to, such as s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"
    )


def _add_remove_command(commands: Commands) -> None:
    remove = _command(commands, "remove", run_remove, "remove the films of patients who have withdrawn their consent")
    remove.add_argument("public", type=Path, metavar="PUBLIC", help="complete folder of the shards")
    remove.add_argument(
        "--patients", type=Path, required=True, metavar="FILE",
        help="text file with a patient per line: number in the archive, or key (required)",
    )  # fmt: skip
    remove.add_argument(
        "--private", type=Path, metavar="PRIVATE",
        help="private folder: finds numbers, and leaves the patients out of later shards (default: none)",
    )  # fmt: skip
    remove.add_argument(
        "--runs", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder that is searched for runs and embeddings made from the shards (default: none)",
    )  # fmt: skip


def _add_label_command(commands: Commands) -> None:
    label = _command(
        commands,
        "label",
        run_label,
        "write labels of the shards' films from label tables and reports",
        settings="label",
    )
    label.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan has written")
    label.add_argument(
        "--labels", type=Path, action="append", default=[], metavar="FILE",
        help="CSV table of labels; give one per reader (default: labels of the public data set that was scanned)",
    )  # fmt: skip
    label.add_argument(
        "--boxes", type=Path, action="append", default=[], metavar="FILE",
        help="CSV table, COCO file, or folder of VOC or YOLO files; give one per reader (default: none)",
    )  # fmt: skip
    label.add_argument(
        "--adjudication", type=Path, action="append", default=[], metavar="FILE",
        help="labels or boxes, in any of these formats, that overrule all readers (default: none)",
    )  # fmt: skip
    label.add_argument(
        "--reports", type=Path, nargs="+", default=[], metavar="PATH",
        help="CSV tables or folders of radiology reports (default: none)",
    )  # fmt: skip
    label.add_argument(
        "--language", choices=("de", "en"), help="language of all reports (default: detected for each report)"
    )
    label.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards (required)")

    review = _command(
        commands, "review", run_review, "read confirmed answers of report_review.html back as labels for label --labels"
    )
    review.add_argument("private", type=Path, metavar="PRIVATE", help="private folder whose reports were labelled")
    review.add_argument(
        "answers", type=Path, nargs="+", metavar="ANSWERS", help="CSV tables that the page has saved, one per reader"
    )


def _add_inspection_commands(commands: Commands) -> None:
    verify = _command(
        commands, "verify", run_verify, "check all shards, and mark damaged ones so that shard rewrites them"
    )
    verify.add_argument("public", type=folder_argument, metavar="PUBLIC|URL", help="folder of the shards")

    audit = _command(
        commands, "audit", run_audit, "check that every byte of the shards is on the allow-list of de-identification"
    )
    audit.add_argument("public", type=Path, metavar="PUBLIC", help="folder of the shards")
    audit.add_argument(
        "--private", type=Path, action="append", default=[], metavar="PRIVATE",
        help="also search for every original identifier of this private folder; may be given several times, for shards"
        " from several scans (default: no search)",
    )  # fmt: skip
    audit.add_argument(
        "--phantom", type=Path, metavar="OUT",
        help="also search for every identifying value of this synthetic archive (default: no search)",
    )  # fmt: skip

    borders = _command(
        commands, "borders", run_borders, "draw the borders of films, where burned-in text usually is, for a review"
    )
    borders.add_argument("public", type=folder_argument, metavar="PUBLIC|URL", help="folder of the shards")
    borders.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="new or empty folder for the sheets (required)"
    )
    borders.add_argument(
        "--films", type=int, default=12, metavar="N", help="number of films per device model and size (default: 12)"
    )
    borders.add_argument(
        "--ocr", type=int, default=0, metavar="N",
        help="also search N films per device model and size for text anywhere, by OCR; needs mae_rad[ocr] (default: 0)",
    )  # fmt: skip

    census = _command(commands, "census", run_census, "count films and patients of a private or a public folder")
    census.add_argument(
        "folder", type=folder_argument, metavar="FOLDER", help="PRIVATE (before sharding) or PUBLIC (after it)"
    )
    census.add_argument(
        "--out", type=Path, metavar="OUT",
        help="folder for census.csv, census.parquet and census.html; for PRIVATE a folder inside it"
        " (default: print only)",
    )  # fmt: skip

    report = _command(commands, "report", run_report, "write one HTML page about the shards for the people responsible")
    report.add_argument(
        "public", type=folder_argument, metavar="PUBLIC|URL", help="folder of the shards, finished or unfinished"
    )
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help="HTML page to write (required)")
    report.add_argument(
        "--private", type=Path, metavar="PRIVATE",
        help="add unknown terms, years and rare values; --out must be inside PRIVATE (default: public facts only)",
    )  # fmt: skip

    preview = _command(commands, "preview", run_preview, "draw a sheet of films as training reads them, for a review")
    preview.add_argument("public", type=folder_argument, metavar="PUBLIC|URL", help="folder of the shards")
    preview.add_argument("--out", type=Path, required=True, metavar="FILE", help="PNG file to write (required)")
    preview.add_argument("--films", type=int, default=48, metavar="N", help="number of films (default: 48)")
    preview.add_argument("--split", choices=SPLITS, help="draw films of this split only (default: all splits)")
    preview.add_argument(
        "--boxes", action="store_true", help="draw boxes, on films that have some only (default: all films, no boxes)"
    )


def _command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    settings: str | None = None,
) -> CommandParser:
    """Add one subcommand; with ``settings``, a key of SETTINGS, it takes ``--config`` and ``key=value``."""
    epilog = "key=value overrides one setting of the config, by its name in the list below." if settings else None
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        settings=SETTINGS[settings] if settings else None,
    )
    command.set_defaults(run=run, takes_overrides=settings is not None)
    if settings and name != "append":  # append takes the settings of the folder
        config = name if name in {"scan", "label"} else "shard"
        command.add_argument(
            "--config", type=config_file("data_prep"), metavar="NAME|FILE",
            help=f"name of a config of configs/data_prep, such as {config}, or a YAML file (default: built-in values)",
        )  # fmt: skip
    return command
