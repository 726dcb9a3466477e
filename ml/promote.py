"""Promote a trained version of a model to champion, the one that serves, if the gate lets it; or go back, or look.

It must beat the champion and the best forecaster without training on the held-out weeks of its training: the upper
limit (95%, paired bootstrap over items) of the week's WRMSSE over theirs must be below 1. A refusal ends with 3; the
verdict is kept with the version in either case. --rollback makes the champion before this one the champion again.
Whatever changes something needs --reason.
"""

import argparse
import getpass
import sys
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ForecastError, GateRefusedError
from shoplake.forecasting.names import LEARNED_MODELS
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.registry.names import CHALLENGER, CHAMPION, MAX_REASON
from shoplake.settings import PROFILES, Settings, load_settings

if TYPE_CHECKING:
    from shoplake.registry.store import Registry

def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="promote.py", description=(__doc__ or "").strip(),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=LEARNED_MODELS, required=True)
    parser.add_argument("--version", type=int, metavar="N", help="of the registered model (default: the challenger)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--to", choices=(CHAMPION, CHALLENGER), default=CHAMPION, help=f"default: {CHAMPION}")
    what.add_argument("--rollback", action="store_true", help="back to the champion before")
    what.add_argument("--history", action="store_true", help="tell the versions, and who did what, when and why")
    parser.add_argument("--dry-run", action="store_true", help="tell the gate's verdict and change nothing")
    parser.add_argument("--by", metavar="NAME", help="who wants it (default: the user of this machine)")
    parser.add_argument("--reason", type=str.strip, default="", metavar="TEXT",
                        help=f"why, for the history: 1 to {MAX_REASON} characters for whatever changes something")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if flags.version is not None and (flags.rollback or flags.history):
        parser.error("argument --version: --rollback and --history are about the model, not about one version")
    if flags.dry_run and (flags.rollback or flags.history or flags.to != CHAMPION):
        parser.error("argument --dry-run: only --to champion has a verdict to tell")
    if not (flags.history or flags.dry_run) and not 1 <= len(flags.reason) <= MAX_REASON:
        parser.error(f"argument --reason: {len(flags.reason)} characters; the history wants 1 to {MAX_REASON} that say "
                     "why, such as --reason 'lower error'")
    return run_to_exit_code(lambda: _run(load_settings(flags.profile), flags))


def _run(settings: Settings, flags: argparse.Namespace) -> int:
    configure_logging(settings.log_level)
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.locks import hold_lock
    from shoplake.registry.store import MODELS_LOCK, find_registry

    registry = find_registry(settings)
    if registry is None:
        raise ForecastError(f"there is no model registry in {settings.data_path}. The first training makes it: "
                            "python ml/train.py")
    if flags.history:
        result = _tell_history(registry, flags.model)
        print_result(result, _describe_history(result), flags.json)
        return EXIT_OK
    if flags.dry_run:
        result = _act(registry, settings, flags)
    else:
        lake, action = locate_lake(settings), "rollback" if flags.rollback else "promote"
        details = {"to": flags.to, "by": flags.by, "reason": flags.reason}
        with (audited(lake, settings, action, flags.model, details) as told,
              hold_lock(lake, MODELS_LOCK, settings.lake.lock_timeout)):
            result = _act(registry, settings, flags)
            told["version"] = result["version"]
    print_result(result, "\n".join([result["message"], *(f"  {reason}" for reason in result["reasons"])]), flags.json)
    return EXIT_OK


def _act(registry: "Registry", settings: Settings, flags: argparse.Namespace) -> dict[str, Any]:
    from shoplake.registry.promotion import choose_version, look, name_challenger, promote, roll_back
    from shoplake.registry.succession import Word

    word, spec = Word(flags.by or getpass.getuser(), flags.reason), settings.ml.features
    if flags.rollback:
        version = roll_back(registry, flags.model, spec, word)
        return _told(f"{version} is the champion again", version.number, flags)
    version = choose_version(registry, flags.model, flags.version)
    if flags.to != CHAMPION:
        name_challenger(registry, version, word)
        return _told(f"{version} is the challenger", version.number, flags)
    if flags.dry_run:
        verdict = look(registry, version, spec)
        if not verdict.is_passed:
            raise GateRefusedError("\n  ".join([f"{version} would not be promoted:", *verdict.reasons]))
        return _told(f"{version} would be the champion", version.number, flags, verdict.to_dict())
    verdict = promote(registry, version, spec, word)
    return _told(f"{version} is the champion", version.number, flags, verdict.to_dict())


def _told(
    message: str, number: int, flags: argparse.Namespace, verdict: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {"message": message, "model": flags.model, "version": number, "verdict": verdict,
            "reasons": verdict["reasons"] if verdict else []}


def _tell_history(registry: "Registry", name: str) -> dict[str, Any]:
    versions = [{
        "version": one.number, "aliases": list(one.aliases), "cutoff": one.tags["cutoff"],
        "data": one.tags["data_name"], "data_version": one.tags["data_version"],
        "model_version": one.tags["model_version"],
        "verdict": one.tags.get("verdict"), "reasons": one.tags.get("verdict_reasons"), "run_id": one.run_id,
    } for one in registry.versions(name)]
    return {"model": name, "versions": versions, "events": registry.events(name)}


def _describe_history(result: dict[str, Any]) -> str:
    if not result["versions"]:
        return f"{result['model']} has no version yet. Train one: python ml/train.py"
    lines = [f"{'version':<9}{'trained up to':<15}{'alias':<13}{'verdict':<9}{'sha256':<18}data"]
    lines += [f"v{one['version']:<8}{one['cutoff']:<15}{', '.join(one['aliases']):<13}{one['verdict'] or '':<9}"
              f"{one['model_version'][:16]:<18}{one['data']}" for one in result["versions"]]
    lines += ["", f"{'when':<28}{'who':<16}what"]
    lines += [f"{event['at']:<28}{event['by']:<16}v{event['version']} {event['action']}"
              + (f" (before: v{event['previous']})" if event["previous"] else "")
              + (f": {event['reason']}" if event["reason"] else "") for event in result["events"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
