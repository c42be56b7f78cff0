"""Judges of steps: oracle, chat model over HTTP, reward model, consensus."""

import http.client
import http.server
import json
import math
import threading
import time

import jax
import numpy as np
import pytest

from entrojax.data import tokenizer
from entrojax.judges import chat_model, consensus, oracle, reward_model
from entrojax.judges.chat_model import JudgeError, read_reply
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.tasks.families import arithmetic_chain
from entrojax.tasks.families.countdown import FAMILY as COUNTDOWN
from entrojax.types import Problem, Reasoning, Task
from tests.helpers.tiny_models import random_params

pytestmark = pytest.mark.slow

KEY = "sk-a-secret"
PROBLEM = Problem("3+4*2-5:", {"steps": ["7", "14", "9"]})


def chain_task():
  family = arithmetic_chain.FAMILY
  return Task(family.name, None, family.verify, judge_steps=family.judge_steps)


@pytest.mark.parametrize(
  ("steps", "right"),
  [
    (["7;", "14;", "9"], [True, True, True]),
    (["7;", "15;", "9"], [True, False, False]),
    (["7;", "14"], [True, True]),
    (["7;", "14;", "9;", "3"], [True, True, True, False]),
    (["7;14;", "9"], [True, True]),  # cut at other places
    (["7;15;", "9"], [False, False]),  # a part of it is wrong
    (["7;1", "5;9"], [False, False]),
    (["", "7;"], [False, True]),
    ([" 7 ;", "x"], [True, False]),
    ([], []),
  ],
)
def test_the_oracle_calls_pieces_right_that_have_no_part_of_a_wrong_step(
  steps, right
):
  judge = oracle(task=chain_task())
  assert judge([Reasoning(PROBLEM, steps)]) == [right]


def test_a_task_without_an_oracle_is_refused_by_name():
  task = Task(COUNTDOWN.name, None, COUNTDOWN.verify)
  with pytest.raises(ValueError, match="'countdown' has no exact judge"):
    oracle(task=task)


def test_a_step_is_right_if_every_judge_says_so():
  assert consensus([[True, True, False], [True, False, False]]) == [
    True,
    False,
    False,
  ]
  assert consensus([[True, False]]) == [True, False]
  with pytest.raises(ValueError, match="no judge"):
    consensus([])
  with pytest.raises(ValueError, match="number of steps"):
    consensus([[True], [True, True]])


# -- over HTTP ----------------------------------------------------------------


class Service:
  """An HTTP service that answers from a list and records its requests."""

  def __init__(self, *answers):
    self.answers, self.requests = list(answers), []
    service = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service.requests.append(
          (self.path, dict(self.headers), json.loads(body))
        )
        answer = service.answers.pop(0)
        if callable(answer):
          answer = answer(self)
        if answer is None:  # close the connection without a reply
          return
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers.items():
          self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

      def log_message(self, *unused):
        pass

    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    self._server.daemon_threads = True
    self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

  def __enter__(self):
    threading.Thread(
      target=self._server.serve_forever, args=(0.01,), daemon=True
    ).start()
    return self

  def __exit__(self, *unused):
    self._server.shutdown()
    self._server.server_close()


def reply_with(content):
  reply = {"choices": [{"message": {"content": content}}]}
  return 200, {}, json.dumps(reply).encode()


RIGHT_WRONG = reply_with('{"verdicts": [true, false]}')
REASONINGS = [Reasoning(PROBLEM, ["7;", "15"])]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  monkeypatch.setenv("OPENAI_API_KEY", KEY)


def make(service, **settings):
  pauses = []
  settings = {
    "model": "m",
    "concurrency": 1,
    "sleep": pauses.append,
    **settings,
  }
  return chat_model(url=service.url, **settings), pauses


def test_a_service_is_asked_once_with_the_key_and_remembered(tmp_path, capfd):
  cache = tmp_path / "new" / "verdicts"
  with Service(RIGHT_WRONG, RIGHT_WRONG) as service:
    judge, pauses = make(service, cache=cache)
    assert judge(REASONINGS) == [[True, False]]
    assert judge([*REASONINGS, Reasoning(PROBLEM, [])]) == [[True, False], []]
    again, _ = make(service, cache=cache)  # stands for the next run
    assert again(REASONINGS) == [[True, False]]
    other, _ = make(service, cache=cache, model="another")
    other(REASONINGS)
  assert len(service.requests) == 2 and not pauses
  path, headers, body = service.requests[0]
  assert path == "/v1/chat/completions"
  assert headers["Authorization"] == f"Bearer {KEY}"
  question = json.loads(body["messages"][1]["content"])
  assert question == {"problem": PROBLEM.prompt, "steps": ["7;", "15"]}
  assert KEY not in cache.read_text() + "".join(capfd.readouterr())


def test_a_cache_that_was_cut_off_or_spoiled_loses_only_those_lines(tmp_path):
  cache = tmp_path / "verdicts"
  with Service(RIGHT_WRONG, RIGHT_WRONG) as service:
    make(service, cache=cache)[0](REASONINGS)
    line = cache.read_text()
    cache.write_text('[]\n{"request": 1}\n' + line[:-5])
    make(service, cache=cache)[0](REASONINGS)
    make(service, cache=cache)[0](REASONINGS)
  assert len(service.requests) == 2


def test_a_busy_service_is_asked_again_after_growing_pauses():
  busy, lost = (429, {}, b""), (503, {}, b"")
  with Service(busy, lost, None, RIGHT_WRONG) as service:
    judge, pauses = make(service, first_pause=0.5)
    assert judge(REASONINGS) == [[True, False]]
  assert pauses == [0.5, 1.0, 2.0]


def echo_key(handler):
  return 401, {}, handler.headers["Authorization"].encode()


@pytest.mark.parametrize(
  ("answers", "message", "count"),
  [
    ([echo_key], "status 401", 1),
    ([(404, {}, b"")], "status 404", 1),
    ([(302, {"Location": "http://127.0.0.1:1/"}, b"")], "status 302", 1),
    ([(500, {}, b"")] * 3, "status 500, 3 times", 3),
  ],
)
def test_a_service_that_refuses_is_an_error_without_the_key(
  answers, message, count
):
  with Service(*answers) as service:
    judge, _ = make(service, max_tries=3)
    with pytest.raises(JudgeError, match=message) as caught:
      judge(REASONINGS)
  assert len(service.requests) == count
  assert KEY not in str(caught.value)


def test_a_service_is_given_the_pause_that_it_asks_for():
  busy = [(429, {"Retry-After": value}, b"") for value in ("7", "soon", "999")]
  with Service(*busy, RIGHT_WRONG) as service:
    judge, pauses = make(service, first_pause=0.5)
    assert judge(REASONINGS) == [[True, False]]
  assert pauses == [7, 1, 60]


def test_a_reply_that_was_cut_off_or_is_malformed_is_asked_for_again():
  status, _, body = RIGHT_WRONG
  cut = (status, {"Content-Length": str(len(body))}, body[:-9])
  with Service(cut, reply_with("no idea"), RIGHT_WRONG) as service:
    judge, pauses = make(service, first_pause=0.5)
    assert judge(REASONINGS) == [[True, False]]
  assert pauses == [0.5, 1]


@pytest.mark.parametrize("drips", ["nothing", "a body", "headers"])
def test_a_try_ends_in_time_even_if_the_service_drips(drips):
  release = threading.Event()

  def slow(handler):
    if drips != "nothing":
      handler.send_response(200)
      if drips == "a body":
        handler.end_headers()
      handler.flush_headers()
      while not release.wait(0.05):
        try:
          handler.wfile.write(b"x")
        except OSError:
          return
    release.wait(5)
    return

  with Service(slow) as service:
    judge, _ = make(service, timeout=0.3, max_tries=1)
    started = time.monotonic()
    with pytest.raises(JudgeError, match=r"no answer in 0\.3 s"):
      judge(REASONINGS)
    assert time.monotonic() - started < 3
    release.set()


def test_the_time_to_connect_counts_as_a_part_of_the_try(monkeypatch):
  connect, limits = http.client.HTTPConnection.connect, []

  def slow(self):
    time.sleep(0.2)
    connect(self)

  class Timer(threading.Timer):
    def __init__(self, interval, function):
      limits.append(interval)
      super().__init__(interval, function)

  monkeypatch.setattr(http.client.HTTPConnection, "connect", slow)
  monkeypatch.setattr(threading, "Timer", Timer)
  with Service(RIGHT_WRONG) as service:
    assert make(service, timeout=30)[0](REASONINGS) == [[True, False]]
  assert len(limits) == 1
  assert limits[0] <= 30 - 0.2


MALFORMED = [
  "",
  "yes",
  "{}",
  '{"verdicts": [true]}',
  '{"verdicts": [true, false, true]}',
  '{"verdicts": [true, "false"]}',
  '{"verdicts": [true, 2]}',
  '{"verdicts": {"0": true}}',
  '{"verdicts": [true, false]',
  "[" * 100_000,
  '{"verdicts": ' + "[" * 100_000 + "}",
]


@pytest.mark.parametrize("content", MALFORMED, ids=range(len(MALFORMED)))
def test_a_reply_that_is_no_list_of_verdicts_is_none(content):
  assert read_reply(reply_with(content)[2], 2) is None


@pytest.mark.parametrize(
  "reply", [b"", b"{", b"[]", b'{"choices": []}', b"\xff", b'{"choices": 3}']
)
def test_a_reply_that_is_no_message_is_none(reply):
  assert read_reply(reply, 2) is None


@pytest.mark.parametrize(
  "content",
  [
    '{"verdicts": [true, false]}',
    '```json\n{"verdicts": [1, 0]}\n```',
    'Here: {"verdicts": [true, false]}.',
    r'Since \frac{1}{2}=0.5, {"verdicts": [true, false]} as \boxed{1} is wrong',
    '<think>{"verdicts": [false, false]}?</think>{"verdicts": [true, false]}',
  ],
)
def test_verdicts_may_stand_in_a_fence_or_among_words(content):
  assert read_reply(reply_with(content)[2], 2) == [True, False]


def test_malformed_replies_are_no_verdict_give_a_warning_and_are_not_kept(
  tmp_path,
):
  huge = reply_with("x" * (2 << 20))
  with Service(reply_with("no idea"), huge, RIGHT_WRONG) as service:
    judge, _ = make(service, cache=tmp_path / "verdicts", max_tries=1)
    for _ in range(2):
      with pytest.warns(UserWarning, match="1 of 1 replies are no list"):
        assert judge(REASONINGS) == [None]
    assert judge(REASONINGS) == [[True, False]]


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"url": None}, r"chat_model\.url must be"),
    ({"url": "ftp://host"}, r"chat_model\.url must be"),
    ({"url": f"http://user:{KEY}@host"}, r"chat_model\.url must be"),
    ({"url": f"http://host/?key={KEY}"}, r"chat_model\.url must be"),
    ({"url": "http://[host"}, r"chat_model\.url must be"),
    ({"model": None}, r"chat_model\.model is not set"),
    ({"key_variable": "NO_SUCH"}, "variable NO_SUCH is not set"),
    ({"timeout": 0.0}, r"chat_model\.timeout .* 0\.0"),
    ({"timeout": math.inf}, r"chat_model\.timeout must be finite, got inf"),
    ({"max_tries": 0}, r"chat_model\.max_tries .* 0"),
    ({"concurrency": 0}, r"chat_model\.concurrency .* 0"),
  ],
)
def test_a_setting_that_cannot_work_is_named(settings, message):
  with pytest.raises(ValueError, match=message) as caught:
    chat_model(**{"url": "http://host/v1", "model": "m", **settings})
  assert KEY not in str(caught.value)


def test_a_service_may_need_no_key():
  with Service(RIGHT_WRONG) as service:
    make(service, key_variable="")[0](REASONINGS)
  assert "Authorization" not in service.requests[0][1]


# -- a reward model -----------------------------------------------------------

CHARACTERS = "0123456789+-*;:~YN"


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "lm_head"])
def folder(request, tmp_path_factory):
  path = tmp_path_factory.mktemp("prm")
  sizes = DecoderConfig(
    vocab_size=3 + len(CHARACTERS),
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    tie_word_embeddings=request.param,
  )
  tokenizer.character_tokenizer(CHARACTERS).save(str(path / "tokenizer.json"))
  hugging_face.write_folder(
    path,
    sizes,
    random_params(sizes),
    {"eos_token_id": 2, "pad_token_id": 0},
  )
  return path


def settings_for(folder, **settings):
  marks = {"separator": "~", "good": "Y", "bad": "N"}
  sizes = {"max_length": 24, "batch_size": 2}
  return {"path": str(folder), **marks, **sizes, **settings}


TEXTS = [["7;", "15;", "9"], ["1;2;3;4"], ["9;", "8;"]]
LONGEST = 24  # tokens of problem and steps


def expected_scores(folder, steps):
  """Compute pi(Y) / (pi(Y) + pi(N)) after each ~, one text at a time."""
  words = tokenizer.load(folder)
  sizes, params = hugging_face.load(folder)
  apply, scores = jax.jit(decoder(sizes).apply), []
  for k in range(1, len(steps) + 1):
    text = PROBLEM.prompt + "".join(step + "~" for step in steps[:k])
    ids = words.encode(text)
    padding = LONGEST - len(ids)  # of one length, to compile once
    hidden, _ = apply(
      params,
      np.pad(ids, (0, padding))[None],
      np.pad(np.arange(len(ids)), (0, padding), constant_values=-1)[None],
    )
    marks = [words.encode(mark)[0] for mark in "YN"]
    table = np.asarray(params.get("lm_head", params["embed_tokens"]))[marks]
    good, bad = table.astype(np.float64) @ np.asarray(hidden)[0, len(ids) - 1]
    scores.append(1 / (1 + np.exp(bad - good)))
  return scores


def test_scores_are_the_model_s_odds_of_the_marks_after_each_step(folder):
  scores = [expected_scores(folder, steps) for steps in TEXTS]
  ordered = sorted(s for text in scores for s in text)
  # between two scores, whose gap is far above float32's rounding
  gaps = np.diff(ordered)
  threshold = float(ordered[int(np.argmax(gaps))] + gaps.max() / 2)
  assert gaps.max() > 1e-3
  judge = reward_model(**settings_for(folder, threshold=threshold))
  reasonings = [Reasoning(PROBLEM, steps) for steps in TEXTS]
  expected = [[score > threshold for score in text] for text in scores]
  assert {v for text in expected for v in text} == {True, False}
  assert judge(reasonings) == expected
  # a response gets the same verdicts in any batch
  assert [judge([one])[0] for one in reasonings] == expected


def test_steps_that_are_not_read_count_as_wrong_with_a_warning(folder):
  judge = reward_model(**settings_for(folder, threshold=0.0, max_length=11))
  reasonings = [
    Reasoning(PROBLEM, ["7;", "14;"]),  # the prompt has 8 tokens
    Reasoning(PROBLEM, ["what?"]),
    Reasoning(PROBLEM, []),
  ]
  with pytest.warns(UserWarning, match="2 of 3 responses are not read whole"):
    assert judge(reasonings) == [[True, False], [False], []]


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"path": None}, r"reward_model\.path: None is not a folder"),
    ({"good": None}, r"reward_model\.good is not set"),
    ({"separator": ""}, r"reward_model\.separator is not set"),
    ({"bad": "NN"}, r"reward_model\.bad must be one token, 'NN' has 2"),
    ({"threshold": 1.5}, r"reward_model\.threshold .* 1\.5"),
    ({"max_length": 0}, r"reward_model\.max_length .* 0"),
  ],
)
def test_a_reward_model_that_cannot_work_is_refused(settings, message, folder):
  with pytest.raises(ValueError, match=message):
    reward_model(**settings_for(folder, **settings))
