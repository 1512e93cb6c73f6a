// The types of the contract in wit/policy.wit, written by Wardset.

/** The object under review, as JSON text, with the changes of the earlier policies. */
declare module "wardset:policy/document@0.1.1" {
  /**
   * Returns the JSON text at `pointer`, or none if there is no value. Traps if the pointer is not RFC 6901,
   * or if the manifest's `reads` do not cover it.
   */
  export function object(pointer: string): string | undefined;
  /** Returns the JSON text of the stored object in the same way; always none on a create. */
  export function oldObject(pointer: string): string | undefined;
}

/** The records that host and policy exchange. */
declare module "wardset:policy/types@0.1.1" {
  /** The request of the author to the API server. */
  export type Operation =
    /** The object is new: there is no old object. */
    | "create"
    /** The object replaces a stored one. `document.old-object` reads the stored one. */
    | "update"
    ;
  /** Whether changes at or below `/spec/template` take effect in this review. */
  export type TemplateGate =
    /** The template is new or its author changes it: the policy may change it too. */
    | "open"
    /**
     * The author leaves the template alone. A change to it would restart every pod, so the host drops
     * it. A policy should not deny for the template's content either: the author did not touch it.
     */
    | "closed"
    ;
  /** Kinds of cluster data. A policy gets one only if its manifest names it and the operator allows it. */
  export type ClusterData =
    /** The labels of the object's namespace. */
    | "namespace-labels"
    /** Counts of the cluster's nodes: see `placement`. Since 0.1.1. */
    | "nodes"
    ;
  /** The severity of a log line. */
  export type Level =
    | "debug"
    | "info"
    | "warn"
    | "error"
    ;
  /** The facts of the review that are not in the object. */
  export interface Request {
    operation: import("wardset:policy/types@0.1.1").Operation;
    /** The object's kind, such as `DaemonSet`. */
    kind: string;
    /** `metadata.name`; empty on a create with `generateName`. */
    name: string;
    namespace: string;
    /** The name of the requesting user, such as `system:serviceaccount:ci:deployer`. */
    user: string;
    /** The API server will not store the object. The verdict must be the same as without a dry run. */
    dryRun: boolean;
    template: import("wardset:policy/types@0.1.1").TemplateGate;
  }
  /** A value and the place for it. */
  export interface Placed {
    /** RFC 6901 JSON Pointer; `-` appends to an array. */
    path: string;
    /** JSON text. */
    value: string;
  }
  /** One RFC 6902 operation. `add` is enough for most policies. */
  export type Edit =
    /** The parent must exist. If the member of an object exists, its value is replaced. */
    | { tag: "add"; val: import("wardset:policy/types@0.1.1").Placed }
    /** The target must exist. */
    | { tag: "replace"; val: import("wardset:policy/types@0.1.1").Placed }
    /** The target must exist. */
    | { tag: "remove"; val: string }
    ;
  /** An edit and its reason, in a few words for the readers of the report. */
  export interface Change {
    edit: import("wardset:policy/types@0.1.1").Edit;
    reason: string;
  }
  /** The kind of fault, which gives the HTTP status in the API server's answer. */
  export type DenialCode =
    /** The object breaks a rule of this cluster: 403. */
    | "forbidden"
    /** The object contradicts itself or its kind: 422. */
    | "invalid"
    ;
  /** One reason to refuse the object. */
  export interface Denial {
    code: import("wardset:policy/types@0.1.1").DenialCode;
    /** JSON Pointer to the fault. */
    pointer: string;
    /** The fault, in lower case and without a full stop. */
    message: string;
    /** The change by which the author can fix it. */
    fix: string;
  }
  /** Advice to the author. It does not stop the object. */
  export interface Warning {
    /** JSON Pointer to the subject of the warning. */
    pointer: string;
    /** Aim at 110 characters: the host adds the policy's name in front, and cuts at the API server's limit. */
    message: string;
  }
  /**
   * A line for the report of `wardset review`. The audit annotation `noted-by` names the policy. Clients of
   * the API server never see a note.
   */
  export interface Note {
    /** JSON Pointer to the subject of the note. */
    pointer: string;
    /** One line, in lower case and without a full stop. */
    message: string;
  }
  /** The answer of a policy to one review. */
  export interface Verdict {
    /** The reasons to refuse the object: all that were found, not only the first. Empty if it is allowed. */
    denials: Array<import("wardset:policy/types@0.1.1").Denial>;
    /**
     * Applied in order, each to the result of the former. The host ignores changes and notes if there is a
     * denial.
     */
    changes: Array<import("wardset:policy/types@0.1.1").Change>;
    warnings: Array<import("wardset:policy/types@0.1.1").Warning>;
    /** Such as the reason why the policy left the object alone. */
    notes: Array<import("wardset:policy/types@0.1.1").Note>;
  }
  /** A module's description of itself. The host reads it once, when it loads the module. */
  export interface Manifest {
    /** Lower-case words joined by `-`. */
    name: string;
    /** Semantic version. */
    version: string;
    /** One sentence for a list of policies. */
    description: string;
    /** JSON Pointer prefixes that the policy reads; `""` is the whole document. A read elsewhere traps. */
    reads: Array<string>;
    /**
     * JSON Pointer prefixes that the policy changes. Without any, it is a validating policy. A change
     * elsewhere fails the evaluation.
     */
    writes: Array<string>;
    /** The cluster data that the policy asks for. */
    cluster: Array<import("wardset:policy/types@0.1.1").ClusterData>;
    /** A JSON Schema of the settings. */
    settingsSchema: string;
  }
}

/** Data about the cluster that the manifest declares and the operator allows. */
declare module "wardset:policy/cluster@0.1.1" {
  export type ClusterData = import("wardset:policy/types@0.1.1").ClusterData;
  /**
   * Returns the data as JSON text; for `namespace-labels`, an object of strings. Returns none if the host does
   * not know the data. For `nodes` it always returns none: use the interface `placement`. Traps if the manifest does not declare the data, or if the operator does not
   * allow it.
   */
  export function data(what: import("wardset:policy/types@0.1.1").ClusterData): string | undefined;
}

/**
 * The nodes on which the DaemonSet runs. The host counts them: a policy never gets the nodes. Since 0.1.1.
 *
 * Each function returns none if the host does not know the nodes, or if the operator does not allow the cluster
 * data `nodes`. It also returns none if a field of the object has a wrong type; the API server refuses such an object.
 * Each function traps if the manifest does not declare `nodes`.
 */
declare module "wardset:policy/placement@0.1.1" {
  export type Edit = import("wardset:policy/types@0.1.1").Edit;
  /** Nodes that refuse the pods for the same reason. */
  export interface Refusal {
    nodes: number;
    /** One line, such as `taint nvidia.com/gpu:NoSchedule`. */
    reason: string;
  }
  /** The nodes that run a pod template, and those that refuse it. */
  export interface NodeCounts {
    /** All nodes. */
    nodes: number;
    /** Nodes on which the DaemonSet controller creates a pod. */
    runs: number;
    /**
     * The other nodes, by reason. The most frequent reason comes first. The list has at most
     * 16 reasons, so its sum can be less than `nodes - runs`.
     */
    refusals: Array<import("wardset:policy/placement@0.1.1").Refusal>;
  }
  /**
   * The effect of the new object on the pods. The host assumes one pod on each node on which the stored object
   * runs.
   */
  export interface PodEffect {
    /** Nodes that run the new object and do not run the stored one. */
    gained: number;
    /** Nodes that run the stored object and do not run the new one. */
    lost: number;
    /** Pods that the controller creates at once. */
    created: number;
    /**
     * Pods that the controller deletes at once, because their nodes no longer match. `maxUnavailable` does
     * not limit it.
     */
    deleted: number;
    /**
     * Pods on nodes that run the new object and get a new template. With `OnDelete`, the controller replaces
     * such a pod only after somebody deletes it.
     */
    restarted: number;
    /** A sentence that says whether the rollout cannot or may not finish, and why; none if it can finish. */
    obstacle: string | undefined;
  }
  /**
   * Counts the nodes for the object under review, with `edits` applied in order. Traps if an edit cannot be
   * applied, and on more than 1,024 edits. If the nodes are unknown, it returns none without a look at the edits.
   */
  export function object(edits: Array<import("wardset:policy/types@0.1.1").Edit>): import("wardset:policy/placement@0.1.1").NodeCounts | undefined;
  /** Counts the nodes for the stored object; always none on a create. */
  export function oldObject(): import("wardset:policy/placement@0.1.1").NodeCounts | undefined;
  /** Predicts the effect on the pods if the API server stores the object under review. */
  export function effect(): import("wardset:policy/placement@0.1.1").PodEffect | undefined;
}

/** Lines for the operator's log. The host limits their number and length. */
declare module "wardset:policy/log@0.1.1" {
  export type Level = import("wardset:policy/types@0.1.1").Level;
  export function write(level: import("wardset:policy/types@0.1.1").Level, message: string): void;
}

/** The exports of a policy module, and the imports that it may use. */
declare module "wardset:policy/policy@0.1.1" {
  export type Manifest = import("wardset:policy/types@0.1.1").Manifest;
  export type Request = import("wardset:policy/types@0.1.1").Request;
  export type Verdict = import("wardset:policy/types@0.1.1").Verdict;
  export type Change = import("wardset:policy/types@0.1.1").Change;
  export type Denial = import("wardset:policy/types@0.1.1").Denial;
  export type Note = import("wardset:policy/types@0.1.1").Note;
  export type Warning = import("wardset:policy/types@0.1.1").Warning;
  /** The exports of a policy module. */
  export interface Policy {
    /** Returns the module's description of itself. Must not call any import. */
    manifest(): import("wardset:policy/types@0.1.1").Manifest;
    /**
     * Checks the settings, a JSON object. An error names the wrong field, the expected and the found value,
     * and the fix.
     */
    validateSettings(settings: string): void;
    /**
     * Decides on one review. An error means that the policy failed to decide: the operator's `onError` applies.
     * If the object is wrong, answer with a denial, not with an error.
     */
    evaluate(request: import("wardset:policy/types@0.1.1").Request, settings: string): import("wardset:policy/types@0.1.1").Verdict;
  }
}
