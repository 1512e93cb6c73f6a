/// <reference path="../contract.d.ts" preserve="true" />

import * as document from "wardset:policy/document@0.1.1";

/**
 * Returns the value of the object at `pointer`; `undefined` if it is missing or null.
 *
 * `pointer` is a JSON Pointer that `reads` of the manifest covers.
 */
export function object<T>(pointer: string): T | undefined {
  return parse(document.object(pointer));
}

/** Returns the value of the stored object in the same way; always `undefined` on a create. */
export function oldObject<T>(pointer: string): T | undefined {
  return parse(document.oldObject(pointer));
}

/** Returns the pointer to the member `key` of the object at `parent`. */
export function join(parent: string, key: string): string {
  return `${parent}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/**
 * Returns `decide` with the stack of calls in the errors of its exceptions. Without it, an error has the message of the
 * exception alone.
 *
 * A string that is thrown is the error as it is.
 */
export function catching<A extends unknown[], R>(decide: (...input: A) => R): (...input: A) => R {
  return (...input) => {
    try {
      return decide(...input);
    } catch (thrown) {
      throw typeof thrown === "string" ? thrown : described(thrown);
    }
  };
}

function described(thrown: unknown): string {
  if (!(thrown instanceof Error)) return `uncaught ${String(thrown)}`;
  const calls = (thrown.stack ?? "").trim().split(/\s*\n\s*/).join(", ");
  return `uncaught ${thrown.name}: ${thrown.message}${calls === "" ? "" : ` (${calls})`}`;
}

/** An engine gives a missing value as `undefined` or as `null`. This function treats both alike. */
function parse<T>(text: string | null | undefined): T | undefined {
  return text == null ? undefined : ((JSON.parse(text) as T | null) ?? undefined);
}
