"""What a configuration, a kernel or a gate of one's own is held to: functions that read as tests, and become tests.

`validate --config` runs them here; `contract-tests` writes their source into a file for pytest. So each stands alone:
it says its promise in its first line, measures, prints what it measured, and asserts.
"""

__all__: list[str] = []
