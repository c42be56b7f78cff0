"""Every setting of a run, once, with its meaning, unit and allowed values.

The other configs only override these settings, and so does the command line:
`--config.ppo_clip.clip_high=0.28`. A section that is named after a method holds
the arguments of that method's function, and is made from its signature:
`config.ppo_clip.clip_high` is the argument clip_high of
entrojax.objectives.ppo_clip. The function's docstring gives the meaning, and

    python -m configs.default ppo_clip entropic_pi

prints these settings with their meanings and defaults. Without names it prints
the settings of all methods.

Wherever a setting names a function, it may also name one of your own code, as
`package.module:name` or `path/to/file.py:name`; see entrojax/README.md.

The settings of objectives, advantage rules, controllers and `projection` that
are numbers may also be schedules over the optimizer steps of the run, such as
'linear(0.5, 0.3, 600)' or ((0, 0.5), (600, 0.3)); see entrojax/schedules.py.

A setting that is a placeholder has the value None, which means "not set", until
a config or the command line gives it a value of the placeholder's type.
"""

import sys

from ml_collections import ConfigDict as Config
from ml_collections import config_dict

from entrojax.assembly import sections
from entrojax.assembly.scheduling import setting

PROJECTIONS = (
  *("q_proj", "k_proj", "v_proj", "o_proj"),
  *("gate_proj", "up_proj", "down_proj"),
)


def get_config() -> Config:
  """Return plain GRPO, with no task and no model chosen."""
  config = Config()
  # seeds the order of prompts, the samples and the order of mini-batches
  config.seed = 0
  config.num_rollout_steps = 100  # length of the run in rollout batches

  config.model = Config(
    {
      # the initial policy: a folder in Hugging Face's format; bases/countdown,
      # bases/reasoning and bases/logic are part of this package
      "path": config_dict.placeholder(str),
      "dtype": "float32",  # type of the activations: float32 or bfloat16
      # type to which the operands of the layers' products are rounded: float32
      # or bfloat16, which is faster for many tokens on a CPU with AMX
      "product_dtype": "float32",
      # compile one layer and loop over it: shorter compilation of deep models
      "scan_layers": False,
      # what a layer keeps for the backward pass: False = everything, True = its
      # input, "attention" = also what fused attention returns, "auto" = as much
      # as fits into memory, decided before the first step (models/kept.py)
      "rematerialise": setting(False),
      # attention is computed in chunks of this many queries; 0 = all at once
      "query_chunk": 0,
      # compute the trainer's attention with fused TPU kernels; TPU only
      "fused_attention": False,
    }
  )
  config.lora = Config(
    {
      # rank of the adapter that is trained instead of the weights; 0 = no
      # adapter, all weights are trained
      "rank": 0,
      "alpha": 32.0,  # the adapter is scaled by alpha / rank
      "projections": PROJECTIONS,  # projections with an adapter, in every layer
    }
  )
  config.task = Config(
    {
      # a task of entrojax.tasks: a family such as countdown or sudoku, or
      # math/..., reasoning_gym/..., synlogic
      "name": config_dict.placeholder(str),
      "difficulty": 1,  # level of the task, from 1 = the easiest
      # problems to train on: a split of the task, or a part such as train[:100]
      "train_split": "train",
      # file written by entrojax.choose_prompts; only its problems are trained
      # on. None: all problems of train_split
      "subset": config_dict.placeholder(str),
      # folder of the data; None: ~/.cache/entrojax/data, or the folder that the
      # environment variable ENTROJAX_DATA_DIR names
      "data_dir": config_dict.placeholder(str),
      # for math, the columns of the files where they have other names than
      # entrojax/tasks/math_data.py knows, such as ('question=query',
      # 'answer=key'); the keys are question, answer, id, source and level
      "columns": (),
    }
  )
  config.prompt = Config(
    {
      # a function of entrojax/data/templates.py that is applied to the
      # problem's text
      "template": "none",
      # also apply the chat template of model.path
      "chat": False,
      # text of the system's turn; None leaves it to the chat template
      "system": config_dict.placeholder(str),
      # variables of the chat template, such as ('enable_thinking=False',)
      "template_arguments": (),
      # what to do with prompts of more than rollout.prompt_length tokens: raise
      # an error, or drop them and say how many
      "too_long": "raise",
    }
  )
  # number of devices on the axes (data, fsdp, tensor); -1 = all remaining ones
  config.mesh = (-1, 1, 1)

  config.rollout = Config(
    {
      "num_prompts": 64,  # Q, prompts in a rollout batch
      "group_size": 8,  # G, responses to each prompt; at least 2
      # P, the length that prompts are padded to, in tokens; prompt.too_long
      # decides about longer prompts
      "prompt_length": 256,
      # shorter prompt lengths, ascending, in tokens: a batch whose prompts all
      # fit is padded to the shortest of these instead; one compilation for each
      "prompt_buckets": (),
      "response_length": 1024,  # T, maximum length in tokens, EOS included
      # further tokens that end a response, as ids or texts: ("<|im_end|>",)
      "stop_tokens": (),
      # rows that are decoded at one time; when the response in a row ends, the
      # row is given the next response. 0 = the whole batch at one time
      "num_slots": 0,
      # decoding steps between two checks for ended rows; needs num_slots
      "refill_every": 8,
      # sampling temperature, above 0; entropies and log-probs are measured on
      # the distribution at this temperature
      "temperature": 1.0,
      "top_k": 0,  # sample from the k most likely tokens; 0 = off
      "top_p": 1.0,  # nucleus sampling; 1 = off
    }
  )
  # replace groups whose responses are all right or all wrong
  config.dynamic_sampling = Config(
    {
      "enabled": False,
      # at most this many rollout batches are sampled for one update
      "max_batches": 10,
      # with too few groups: train_partial, skip_step or raise
      "on_exhausted": "train_partial",
      # a group is kept if its mean reward lies between these, both included
      "low": 0.0,
      "high": 1.0,
    }
  )
  # train on responses that model.path sampled once, before the first update
  config.offline = Config(
    {
      "enabled": False,
      # file written by entrojax.collect; None: sampled at the start
      "rollouts": config_dict.placeholder(str),
      # prompts to sample responses for, rollout.group_size responses each
      "num_prompts": 2048,
    }
  )
  # how wrong responses are split into steps: rules or sat (Segment any Text),
  # which have sections of their own
  config.segmentation = Config({"name": "rules"})
  # judges of the steps of wrong responses: any of oracle, chat_model and
  # reward_model; a step is right if all of them accept it
  config.judges = ()
  # train on prompts from low to high semantic entropy, in stages
  config.curriculum = Config(
    {
      # file written by entrojax.prompt_entropy; None: no curriculum
      "table": config_dict.placeholder(str),
      "num_stages": 2,  # number of equal parts that the prompts are split into
      # rollout steps in each stage; the last stage lasts until the run's end
      "steps_per_stage": config_dict.placeholder(int),
    }
  )
  config.training = Config(
    {
      "updates_per_rollout": 1,  # optimizer steps on each rollout batch
      # passes over the rollout batch that all these optimizer steps make
      # together
      "num_epochs": 1,
      # parts that a mini-batch is split into to save memory; the gradient
      # still covers the whole mini-batch
      "num_microbatches": 1,
      # shorter response lengths, ascending, in tokens: each micro-batch gets
      # rows of similar length and is computed up to the shortest of these that
      # holds them all; every length is compiled
      "response_buckets": (),
      # what the backward pass keeps of all micro-batches: True = nothing, so
      # that only one micro-batch's activations are in memory at a time;
      # "layers" = the inputs of layers; "attention" = also what fused attention
      # returns; False = all arrays that cost more to recompute; "auto" as in
      # model.rematerialise
      "rematerialise": setting(True),
      # what statistics such as quantiles and covariances are taken over:
      # minibatch, or micro = each micro-batch by itself, as in released code
      "scope": "minibatch",
    }
  )

  # rules that turn rewards into advantages, applied in order; exactly one of
  # them is a baseline: a function of entrojax/advantages/baselines.py or
  # decomposed.py
  config.advantage = ("grpo",)
  # how a group's answers are sorted by meaning, for seed_grpo
  config.clusters = Config(
    {
      # when two answers are the same: exact text, normalised spelling, or
      # verified = equal by value according to the task
      "equality": "exact",
      # answers that could not be read: singleton = each one a cluster of its
      # own, shared = one cluster for all of them, drop = not counted
      "unparsed": "singleton",
    }
  )
  # the chain of objectives of entrojax.objectives, applied in order: one
  # surrogate, then members that reweight it or add terms
  config.objective = ("ppo_clip",)
  # how token losses become one number: token-mean, seq-mean-token-mean,
  # seq-mean-token-sum, or seq-mean-token-sum-norm
  config.aggregation = "token-mean"

  config.control = Config(
    {
      # a controller of entrojax.control; no_control = none
      "name": "no_control",
      # entropy to hold, nats per token; stage_schedule and epoch_schedule take
      # none
      "target": setting(None),
      # the entropy that controllers, rules, the projection, and the members
      # stare, adaptive_stare and dcpo steer by: policy = of everything sampled,
      # batch = of the groups that dynamic sampling has kept, which is higher.
      # Without dynamic sampling both are the same
      "signal": "policy",
    }
  )
  # correct each finished optimizer step so that it changes the entropy by a
  # prescribed amount; the other settings of this section are the arguments of
  # entropy_projection (python -m configs.default projection)
  config.projection = Config({"enabled": False})
  config.optimizer = Config(  # AdamW
    {
      # the peak, after the warm-up; or a schedule of the learning rate, which
      # takes no warm-up and no decay
      "learning_rate": setting(1e-6),
      "warmup_steps": 0,  # optimizer steps of the linear rise from 0
      # optimizer steps of the cosine decay after the warm-up; 0 = constant
      "decay_steps": 0,
      # learning rate at the end of the decay, as a fraction of the peak
      "end_fraction": 0.0,
      "b1": 0.9,  # decay of the first moment, in [0, 1)
      "b2": 0.999,  # decay of the second moment, in [0, 1)
      "eps": 1e-8,  # added to the root of the second moment
      "weight_decay": 0.0,  # of matrices; norm scales and biases have none
      "max_grad_norm": 1.0,  # gradients are clipped to this global norm
      # an optimizer step whose gradient has a larger global norm is skipped;
      # None: only steps whose numbers are not finite are skipped
      "skip_grad_norm": config_dict.placeholder(float),
      # how the first moment is stored: float32, or bfloat16 for half the memory
      "mu_dtype": "float32",
    }
  )

  # the policy is evaluated before the first and after the last rollout step
  config.evaluation = Config(
    {
      "split": "validation",  # held-out problems: a split, or a part of one
      # evaluate on these sets instead, each NAME[#LEVEL][:SPLIT][@FOLDER] or a
      # pair of that and a number of samples; what a name leaves out is as set
      # here and in task. (): only on the task's evaluation.split
      "tasks": (),
      # rollout steps between further evaluations; 0 = none
      "every": 0,
      # samples for each prompt, 1 if greedy; pass@k is reported up to this k
      "num_samples": 64,
      # sampling temperature; 0 = greedy, None = rollout.temperature
      "temperature": config_dict.placeholder(float),
      "top_k": 0,  # sample from the k most likely tokens; 0 = off
      "top_p": 1.0,  # nucleus sampling; 1 = off
      "prompts_per_batch": 16,  # prompts that are decoded together
      # samples whose tokens are kept for the token view, of each prompt of the
      # first batch of prompts; 0 = none. The base's parameters then stay in
      # memory, and each evaluation takes two more forward passes of that batch
      "token_samples": 0,
    }
  )
  config.checkpoint = Config(
    {
      # rollout steps between checkpoints; 0 = none by this rule. A run also
      # saves at its end and when it is interrupted
      "every": 0,
      "minutes": 10.0,  # minutes between checkpoints; 0 = none by this rule
      # number of checkpoints to keep, the newest ones. If an alarm may roll
      # back, one from before alarms.window and its successor are kept as well
      "keep": 2,
      # also keep the checkpoint with the highest value of this metric of the
      # evaluations, such as val/countdown/pass@8; None: only the newest
      "keep_best": config_dict.placeholder(str),
    }
  )
  # numbers that are not finite
  config.faults = Config(
    {
      # the run ends after this many rollout steps in a row in which an
      # optimizer step was skipped; it is saved, and the last batch is kept
      "max_in_a_row": 5,
      # a reward that is no finite number, or whose function raised: zero = the
      # response counts as wrong, raise = the run ends
      "reward": "zero",
    }
  )
  config.log = Config(
    {
      # rollout steps between lines where no terminal shows progress; the files
      # in the run directory get every step
      "every": 10,
      # responses of each evaluation that are written to samples.jsonl
      "samples": 8,
      # log the KL divergences from the base and from the sampling policy, also
      # by fifths of token entropy and of position. Without a KL penalty in the
      # loss this takes one more forward pass per rollout batch, and the base's
      # parameters stay in memory
      "reference_kl": False,
      # optimizer steps between measurements of covariance by quantile and of
      # gradient norms by group of tokens, 7 backward passes each; 0 = none
      "token_groups": 0,
      # rollout steps, from 1, whose batches are kept for entrojax.replay; each
      # file is a few times as large as the parameters
      "keep_batches": (),
      # Weights & Biases project; None: W&B is not used
      "wandb_project": config_dict.placeholder(str),
    }
  )
  # measure where the entropy goes: an optimizer step is taken apart and logged
  # as ledger/...; see entrojax/instruments/ledger.py
  config.ledger = Config(
    {
      # rollout steps between entries; 0 = none. An entry takes about as long
      # as 8 optimizer steps. It is logged with the next rollout step, and is
      # lost if the run is stopped before that
      "every": 0,
    }
  )
  # each alarm is off, warn = one line in the progress display, stop = save and
  # end the run, or roll_back = go back to a checkpoint from before the window
  # and resume with another setting. Limits are compared with means over the
  # last `window` steps
  config.alarms = Config(
    {
      "window": 10,  # rollout steps
      # the setting that a roll-back changes, and its new value, such as
      # ("ppo_clip.clip_high", 0.28)
      "roll_back": (),
      "collapse": "warn",  # the entropy has fallen
      "collapse_limit": 0.1,  # share of the entropy of the first steps
      "explosion": "warn",  # the entropy has risen
      "explosion_limit": 3.0,  # times the entropy of the first steps
      "length": "warn",  # responses have become long
      "length_limit": 3.0,  # times the mean length in the first steps
      # optimizer steps without a gradient, as when no group has a signal
      "idle": "stop",
      "idle_limit": 0.99,  # share of optimizer steps
      "no_signal": "warn",  # groups whose responses are all right or all wrong
      "no_signal_limit": 0.9,  # share of groups
      "low_reward": "warn",
      "low_reward_limit": 0.01,  # mean reward
      "high_reward": "warn",
      "high_reward_limit": 0.99,  # mean reward
      "mismatch": "warn",  # largest difference between sampler and trainer
      "mismatch_limit": 1.0,  # nats per token
    }
  )
  # a section for every objective, advantage rule, controller, judge and
  # segmenter, and the arguments of the projection
  config.update(sections.method_sections())
  return config


if __name__ == "__main__":
  for name in sys.argv[1:] or sections.method_names():
    print(sections.describe(name))
