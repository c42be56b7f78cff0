"""Describe a checkpoint: its format, its arrays' digests, and the host's state.

    {"version": 1,
     "host": {"data": {...}, "step": 12, "tokens": 98304},
     "settings": {...},
     "best": {"metric": "val/countdown/pass@8", "value": 0.4, "step": 6},
     "leaves": {"params/embed_tokens": ["float32", [15, 16], 3735928559], ...},
     "digest": "9f86d081..."}

This is the JSON item `host` of a checkpoint, so it is complete exactly if the
checkpoint is. `digest` is the SHA-256 of the other fields. A checkpoint of
version 0, from before this record existed, holds the contents of `host` alone.
"""

from collections.abc import Mapping
import hashlib
import json
from typing import Any, NamedTuple

from entrojax.system.digests import Leaf

VERSION = 1


class DamagedError(Exception):
  """A checkpoint is not as it was saved; the message says in what."""


class Best(NamedTuple):
  """The best evaluation so far, whose checkpoint is kept."""

  metric: str
  value: float
  step: int  # rollout steps


class Record(NamedTuple):
  """What is known about a checkpoint before its arrays are read."""

  host: dict[str, Any]
  settings: dict[str, Any] | None  # None: not recorded
  best: Best | None
  leaves: dict[str, Leaf] | None  # None: not recorded


def encode(record: Record) -> dict[str, Any]:
  """Return a record as JSON can hold it, with its version and digest."""
  fields = {
    "version": VERSION,
    "host": record.host,
    "settings": record.settings,
    "best": record.best and record.best._asdict(),
    "leaves": record.leaves,
  }
  fields = json.loads(json.dumps(fields))  # tuples become lists
  return {**fields, "digest": _digest(fields)}


def decode(raw: Any) -> Record:
  """Read a record of any version.

  Raises:
    DamagedError: it is not as it was written.
    ValueError: it has a version that this program does not know.
  """
  if not isinstance(raw, dict):
    raise DamagedError("its record is no JSON object")
  if not raw.keys() & {"version", "host", "leaves", "digest"}:
    return Record(_check_host(raw), settings=None, best=None, leaves=None)
  fields = {name: value for name, value in raw.items() if name != "digest"}
  if raw.get("digest") != _digest(fields):
    raise DamagedError("its record does not match its digest")
  if raw["version"] != VERSION:
    raise ValueError(
      f"it has format version {raw['version']}, and this version of entrojax "
      f"reads formats up to {VERSION}: use the version that wrote it"
    )
  return Record(
    raw["host"],
    raw["settings"],
    raw["best"] and Best(**raw["best"]),
    raw["leaves"] and {n: Leaf(*leaf) for n, leaf in raw["leaves"].items()},
  )


def _check_host(host: dict[str, Any]) -> dict[str, Any]:
  """Check the counters of a record without a digest.

  Raises:
    DamagedError: a count is not a whole number of at least 0.
  """
  data = host.get("data")
  counts: dict[str, Any] = {
    name: host[name] for name in ("step", "tokens") if name in host
  }
  if isinstance(data, dict):
    counts |= {f"data.{name}": value for name, value in data.items()}
  elif data is not None:
    raise DamagedError(f"data is {str(data)[:80]!r}, not a JSON object")
  for name, value in counts.items():
    if type(value) is not int or not 0 <= value < 2**63:
      raise DamagedError(
        f"{name} is {str(value)[:80]!r}, not a whole number of at least 0"
      )
  return host


def _digest(fields: Mapping[str, Any]) -> str:
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
