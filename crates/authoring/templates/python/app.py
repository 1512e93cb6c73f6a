{{#mutating}}
"""Adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector."""
{{/mutating}}
{{#validating}}
"""Requires the label `team`, and denies the label `version` in a new selector."""
{{/validating}}

import json
from pathlib import Path
from typing import Any

import wit_world
from componentize_py_types import Err
from wit_world.imports import document
from wit_world.imports.types import (
{{#mutating}}
    Change,
{{/mutating}}
    Denial,
    DenialCode,
{{#mutating}}
    Edit_Add,
{{/mutating}}
    Manifest,
    Operation,
{{#mutating}}
    Placed,
{{/mutating}}
    Request,
{{#mutating}}
    TemplateGate,
{{/mutating}}
    Verdict,
    Warning,
)

SELECTOR = "/spec/selector/matchLabels"
LABELS = "/metadata/labels"
{{#mutating}}
AFFINITY = "/spec/template/spec/affinity"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

# The nodes outside the control plane.
WORKERS = {
    "nodeSelectorTerms": [
        {"matchExpressions": [{"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]}
    ]
}
{{/mutating}}

# The build runs this line. A sandbox has no files.
SETTINGS_SCHEMA = Path(__file__).with_name("settings.schema.json").read_text(encoding="utf-8")


def read(pointer: str) -> Any:
    """Returns the value of the object at `pointer`; none if it is missing or null."""
    text = document.object(pointer)
    return None if text is None else json.loads(text)


class WitWorld(wit_world.WitWorld):
    """The exports of the module."""

    def manifest(self) -> Manifest:
        return Manifest(
            name="{{name}}",
            version="0.1.0",
{{#mutating}}
            description="Adds a team, keeps pods off the control plane, and denies `version` in selectors",
            reads=[SELECTOR, LABELS, AFFINITY],
            writes=[LABELS, AFFINITY],
{{/mutating}}
{{#validating}}
            description="Requires a team, and denies `version` in selectors",
            reads=[SELECTOR, LABELS],
            writes=[],
{{/validating}}
            cluster=[],
            settings_schema=SETTINGS_SCHEMA,
        )

    def validate_settings(self, settings: str) -> None:
        values = json.loads(settings)
        for key in values:
            if key != "team":
                raise Err(f"`{key}`: expected only `team`, found another setting; to fix it: remove `{key}`")
        team = values.get("team")
        if not isinstance(team, str) or not team:
            found = json.dumps(team) if "team" in values else "nothing"
            raise Err(f"`team`: expected the name of a team, found {found}; to fix it: write `team: NAME`")

    def evaluate(self, request: Request, settings: str) -> Verdict:
        team = json.loads(settings)["team"]
        verdict = Verdict(denials=[], changes=[], warnings=[], notes=[])

        def refuse(pointer: str, message: str, fix: str) -> None:
            # An update cannot repair a stored object at once: a denial would stop every update of it.
            if request.operation == Operation.CREATE:
                verdict.denials.append(Denial(DenialCode.FORBIDDEN, pointer, message, fix))
            else:
                verdict.warnings.append(Warning(pointer, message))

        if "version" in (read(SELECTOR) or {}):
            refuse(
                f"{SELECTOR}/version",
                "the selector has the label `version`, which changes with each release",
                "remove `version` from the selector",
            )

        labels = read(LABELS)
{{#mutating}}

        def add(path: str, value: Any, reason: str) -> None:
            verdict.changes.append(Change(Edit_Add(Placed(path, json.dumps(value))), reason))

        if labels is None:
            add(LABELS, {"team": team}, "the label `team` is missing")
        elif "team" not in labels:
            add(f"{LABELS}/team", team, "the label `team` is missing")

        # If the author does not touch the template, a change to it would restart every pod.
        if request.template == TemplateGate.OPEN:
            why = "the object does not choose its nodes"
            affinity = read(AFFINITY)
            node_affinity = (affinity or {}).get("nodeAffinity")
            if affinity is None:
                add(AFFINITY, {"nodeAffinity": {REQUIRED: WORKERS}}, why)
            elif node_affinity is None:
                add(f"{AFFINITY}/nodeAffinity", {REQUIRED: WORKERS}, why)
            elif node_affinity.get(REQUIRED) is None:
                add(f"{AFFINITY}/nodeAffinity/{REQUIRED}", WORKERS, why)

        if verdict.denials:
            verdict.changes = []
{{/mutating}}
{{#validating}}
        if labels is None or "team" not in labels:
            refuse(
                LABELS,
                "the label `team` is missing",
                f"add the label `team`, such as `team: {team}`, to `metadata.labels`",
            )
{{/validating}}
        return verdict
