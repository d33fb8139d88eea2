"""One function per subcommand: run it, print its result and return the exit code."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep import settings
from data_prep.cli.exit_codes import PROBLEMS_FOUND, report_outcome
from data_prep.errors import Reason, UserError
from data_prep.planning.settings import ShardSettings, SubmitSettings
from data_prep.scan.settings import ScanSettings

_OVERRIDE = re.compile(r"[a-z_][a-z0-9_.]*=.*", re.DOTALL)

# The commands import their modules when they run, so that --help stays fast.


def run_phantom(args: argparse.Namespace) -> int:
    """Write a synthetic archive."""
    from data_prep.phantom.write_archive import write_archive

    print(
        write_archive(
            args.out,
            patients=args.patients,
            seed=args.seed,
            workers=args.workers,
            contrast=args.contrast,
            level=args.level,
            confound=args.confound,
            scale=args.scale,
        )
    )
    return 0


def run_scan(args: argparse.Namespace) -> int:
    """Read the headers of archives into a private folder."""
    from data_prep.scan.scan import scan

    archives = [Path(argument) for argument in args.archives if not is_override(argument)]
    overrides = [argument for argument in args.archives if is_override(argument)] + args.overrides
    if not archives:
        raise UserError("no archive given; write: python -m data_prep scan ARCHIVE… --out PRIVATE")
    print(scan(archives, args.out, settings.load(ScanSettings, args.config, overrides)))
    return 0


def run_shard(args: argparse.Namespace) -> int:
    """Write shards, or print the plan."""
    from data_prep.sharding.shard import dry_run, shard, shard_part

    chosen = settings.load(ShardSettings, args.config, args.overrides)
    if args.dry_run:
        print(dry_run(args.private, args.out, chosen))
        return 0
    if chosen.runtime.part:
        return _report_part(shard_part(args.private, args.out, chosen), "shard")
    return report_outcome(shard(args.private, args.out, chosen), chosen.runtime.max_reject_fraction)


def run_append(args: argparse.Namespace) -> int:
    """Add new films, and rejected files that can be read now, as a generation."""
    from data_prep.sharding.append import append, append_part
    from data_prep.sharding.shard import settings_of

    chosen, reasons = settings_of(args.out, args.overrides, ShardSettings), [Reason(name) for name in args.reason]
    if chosen.runtime.part:
        return _report_part(append_part(args.private, args.out, chosen, reasons), "append")
    card = append(args.private, args.out, chosen, reasons)
    if card is None or not card.files.written:
        print(f"{args.out} already holds every film of {args.private}; no generation was added")
        if card is None:
            return 0
    return report_outcome(card, chosen.runtime.max_reject_fraction)


def _report_part(shards: int, command: str) -> int:
    print(f"{shards} shards written; run {command} without runtime.part after all parts, to publish them")
    return 0


def run_submit(args: argparse.Namespace) -> int:
    """Submit the jobs of shard or append to a Slurm cluster."""
    from data_prep.sharding.shard import settings_of
    from data_prep.sharding.slurm import submit

    if args.append:
        chosen = settings_of(args.out, args.overrides, SubmitSettings)
    else:
        chosen = settings.load(SubmitSettings, args.config, args.overrides)
    print(submit(args.private, args.out, chosen, append=args.append))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Check every shard of every generation; damaged ones are marked, so that the same command rewrites them."""
    from data_prep.shard_format.appended_folders import generation_folders
    from data_prep.verification.verify import verify, verify_generations

    is_valid = True
    folders = generation_folders(args.public)
    for folder in folders:
        problems = verify(folder)
        is_valid = is_valid and not problems
        print(f"{folder}: complete and valid" if not problems else "\n".join([f"{folder}:", *problems]))
        if problems:
            _mark_damaged(folder, problems, "shard" if folder == args.public else "append")
    if len(folders) > 1 and is_valid and (problems := verify_generations(args.public)):
        print("\n".join(["the generations together:", *problems]))
        return PROBLEMS_FOUND
    return 0 if is_valid else PROBLEMS_FOUND


def _mark_damaged(public: Path, problems: Sequence[str], command: str) -> None:
    """Mark damaged shards, so that the command which has written them rewrites them."""
    from data_prep.planning.folder_identity import read_folder_record
    from data_prep.sharding.public_folder import mark_damaged

    if (record := read_folder_record(public)) and record.has_retries:
        print(
            "the former command retry has added shards that this release cannot rewrite; put the damaged files back"
            " from a copy, or shard into a new folder"
        )
        return
    try:
        damaged = mark_damaged(public, problems)
    except OSError as error:
        print(
            f"{public} cannot be written ({error.strerror}); run verify where it is writable, then {command}",
            file=sys.stderr,
        )
    else:
        rewritten = f"; it writes {', '.join(damaged)} anew" if damaged else ""
        print(f"run the same {command} command again{rewritten}")


def run_audit(args: argparse.Namespace) -> int:
    """Search every generation for values that are not on the allow-list."""
    from data_prep.shard_format.appended_folders import generation_folders
    from data_prep.verification.audit import audit

    problems = 0
    for folder in generation_folders(args.public):
        report = audit(folder, privates=args.private, phantom=args.phantom)
        print(f"{folder}\n{report}")
        problems += len(report.problems)
    return PROBLEMS_FOUND if problems else 0


def run_borders(args: argparse.Namespace) -> int:
    """Draw sheets of the borders of films."""
    from data_prep.pages.border_sheets import write_border_sheets

    print(write_border_sheets(args.public, args.out, films=args.films))
    return 0


def run_bench_codecs(args: argparse.Namespace) -> int:
    """Compare codecs on films of a private folder."""
    from data_prep.sharding.codec_comparison import compare_codecs

    print(compare_codecs(args.private, settings.load(ShardSettings, args.config, args.overrides), args.films))
    return 0


def run_preview(args: argparse.Namespace) -> int:
    """Draw a sheet of films."""
    from data_prep.dataset_report.report_page import check_place
    from data_prep.pages.preview_sheet import write_preview

    check_place(args.out, None)
    write_preview(args.public, args.out, films=args.films, split=args.split, boxes=args.boxes)
    return 0


def run_census(args: argparse.Namespace) -> int:
    """Count the films of a folder."""
    from data_prep.archive.manifest import is_private
    from data_prep.dataset_report.census import compute_census, write_census
    from data_prep.dataset_report.report_page import check_place, render_census

    if args.out is not None:
        check_place(args.out / "census.html", args.folder if is_private(args.folder) else None)
    census = compute_census(args.folder)
    print(census)
    if args.out is not None:
        write_census(census, render_census(census), args.out)
    return 0


def run_report(args: argparse.Namespace) -> int:
    """Write the report page."""
    from data_prep.dataset_report.report_page import write_report

    print(write_report(args.public, args.out, private=args.private))
    return 0


def run_label(args: argparse.Namespace) -> int:
    """Write labels and boxes of label tables and of radiology reports."""
    from data_prep.labels.overview import write_overview
    from data_prep.labels.settings import LabelSettings
    from data_prep.labels.write_labels import LabelFiles, write_labels
    from data_prep.radiology_reports.label_reports import label_from_reports
    from data_prep.radiology_reports.report_files import check_reports_exist

    reports = [path for path in args.reports if not is_override(str(path))]
    overrides = [str(path) for path in args.reports if is_override(str(path))] + args.overrides
    chosen = settings.load(LabelSettings, args.config, overrides)
    files = LabelFiles(args.labels, args.boxes, args.adjudication)
    check_reports_exist(reports)
    if any(files) or not reports:
        print(write_labels(args.private, args.out, files, chosen))
    if reports:
        print(label_from_reports(args.private, reports, args.out, args.language))
    print(write_overview(args.private, args.out, chosen))
    return 0


def is_override(argument: str) -> bool:
    """Whether an argument of the command line is a setting: ``key=value``."""
    return _OVERRIDE.fullmatch(argument) is not None
