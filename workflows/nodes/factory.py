"""`NodeExecutorFactory` of seed 002: registers node classes as step types of the engine."""

import asyncio
from typing import Any, ClassVar

from pydantic import ConfigDict

from workflows.engine.steps import registry
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.nodes.base_node import BaseNode, ExecutionContext


class NodeConfig(StepConfig):
    """A node checks its own config, so everything is let through to it."""

    model_config = ConfigDict(extra="allow")


class NodeStep(Step[NodeConfig]):
    """Runs one node class. Its effect class is the default, idempotent: nothing is known of what it does."""

    config_model = NodeConfig
    node_class: ClassVar[type[BaseNode]]

    def run(self, config: NodeConfig, context: StepContext) -> Output:
        node = self.node_class(context.path, config.model_dump())
        if not node.validate_config():
            raise StepError("config_invalid", f"the config of node {context.path} is not valid", retryable=False)
        steps = context.scope.find(("steps",))
        outputs = steps if isinstance(steps, dict) else {}
        result = asyncio.run(node.execute(ExecutionContext(outputs, context.trigger, context.execution_id)))
        return Output(result if isinstance(result, dict) else {"result": result})


class NodeExecutorFactory:
    """The registry's face for node classes."""

    @staticmethod
    def register_node_type(name: str, node_class: type[BaseNode]) -> None:
        """Register `node_class` as the step type `name`."""
        adapter: type[Step[Any]] = type(
            f"{node_class.__name__}Step", (NodeStep,), {"type": name, "node_class": node_class}
        )
        registry.register(adapter)
