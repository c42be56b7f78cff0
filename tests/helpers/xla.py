"""XLA options with which the tests compile quickly.

Without LLVM passes and fusion emitters a graph compiles in a fifth of the time.
Other passes split a graph over devices and order its sums; they still run.
"""

QUICK_OPTIONS = {
  "xla_backend_optimization_level": 0,
  "xla_cpu_use_fusion_emitters": False,
}
QUICK_FLAGS = " ".join(
  f"--{name}={value}".lower() for name, value in QUICK_OPTIONS.items()
)
