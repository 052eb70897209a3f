"""The file of a run: what is wrong in it is said at once, and each key does what it says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from ml_backend.errors import ConfigurationError
from ml_backend.learning.recipe import Recipe
from ml_backend.steps.workbench import plan_of
from ml_backend.wiring.fine_tunes import recipe_of
from scripts import run_config_page
from scripts.active_labeler import cli
from scripts.run.config import RunConfig
from scripts.run.config_file import MAX_BYTES, read_config
from scripts.run.in_force import Run, environment_of, masked, settings_of, shown
from scripts.run.starting_file import starting_file

DATA = "data: {source: {kind: folder, path: photos}}\n"
SOURCE = {("data", "source"): {"kind": "folder", "path": "photos"}}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ACTIVE_LABELER_") or name in ("PORT", "MODEL_DIR"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def run_of(tmp_path: Path, text: str = "", **overrides: Any) -> Run:
    file = written(tmp_path, DATA + text)
    paths = {tuple(name.split("__")): value for name, value in overrides.items()}
    config = read_config(file, paths)
    return Run(config, file, tmp_path / "config.run", tmp_path, frozenset(paths))


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read_config(written(tmp_path, text), {})
    return str(refused.value)


# --- what is wrong


def test_everything_that_is_wrong_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    said = refusal(
        tmp_path,
        "data:\n"
        "  source: {kind: foldr, path: x}\n"
        "  holdout_share: 2\n"
        "projct: {}\n"
        "strategy: {name: uherdin, uncertainty: margins}\n"
        "model:\n"
        "  training: {optimizer: adam, epocs: 3}\n"
        "settings: {windw: 3, model_dir: x}\n"
        "export: {formats: [cvs]}\n",
    )
    for expected in (
        "line 2: data.source: kind: there is no kind of source 'foldr'; did you mean 'folder'?",
        "line 3: data.holdout_share=2: expected less than or equal to 0.5",
        "line 4: the file has no key 'projct'; did you mean 'project'?",
        "line 5: strategy.name: there is no strategy 'uherdin'; did you mean 'uherding'?",
        "line 5: strategy.uncertainty: there is no uncertainty 'margins'; did you mean 'margin'?",
        "line 7: model.training has no key 'epocs'; did you mean 'epochs'?",
        "line 7: model.training.optimizer='adam': expected 'adamw' or 'sgd'",
        "line 8: settings: there is no setting 'windw'; did you mean 'window'?",
        "line 9: export.formats.0='cvs': expected 'csv'",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "data: Field required"),
        ("- a\n- b\n", "expected sections"),
        ("data: {source: {kind: folder}}", "folder needs path"),
        ("data: {source: {kind: csv, path: x, delimeter: ','}}", "did you mean 'delimiter'?"),
        ("data: {source: {kind: folder, path: x}, classes: [cat]}", "two different ones"),
        (DATA + "data:\n  classes: []\n", "line 2: data stands in line 1 already"),
        (DATA + "strategy: {parameters: {wieght: 1}}", "no parameter 'wieght'"),
        (DATA + "model: {training: {epochs: 0}}", "epochs=0: expected 1 to 10,000"),
        (DATA + "labeling: {initial: similar}", "needs examples"),
        (DATA + "labeling: {target: {accuracy: 90}}", "less than 1"),
        (DATA + "project: {label_studio: label.example.org}", "expected `local` or http(s)://"),
        (DATA + "settings: {model_dir: x}", "model_dir is the run's own"),
        ("data: {source: {kind: folder, path: &p x}, classes: *p}", "anchors"),
        ("data: [unclosed", "line 1"),
        ("data: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("[" * 60_000, "nested more than"),
        ("- " * 30_000, "nested more than"),
        ("a:\n" + "".join(" " * n + "a:\n" for n in range(1, 300)), "nested more than"),
        ("a: " + "x" * MAX_BYTES, "larger than"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_words(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in refusal(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"data: \xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_config(tmp_path / "config.yaml", {})


def test_what_only_the_backend_can_refuse_is_named_by_the_runs_key(tmp_path: Path) -> None:
    run = run_of(tmp_path, "model: {input_size_px: 32}\nsettings: {input_std: 0}\n")
    with pytest.raises(ConfigurationError, match="input_std"):
        settings_of(run)
    run = run_of(tmp_path, "labeling: {labels_per_round: 300}\n")
    with pytest.raises(ConfigurationError, match="at most window=200"):
        settings_of(run)


# --- each key has an effect: on the settings that the backend's processes read


@pytest.mark.parametrize(
    ("key", "value", "setting", "expected"),
    [
        ("data.holdout_share", 0.2, "audit_share", 0.2),
        ("data.score_limit", 50, "score_limit", 50),
        ("project.backend_port", 9191, "port", 9191),
        ("labeling.labels_per_round", 5, "labels_per_round", 5),
        ("labeling.initial", "random", "initial_strategy", "random"),
        ("labeling.initial", "diverse", "initial_strategy", "maxherding"),
        ("labeling.initial_labels", 12, "initial_labels", 12),
        ("labeling.prelabel", False, "prelabel", False),
        ("labeling.window", 77, "window", 77),
        ("strategy.name", "clustering", "strategy", "clustering"),
        ("strategy.uncertainty", "entropy", "uncertainty", "entropy"),
        ("strategy.class_balance", 1.5, "class_balance", 1.5),
        ("model.backbone", "resnet18", "backbone", "resnet18"),
        ("model.weights", "IMAGENET1K_V1", "weights", "IMAGENET1K_V1"),
        ("model.frozen", True, "fine_tune", "ask"),
        ("model.frozen", False, "fine_tune", "on"),
        ("model.train_after_labels", 7, "fine_tune_after_labels", 7),
        ("model.train_after_growth", 0.5, "fine_tune_after_growth", 0.5),
        ("model.training.loss", "focal", "fine_tune_recipe", {"loss": "focal"}),
        ("model.input_size_px", 64, "input_size_px", 64),
        ("model.input_resize_px", 70, "input_resize_px", 70),
        ("model.device", "cpu", "device", "cpu"),
        ("model.batch_size", 8, "batch_size", 8),
        ("model.seed", 9, "seed", 9),
        ("settings.reconcile_s", 5.0, "reconcile_s", 5.0),
    ],
)
def test_a_key_reaches_the_setting_that_it_stands_for(
    tmp_path: Path, key: str, value: object, setting: str, expected: object
) -> None:
    run = run_of(tmp_path, **{key.replace(".", "__"): value})
    settings = settings_of(run)
    assert getattr(settings, setting) == expected
    text = environment_of(settings, [setting])  # and the children's, who read the environment
    [(_, said)] = text.items()
    assert said == (json.dumps(expected) if isinstance(expected, dict) else str(expected))


def test_every_key_of_a_setting_is_in_the_test_above() -> None:
    [mark] = [
        each
        for each in test_a_key_reaches_the_setting_that_it_stands_for.pytestmark
        if each.name == "parametrize"
    ]
    tested = {row[0] for row in mark.args[1]}
    wanted = {
        key
        for key, field in run_config_page.keys().items()
        if isinstance(field.json_schema_extra, dict) and "setting" in field.json_schema_extra
    }
    assert wanted - tested == {"strategy.parameters", "model.training"}, "they follow here"


def test_parameters_reach_the_strategy_and_training_the_recipe(tmp_path: Path) -> None:
    run = run_of(
        tmp_path,
        "strategy: {name: iterative_proximity, parameters: {weight: 0.1, mini_batch: 3}}\n"
        "model: {training: {optimizer: sgd, learning_rate: 0.01, epochs: 2}}\n",
    )
    assert plan_of(settings_of(run)).strategy_parameters == {"weight": 0.1, "mini_batch": 3}
    recipe = recipe_of(settings_of(run))
    assert (recipe.optimizer, recipe.learning_rate, recipe.epochs) == ("sgd", 0.01, 2)
    assert recipe.label_smoothing == Recipe().label_smoothing, "what is not written stays"


def test_the_training_section_has_every_key_of_the_recipe() -> None:
    training = RunConfig.model_fields["model"].annotation.model_fields["training"].annotation
    assert set(training.model_fields) == set(Recipe.__dataclass_fields__) - {"seed"}


def test_a_beginning_by_examples_counts_them(tmp_path: Path) -> None:
    text = "labeling: {initial: similar, labels_per_round: 4, examples: {a: a.png, b: b.png}}\n"
    settings = settings_of(run_of(tmp_path, text))
    assert (settings.initial_strategy, settings.initial_labels) == ("similar", 6)


def test_weights_beside_the_file_are_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "encoder.pth").touch()
    run = run_of(tmp_path, "model: {weights: encoder.pth}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert settings_of(run).weights == str(tmp_path / "encoder.pth")
    assert run.source_spec() == {"kind": "folder", "path": str(tmp_path / "photos")}


# --- where a value comes from


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "strategy: {name: margin}\nlabeling: {window: 50}\n"
    assert settings_of(run_of(tmp_path, text)).strategy == "margin"
    monkeypatch.setenv("ACTIVE_LABELER_STRATEGY", "entropy")
    assert settings_of(run_of(tmp_path, text)).strategy == "entropy"
    run = run_of(tmp_path, text, strategy__name="random")
    assert settings_of(run).strategy == "random"
    told = {key: (value, origin) for key, value, origin in shown(run)}
    assert told["strategy.name"] == ("random", "flag")
    assert told["labeling.window"] == ("50", "file")
    assert told["labeling.prelabel"] == ("True", "default")
    told = {key: (value, origin) for key, value, origin in shown(run_of(tmp_path, text))}
    assert told["strategy.name"] == ("entropy", "environment")


def test_a_source_that_is_a_project_is_read_in_the_label_studio_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token would go to another address otherwise."""
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://another.example.org")
    run = run_of(tmp_path, "project: {label_studio: 'https://ls.example.org/'}\n")
    assert settings_of(run).label_studio_url == "https://ls.example.org"
    local = settings_of(run_of(tmp_path, "project: {label_studio: local}\n"))
    assert local.label_studio_url == "https://another.example.org"


def test_secrets_are_masked(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "data: {source: {kind: fsspec, url: 's3://k:hunter2@bucket/x',\n"
        "                storage_options: {secret: hunter2, anon: false}}}\n"
        "project: {label_studio: 'https://me:hunter2@ls.example.org'}\n"
        "settings: {basic_auth_pass: hunter2}\n",
    )
    answer = CliRunner().invoke(cli, ["config", "show", "--config", str(file)])
    assert answer.exit_code == 0, answer.output
    assert "hunter2" not in answer.output
    assert "ls.example.org" in answer.output
    assert masked("labels", 3) == "3"


def test_secrets_of_the_command_line_are_neither_printed_nor_written_for_everybody(
    tmp_path: Path,
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").touch()
    source = ["--url", f"file://{tmp_path}/pets", "--option", "storage_options={secret: hunter2}"]
    file = tmp_path / "config.yaml"

    told = CliRunner().invoke(cli, ["run", *source, "--dry-run"])
    made = CliRunner().invoke(cli, ["init", *source, "--output", str(file)])

    assert (told.exit_code, made.exit_code) == (0, 0), told.output + made.output
    assert "secret: '********'" in told.output
    assert "hunter2" not in told.output
    assert "hunter2" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


# --- the file to begin with


def test_a_starting_file_is_read_back_as_what_was_given(tmp_path: Path) -> None:
    given = {
        ("data", "source"): {"kind": "csv", "path": "a: b#.csv", "label_column": "no"},
        ("data", "classes"): ["yes", "no", "1"],
        ("labeling", "target", "labels"): 20,
        ("project", "title"): "# Cats",
        ("settings", "reconcile_s"): 5,
    }
    config = read_config(written(tmp_path, starting_file(given)), {})
    assert config.data.source.spec() == given["data", "source"]
    assert config.data.classes == ("yes", "no", "1")
    assert config.labeling.target.labels == 20
    assert config.project.title == "# Cats"
    assert config.settings == {"reconcile_s": 5}


def test_every_line_of_a_starting_file_says_the_default(tmp_path: Path) -> None:
    """With every # before a key taken away, it is the config that the bare file is."""
    text = starting_file(SOURCE)
    lines = []
    for line in text.splitlines():
        is_key = line.startswith("#") and (yaml_key(line[1:]) or line[1:].strip() == "- csv")
        lines.append(line[1:] if is_key else line)
    opened = read_config(written(tmp_path, "\n".join(lines)), {})
    bare = read_config(written(tmp_path, text), {})
    assert opened.model_dump() == bare.model_dump()
    assert len(opened.labeling.model_fields_set) == len(type(opened.labeling).model_fields)


def yaml_key(line: str) -> bool:
    """Tell a commented key from a comment: a comment has one blank after its #, or stands behind
    others."""
    name, colon, _ = line.strip().partition(":")
    known = {key.rpartition(".")[2] for key in list(run_config_page.keys())}
    return bool(colon) and name in known and not line.startswith("# ") and line[:1] != "#"


def test_init_writes_a_file_and_does_not_replace_one(tmp_path: Path) -> None:
    words = ["init", "--images", "photos", "--set", "labeling.target.labels=9"]
    answer = CliRunner().invoke(cli, words)
    assert answer.exit_code == 0, answer.output
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["data"]["source"] == {
        "kind": "folder",
        "path": "photos",
    }
    again = CliRunner().invoke(cli, words)
    assert isinstance(again.exception, ConfigurationError)
    assert "--force" in str(again.exception)
    assert CliRunner().invoke(cli, [*words, "--force"]).exit_code == 0


def test_init_asks_nobody_where_nobody_is(tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli, ["init"])
    assert answer.exit_code == 2
    assert "nobody is here to be asked" in answer.output
    assert not (tmp_path / "config.yaml").exists()


def test_init_refuses_what_cannot_be_before_it_writes(tmp_path: Path) -> None:
    words = ["init", "--images", "photos", "--set", "strategy.name=uherdin"]
    answer = CliRunner().invoke(cli, words)
    assert isinstance(answer.exception, ConfigurationError)
    assert not (tmp_path / "config.yaml").exists()


def test_a_run_without_a_source_says_what_to_name() -> None:
    answer = CliRunner().invoke(cli, ["run"])
    assert answer.exit_code == 2
    assert "--images FOLDER" in answer.output


def test_an_oracle_labels_in_no_label_studio_of_others(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    words = ["run", "--images", "photos", "--oracle"]
    words += ["--set", "project.label_studio=https://ls.example.org"]
    answer = CliRunner().invoke(cli, words)
    assert isinstance(answer.exception, ConfigurationError)
    assert "--oracle" in str(answer.exception)


def test_images_without_classes_are_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "one.png")
    answer = CliRunner().invoke(cli, ["run", "--images", "photos"])
    assert isinstance(answer.exception, ConfigurationError)
    assert "--classes cat,dog" in str(answer.exception)
    assert not (tmp_path / "photos.run" / "label-studio").exists()
    assert not (tmp_path / "photos.run" / "backend").exists()


# --- the pages


def test_the_page_and_the_schema_are_current() -> None:
    assert run_config_page.main(["--check"]) == 0, "run: python -m scripts.run_config_page"


def test_the_schema_names_every_key() -> None:
    described = json.loads(run_config_page.SCHEMA.read_text())
    sections = described["$defs"]
    for key in list(run_config_page.keys()):
        section, inner = described, key.split(".")
        for name in inner:
            assert name in section["properties"], key
            target = section["properties"][name]
            reference = target.get("$ref") or next(
                (each["$ref"] for each in target.get("anyOf", []) if "$ref" in each), None
            )
            section = sections[reference.rpartition("/")[2]] if reference else {}
