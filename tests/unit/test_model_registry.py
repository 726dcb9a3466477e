"""The model registry on a real MLflow store: the gate, the aliases, the way back, the history, and spoilt files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelTag
from model_registry import draw_errors, enter_version, open_own

from shoplake.errors import ForecastError, GateRefusedError
from shoplake.forecasting.inputs import GOLD
from shoplake.registry.evaluation import WeekErrors, read_week_errors, write_week_errors
from shoplake.registry.gate import judge
from shoplake.registry.names import CHALLENGER, CHAMPION, MAX_REASON
from shoplake.registry.promotion import choose_version, look, name_challenger, promote, roll_back
from shoplake.registry.store import ModelVersion, Registry
from shoplake.registry.succession import Word, draw_line, find_served
from shoplake.sections import FeatureSettings
from shoplake.settings import load_settings

SPEC = load_settings("local").ml.features
WORD = Word("ann", "it is better")
Floats = Any


@pytest.fixture
def registry() -> Registry:
    return open_own()


def noisy(size: float, bias: float = 1.0) -> Callable[[np.random.Generator, Floats], Floats]:
    return lambda rng, expected: bias * expected * np.exp(rng.normal(0, size, expected.shape))


def champion_of(registry: Registry) -> int | None:
    found = registry.find_alias("linear", CHAMPION)
    return found and found.number


def test_the_gates_figure_is_the_weighted_root_by_hand() -> None:
    errors = WeekErrors(
        np.array(["a", "b"]), np.array(["2026-07-01", "2026-07-08"]), np.array([[10.0, 20.0], [np.nan, 4.0]]),
        np.array([[4.0, 4.0], [1.0, 1.0]]), np.array([[1.0, 0.75], [0.0, 0.25]]),
        {"x": np.array([[12.0, 16.0], [np.nan, 7.0]])})
    # a: squares 4/4 and 16/4, root of 2.5; b: 9/1, root 3; weights 1.75 and 0.25
    assert errors.figure("x").value == pytest.approx((1.75 * 2.5**0.5 + 0.25 * 3) / 2)


def test_errors_come_back_as_they_were_written(tmp_path: Path) -> None:
    errors = draw_errors(1, noisy(0.1))
    units = errors.units.copy()
    units[3, 1] = np.nan
    errors = replace(errors, units=units, share=np.where(np.isnan(units), 0, errors.share))
    write_week_errors(errors, tmp_path / "errors.parquet")
    again = read_week_errors(tmp_path / "errors.parquet")
    assert again.units.tobytes() == units.tobytes()
    for name in errors.forecasts:
        assert again.figure(name).value == errors.figure(name).value


def test_a_forecast_with_a_gap_counts_not_as_no_error() -> None:
    errors = draw_errors(1, lambda _, expected: np.where(expected > 30, np.nan, expected))
    with pytest.raises(ForecastError, match="linear has no forecast for an item that is scored"):
        judge(errors, "linear", ["wmixt"], None)


def test_of_a_hundred_worse_challengers_none_is_promoted(registry: Registry, tmp_path: Path) -> None:
    good = enter_version(registry, tmp_path, draw_errors(0, noisy(0.2)), seed=1000)
    promote(registry, good, SPEC, WORD)
    champion = ("the champion", draw_errors(0, noisy(0.2)).figure("linear"))
    better_than_peer = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        # Worse than the champion by a little or a lot; many of them are still better than the best peer.
        bias = 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)
        errors = draw_errors(seed, noisy(rng.uniform(0.21, 0.5)) if seed % 2 else noisy(0.2, bias))
        verdict = judge(errors, "linear", ["wmixt", "naive"], champion)
        assert not verdict.is_passed, verdict.reasons
        better_than_peer += verdict.duels[1].is_won
        if seed % 10 in (0, 5):  # the whole way; MLflow takes a second for each
            version = enter_version(registry, tmp_path, errors, seed=seed)
            with pytest.raises(GateRefusedError, match="not promoted"):
                promote(registry, version, SPEC, WORD)
            assert registry.find_version("linear", version.number).tags["verdict"] == "refused"
            assert champion_of(registry) == good.number
    assert 20 < better_than_peer < 80, "both opponents had to be at work"


def test_a_better_one_is_promoted_and_its_verdict_kept(registry: Registry, tmp_path: Path, data_dir: Path) -> None:
    first = enter_version(registry, tmp_path, draw_errors(1, noisy(0.25)), seed=1)
    assert registry.find_alias("linear", CHALLENGER) == registry.find_version("linear", first.number)
    verdict = promote(registry, first, SPEC, WORD)
    assert [duel.opponent for duel in verdict.duels] == ["wmixt"], "the best peer alone, without a champion"
    second = enter_version(registry, tmp_path, draw_errors(2, noisy(0.1)), seed=2)
    verdict = promote(registry, second, SPEC, Word("bob", "lower error"))
    assert [duel.opponent for duel in verdict.duels] == [f"the champion {first}", "wmixt"]
    assert champion_of(registry) == second.number
    assert registry.find_alias("linear", CHALLENGER) is None
    (kept,) = (data_dir / "mlflow").glob(f"artifacts/{second.run_id}/artifacts/verdicts/*.json")
    told = json.loads(kept.read_text())
    assert (told["by"], told["reason"], told["is_passed"]) == ("bob", "lower error", True)
    # The same figures by another way: paired draws of items in plain numpy.
    ours, theirs = draw_errors(2, noisy(0.1)).figure("linear"), draw_errors(1, noisy(0.25)).figure("linear")
    rng = np.random.default_rng(1)
    picks = rng.integers(0, len(ours.over), (2000, len(ours.over)))
    ratios = (ours.over[picks].sum(axis=1) / ours.under[picks].sum(axis=1)) / (
        theirs.over[picks].sum(axis=1) / theirs.under[picks].sum(axis=1))
    duel = told["duels"][0]
    assert duel["ratio"] == pytest.approx(float(ours.over.sum() / theirs.over.sum()))
    assert duel["high"] == pytest.approx(float(np.quantile(ratios, 0.975)), abs=0.01)


def crowned(registry: Registry, tmp_path: Path, sizes: tuple[float, ...]) -> list[ModelVersion]:
    versions = [enter_version(registry, tmp_path, draw_errors(n, noisy(size)), seed=n) for n, size in enumerate(sizes)]
    for version in versions:
        promote(registry, version, SPEC, WORD)
    return versions


def test_the_way_back_and_who_went_it(registry: Registry, tmp_path: Path) -> None:
    one, two, three = crowned(registry, tmp_path, (0.25, 0.15, 0.05))
    assert roll_back(registry, "linear", SPEC, Word("cy", "odd forecasts")).number == two.number
    assert champion_of(registry) == two.number
    roll_back(registry, "linear", SPEC, WORD)
    assert champion_of(registry) == one.number
    with pytest.raises(ForecastError, match="no champion before"):
        roll_back(registry, "linear", SPEC, WORD)
    assert champion_of(registry) == one.number
    events = registry.events("linear")
    assert [(event["action"], event["version"], event["previous"], event["by"]) for event in events] == [
        ("promoted", one.number, None, "ann"), ("promoted", two.number, one.number, "ann"),
        ("promoted", three.number, two.number, "ann"), ("rolled back", two.number, three.number, "cy"),
        ("rolled back", one.number, two.number, "ann")]
    assert events[3]["reason"] == "odd forecasts"
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_a_promotion_killed_before_the_alias_moved_is_done_again() -> None:
    def event(action: str, version: int) -> dict[str, Any]:
        return {"action": action, "version": version}

    assert draw_line([event("promoted", 1), event("promoted", 2), event("promoted", 2)]) == [1, 2]
    assert draw_line([event("promoted", 1), event("refused", 2), event("promoted", 3), event("rolled back", 1)]) == [1]


def test_a_way_back_that_is_killed_leaves_a_champion_that_serves(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = crowned(registry, tmp_path, (0.25, 0.05))
    for killed in ("move_alias", "record_event"):
        with monkeypatch.context() as patch:
            patch.setattr(registry, killed, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                roll_back(registry, "linear", SPEC, WORD)
        served = find_served(registry, "linear", GOLD)
        assert served is not None
        assert served.number == (two.number if killed == "move_alias" else one.number)


def test_too_few_items_or_cutoffs_prove_nothing(registry: Registry, tmp_path: Path) -> None:
    few = enter_version(registry, tmp_path, draw_errors(1, noisy(0.01), items=29), seed=1)
    whole = draw_errors(2, noisy(0.01))
    short = enter_version(registry, tmp_path, replace(
        whole, cutoffs=whole.cutoffs[:3], units=whole.units[:, :3], week_scale=whole.week_scale[:, :3],
        share=whole.share[:, :3],
        forecasts={name: units[:, :3] for name, units in whole.forecasts.items()}), seed=2)
    for version, said in ((few, "29 items at 4 cutoffs"), (short, "300 items at 3 cutoffs")):
        with pytest.raises(GateRefusedError, match=said):
            promote(registry, version, SPEC, WORD)
    assert champion_of(registry) is None


def test_a_champion_that_cannot_be_read_stands_in_nobodys_way(
    registry: Registry, tmp_path: Path, data_dir: Path,
) -> None:
    (one,) = crowned(registry, tmp_path, (0.05,))
    (model,) = (data_dir / "mlflow" / "artifacts" / one.run_id / "artifacts").glob("models/linear/model-*")
    model.write_bytes(b"spoilt")
    two = enter_version(registry, tmp_path, draw_errors(2, noisy(0.1)), seed=2, data_version="2",
                        champion_number=str(one.number), champion_column="", champion_note="could not be read")
    verdict = promote(registry, two, SPEC, WORD)
    assert [duel.opponent for duel in verdict.duels] == ["wmixt"]
    assert any("is not the file that was saved" in reason for reason in verdict.reasons)
    assert champion_of(registry) == two.number


def test_an_alias_moved_by_hand_does_not_serve(registry: Registry, tmp_path: Path) -> None:
    (one,) = crowned(registry, tmp_path, (0.2,))
    sneaked = enter_version(registry, tmp_path, draw_errors(7, noisy(0.5)), seed=7)
    registry.move_alias(sneaked, CHAMPION)
    with pytest.raises(ForecastError, match=r"never passed the gate.*--rollback"):
        find_served(registry, "linear", GOLD)
    with pytest.raises(GateRefusedError, match=f"the champion {one}"):
        promote(registry, sneaked, SPEC, WORD)
    roll_back(registry, "linear", SPEC, WORD)
    served = find_served(registry, "linear", GOLD)
    assert served is not None
    assert served.number == one.number


def test_spoilt_files_and_other_features_are_refused(registry: Registry, tmp_path: Path, data_dir: Path) -> None:
    (one,) = crowned(registry, tmp_path, (0.2,))
    two = enter_version(registry, tmp_path, draw_errors(2, noisy(0.05)), seed=2)
    with pytest.raises(ForecastError, match="other features"):
        promote(registry, two, FeatureSettings(lags=(1,), rolling_windows=(7,)), WORD)
    artifacts = data_dir / "mlflow" / "artifacts" / two.run_id / "artifacts"
    (model,) = artifacts.glob("models/linear/model-*")
    manifest = model.with_name("manifest.json")
    errors = artifacts / "evaluation" / "week_errors.parquet"
    for file, message in ((model, "is not the file that was saved"), (errors, "is not what the training wrote")):
        whole = file.read_bytes()
        file.write_bytes(whole + b" ")
        with pytest.raises(ForecastError, match=message):
            promote(registry, two, SPEC, WORD)
        file.write_bytes(whole)
    # Model and manifest both exchanged, consistent with one another: the registry's database knows better.
    other = data_dir / "mlflow" / "artifacts" / one.run_id / "artifacts" / "models" / "linear"
    whole = manifest.read_bytes()
    for file in other.iterdir():
        (model.parent / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ForecastError, match="is not what was registered"):
        promote(registry, two, SPEC, WORD)
    assert champion_of(registry) == one.number
    manifest.write_bytes(whole)
    promote(registry, two, SPEC, WORD)
    assert champion_of(registry) == two.number


def test_who_was_not_compared_with_the_champion_must_train_again(registry: Registry, tmp_path: Path) -> None:
    (one,) = crowned(registry, tmp_path, (0.2,))
    fresh = draw_errors(2, noisy(0.05))
    two = enter_version(registry, tmp_path, fresh, seed=2, data_version="2")
    with pytest.raises(GateRefusedError, match=r"was not compared with the champion linear v1.*Train again"):
        look(registry, two, SPEC)
    weeks = {**fresh.forecasts, "linear_champion": fresh.forecasts["linear"] * 1.02}
    entered = {"champion_number": str(one.number), "champion_column": "linear_champion", "champion_note": "own file"}
    three = enter_version(registry, tmp_path, replace(fresh, forecasts=weeks), seed=3, data_version="2", **entered)
    verdict = look(registry, three, SPEC)
    assert "own file" in verdict.reasons
    assert verdict.duels[0].value == pytest.approx(fresh.figure("linear").value, rel=0.2)
    same = enter_version(registry, tmp_path, fresh, seed=4, data_version="3", champion_number=str(one.number),
                         champion_column="linear", champion_note="the same fit")
    with pytest.raises(GateRefusedError, match=r"1\.0000 of the champion linear v1's error"):
        promote(registry, same, SPEC, WORD)


def test_a_version_of_other_data_is_no_opponent_of_the_champion(registry: Registry, tmp_path: Path) -> None:
    (one,) = crowned(registry, tmp_path, (0.2,))
    fresh = draw_errors(2, noisy(0.05))
    # Better, and with a figure for the champion: it would pass, were it of the same data.
    errors = replace(fresh, forecasts={**fresh.forecasts, "linear_champion": fresh.forecasts["wmixt"]})
    entered = {"champion_number": str(one.number), "champion_column": "linear_champion", "champion_note": "own file"}
    two = enter_version(registry, tmp_path, errors, seed=2, data_name="my sales.csv", data_version="2", **entered)
    with pytest.raises(GateRefusedError, match=(
            r"linear v2 was trained on my sales\.csv, the champion linear v1 on gold\.daily_sales: their figures do "
            r"not compare.*: python ml/train\.py$")):
        promote(registry, two, SPEC, WORD)
    assert champion_of(registry) == one.number
    assert registry.find_version("linear", two.number).tags["verdict"] == "refused"
    three = enter_version(registry, tmp_path, errors, seed=3, data_version="a" * 64, **entered)
    assert promote(registry, three, SPEC, WORD).notes[1:] == (
        "linear v3 was trained on gold.daily_sales (version aaaaaaaaaaaa)",
        "the champion linear v1 was trained on gold.daily_sales (version 1)")


def test_a_champion_serves_its_own_data_alone(registry: Registry, tmp_path: Path) -> None:
    assert find_served(registry, "linear", GOLD) is None
    (one,) = crowned(registry, tmp_path, (0.2,))
    served = find_served(registry, "linear", GOLD)
    assert served is not None
    assert served.number == one.number
    assert find_served(registry, "linear", "my sales.csv") is None
    sneaked = enter_version(registry, tmp_path, draw_errors(7, noisy(0.5)), seed=7, data_name="my sales.csv")
    registry.move_alias(sneaked, CHAMPION)
    with pytest.raises(ForecastError, match="never passed the gate"):
        find_served(registry, "linear", GOLD)
    assert find_served(registry, "linear", "my sales.csv") is None, "no trouble of a file's"


def test_a_champion_of_a_file_is_beaten_by_its_own_kind_and_does_not_keep_gold_away(
    registry: Registry, tmp_path: Path,
) -> None:
    one = enter_version(registry, tmp_path, draw_errors(1, noisy(0.2)), seed=1, data_name="my sales.csv")
    promote(registry, one, SPEC, WORD)
    other = enter_version(registry, tmp_path, draw_errors(2, noisy(0.05)), seed=2, data_name="other.csv")
    with pytest.raises(GateRefusedError, match=r"python ml/train\.py --data 'my sales.csv'"):
        look(registry, other, SPEC)
    of_gold = enter_version(registry, tmp_path, draw_errors(3, noisy(0.05)), seed=3)
    verdict = promote(registry, of_gold, SPEC, WORD)
    assert [duel.opponent for duel in verdict.duels] == ["wmixt"]
    assert verdict.notes[0].startswith("the champion linear v1 was trained on my sales.csv and serves no gold")
    assert champion_of(registry) == of_gold.number


def test_the_longest_reason_of_any_script_fits_a_servers_database(registry: Registry, tmp_path: Path) -> None:
    one = enter_version(registry, tmp_path, draw_errors(1, noisy(0.2)), seed=1)
    name_challenger(registry, one, Word("я" * MAX_REASON, "ж" * MAX_REASON))
    assert registry.events("linear")[0]["reason"] == "ж" * MAX_REASON
    # Of mlflow.store.model_registry.dbmodels: what SQLite lets pass, PostgreSQL and MySQL do not.
    length = SqlRegisteredModelTag.__table__.c.value.type.length
    assert [len(value) for name, value in registry._model("linear")[1].items() if len(value) > length] == []


def test_the_challenger_is_named_and_chosen(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match="has no challenger"):
        choose_version(registry, "linear", None)
    one = enter_version(registry, tmp_path, draw_errors(1, noisy(0.2)), seed=1)
    two = enter_version(registry, tmp_path, draw_errors(2, noisy(0.2)), seed=2)
    assert choose_version(registry, "linear", None).number == two.number
    name_challenger(registry, one, WORD)
    assert choose_version(registry, "linear", None).number == one.number
    assert choose_version(registry, "linear", two.number).number == two.number
    with pytest.raises(ForecastError, match="no version 9 of linear"):
        choose_version(registry, "linear", 9)
