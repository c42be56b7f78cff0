"""Judges of steps: decide which steps of a wrong response are right.

A judge is a function from responses, cut into steps, to one bool per step
(types.StepJudge). `chat_model`, `oracle` and `reward_model` build one. The
config key `judges` names the judges of an offline run, by default none.
`consensus` joins the verdicts of several judges. segmentation.py cuts the
responses into steps. README.md in this folder describes each judge.
"""

from entrojax.judges.chat_model import chat_model
from entrojax.judges.consensus import consensus
from entrojax.judges.oracle import oracle
from entrojax.judges.reward_model import reward_model

__all__ = ["chat_model", "consensus", "oracle", "reward_model"]
