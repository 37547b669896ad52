"""What `python -m snn_plasticity` can do, a file for each command."""

__all__: list[str] = []
