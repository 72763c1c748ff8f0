"""`BaseNode` of seed 002: subclass it, implement `execute`, register it with `NodeExecutorFactory`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class ExecutionContext:
    """What a node may read: the outputs of earlier nodes and the trigger's data."""

    def __init__(self, outputs: Mapping[str, Any], trigger: Mapping[str, Any], execution_id: int) -> None:
        self.outputs = outputs
        self.trigger_data = trigger
        self.execution_id = execution_id

    def get_output(self, node_id: str) -> Any:
        """Return the output of an earlier node, or None."""
        return self.outputs.get(node_id)


class BaseNode(ABC):
    """A node type. `config` holds the node's config with its expressions resolved."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        self.node_id = node_id
        self.config = config

    @abstractmethod
    async def execute(self, context: ExecutionContext) -> Any:
        """Do the work; what is returned is the node's output."""

    def validate_config(self) -> bool:
        """Tell whether the config can be used; False fails the node."""
        return True
