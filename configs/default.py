"""Every setting of a run, once, with its meaning, unit and allowed values.

The other configs only override these settings, and so does the command line:
`--config.ppo_clip.clip_high=0.28`. A section that is named after a method holds
the arguments of that method's function: `config.ppo_clip.clip_high` is the
argument clip_high of entrojax.objectives.ppo_clip. Wherever a setting names a
function, it may also name one of your own code, as `package.module:name` or
`path/to/file.py:name`; see CONTRIBUTING.md.

A setting that is a placeholder has the value None, which means "not set", until
a config or the command line gives it a value of the placeholder's type.
"""

from ml_collections import ConfigDict as Config
from ml_collections import config_dict

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
      # the initial policy: a folder in Hugging Face's format; bases/countdown
      # and bases/logic are part of this package
      "path": config_dict.placeholder(str),
      "dtype": "float32",  # type of the activations: float32 or bfloat16
      # compile one layer and loop over it: shorter compilation of deep models
      "scan_layers": False,
      # keep only each layer's input for the backward pass, recompute the rest
      "rematerialise": False,
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
    }
  )
  config.prompt = Config(
    {
      # a function of entrojax/data/templates.py that is applied to the
      # problem's text
      "template": "none",
      # also apply the chat template of model.path
      "chat": False,
    }
  )
  # number of devices on the axes (data, fsdp, tensor); -1 = all remaining ones
  config.mesh = (-1, 1, 1)

  config.rollout = Config(
    {
      "num_prompts": 64,  # Q, prompts in a rollout batch
      "group_size": 8,  # G, responses to each prompt; at least 2
      # P, the length that prompts are padded to, in tokens; a longer prompt is
      # an error
      "prompt_length": 256,
      # shorter prompt lengths, ascending, in tokens: a batch whose prompts all
      # fit is padded to the shortest of these instead; one compilation for each
      "prompt_buckets": (),
      "response_length": 1024,  # T, maximum length in tokens, EOS included
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
  # how wrong responses are split into steps: rules or sat (Segment any Text)
  config.segmentation = Config({"name": "rules"})
  config.rules = Config(
    {
      # minimum length of a step, characters; a shorter piece is joined to the
      # next one, the last piece to the one before it
      "min_length": 40,
      # texts after which a step ends, such as ";", besides the ends of lines
      # and sentences
      "separators": (),
    }
  )
  config.sat = Config(
    {
      "model": "sat-3l-sm"  # a folder, or a name on the Hugging Face hub
    }
  )
  # judges of the steps of wrong responses: any of oracle, chat_model and
  # reward_model; a step is right if all of them accept it
  config.judges = ()
  config.oracle = Config()
  # a language model behind an OpenAI-compatible HTTP service
  config.chat_model = Config(
    {
      # address of the service, without /chat/completions
      "url": config_dict.placeholder(str),
      "model": config_dict.placeholder(str),  # the service's name of the model
      # environment variable that holds the key; "" = the service needs no key
      "key_variable": "OPENAI_API_KEY",
      "timeout": 60.0,  # seconds, for one attempt
      "max_tries": 5,  # attempts for one request
      # seconds before the second attempt; doubled for each further one
      "first_pause": 1.0,
      "concurrency": 8,  # requests at the same time
    }
  )
  # a language model that marks each step as good or bad (Math-Shepherd)
  config.reward_model = Config(
    {
      "path": config_dict.placeholder(str),  # model folder
      "separator": config_dict.placeholder(str),  # text after each step
      "good": config_dict.placeholder(str),  # token that marks a right step
      "bad": config_dict.placeholder(str),  # token that marks a wrong step
      # a step is right if its score is above this, in [0, 1]
      "threshold": 0.5,
      # maximum length of problem and steps, tokens; later steps count as wrong
      "max_length": 2048,
      "batch_size": 8,  # responses in a forward pass
      "dtype": "float32",  # type of the activations: float32 or bfloat16
    }
  )
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
      # recompute a micro-batch's activations in the backward pass, so that only
      # one micro-batch's are in memory at a time
      "rematerialise": True,
      # what statistics such as quantiles and covariances are taken over:
      # minibatch, or micro = each micro-batch by itself, as in released code
      "scope": "minibatch",
    }
  )

  # rules that turn rewards into advantages, applied in order; exactly one of
  # them is a baseline: grpo, dr_grpo, rloo, psr, nsr or w_reinforce
  config.advantage = ("grpo",)
  config.grpo = Config()
  config.dr_grpo = Config()
  config.rloo = Config()
  config.w_reinforce = Config(
    {
      # advantage of right responses, >= 0; wrong responses have -1
      "positive_weight": 0.1
    }
  )
  config.psr = Config(
    {
      # tokens that the loss is averaged over: kept = tokens of right responses,
      # or all
      "denominator": "kept"
    }
  )
  config.nsr = Config(
    {
      # tokens that the loss is averaged over: kept = tokens of wrong responses,
      # or all
      "denominator": "kept"
    }
  )
  config.overlong_penalty = Config(  # stands before the baseline
    {
      "max_length": 1024,  # tokens; a response this long gets the full penalty
      # the penalty grows linearly over this many tokens before max_length
      "cache_length": 256,
      # size of the full penalty, in units of reward (a right response has 1).
      # DAPO's penalty of 1 beside rewards of 1 and -1 is 0.5 here
      "factor": 0.5,
    }
  )
  config.overlong_filter = Config()
  config.unlikeliness = Config(  # stands before the baseline
    {
      "beta": 0.25,  # largest share of the reward that is removed, in [0, 1]
      "rank_base": 1,  # rank of the most likely response: 1 or 0
      # responses of a group that are ranked: all, or correct = right ones only
      "rank_among": "all",
      # likelihood of a response: mean or sum of its tokens' log-probs
      "score": "mean",
    }
  )
  config.seed_grpo = Config(  # stands after the baseline
    {
      # estimator of the semantic entropy: rao, count, mc or mc_unnormalised
      "estimator": "rao",
      # how the factor on the advantage falls with the semantic entropy:
      # inverse, linear, exp or focal
      "form": "inverse",
      # strength, >= 0. The default reduces an update by at most 4 %; values of
      # 0.5 to 1 have a visible effect
      "alpha": 0.0417,
    }
  )
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
  config.entrocraft = Config(  # stands after the baseline
    {
      # lower bound of the entropy band, nats, at the start and at the end
      "low": (0.6, 0.4),
      # upper bound of the entropy band, nats, at the start and at the end
      "high": (0.7, 0.5),
      # rollout steps over which the bounds move; 0 = the final ones throughout
      "anneal_steps": 0,
      # what kept responses learn from outside the band: their advantage (the
      # paper), or their raw reward as 1 and -1 (the released code)
      "signal": "advantage",
    }
  )
  config.grpo_dropout = Config(  # stands after the baseline
    {
      # how the kept advantages are centred: weighted = by the responses'
      # probabilities, equal, or none
      "centre": "weighted",
      "centre_whole_groups": True,  # also centre groups that lost no response
    }
  )
  # the chain of objectives, applied in order: one surrogate, then members that
  # reweight it or add terms
  config.objective = ("ppo_clip",)
  # how token losses become one number: token-mean, seq-mean-token-mean,
  # seq-mean-token-sum, or seq-mean-token-sum-norm
  config.aggregation = "token-mean"
  config.reinforce = Config()
  config.bcpg = Config(  # requires the aggregation seq-mean-token-mean
    {
      # reward per nat that a response's log-prob has moved, >= 0; a response's
      # log-prob is a sum over tokens, so longer responses need a smaller tau
      "tau": 1e-3
    }
  )
  config.negative_sample_augmentation = Config(  # requires offline and judges
    {
      # factor on the advantage of right steps in wrong responses, in [-1, 1];
      # 1 = off
      "beta": 0.5
    }
  )
  config.ppo_clip = Config(
    {
      "clip_low": 0.2,  # the ratio is clipped below 1 - clip_low; in [0, 1]
      "clip_high": 0.2,  # the ratio is clipped above 1 + clip_high; >= 0
      # bound of the loss at negative advantages, in units of |A|, above
      # 1 + clip_high; None = off, which can be set in a config file only
      "dual_clip": 3.0,
    }
  )
  config.gspo = Config(  # requires the aggregation seq-mean-token-mean
    {
      # the sequence's ratio is clipped below 1 - clip_low; in [0, 1]
      "clip_low": 3e-4,
      # the sequence's ratio is clipped above 1 + clip_high; >= 0
      "clip_high": 4e-4,
    }
  )
  config.cispo = Config(
    {
      # the weight is at least 1 - clip_low; in [0, 1], 1 = no lower bound
      "clip_low": 0.2,
      "clip_high": 0.28,  # the weight is at most 1 + clip_high; >= 0
    }
  )
  config.ce_gppo = Config(
    {
      "clip_low": 0.2,  # as in ppo_clip
      "clip_high": 0.28,  # as in ppo_clip
      # strength of the gradient of clipped tokens at negative advantages, >= 0;
      # 0 = no gradient, as in ppo_clip
      "beta_low": 0.75,
      # strength of the gradient of clipped tokens at positive advantages, >= 0
      "beta_high": 1.0,
      # as in ppo_clip
      "dual_clip": 3.0,
    }
  )
  config.clip_cov = Config(
    {
      # share of all response tokens that is dropped; a fraction, not a
      # percentage
      "fraction": 2e-4,
      "cov_low": 1.0,  # nats; dropped tokens have a covariance above this
      "cov_high": 5.0,  # nats; dropped tokens have a covariance below this
      "clip_low": 1.0,  # as in ppo_clip; 1 = hardly ever binds
      "clip_high": 1.0,  # as in ppo_clip
    }
  )
  config.kl_cov = Config(
    {
      # share of all response tokens that the KL penalty acts on; a fraction,
      # not a percentage
      "fraction": 2e-3,
      "kl_coef": 1.0,  # loss per nat
      # penalty on the log-ratio: abs (the released code), k2 or k3
      "kl_form": "abs",
    }
  )
  config.top_entropy = Config(
    {
      # share of all response tokens that keeps its loss, in (0, 1]
      "fraction": 0.2,
      # top = exactly that many tokens; quantile = also those that tie
      "select": "top",
      "which": "high",  # keep tokens of high entropy, or of low
      # tokens that the loss is averaged over: selected or all
      "norm": "selected",
    }
  )
  config.steer = Config(
    {
      # weight of the token whose update moves the entropy most, in (0, 1]
      "min_weight": 0.8,
      # how the change of entropy is computed: theorem, or released = as in the
      # released code
      "form": "theorem",
      # nats; lower bound of the mini-batch's largest change, so that batches of
      # small changes stay undamped. 0.02 in the released code
      "floor": 1e-12,
      # the clip range of ppo_clip, so that clipped tokens are recognised
      "clip_low": 0.2,
      "clip_high": 0.2,
    }
  )
  config.erc = Config(
    {
      # a token stops learning if entropy / old entropy is below this, in [0, 1)
      "low": 0.95,
      # a token stops learning if entropy / old entropy is above this, > 1
      "high": 1.05,
    }
  )
  config.stare = Config(
    {
      "target": 0.3,  # nats per token; acts while the entropy is below this
      # share of the tokens of one sign of advantage that counts as rare, in
      # [0, 1]
      "fraction": 0.1,
      # weight of rare tokens at positive advantages, >= 0
      "positive_weight": 1.1,
      # weight of rare tokens at negative advantages, >= 0; 1 = off
      "negative_weight": 1.0,
    }
  )
  config.adaptive_stare = Config(  # driven by the controller stare_weights
    {
      # nats per token; acts while the entropy is below this. Set control.target
      # to the same value
      "target": 0.3,
      # share of the tokens of one sign of advantage that counts as rare, in
      # [0, 1]
      "fraction": 0.1,
      # how strongly the weight at negative advantages mirrors the weight at
      # positive ones, in [0, 2]; 0 = it stays 1
      "negative_strength": 0.0,
    }
  )
  config.positive_reweighting = Config()
  config.entropy_advantage = Config(
    {
      "alpha": 0.4,  # advantage per nat of entropy, >= 0
      "kappa": 2.0,  # at most |A| / kappa is added; > 1
    }
  )
  config.entropic = Config(  # driven by the controller entropic_pi
    {
      # acts on tokens of a probability above this, in [0, 1); 0 = on all tokens
      "min_probability": 0.95,
      # tokens that the term is averaged over: selected or all
      "norm": "selected",
    }
  )
  config.reference_kl = Config(
    {
      # loss per nat of KL divergence from the reference policy, which is
      # model.path
      "kl_coef": 1e-3,
      "estimator": "k3",  # k1, k2 or k3
    }
  )
  config.sent = Config(
    {
      # share of all response tokens that counts as low in entropy, in [0, 1]
      "low_fraction": 0.8,
      # share of these tokens that counts as high in covariance; a fraction, not
      # a percentage
      "cov_fraction": 2e-4,
      "beta_low": 0.05,  # loss per nat on tokens of low entropy
      # loss per nat on tokens of low entropy and high covariance
      "beta_high": 0.2,
    }
  )
  config.sent_released = Config(
    {
      # share of all response tokens that counts as low in entropy, in [0, 1]
      "low_fraction": 0.8,
      # share of these tokens that counts as lowest in covariance, and the same
      # share as highest; a fraction, not a percentage
      "cov_fraction": 2e-4,
      "beta_low": 0.05,  # loss per nat on the tokens of lowest covariance
      "beta_high": 0.2,  # loss per nat on the tokens of highest covariance
    }
  )
  config.adaptive_entropy = Config()  # driven by adaptive_coefficient
  config.entropy_bonus = Config(
    {
      "entropy_coef": 1e-3  # loss per nat
    }
  )

  config.control = Config(
    {
      # a controller of entrojax.control; no_control = none
      "name": "no_control",
      # entropy to hold, nats per token; schedules take no target
      "target": config_dict.placeholder(float),
    }
  )
  config.entropic_pi = Config(  # drives entropic
    {
      "kp": 1.0,  # proportional gain, 1 / nats, >= 0
      "ki": 0.01,  # integral gain, 1 / nats, >= 0
      "limit": 1.0,  # bound of the coefficient's absolute value, > 0
      # stop integrating while the coefficient is at its bound
      "anti_windup": False,
    }
  )
  config.adaptive_coefficient = Config(  # drives adaptive_entropy
    {
      "step": 1e-4,  # change of the coefficient per update, loss per nat
      "max_coefficient": 5e-3,  # upper bound, loss per nat
      "initial": 0.0,  # first value, loss per nat, in [0, max_coefficient]
    }
  )
  config.entropy_guided = Config(  # drives positive_reweighting
    {
      "step": 0.05,  # change of the weight per update
      "initial": 0.0,  # first weight, in [0, 1]
    }
  )
  config.stage_schedule = Config(  # drives positive_reweighting
    {
      # optimizer steps of the schedule: the weight is 0 in the first half and
      # rises linearly to 1 in the second
      "num_updates": config_dict.placeholder(int),
    }
  )
  config.epoch_schedule = Config(  # drives positive_reweighting
    {
      # passes over the training problems, over which the weight rises to 1
      "num_epochs": config_dict.placeholder(int),
      # optimizer steps of one such pass
      "updates_per_epoch": config_dict.placeholder(int),
    }
  )
  config.stare_weights = Config(  # drives adaptive_stare
    {
      "step": 0.01,  # change of the weight per update
      "max_weight": 1.5,  # upper bound of the weight, > 1
      "initial": 1.1,  # first weight, in [1, max_weight]
    }
  )
  # correct each finished optimizer step so that it changes the entropy by a
  # prescribed amount
  config.projection = Config(
    {
      "enabled": False,
      "target": config_dict.placeholder(float),  # entropy to hold, nats/token
      # used instead of target: a fraction of the entropy at the first update
      "target_fraction": config_dict.placeholder(float),
      # prescribed change of entropy per update, nats per nat of error; 0 = off
      "gain": 0.02,
      # prescribed change of entropy per update, nats per nat of summed error
      "integral_gain": 0.0,
      "limit": 2e-3,  # bound of the prescribed change, nats per update
      # raise = leave a step alone that raises the entropy by more; both =
      # correct every step
      "sided": "raise",
      # nats per update; a step that raises the entropy by more is reduced to
      # this. None: no such bound; only with sided = raise
      "upper": config_dict.placeholder(float),
      # bound of the correction's norm, in units of the step's. None: no bound
      "max_relative_correction": config_dict.placeholder(float),
    }
  )
  config.optimizer = Config(  # AdamW
    {
      "learning_rate": 1e-6,  # the peak, after the warm-up
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
      # samples for each prompt; pass@k is reported up to this k
      "num_samples": 64,
      "temperature": 1.0,  # sampling temperature; 0 = greedy
      "top_k": 0,  # sample from the k most likely tokens; 0 = off
      "top_p": 1.0,  # nucleus sampling; 1 = off
      "prompts_per_batch": 16,  # prompts that are decoded together
    }
  )
  config.checkpoint = Config(
    {
      # rollout steps between checkpoints; 0 = none by this rule. A run also
      # saves at its end and when it is interrupted
      "every": 0,
      "minutes": 10.0,  # minutes between checkpoints; 0 = none by this rule
      "keep": 2,  # number of checkpoints to keep, the newest ones
      # also keep the checkpoint with the highest value of this metric of the
      # evaluations, such as val/countdown/pass@8; None: only the newest
      "keep_best": config_dict.placeholder(str),
    }
  )
  config.log = Config(
    {
      # rollout steps between lines where no terminal shows progress; the files
      # in the run directory get every step
      "every": 10,
      # responses of each evaluation that are written to samples.jsonl
      "samples": 8,
      # Weights & Biases project; None: W&B is not used
      "wandb_project": config_dict.placeholder(str),
    }
  )
  return config
