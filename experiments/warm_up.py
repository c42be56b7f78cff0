"""Makes a base model by a supervised warm-up on random right answers.

    python -m experiments.warm_up --config=configs/warm_up_countdown.py \
        --output=runs/base

Supervised learning is the update of reinforcement learning with the data set's
answers as responses and an advantage of 1 on every token.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags
import jax
import jax.numpy as jnp
from ml_collections import config_flags
import numpy as np

from entrojax import aggregation, control, objectives, tokenizer
from entrojax.evaluate import evaluate_policy, summarize
from entrojax.metrics import finalize
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.optimizer import learning_rate_schedule, make_optimizer
from entrojax.rollout import generate, make_sampler, prompt_positions
from entrojax.tasks import countdown, make_task
from entrojax.train_step import init_state, make_update
from entrojax.types import Batch, Problem

_CONFIG = config_flags.DEFINE_config_file(
  "config", "configs/warm_up_countdown.py", "the warm-up's settings"
)
_OUTPUT = flags.DEFINE_string(
  "output", "runs/base", "the model folder to write"
)


def solutions(
  problems: Sequence[Problem], rng: np.random.Generator, count: int
) -> list[tuple[str, list[str]]]:
  """Returns (prompt, `count` random solutions) of problems that have any."""
  examples = []
  for problem in problems:
    try:
      texts = countdown.sample_solutions(
        problem.answer["numbers"], problem.answer["target"], rng, count
      )
    except ValueError:  # only fractions on the way lead to the target
      continue
    examples.append((problem.prompt, texts))
  return examples


def batches(
  examples: Sequence[tuple[str, list[str]]],
  words: tokenizer.Tokenizer,
  rng: np.random.Generator,
  *,
  batch_size: int,
  prompt_length: int,
  response_length: int,
) -> Iterator[Batch]:
  """Yields batches of random examples, each token's advantage 1."""
  count = len(examples[0][1])
  prompts = np.zeros((len(examples), prompt_length), np.int32)
  answers = np.zeros((len(examples), count, response_length), np.int32)
  for i, (prompt, texts) in enumerate(examples):
    ids = words.encode_prompt(prompt)
    prompts[i, prompt_length - len(ids) :] = ids
    for j, text in enumerate(texts):
      ids = [*words.encode(text), words.eos_ids[0]]
      answers[i, j, : len(ids)] = ids
  while True:
    rows = rng.integers(len(examples), size=batch_size)
    tokens = np.concatenate(
      [prompts[rows], answers[rows, rng.integers(count, size=batch_size)]], 1
    )
    present = (tokens != words.pad_id).astype(np.float32)
    mask = present[:, prompt_length:]
    yield Batch(
      tokens=tokens,
      positions=np.asarray(prompt_positions(present)),
      response_mask=mask,
      keep=np.ones(batch_size, np.float32),
      old_log_probs=np.zeros_like(mask),
      old_entropy=np.zeros_like(mask),
      advantages=np.ones_like(mask),
    )


def main(argv: Sequence[str]) -> None:
  del argv
  config, output = _CONFIG.value, Path(_OUTPUT.value)
  output.mkdir(parents=True, exist_ok=True)
  characters = countdown.CHARACTERS
  tokenizer.character_tokenizer(characters).save(str(output / "tokenizer.json"))
  sizes = DecoderConfig(vocab_size=3 + len(characters), **config.model)
  hugging_face.write_config(output, sizes, eos_token_id=2, pad_token_id=0)
  words = tokenizer.load(output)

  model = decoder(sizes)
  controller = control.no_control()
  settings = dict(config.optimizer)
  schedule = learning_rate_schedule(
    peak=settings.pop("learning_rate"),
    warmup_steps=settings.pop("warmup_steps"),
    decay_steps=config.num_steps,
    end_fraction=settings.pop("end_fraction"),
  )
  optimizer = make_optimizer(controller, schedule, **settings)
  update = jax.jit(
    make_update(
      model,
      objectives.reinforce(),
      aggregation.token_mean,
      controller,
      optimizer,
    ),
    donate_argnums=0,
  )
  rng = np.random.default_rng(config.seed)
  task = make_task("countdown")
  examples = solutions(task.load("train"), rng, config.solutions_per_problem)
  print(f"{len(examples)} training prompts", flush=True)
  data = batches(
    examples,
    words,
    rng,
    batch_size=config.batch_size,
    prompt_length=config.prompt_length,
    response_length=config.response_length,
  )
  state = init_state(model.init(jax.random.key(config.seed)), optimizer)
  for step in range(config.num_steps):
    state, metrics = update(state, None, next(data), jax.random.key(step))
    if step % 250 == 0 or step == config.num_steps - 1:
      values = finalize(
        {k: metrics[k] for k in ("actor/loss", "actor/entropy")}
      )
      print(
        f"step {step}: cross-entropy {values['actor/loss']:.4f} nats, "
        f"entropy {values['actor/entropy']:.4f} nats",
        flush=True,
      )
  hugging_face.save_params(output, state.params)

  sampled = jax.jit(
    lambda params, prompts, key: generate(
      model,
      params,
      prompts,
      key,
      group_size=config.evaluation.num_samples,
      response_length=config.response_length,
      eos_ids=words.eos_ids,
      pad_id=words.pad_id,
      sampler=make_sampler(),
    )
  )
  evaluation = evaluate_policy(
    sampled,
    jax.tree.map(jnp.asarray, state.params),
    task.load(config.evaluation.split),
    task.verify,
    words,
    jax.random.key(config.seed),
    prompt_length=config.prompt_length,
    prompts_per_batch=config.evaluation.prompts_per_batch,
  )
  for name, value in summarize(evaluation, task.name).items():
    print(f"{name} {value:.4f}")


if __name__ == "__main__":
  app.run(main)
