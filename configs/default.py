"""Every setting once, with its unit. Other configs only override.

A method's section bears the name of its function in entrojax, and its keys are
that function's arguments: `config.ppo_clip.clip_high` is the clip_high of
entrojax.objectives.ppo_clip.
"""

from ml_collections import ConfigDict as Config
from ml_collections import config_dict

PROJECTIONS = (
  *("q_proj", "k_proj", "v_proj", "o_proj"),
  *("gate_proj", "up_proj", "down_proj"),
)


def get_config() -> Config:
  """Returns plain GRPO, with no data set and no model chosen."""
  config = Config()
  config.seed = 0  # of the order of prompts, the samples and the mini-batches
  config.num_rollout_steps = 100  # rollout batches of the run

  config.model = Config(
    {
      "path": config_dict.placeholder(str),  # a folder; bases/... ship with us
      "dtype": "float32",  # of activations; bfloat16 on TPU
      "scan_layers": False,  # loop over one compiled layer: for deep models
      "rematerialise": False,  # keep only each layer's input for the backward
      "query_chunk": 0,  # queries attended at one time; 0 = all: for long ones
      "fused_attention": False,  # on TPUs, of tokens that need no cache
    }
  )
  config.lora = Config(
    {
      "rank": 0,  # of the adapter that is trained; 0 = all weights are
      "alpha": 32.0,  # its scale is alpha / rank
      "projections": PROJECTIONS,  # of every layer
    }
  )
  config.task = Config(
    {
      "name": config_dict.placeholder(str),  # a module of entrojax.tasks
      "difficulty": 1,  # level of the task, 1 = the easiest
      "train_split": "train",
      "subset": config_dict.placeholder(str),  # of choose_prompts; None: all
      "data_dir": config_dict.placeholder(str),  # None: the task's default
    }
  )
  config.prompt = Config(
    {
      "template": "none",  # of entrojax.templates, around a problem's prompt
      "chat": False,  # and around that the chat template of model.path
    }
  )
  config.mesh = (-1, 1, 1)  # devices on (data, fsdp, tensor); -1 = the rest

  config.rollout = Config(
    {
      "num_prompts": 64,  # Q, prompts in a rollout batch
      "group_size": 8,  # G, responses to each prompt
      "prompt_length": 256,  # P, tokens; longer prompts are refused
      "prompt_buckets": (),  # smaller P, ascending, of batches that fit
      "response_length": 1024,  # T, tokens, EOS included
      "num_slots": 0,  # rows decoded at one time, refilled; 0 = all of them
      "refill_every": 8,  # tokens between two looks for ended rows
      "temperature": 1.0,
      "top_k": 0,  # 0 = off
      "top_p": 1.0,  # 1 = off
    }
  )
  config.dynamic_sampling = Config(  # groups all right or wrong are replaced
    {
      "enabled": False,
      "max_batches": 10,  # of num_prompts, sampled for one update at most
      "on_exhausted": "train_partial",  # if groups miss; skip_step, raise
    }
  )
  config.offline = Config(  # trains on rollouts that model.path sampled once
    {
      "enabled": False,
      "rollouts": config_dict.placeholder(str),  # of collect; None: made first
      "num_prompts": 2048,  # to make them of; each gets rollout.group_size
    }
  )
  config.segmentation = Config({"name": "rules"})  # of responses into steps
  config.rules = Config(
    {
      "min_length": 40,  # characters of a step
      "separators": (),  # texts to cut after, beside lines and sentences
    }
  )
  config.sat = Config(
    {
      "model": "sat-3l-sm"  # a folder, or a name on the Hugging Face hub
    }
  )
  # of the steps of wrong responses: oracle, chat_model, reward_model; a step is
  # right if all of them say so
  config.judges = ()
  config.oracle = Config()
  config.chat_model = Config(  # behind an OpenAI-compatible HTTP service
    {
      "url": config_dict.placeholder(str),  # without /chat/completions
      "model": config_dict.placeholder(str),  # its name there
      "key_variable": "OPENAI_API_KEY",  # of the environment; "" = no key
      "timeout": 60.0,  # seconds of one try
      "max_tries": 5,
      "first_pause": 1.0,  # seconds before the second try, then doubled
      "concurrency": 8,  # requests at once
    }
  )
  config.reward_model = Config(  # of steps: a language model that marks them
    {
      "path": config_dict.placeholder(str),  # its folder
      "separator": config_dict.placeholder(str),  # text behind each step
      "good": config_dict.placeholder(str),  # token of a right step
      "bad": config_dict.placeholder(str),  # token of a wrong one
      "threshold": 0.5,  # score above which a step is right
      "max_length": 2048,  # tokens of problem and steps
      "batch_size": 8,  # responses at once
      "dtype": "float32",  # of activations
    }
  )
  config.curriculum = Config(  # of prompts, by semantic entropy
    {
      "table": config_dict.placeholder(str),  # of prompt_entropy; None: off
      "num_stages": 2,
      "steps_per_stage": config_dict.placeholder(int),  # rollout steps
    }
  )
  config.training = Config(
    {
      "updates_per_rollout": 1,  # optimizer steps on one rollout batch
      "num_epochs": 1,  # passes over it that these steps make together
      "num_microbatches": 1,  # parts of a mini-batch run one after another
      "rematerialise": True,  # hold the activations of one part at a time
      "scope": "minibatch",  # of batch statistics; micro: of each part
    }
  )

  # rules from rewards to advantages, in order; one of them is a baseline:
  # grpo, dr_grpo, rloo, psr, nsr, w_reinforce
  config.advantage = ("grpo",)
  config.grpo = Config()
  config.dr_grpo = Config()
  config.rloo = Config()
  config.w_reinforce = Config(
    {
      "positive_weight": 0.1  # advantage of right responses; wrong ones: -1
    }
  )
  config.psr = Config(
    {
      "denominator": "kept"  # tokens of right responses; all: every token
    }
  )
  config.nsr = Config(
    {
      "denominator": "kept"  # tokens of wrong responses; all: every token
    }
  )
  config.overlong_penalty = Config(  # before the baseline
    {
      "max_length": 1024,  # tokens, of the full penalty
      "cache_length": 256,  # tokens before, over which it grows
      "factor": 0.5,  # reward; right is worth 1. 0.5 = DAPO's, of +-1
    }
  )
  config.overlong_filter = Config()
  config.unlikeliness = Config(  # before the baseline
    {
      "beta": 0.25,  # largest part of a reward that is taken
      "rank_base": 1,  # rank of the most likely response: 1 or 0
      "rank_among": "all",  # responses of a group; or the correct ones
      "score": "mean",  # log-prob of a response's tokens; or their sum
    }
  )
  config.seed_grpo = Config(  # after the baseline
    {
      "estimator": "rao",  # of semantic entropy; count, mc, mc_unnormalised
      "form": "inverse",  # of the factor; linear, exp, focal
      "alpha": 0.0417,  # its strength; takes 4 % at most. 0.5 to 1 tells
    }
  )
  config.clusters = Config(  # of a group's answers, for seed_grpo
    {
      "equality": "exact",  # of answers; normalised, verified
      "unparsed": "singleton",  # a cluster each; shared: one; drop: none
    }
  )
  config.entrocraft = Config(  # after the baseline
    {
      "low": (0.6, 0.4),  # nats, lower bound at the start and at the end
      "high": (0.7, 0.5),  # nats, upper bound
      "anneal_steps": 0,  # rollout steps from first to last; 0 = last at once
      "signal": "advantage",  # outside the band; or reward, as released
    }
  )
  config.grpo_dropout = Config(  # after the baseline
    {
      "centre": "weighted",  # by exp(log-prob); equal, none
      "centre_whole_groups": True,  # also groups that lost no response
    }
  )
  config.objective = ("ppo_clip",)  # members of the chain, in order
  config.aggregation = "token-mean"  # seq-mean-token-{mean,sum,sum-norm}
  config.reinforce = Config()
  config.bcpg = Config(  # with aggregation seq-mean-token-mean alone
    {
      "tau": 1e-3  # reward per nat of a response's log-prob, a sum over tokens
    }
  )
  config.negative_sample_augmentation = Config(  # needs offline and judges
    {
      "beta": 0.5  # times A on right steps of wrong responses; 1 = off
    }
  )
  config.ppo_clip = Config(
    {
      "clip_low": 0.2,
      "clip_high": 0.2,
      "dual_clip": 3.0,  # bound of loss / |A| at A < 0; None (in a file) = off
    }
  )
  config.gspo = Config(  # with aggregation seq-mean-token-mean alone
    {
      "clip_low": 3e-4,
      "clip_high": 4e-4,
    }
  )
  config.cispo = Config(
    {
      "clip_low": 0.2,  # 1 = no lower bound
      "clip_high": 0.28,
    }
  )
  config.ce_gppo = Config(
    {
      "clip_low": 0.2,
      "clip_high": 0.28,
      "beta_low": 0.75,  # of clipped tokens at A < 0; 0 = no gradient
      "beta_high": 1.0,  # of clipped tokens at A > 0
      "dual_clip": 3.0,  # bound of loss / |A| at A < 0; None (in a file) = off
    }
  )
  config.clip_cov = Config(
    {
      "fraction": 2e-4,  # of all response tokens, to drop; no percentage
      "cov_low": 1.0,  # nats; candidates have a covariance above
      "cov_high": 5.0,  # nats; and below
      "clip_low": 1.0,
      "clip_high": 1.0,
    }
  )
  config.kl_cov = Config(
    {
      "fraction": 2e-3,  # of all response tokens, to pull; no percentage
      "kl_coef": 1.0,  # loss per nat
      "kl_form": "abs",  # abs, k2, k3
    }
  )
  config.top_entropy = Config(
    {
      "fraction": 0.2,  # of all response tokens, to keep
      "select": "top",  # exactly; quantile: ties as well
      "which": "high",  # entropy; or low
      "norm": "selected",  # the denominator's tokens: selected or all
    }
  )
  config.steer = Config(
    {
      "min_weight": 0.8,  # of the token that moves the entropy most
      "form": "theorem",  # or released
      "floor": 1e-12,  # nats, of the mini-batch's largest change
      "clip_low": 0.2,  # as in ppo_clip: clipped tokens do not count
      "clip_high": 0.2,
    }
  )
  config.erc = Config(
    {
      "low": 0.95,  # entropy / old entropy: tokens beyond stop learning
      "high": 1.05,
    }
  )
  config.stare = Config(
    {
      "target": 0.3,  # nats per token: acts while entropy is below
      "fraction": 0.1,  # of the tokens of one sign of advantage
      "positive_weight": 1.1,  # of the loss of rare tokens at A > 0
      "negative_weight": 1.0,  # and at A < 0; 1 = off
    }
  )
  config.adaptive_stare = Config(  # weights of control stare_weights
    {
      "target": 0.3,  # nats per token; control.target is the same
      "fraction": 0.1,  # of the tokens of one sign of advantage
      "negative_strength": 0.0,  # 1: as much less at A < 0 as more at A > 0
    }
  )
  config.positive_reweighting = Config()
  config.entropy_advantage = Config(
    {
      "alpha": 0.4,  # advantage per nat
      "kappa": 2.0,  # at most |A| / kappa is added
    }
  )
  config.entropic = Config(  # coefficient of control entropic_pi
    {
      "min_probability": 0.95,  # acts on tokens above; 0 = on all
      "norm": "selected",  # the denominator's tokens: selected or all
    }
  )
  config.reference_kl = Config(
    {
      "kl_coef": 1e-3,  # loss per nat; the reference is model.path
      "estimator": "k3",  # k1, k2, k3
    }
  )
  config.sent = Config(
    {
      "low_fraction": 0.8,  # of all response tokens, of lowest entropy
      "cov_fraction": 2e-4,  # of those, of highest covariance; no percentage
      "beta_low": 0.05,  # loss per nat, on tokens of low entropy
      "beta_high": 0.2,  # and on those of high covariance too
    }
  )
  config.sent_released = Config(
    {
      "low_fraction": 0.8,  # of all response tokens, of lowest entropy
      "cov_fraction": 2e-4,  # of those, at either end of the covariance
      "beta_low": 0.05,  # loss per nat, on tokens of lowest covariance
      "beta_high": 0.2,  # and of highest
    }
  )
  config.adaptive_entropy = Config()
  config.entropy_bonus = Config(
    {
      "entropy_coef": 1e-3  # loss per nat
    }
  )

  config.control = Config(
    {
      "name": "no_control",  # a function of entrojax.control
      "target": config_dict.placeholder(float),  # nats per token; no schedule's
    }
  )
  config.entropic_pi = Config(  # drives entropic
    {
      "kp": 1.0,  # 1 / nats
      "ki": 0.01,  # 1 / nats
      "limit": 1.0,  # bound of the coefficient
      "anti_windup": False,  # hold the integral while saturated
    }
  )
  config.adaptive_coefficient = Config(  # drives adaptive_entropy
    {
      "step": 1e-4,  # loss per nat, an update
      "max_coefficient": 5e-3,  # loss per nat
      "initial": 0.0,  # loss per nat
    }
  )
  config.entropy_guided = Config(  # drives positive_reweighting
    {
      "step": 0.05,  # an update
      "initial": 0.0,  # in [0, 1]
    }
  )
  config.stage_schedule = Config(  # drives positive_reweighting
    {
      "num_updates": config_dict.placeholder(int),  # optimizer steps
    }
  )
  config.epoch_schedule = Config(  # drives positive_reweighting
    {
      "num_epochs": config_dict.placeholder(int),  # passes over the problems
      "updates_per_epoch": config_dict.placeholder(int),  # optimizer steps
    }
  )
  config.stare_weights = Config(  # drives adaptive_stare
    {
      "step": 0.01,  # an update
      "max_weight": 1.5,
      "initial": 1.1,  # in [1, max_weight]
    }
  )
  config.projection = Config(  # of each update, on its entropy change
    {
      "enabled": False,
      "target": config_dict.placeholder(float),  # nats per token
      "target_fraction": config_dict.placeholder(float),  # of H at the start
      "gain": 0.02,  # wanted change of an update / error; 0 = no feedback
      "integral_gain": 0.0,  # the same / summed error
      "limit": 2e-3,  # nats, bound of the wanted change of an update
      "sided": "raise",  # leaves steps above the wanted change; or both
      "upper": config_dict.placeholder(float),  # nats, of a step left alone
      "max_relative_correction": config_dict.placeholder(float),  # of |step|
    }
  )
  config.optimizer = Config(
    {
      "learning_rate": 1e-6,
      "warmup_steps": 0,  # optimizer steps, linear from 0
      "decay_steps": 0,  # optimizer steps of a cosine; 0 = constant
      "end_fraction": 0.0,  # of the learning rate, where the cosine ends
      "b1": 0.9,
      "b2": 0.999,
      "eps": 1e-8,
      "weight_decay": 0.0,
      "max_grad_norm": 1.0,  # global norm
      "mu_dtype": "float32",  # of Adam's first moment; bfloat16: half of it
    }
  )

  config.evaluation = Config(
    {
      "split": "validation",
      "every": 0,  # rollout steps; 0 = before the first and after the last only
      "num_samples": 64,  # of each prompt: pass@k up to this k
      "temperature": 1.0,  # 0 = greedy
      "top_k": 0,  # 0 = off
      "top_p": 1.0,  # 1 = off
      "prompts_per_batch": 16,
    }
  )
  config.checkpoint = Config(
    {
      "every": 0,  # rollout steps; 0 = at the end and when interrupted only
      "keep": 2,  # of the newest
    }
  )
  config.log = Config(
    {
      "every": 10,  # rollout steps between plain lines; the files get all
      "samples": 8,  # responses of each evaluation kept in samples.jsonl
      "wandb_project": config_dict.placeholder(str),  # None: no W&B
    }
  )
  return config
