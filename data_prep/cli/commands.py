"""Run the subcommands of data_prep: each function prints the result and returns the exit code."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep import settings
from data_prep.cli.exit_codes import PROBLEMS_FOUND, report_outcome
from data_prep.errors import Reason, UserError
from data_prep.folder_url import local_path
from data_prep.planning.settings import ShardSettings, SubmitSettings
from data_prep.scan.settings import ScanSettings

_OVERRIDE = re.compile(r"[a-z_][a-z0-9_.]*=.*", re.DOTALL)

# Modules are imported inside the functions, so that --help is fast.


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
            layout=args.layout,
            misfiled=args.misfiled,
        )
    )
    return 0


def run_scan(args: argparse.Namespace) -> int:
    """Read the headers of archives into a private folder."""
    from data_prep.scan.scan import scan

    archives = [local_path(argument) for argument in args.archives if not is_override(argument)]
    overrides = [argument for argument in args.archives if is_override(argument)] + args.overrides
    if not archives:
        raise UserError("no archive is given. Run: mae-rad scan ARCHIVE… --out PRIVATE")
    print(scan(archives, args.out, settings.load(ScanSettings, args.config, overrides)))
    return 0


def run_shard(args: argparse.Namespace) -> int:
    """Write the shards of a private folder into a public folder, or print what would be written (--dry-run)."""
    from data_prep.sharding.shard import dry_run, shard, shard_part

    shard_settings = settings.load(ShardSettings, args.config, args.overrides)
    if args.dry_run:
        print(dry_run(args.private, args.out, shard_settings))
        return 0
    if shard_settings.runtime.part:
        return _report_part(shard_part(args.private, args.out, shard_settings), "shard")
    card = shard(args.private, args.out, shard_settings)
    return report_outcome(card, shard_settings.runtime.max_reject_fraction)


def run_remove(args: argparse.Namespace) -> int:
    """Remove the films of patients from a public folder."""
    from data_prep.sharding.remove import remove

    print(remove(args.public, args.patients, args.private, args.runs))
    return 0


def run_append(args: argparse.Namespace) -> int:
    """Add new films to a public folder as a generation; try rejected files again, or only those of some reasons."""
    from data_prep.sharding.append import append, append_part
    from data_prep.sharding.shard import load_recorded_settings

    shard_settings = load_recorded_settings(args.out, args.overrides, ShardSettings)
    reasons = [Reason(name) for name in args.reason]
    if shard_settings.runtime.part:
        return _report_part(append_part(args.private, args.out, shard_settings, reasons), "append")
    card = append(args.private, args.out, shard_settings, reasons)
    if card is None or not card.files.written:
        print(f"{args.out} already holds every film of {args.private}; no generation was added")
        if card is None:
            return 0
    return report_outcome(card, shard_settings.runtime.max_reject_fraction)


def _report_part(shards: int, command: str) -> int:
    print(f"{shards} shards were written. When all parts are done, run {command} without runtime.part to publish them.")
    return 0


def run_submit(args: argparse.Namespace) -> int:
    """Submit the jobs of shard or append to a Slurm cluster."""
    from data_prep.sharding.shard import load_recorded_settings
    from data_prep.sharding.slurm import submit

    if args.append:
        submit_settings = load_recorded_settings(args.out, args.overrides, SubmitSettings)
    else:
        submit_settings = settings.load(SubmitSettings, args.config, args.overrides)
    print(submit(args.private, args.out, submit_settings, append=args.append))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Check every shard of every generation; damaged shards are marked, so that shard or append rewrites them."""
    from data_prep.shard_format.appended_folders import generation_folders
    from data_prep.verification.verify import verify, verify_generations
    from data_prep.verification.verify_published import verify_published

    if not isinstance(args.public, Path):
        problems = verify_published(args.public)
        print("\n".join(problems) or f"{args.public}: complete, and the bytes that were published")
        return PROBLEMS_FOUND if problems else 0
    are_all_valid = True
    folders = generation_folders(args.public)
    for folder in folders:
        problems = verify(folder)
        are_all_valid = are_all_valid and not problems
        print(f"{folder}: complete and valid" if not problems else "\n".join([f"{folder}:", *problems]))
        if problems:
            _mark_damaged(folder, problems, "shard" if folder == args.public else "append")
    if len(folders) > 1 and are_all_valid and (problems := verify_generations(args.public)):
        print("\n".join(["problems across generations:", *problems]))
        return PROBLEMS_FOUND
    return 0 if are_all_valid else PROBLEMS_FOUND


def _mark_damaged(public: Path, problems: Sequence[str], command: str) -> None:
    """Mark damaged shards, so that ``command`` (shard or append), which has written them, rewrites them."""
    from data_prep.planning.folder_identity import read_folder_record
    from data_prep.sharding.public_folder import mark_damaged

    if (record := read_folder_record(public)) and record.has_retries:
        print(
            "shards were added by the command retry of an earlier release, and this release cannot rewrite them."
            " Restore the damaged files from a backup, or shard into a new folder."
        )
        return
    try:
        damaged = mark_damaged(public, problems)
    except OSError as error:
        print(
            f"{public} cannot be written ({error.strerror}). Run verify where it is writable, then {command}.",
            file=sys.stderr,
        )
    else:
        rewritten = f"; it rewrites {', '.join(damaged)}" if damaged else ""
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
    """Draw sheets of the borders of films, for a review of burned-in text."""
    from data_prep.pages.border_sheets import write_border_sheets

    print(write_border_sheets(args.public, args.out, films=args.films, ocr_films=args.ocr))
    return 0


def run_bench_codecs(args: argparse.Namespace) -> int:
    """Compare codecs on films of a private folder."""
    from data_prep.sharding.codec_comparison import compare_codecs

    print(compare_codecs(args.private, settings.load(ShardSettings, args.config, args.overrides), args.films))
    return 0


def run_preview(args: argparse.Namespace) -> int:
    """Draw a sheet with samples of the films of a public folder."""
    from data_prep.dataset_report.report_page import check_output_path
    from data_prep.pages.preview_sheet import write_preview

    check_output_path(args.out, private=None)
    write_preview(args.public, args.out, films=args.films, split=args.split, boxes=args.boxes)
    return 0


def run_census(args: argparse.Namespace) -> int:
    """Count the films of a private or public folder, by body part, view and other columns."""
    from data_prep.archive.manifest import is_private
    from data_prep.dataset_report.census import compute_census, write_census
    from data_prep.dataset_report.report_page import check_output_path, render_census

    if args.out is not None:
        check_output_path(
            args.out / "census.html",
            private=args.folder if isinstance(args.folder, Path) and is_private(args.folder) else None,
        )
    census = compute_census(args.folder)
    print(census)
    if args.out is not None:
        write_census(census, render_census(census), args.out)
    return 0


def run_report(args: argparse.Namespace) -> int:
    """Write the report page on a public folder."""
    from data_prep.dataset_report.report_page import write_report

    print(write_report(args.public, args.out, private=args.private))
    return 0


def run_publish(args: argparse.Namespace) -> int:
    """Copy a finished public folder to object storage."""
    from data_prep.sharding.publish import publish

    if isinstance(args.url, Path):
        raise UserError(f"{args.url} is no URL. Give one such as s3://BUCKET/FOLDER")
    print(publish(args.public, args.url))
    return 0


def run_label(args: argparse.Namespace) -> int:
    """Write labels and boxes from label tables and from radiology reports."""
    from data_prep.labels.overview import write_overview
    from data_prep.labels.settings import LabelSettings
    from data_prep.labels.write_labels import LabelFiles, write_labels
    from data_prep.radiology_reports.label_reports import label_from_reports
    from data_prep.radiology_reports.report_files import check_reports_exist
    from data_prep.radiology_reports.report_names import ReportNames

    reports = [path for path in args.reports if not is_override(str(path))]
    overrides = [str(path) for path in args.reports if is_override(str(path))] + args.overrides
    label_settings = settings.load(LabelSettings, args.config, overrides)
    files = LabelFiles(args.labels, args.boxes, args.adjudication)
    check_reports_exist(reports)
    if any(files) or not reports:
        print(write_labels(args.private, args.out, files, label_settings))
    if reports:
        names = ReportNames(label_settings.reports.pattern, label_settings.reports.study_folder)
        print(label_from_reports(args.private, reports, args.out, args.language, names=names))
    print(write_overview(args.private, args.out, label_settings))
    return 0


def run_review(args: argparse.Namespace) -> int:
    """Read confirmed answers about labels from reports back."""
    from data_prep.radiology_reports.review import review

    print(review(args.private, args.answers))
    return 0


def is_override(argument: str) -> bool:
    """Whether an argument of the command line overrides a setting: ``key=value``."""
    return _OVERRIDE.fullmatch(argument) is not None
