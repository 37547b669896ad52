"""Other simulators, each playing given trains through its own learning rule.

Every function takes `(trains, rule)` and gives a player. Only plasticity is played: spikes are given, no neuron is
simulated, and where a rule reads spikes from monitors, they are put there. None of these files imports this library,
so that each runs in the environment of its simulator. `tests/peers` plays the same rules, for correctness.
"""
