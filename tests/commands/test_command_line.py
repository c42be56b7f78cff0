"""All commands: one form of help, and one line about a mistake."""

import importlib
import re
import subprocess
import sys

from absl import flags
from ml_collections import config_flags
import pytest

from entrojax.main import parse_profile
from entrojax.system.command_line import command, format_warning
from entrojax.system.terminal import harmless
from tests.helpers.commands import run_command
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

# command -> what it needs
COMMANDS = {
  "main": ("--config", "--workdir"),
  "sweep": ("--config", "--workdir"),
  "sft": ("--config", "--output"),
  "evaluate_model": ("--config", "--output"),
  "collect": ("--config", "--output"),
  "prompt_entropy": ("--config", "--output"),
  "choose_prompts": ("--config", "--output", "--size"),
  "export": ("RUN", "--output"),
  "report": ("RUN...", "--output"),
  "tokens": ("RUN...",),
  "replay": ("RUN", "--batch", "--configs"),
  "prepare_data": ("TASK", "SOURCE", "--output"),
}


def help_of(name):
  """Run a command with --help."""
  return run_command(f"entrojax.{name}", "--help")


def fail(capsys, name, *arguments):
  """Run a command that fails with status 2; return its stderr."""
  main = importlib.import_module(f"entrojax.{name}").main
  with pytest.raises(SystemExit) as ended:
    main(arguments)
  assert ended.value.code == 2
  printed = capsys.readouterr()
  assert not printed.out
  assert "Traceback" not in printed.err
  return printed.err


# -- help ---------------------------------------------------------------------


def test_every_command_is_listed_here():
  commands = {
    path.stem
    for path in (ROOT / "entrojax").glob("*.py")
    if "@command(" in path.read_text()
  }
  assert commands == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_one_form(name):
  done = help_of(name)
  assert done.returncode == 0
  assert not done.stderr
  summary, usage, *middle, end = done.stdout.rstrip("\n").split("\n\n")
  assert "\n" not in summary and summary.endswith(".")
  assert usage.startswith(f"usage: python -m entrojax.{name} ")
  for need in COMMANDS[name]:
    assert f" {need}" in usage
  headings = [part.partition("\n")[0].split(" of ")[0] for part in middle]
  expected = ["flags:"]
  if not COMMANDS[name][0].startswith("--"):
    expected.insert(0, "arguments:")
  if "--config" in COMMANDS[name]:
    expected.append("The settings")
    assert "described in configs/" in middle[-1]
  assert headings == expected
  assert end == "--helpfull also lists the flags of the libraries."


def test_a_package_is_named_as_it_is_run():
  done = run_command("experiments.claims.__main__", "--help")
  assert "usage: python -m experiments.claims [FLAGS]" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_and_leaves_the_libraries_out(name):
  text = help_of(name).stdout
  assert max(map(len, text.splitlines())) <= 80
  for flag in ("--verbosity", "--pdb", "--helpxml"):
    assert flag not in text
  assert "no help available" not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_which_flags_are_required_and_the_defaults_of_others(name):
  (part,) = [
    part
    for part in help_of(name).stdout.split("\n\n")
    if part.startswith("flags:")
  ]
  texts = {}
  for line in part.splitlines()[1:]:
    if line.startswith("  --"):
      flag = line.split()[0]
      texts[flag] = ""
    texts[flag] += f" {line.strip()}"
  required = {
    flag for flag, text in texts.items() if text.endswith(" (required)")
  }
  assert required == {n for n in COMMANDS[name] if n.startswith("--")}
  booleans = [text for flag, text in texts.items() if "[no]" in flag]
  for text in booleans:
    assert text.endswith(("(default: true)", "(default: false)"))


def test_full_help_lists_the_flags_of_the_libraries_too():
  done = subprocess.run(
    [sys.executable, "-m", "entrojax.prepare_data", "--helpfull"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0
  own, _, others = done.stdout.partition("flags of the libraries:")
  assert own.startswith(help_of("prepare_data").stdout.rstrip("\n"))
  assert "--verbosity" in others


# -- mistakes -----------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bare_command_says_what_it_needs(name, capsys):
  needs, hint = fail(capsys, name).splitlines()
  *first, last = COMMANDS[name]
  both = f"{', '.join(first)} and {last}" if first else last
  assert needs == f"entrojax.{name} needs {both}."
  assert hint == f"See python -m entrojax.{name} --help"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_named_with_the_nearest_one(name, capsys):
  last = COMMANDS[name][-1] if name != "tokens" else "--output"
  (line,) = fail(capsys, name, f"{last}s=x").splitlines()
  assert line == f"error: unknown flag {last}s; did you mean {last}?"
  (line,) = fail(capsys, name, "--zzz=1").splitlines()
  assert line == "error: unknown flag --zzz; see --help"


@pytest.mark.parametrize("name", [n for n in COMMANDS if len(COMMANDS[n]) > 1])
def test_a_required_flag_that_is_missing_is_named(name, capsys):
  arguments = [
    f"{need}=configs/grpo.py" if need == "--config" else "1"
    for need in COMMANDS[name][:-1]
    if need == "--config" or not need.startswith("--")
  ]
  (line,) = fail(capsys, name, *arguments).splitlines()
  assert line.startswith("error: ") and COMMANDS[name][-1] in line
  assert "required" in line


@pytest.mark.parametrize(
  ("name", "arguments", "message"),
  [
    ("export", ("--output=x",), "RUN is required: the directory of a run"),
    ("export", ("a", "b", "--output=x"), "unexpected argument 'b'"),
    ("export", ("a", "--output"), "--output needs a value"),
    ("export", ("a", "--output="), "--output is required"),
    ("export", ("a", "--output=x", "--dtype=int8"), "--dtype=int8: value sho"),
    ("prepare_data", ("math", "--output=x"), "SOURCE is required: a folder"),
    ("prepare_data", ("mat", "a", "--output=x"), "TASK must be one of 'math'"),
    ("choose_prompts", ("--size=x",), "--size=x: invalid literal"),
    ("main", ("--config=x.py", "--workdir=x"), "--config=x.py: there is no su"),
    ("main", ("--config", "x.py"), "--config=x.py: there is no such file"),
    (
      "main",
      ("--config=grop",),
      "--config=grop: there is no such file; did you mean configs/grpo.py?",
    ),
    (
      "main",
      ("--config=configs/gpro.py:demo",),
      "--config=configs/gpro.py:demo: there is no such file; did you mean "
      "configs/grpo.py?",
    ),
    (
      "main",
      ("--config=configs/grpo.py", "--config.learning_rate=1"),
      "unknown setting --config.learning_rate; did you mean "
      "optimizer.learning_rate?",
    ),
    (
      "main",
      ("--config", "configs/grpo.py", "--config.optimiser.learnig_rate=1"),
      "unknown setting --config.optimiser.learnig_rate; did you mean "
      "optimizer.learning_rate?",
    ),
    (
      "main",
      ("--config=configs/grpo.py", "--config.temperature=1"),
      "unknown setting --config.temperature; did you mean rollout.temperature "
      "or evaluation.temperature?",
    ),
    (
      "main",
      (
        "--config=configs/grpo.py",
        "--config.objective=('ppo_clip', 'mine.py:calm')",
        "--config.calm.strength=0.1",
      ),
      "unknown setting --config.calm.strength: a function of your own, calm, "
      "takes its arguments from a section 'calm', which the config does not",
    ),
    ("main", ("--show_settings",), "--show_settings needs a --config"),
    ("main", ("--config=Makefile",), "--config=Makefile: a config is a Python"),
    ("main", ("--config.seed=1",), "--config is required, before --config.se"),
    (
      "main",
      ("--config=configs/grpo.py:x", "--workdir=x"),
      "--config=configs/grpo.py:x: ValueError: no preset or testb",
    ),
    (
      "main",
      ("--config=configs/grpo.py:test", "--workdir="),
      "--workdir is required: the run directory",
    ),
  ],
)
def test_a_mistake_is_named_in_one_line(
  name, arguments, message, capsys, monkeypatch
):
  monkeypatch.chdir(ROOT)
  (line,) = fail(capsys, name, *arguments).splitlines()
  assert line.startswith(f"error: {message}")


def test_several_wrong_settings_are_named_at_once(capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  head, *lines = fail(
    capsys,
    "main",
    "--config",
    "configs/grpo.py:test",
    "--workdir=x",
    "--config.learning_rate=1",
    "--config.seed",
    "x",
    "--noconfig.model.scan_layer",
    "--config.rollout.temperature=0.5",
  ).splitlines()
  assert head == "error: 3 settings are wrong:"
  texts = (
    "unknown setting --config.learning_rate; did you mean optimizer.learning_r",
    "--config.seed=x: invalid literal",
    "unknown setting --noconfig.model.scan_layer; did you mean model.scan_la",
  )
  for number, (line, text) in enumerate(zip(lines, texts, strict=True), 1):
    assert line.startswith(f"  {number}. {text}")


def test_wrong_values_and_a_setting_without_effect_are_named_at_once(
  capsys, monkeypatch, tmp_path
):
  monkeypatch.chdir(ROOT)
  head, *lines = fail(
    capsys,
    "main",
    "--config=configs/grpo.py:test",
    f"--workdir={tmp_path / 'run'}",
    "--config.steer.min_weight=0.5",
    "--config.rollout.group_size=1",
    "--config.model.path=nowhere",
  ).splitlines()
  assert head == "error: 3 settings are wrong:"
  assert [line.split()[1] for line in lines] == [
    "steer.min_weight",
    "rollout.group_size",
    "model.path:",
  ]
  assert not (tmp_path / "run").exists()


def test_a_warning_for_users_has_no_place_in_the_program():
  place = ("entrojax/x.py", 3)
  assert format_warning("a\x1bb", UserWarning, *place) == "warning: a\\x1bb\n"
  text = format_warning("old", DeprecationWarning, *place)
  assert text.startswith("entrojax/x.py:3: DeprecationWarning: old")


# -- configs ------------------------------------------------------------------


def test_the_configs_are_listed_by_kind_with_their_presets():
  done = run_command("entrojax.main", "--list_configs")
  assert done.returncode == 0
  methods, testbeds, others, sweeps = done.stdout.split("\n\n")
  assert "  clip_cov " in methods and "configs/NAME.py" in methods
  (line,) = [t for t in testbeds.splitlines() if t.startswith("  countdown ")]
  assert line.endswith("that ships with entrojax. Presets: demo, test.")
  assert "  qwen25_7b_dapo " in others and "Presets: v5e, long." in others
  assert "configs/sweeps/NAME.py" in sweeps and "  quick " in sweeps
  files = [p.stem for p in (ROOT / "configs").rglob("*.py")]
  for name in set(files) - {"__init__"}:
    assert f"\n  {name} " in done.stdout, name


def test_the_configs_can_be_listed_only_where_they_are(
  monkeypatch, tmp_path, capsys
):
  monkeypatch.chdir(tmp_path)
  (line,) = fail(capsys, "main", "--list_configs").splitlines()
  assert line.startswith("error: there is no folder configs here: run the comm")


def test_all_settings_are_shown_with_the_defaults_that_they_change():
  done = run_command(
    "entrojax.main",
    "--config=configs/grpo.py:demo",
    "--config.seed=3",
    "--show_settings",
  )
  assert done.returncode == 0
  lines = done.stdout.splitlines()
  assert "seed = 3  # default: 0" in lines
  assert "optimizer.learning_rate = 0.00016  # default: 1e-06" in lines
  assert "optimizer.b1 = 0.9" in lines


# -- one command for all ------------------------------------------------------


def entrojax(monkeypatch, *arguments):
  monkeypatch.setattr(sys, "argv", ["entrojax", *arguments])
  importlib.import_module("entrojax.__main__").main()


def test_the_console_command_lists_all_commands(monkeypatch, capsys):
  entrojax(monkeypatch)
  printed = capsys.readouterr().out
  for name in COMMANDS:
    assert f"\n  {name} " in printed
  project = (ROOT / "pyproject.toml").read_text()
  assert 'entrojax = "entrojax.__main__:main"' in project


def test_the_console_command_runs_a_command_by_its_name(monkeypatch, capsys):
  monkeypatch.setattr(sys, "path", list(sys.path))
  with pytest.raises(SystemExit) as ended:
    entrojax(monkeypatch, "prepare_data", "--help")
  assert not ended.value.code
  assert "python -m entrojax.prepare_data TASK" in capsys.readouterr().out


def test_the_console_command_names_the_nearest_command(monkeypatch, capsys):
  with pytest.raises(SystemExit) as ended:
    entrojax(monkeypatch, "mian")
  assert ended.value.code == 2
  error = capsys.readouterr().err
  assert error == "error: there is no command 'mian'; did you mean main?\n"


# -- what a command gets ------------------------------------------------------


def make_command(act, **options):
  values = flags.FlagValues()
  flags.DEFINE_string("name", "nobody", "a name", flag_values=values)
  return command(values, **options)(lambda *rest: act(values.name, *rest))


def test_flags_and_arguments_come_in_any_order_and_are_forgotten():
  calls = []
  main = make_command(
    lambda *call: calls.append(call), arguments={"A": "one", "B...": "more"}
  )
  main(["a", "--name", "me", "b", "c"])
  main(["--name=you", "a", "b"])
  main(["a", "b"])
  assert calls == [
    ("me", "a", "b", "c"),
    ("you", "a", "b"),
    ("nobody", "a", "b"),
  ]


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError])
def test_an_error_is_one_line_without_a_traceback(error, capsys):
  def act(name):
    raise error(f"{name} is wrong")

  with pytest.raises(SystemExit) as ended:
    make_command(act)(["--name=x"])
  assert ended.value.code == 2
  assert capsys.readouterr().err == "error: x is wrong\n"


def test_a_wrong_setting_of_the_default_config_is_one_line():
  wrong = "--config.optimizer.learning_rat=1"
  done = subprocess.run(
    [sys.executable, "-m", "experiments.rehearse", wrong],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.splitlines() == [
    "error: unknown setting --config.optimizer.learning_rat; did you mean "
    "optimizer.learning_rate?"
  ]


def test_no_config_is_read_when_its_flag_is_defined():
  define = re.compile(r"DEFINE_config_file\(\s*\"config\",\s*(\w+)")
  for folder in ("entrojax", "experiments"):
    for path in (ROOT / folder).rglob("*.py"):
      defaults = define.findall(path.read_text())
      assert set(defaults) <= {"None", "flag_values"}, path


def test_a_default_config_gives_way_to_another_and_is_shown_by_help(capsys):
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file("config", flag_values=values)
  numbers = []
  main = command(
    values,
    settings="configs/default.py",
    default_config="configs/grpo.py:test",
  )(lambda: numbers.append(config.value.num_rollout_steps))
  main([])
  main(["--config.num_rollout_steps=7"])
  main(["--config=configs/default.py"])
  assert numbers == [2, 7, 100]
  with pytest.raises(SystemExit):
    main(["--help"])
  assert "(default: configs/grpo.py:test)" in capsys.readouterr().out


def test_a_command_without_flags_has_help(capsys):
  main = command(flags.FlagValues(), arguments={"FOLDER": "what to read"})(
    print
  )
  with pytest.raises(SystemExit) as ended:
    main(["--help"])
  assert ended.value.code == 0
  _, usage, arguments, end = capsys.readouterr().out.split("\n\n")
  assert usage.endswith(" FOLDER")
  assert arguments == "arguments:\n  FOLDER  what to read"
  assert end.startswith("--helpfull")


def test_all_experiments_have_the_same_form_of_command():
  for path in (ROOT / "experiments").rglob("*.py"):
    text = path.read_text()
    if '__name__ == "__main__"' in text and "absl import" in text:
      assert "@command(" in text and "app.run(" not in text, path


def test_an_interruption_is_reported_by_line_and_status(capsys):
  def act(name):
    raise KeyboardInterrupt

  with pytest.raises(SystemExit) as ended:
    make_command(act, interrupted="Interrupted. Run it again.")(["--name=x"])
  assert ended.value.code == 130
  assert capsys.readouterr().out == "Interrupted. Run it again.\n"


# -- the trace of main --------------------------------------------------------


def test_a_profile_is_the_first_and_the_last_rollout_step():
  assert parse_profile("1:1") == (1, 1)
  assert parse_profile("10:12") == (10, 12)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("3", "--profile=3 is not of the form FIRST:LAST"),
    ("-1:3", "--profile=-1:3 is not of the form FIRST:LAST"),
    ("1:2:3", "--profile=1:2:3 is not of the form FIRST:LAST"),
    ("1.5:3", "--profile=1.5:3 is not of the form FIRST:LAST"),
    ("0:3", "--profile=0:3 needs 1 <= FIRST <= LAST"),
    ("4:3", "--profile=4:3 needs 1 <= FIRST <= LAST"),
  ],
)
def test_a_profile_of_no_steps_is_named(text, message):
  with pytest.raises(ValueError, match=message):
    parse_profile(text)


def test_control_characters_of_an_error_are_shown_and_not_obeyed():
  text = "bad\x1b[31m red\x07 \u202e at:\nline 2, é"
  assert (
    harmless(text, keep_lines=True)
    == "bad\\x1b[31m red\\x07 \\u202e at:\nline 2, é"
  )
  done = run_command("entrojax.report", "no\x1b[31mrun", "--output=x.html")
  assert done.returncode == 2
  assert "\x1b" not in done.stderr and "no\\x1b[31mrun" in done.stderr
