// A reader of JSON text for policies: it finds members, and copies nothing.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

// A piece of JSON text.
typedef struct {
  const char *text;
  size_t len;
} json;

// Whether a piece is exactly this text.
bool json_is(json piece, const char *text);

// Whether the value is a string that is not empty.
bool json_is_text(json value);

// Reads the next member of an object. `at` is 0 before the first one. A key keeps its escapes.
bool json_next(json object, size_t *at, json *key, json *value);

#endif
