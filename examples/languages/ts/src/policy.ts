import type { Change, Denial, Policy, Warning } from "wardset:policy/policy@0.1.1";

import settingsSchema from "../settings.schema.json";
import { catching, join, object } from "./wardset";

/** The settings of the policy. */
interface Settings {
  /** The team of objects whose authors name none. */
  team: string;
}

type Labels = Record<string, string | null>;

const SELECTOR = "/spec/selector/matchLabels";
const LABELS = "/metadata/labels";
const AFFINITY = "/spec/template/spec/affinity";
const REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution";

/** The nodes outside the control plane. */
const WORKERS = {
  nodeSelectorTerms: [
    { matchExpressions: [{ key: "node-role.kubernetes.io/control-plane", operator: "DoesNotExist" }] },
  ],
};

export const manifest: Policy["manifest"] = () => ({
  name: "workers-only",
  version: "0.1.0",
  description: "Adds a team, keeps pods off the control plane, and denies `version` in selectors",
  reads: [SELECTOR, LABELS, AFFINITY],
  writes: [LABELS, AFFINITY],
  cluster: [],
  settingsSchema,
});

export const validateSettings: Policy["validateSettings"] = catching((text) => {
  const settings: Partial<Settings> = JSON.parse(text);
  for (const key of Object.keys(settings)) {
    // A string that is thrown is the error of the contract.
    if (key !== "team") throw `\`${key}\`: expected only \`team\`, found another setting; to fix it: remove \`${key}\``;
  }
  if (typeof settings.team !== "string" || settings.team === "") {
    throw `\`team\`: expected the name of a team, found ${JSON.stringify(settings.team) ?? "nothing"}; to fix it: write \`team: NAME\``;
  }
});

export const evaluate: Policy["evaluate"] = catching((request, text) => {
  const settings: Settings = JSON.parse(text);
  const denials: Denial[] = [];
  const warnings: Warning[] = [];
  const changes: Change[] = [];

  // An update cannot repair a stored object at once: a denial would stop every update of it.
  const refuse = (pointer: string, message: string, fix: string) => {
    if (request.operation === "create") denials.push({ code: "forbidden", pointer, message, fix });
    else warnings.push({ pointer, message });
  };

  if ("version" in (object<Labels>(SELECTOR) ?? {})) {
    refuse(
      join(SELECTOR, "version"),
      "the selector has the label `version`, which changes with each release",
      "remove `version` from the selector",
    );
  }

  const labels = object<Labels>(LABELS);
  if (labels === undefined) {
    add(LABELS, { team: settings.team }, "the label `team` is missing");
  } else if (!("team" in labels)) {
    add(join(LABELS, "team"), settings.team, "the label `team` is missing");
  }

  // If the author does not touch the template, a change to it would restart every pod.
  if (request.template === "open") {
    const why = "the object does not choose its nodes";
    const affinity = object<{ nodeAffinity?: Record<string, unknown> | null }>(AFFINITY);
    const nodeAffinity = affinity?.nodeAffinity ?? undefined;
    if (affinity === undefined) add(AFFINITY, { nodeAffinity: { [REQUIRED]: WORKERS } }, why);
    else if (nodeAffinity === undefined) add(`${AFFINITY}/nodeAffinity`, { [REQUIRED]: WORKERS }, why);
    else if (nodeAffinity[REQUIRED] == null) add(`${AFFINITY}/nodeAffinity/${REQUIRED}`, WORKERS, why);
  }

  function add(path: string, value: unknown, reason: string) {
    changes.push({ edit: { tag: "add", val: { path, value: JSON.stringify(value) } }, reason });
  }

  return { denials, changes: denials.length > 0 ? [] : changes, warnings, notes: [] };
});
