#include "json.h"

#include <string.h>

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static size_t skip_space(json piece, size_t at) {
  while (at < piece.len && (is_space(piece.text[at]) || piece.text[at] == ',' || piece.text[at] == ':')) at++;
  return at;
}

// Returns the end of the string that begins at `at`.
static size_t skip_string(json piece, size_t at) {
  for (at++; at < piece.len && piece.text[at] != '"'; at++)
    if (piece.text[at] == '\\') at++;
  return at < piece.len ? at + 1 : piece.len;
}

// Returns the end of the value that begins at `at`.
static size_t skip_value(json piece, size_t at) {
  if (at < piece.len && piece.text[at] == '"') return skip_string(piece, at);
  size_t depth = 0;
  while (at < piece.len) {
    char c = piece.text[at];
    if (c == '"') {
      at = skip_string(piece, at);
      continue;
    }
    if (c == '{' || c == '[') depth++;
    if (c == '}' || c == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    }
    if (depth == 0 && (c == ',' || is_space(c))) return at;
    at++;
  }
  return at;
}

bool json_is(json piece, const char *text) {
  return piece.len == strlen(text) && memcmp(piece.text, text, piece.len) == 0;
}

bool json_is_text(json value) { return value.len > 2 && value.text[0] == '"'; }

bool json_next(json object, size_t *at, json *key, json *value) {
  size_t start = *at;
  if (start == 0) {
    while (start < object.len && object.text[start] != '{') start++;
    start++;
  }
  start = skip_space(object, start);
  if (start >= object.len || object.text[start] != '"') return false;
  size_t end = skip_string(object, start);
  *key = (json){object.text + start + 1, end - start - 2};
  start = skip_space(object, end);
  end = skip_value(object, start);
  *value = (json){object.text + start, end - start};
  *at = end;
  return true;
}
