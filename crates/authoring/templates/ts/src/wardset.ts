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

/** An engine gives a missing value as `undefined` or as `null`. This function treats both alike. */
function parse<T>(text: string | null | undefined): T | undefined {
  return text == null ? undefined : ((JSON.parse(text) as T | null) ?? undefined);
}
