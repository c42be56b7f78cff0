"""Check entrojax.system.hosts in three processes of two devices each.

tests/system/test_hosts.py starts them.
"""

import sys

from absl import app, flags
import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from entrojax.system import hosts
from entrojax.system.process_flags import define_process_flags, join_processes
from entrojax.system.sharding import by_row, make_mesh

NUM_PROMPTS, GROUP_SIZE = 6, 2


def main(argv):
  del argv
  join_processes(flags.FLAGS)
  here = jax.process_index()
  assert jax.process_count() == 3 and jax.device_count() == 6

  # rows are in two parts: processes 0 and 1 hold the first, 1 and 2 the second
  mesh = make_mesh((2, 1, 3))
  rows = np.arange(NUM_PROMPTS * GROUP_SIZE * 5, dtype=np.float32)
  rows = rows.reshape(NUM_PROMPTS * GROUP_SIZE, 5)
  placed = hosts.place({"rows": rows}, by_row(mesh))["rows"]
  share = hosts.share(placed, NUM_PROMPTS)
  assert share.owners.tolist() == [0, 0, 1, 2, 2, 1], share.owners
  own = hosts.own_rows({"rows": placed}, share.mine, NUM_PROMPTS)["rows"]
  of_prompts = rows.reshape(NUM_PROMPTS, GROUP_SIZE, 5)
  np.testing.assert_array_equal(own, of_prompts[share.mine].reshape(-1, 5))
  np.testing.assert_array_equal(hosts.whole(placed), rows)

  # each process sends its own rows and gets all rows, bit by bit, with any
  # dtype of 4 bytes
  ids = np.arange(NUM_PROMPTS, dtype=np.int32) - 3
  tree = {"sums": of_prompts.sum(axis=2) + 1e-7, "ids": ids}
  gathered = hosts.gather(jax.tree.map(lambda x: x[share.held], tree), share)
  jax.tree.map(np.testing.assert_array_equal, gathered, tree)

  # where there are fewer prompts than processes some have none
  few = hosts.place(rows[: 2 * GROUP_SIZE], by_row(mesh))
  share = hosts.share(few, 2)
  assert sorted(len(share.of(p)) for p in range(3)) == [0, 1, 1]
  gathered = hosts.gather(ids[:2][share.held], share)
  np.testing.assert_array_equal(gathered, ids[:2])

  everywhere = NamedSharding(mesh, PartitionSpec())
  key = hosts.place(jax.random.key(7), everywhere)
  np.testing.assert_array_equal(
    jax.random.key_data(key), jax.random.key_data(jax.random.key(7))
  )

  gathered = hosts.gather_json({"text": "é" * here, "number": 0.1})
  assert gathered == [{"text": "é" * i, "number": 0.1} for i in range(3)]
  assert hosts.any_of(here == 2) and not hosts.any_of(False)
  assert hosts.is_first() == (here == 0)

  with hosts.together():
    fine = here
  assert fine == here
  try:
    with hosts.together():
      if here == 1:
        raise OSError("no such file")
  except OSError as error:
    assert here == 1 and str(error) == "no such file"
  except ValueError as error:
    assert here != 1 and str(error) == "process 1: no such file"
  else:
    raise AssertionError("nothing was raised")
  print("everything holds")


if __name__ == "__main__":
  define_process_flags(flags.FLAGS)
  sys.argv = flags.FLAGS(sys.argv)
  app.run(main, argv=sys.argv)
