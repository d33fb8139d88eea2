"""Command line: ``python -m data_prep`` or ``data_prep``."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data_prep import settings
from data_prep.config import ScanSettings, SelectionSettings, ShardSettings, SubmitSettings
from data_prep.errors import DEBUG, DROPPED, Reason, UserError, unexpected
from data_prep.shard_format import SPLITS, DatasetCard

BAD_INPUT, TOO_MANY_REJECTS, PROBLEMS_FOUND, UNFORESEEN, INTERRUPTED = 2, 3, 1, 1, 130

_NO_RADIOGRAPHS = {Reason.NOT_A_FILM, Reason.NOT_A_RADIOGRAPH, Reason.DOCUMENT, Reason.NO_PIXELS}
_BY_CHOICE = (_NO_RADIOGRAPHS | {Reason(rule) for rule in SelectionSettings.model_fields}) - DROPPED
"""Not expected among the films, or left out by the settings: ``max_reject_fraction`` does not count them."""
_OVERRIDE = re.compile(r"[a-z_][a-z0-9_.]*=.*", re.DOTALL)

# The commands import their modules when they run: --help is quick, and no part of the package waits for the others.


def run_phantom(args: argparse.Namespace) -> int:
    from data_prep.phantom.archive import write_archive

    made = write_archive(args.out, patients=args.patients, seed=args.seed, workers=args.workers, contrast=args.contrast)
    print(made)
    return 0


def run_scan(args: argparse.Namespace) -> int:
    from data_prep.scan import scan

    archives = [Path(word) for word in args.archives if not is_override(word)]
    overrides = [word for word in args.archives if is_override(word)] + args.overrides
    if not archives:
        raise UserError("no archive given; write: python -m data_prep scan ARCHIVE… --out PRIVATE")
    print(scan(archives, args.out, settings.load(ScanSettings, args.config, overrides)))
    return 0


def run_shard(args: argparse.Namespace) -> int:
    from data_prep.engine import dry_run, shard, shard_part

    chosen = settings.load(ShardSettings, args.config, args.overrides)
    if args.dry_run:
        print(dry_run(args.private, args.out, chosen))
        return 0
    if chosen.runtime.part:
        return _part(shard_part(args.private, args.out, chosen), "shard")
    return exit_code_of(shard(args.private, args.out, chosen), chosen.runtime.max_reject_fraction)


def run_retry(args: argparse.Namespace) -> int:
    from data_prep.engine import retry, settings_of

    chosen = settings_of(args.out, args.overrides, ShardSettings)
    card = retry(args.private, args.out, [Reason(reason) for reason in args.reason], chosen)
    return exit_code_of(card, chosen.runtime.max_reject_fraction)


def run_append(args: argparse.Namespace) -> int:
    from data_prep.engine import settings_of
    from data_prep.growth import append, append_part

    chosen = settings_of(args.out, args.overrides, ShardSettings)
    if chosen.runtime.part:
        return _part(append_part(args.private, args.out, chosen), "append")
    card = append(args.private, args.out, chosen)
    if card is None or not card.files.written:
        print(f"{args.out} already holds every film of {args.private}; no generation was added")
        if card is None:
            return 0
    return exit_code_of(card, chosen.runtime.max_reject_fraction)


def _part(shards: int, command: str) -> int:
    print(f"{shards} shards written; {command} without runtime.part, after all parts, publishes them")
    return 0


def run_submit(args: argparse.Namespace) -> int:
    from data_prep.cluster import submit
    from data_prep.engine import settings_of

    if args.append:
        chosen = settings_of(args.out, args.overrides, SubmitSettings)
    else:
        chosen = settings.load(SubmitSettings, args.config, args.overrides)
    print(submit(args.private, args.out, chosen, append=args.append))
    return 0


def exit_code_of(card: DatasetCard, max_reject_fraction: float) -> int:
    """Show what became of all files; exit code by how many radiographs were rejected."""
    print(card)
    fraction = reject_fraction(card)
    if fraction <= max_reject_fraction:
        return 0
    print(
        f"error: {fraction:.1%} of the radiograph files were rejected, more than runtime.max_reject_fraction"
        f" ({max_reject_fraction:.1%}); the shards are complete, the reasons are in rejects.parquet",
        file=sys.stderr,
    )
    return TOO_MANY_REJECTS


def run_verify(args: argparse.Namespace) -> int:
    from data_prep.shard_format import generation_folders
    from data_prep.verify import verify, verify_together

    sound = True
    folders = generation_folders(args.public)
    for folder in folders:
        problems = verify(folder)
        sound = sound and not problems
        print(f"{folder}: complete and sound" if not problems else "\n".join([f"{folder}:", *problems]))
        if problems:
            _withdraw(folder, problems, "shard" if folder == args.public else "append")
    if len(folders) > 1 and sound and (problems := verify_together(args.public)):
        print("\n".join(["the generations together:", *problems]))
        return PROBLEMS_FOUND
    return 0 if sound else PROBLEMS_FOUND


def _withdraw(public: Path, problems: Sequence[str], command: str) -> None:
    """Have damaged shards written anew by the same command."""
    from data_prep.public_folder import withdraw

    try:
        damaged = withdraw(public, problems)
    except OSError as error:
        print(f"{public} cannot be written ({error.strerror}): verify it where it can, then {command}", file=sys.stderr)
    else:
        anew = f"; it writes {', '.join(damaged)} anew" if damaged else ""
        print(f"run the same {command} command again{anew}")


def run_audit(args: argparse.Namespace) -> int:
    from data_prep.audit import audit
    from data_prep.shard_format import generation_folders

    problems = 0
    for folder in generation_folders(args.public):
        report = audit(folder, privates=args.private, phantom=args.phantom)
        print(f"{folder}\n{report}")
        problems += len(report.problems)
    return PROBLEMS_FOUND if problems else 0


def run_borders(args: argparse.Namespace) -> int:
    from data_prep.border_sheet import write_border_sheets

    print(write_border_sheets(args.public, args.out, films=args.films))
    return 0


def run_bench_codecs(args: argparse.Namespace) -> int:
    from data_prep.codec_bench import bench_codecs

    print(bench_codecs(args.private, settings.load(ShardSettings, args.config, args.overrides), args.films))
    return 0


def run_preview(args: argparse.Namespace) -> int:
    from data_prep.preview import write_preview
    from data_prep.report.page import check_place

    check_place(args.out, None)
    write_preview(args.public, args.out, films=args.films, split=args.split, boxes=args.boxes)
    return 0


def run_census(args: argparse.Namespace) -> int:
    from data_prep.census import census_of, write_census
    from data_prep.manifest import is_private
    from data_prep.report.page import census_page, check_place

    if args.out is not None:
        check_place(args.out / "census.html", args.folder if is_private(args.folder) else None)
    census = census_of(args.folder)
    print(census)
    if args.out is not None:
        write_census(census, census_page(census), args.out)
    return 0


def run_report(args: argparse.Namespace) -> int:
    from data_prep.report.page import write_report

    print(write_report(args.public, args.out, private=args.private))
    return 0


def run_label(args: argparse.Namespace) -> int:
    from data_prep.expert_labels import LabelFiles, write_labels
    from data_prep.label_config import LabelSettings
    from data_prep.labels.overview import write_overview
    from data_prep.radiology_reports.label import label_from_reports
    from data_prep.radiology_reports.reading import refuse_missing

    reports = [place for place in args.reports if not is_override(str(place))]
    overrides = [str(word) for word in args.reports if is_override(str(word))] + args.overrides
    chosen = settings.load(LabelSettings, args.config, overrides)
    files = LabelFiles(args.labels, args.boxes, args.adjudication)
    refuse_missing(reports)
    if any(files) or not reports:
        print(write_labels(args.private, args.out, files, chosen))
    if reports:
        print(label_from_reports(args.private, reports, args.out, args.language))
    print(write_overview(args.private, args.out, chosen))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code: 0 done, 1 ``verify`` or ``audit`` found problems or an error that nobody foresaw, 2 a mistake in the
        input (one line on stderr), 3 too many films were rejected, 130 interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    args.overrides = [word for word in rest if args.takes_overrides and is_override(word)]
    if wrong := [word for word in rest if word not in args.overrides]:
        parser.error(f"{args.command}: unknown argument {wrong[0]!r}; see: python -m data_prep {args.command} --help")
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command continues or starts again", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {unexpected(error)}", file=sys.stderr)
        return UNFORESEEN


def reject_fraction(card: DatasetCard) -> float:
    """Rejected part of the files that by their header are radiographs; duplicates are dropped, not rejected."""
    no_radiographs = sum(count for reason, count in card.reasons.items() if reason in _BY_CHOICE)
    radiographs = card.files.written + card.files.rejected + card.files.dropped - no_radiographs
    return (card.files.rejected - no_radiographs) / radiographs if radiographs else 0.0


def is_override(word: str) -> bool:
    return _OVERRIDE.fullmatch(word) is not None


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep",
        description="Archives of radiographs (DICOM, PNG, JPEG) → de-identified WebDataset shards.",
        epilog="Usual order: scan, shard, verify, audit, borders, report. phantom makes an archive to try it on.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_making(commands)
    _add_label(commands)
    _add_reading(commands)
    return parser


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

    retry = _command(commands, "retry", run_retry, "try rejected files again, into further shards", overrides=True)
    retry.add_argument("private", type=Path, metavar="PRIVATE", help="private folder that scan made")
    retry.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards")
    retry.add_argument(
        "--reason", action="append", required=True, choices=list(Reason), metavar="R",
        help="as rejects.parquet has it, for example decoder_crashed; may be given several times",
    )  # fmt: skip

    append = _command(commands, "append", run_append, "write what the archive has gained as a generation", overrides=True)
    append.add_argument("private", type=Path, metavar="PRIVATE", help="private folder of a later scan")
    append.add_argument("--out", type=Path, required=True, metavar="PUBLIC", help="folder of the shards that are there")


def _add_label(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    label = _command(
        commands, "label", run_label, "turn what experts and reports say into labels of the shards' films", overrides=True
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

    preview = _command(commands, "preview", run_preview, "draw a sheet of films, as training sees them, for a human eye")
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
    if overrides and name not in {"retry", "append"}:  # which take the settings of the folder
        example_file = f"configs/data_prep/{name if name in {'scan', 'label'} else 'shard'}.yaml"
        command.add_argument("--config", type=Path, metavar="F", help=f"YAML file, see {example_file}")
    return command
