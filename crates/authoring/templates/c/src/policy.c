{{#mutating}}
// Adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector.
{{/mutating}}
{{#validating}}
// Requires the label `team`, and denies the label `version` in a new selector.
{{/validating}}
//
// The generated code frees an answer after the host has copied it. So each text and list of an answer is allocated. All
// other memory stays allocated: a sandbox lives for one evaluation.

#include "policy.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"

#define SELECTOR "/spec/selector/matchLabels"
#define LABELS "/metadata/labels"
{{#mutating}}
#define AFFINITY "/spec/template/spec/affinity"
#define REQUIRED "requiredDuringSchedulingIgnoredDuringExecution"
// The nodes outside the control plane.
#define WORKERS                                                                                                      \
  "{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"node-role.kubernetes.io/control-plane\","               \
  "\"operator\":\"DoesNotExist\"}]}]}"
{{/mutating}}

static const char SETTINGS_SCHEMA[] = {
#embed "../settings.schema.json"
};

static policy_string_t string(const char *text) {
  policy_string_t string;
  policy_string_dup(&string, text);
  return string;
}

// Joins three texts; the middle one need not end with a zero.
static policy_string_t join(const char *before, json middle, const char *after) {
  size_t first = strlen(before), last = strlen(after);
  uint8_t *text = malloc(first + middle.len + last);
  memcpy(text, before, first);
  memcpy(text + first, middle.text, middle.len);
  memcpy(text + first + middle.len, after, last);
  return (policy_string_t){text, first + middle.len + last};
}

static json of(policy_string_t *string) { return (json){(const char *)string->ptr, string->len}; }

// Whether there is a value at the pointer, which may be null.
static bool exists(const char *pointer) {
  policy_string_t at = string(pointer), value;
  return wardset_policy_document_object(&at, &value);
}

// Whether there is a value other than null at the pointer.
static bool has(const char *pointer) {
  policy_string_t at = string(pointer), value;
  return wardset_policy_document_object(&at, &value) && !json_is(of(&value), "null");
}

void exports_policy_manifest(policy_manifest_t *ret) {
{{#mutating}}
  policy_string_t *reads = calloc(3, sizeof *reads), *writes = calloc(2, sizeof *writes);
  reads[0] = string(SELECTOR);
  reads[1] = string(LABELS);
  reads[2] = string(AFFINITY);
  writes[0] = string(LABELS);
  writes[1] = string(AFFINITY);
  memset(ret, 0, sizeof *ret);
  ret->description = string("Adds a team, keeps pods off the control plane, and denies `version` in selectors");
  ret->reads = (policy_list_string_t){reads, 3};
  ret->writes = (policy_list_string_t){writes, 2};
{{/mutating}}
{{#validating}}
  policy_string_t *reads = calloc(2, sizeof *reads);
  reads[0] = string(SELECTOR);
  reads[1] = string(LABELS);
  memset(ret, 0, sizeof *ret);
  ret->description = string("Requires a team, and denies `version` in selectors");
  ret->reads = (policy_list_string_t){reads, 2};
{{/validating}}
  ret->name = string("{{name}}");
  ret->version = string("0.1.0");
  policy_string_dup_n(&ret->settings_schema, SETTINGS_SCHEMA, sizeof SETTINGS_SCHEMA);
}

// Returns the setting `team` as JSON text; empty if it is missing.
static json team_of(policy_string_t *settings) {
  json key, value;
  for (size_t at = 0; json_next(of(settings), &at, &key, &value);)
    if (json_is(key, "team")) return value;
  return (json){"", 0};
}

// Returns true if the settings are right, else writes the error.
bool exports_policy_validate_settings(policy_string_t *settings, policy_string_t *err) {
  json key, value;
  for (size_t at = 0; json_next(of(settings), &at, &key, &value);) {
    if (!json_is(key, "team")) {
      *err = join("`", key, "`: expected only `team`, found another setting; to fix it: remove it");
      return false;
    }
  }
  json team = team_of(settings);
  if (json_is_text(team)) return true;
  if (team.len == 0) team = (json){"nothing", 7};
  *err = join("`team`: expected the name of a team, found ", team, "; to fix it: write `team: NAME`");
  return false;
}

// Returns true with a verdict. For an error it would write `err` and return false.
bool exports_policy_evaluate(policy_request_t *request, policy_string_t *settings, policy_verdict_t *ret,
                             policy_string_t *err) {
  wardset_policy_types_denial_t *denials = calloc(2, sizeof *denials);
  wardset_policy_types_warning_t *warnings = calloc(2, sizeof *warnings);
{{#mutating}}
  wardset_policy_types_change_t *changes = calloc(2, sizeof *changes);
  size_t changed = 0;
{{/mutating}}
  size_t denied = 0, warned = 0;
  json team = team_of(settings);
  (void)err;

  // An update cannot repair a stored object at once: a denial would stop every update of it.
  bool is_new = request->operation == WARDSET_POLICY_TYPES_OPERATION_CREATE;

  if (has(SELECTOR) && exists(SELECTOR "/version")) {
    policy_string_t pointer = string(SELECTOR "/version");
    policy_string_t message = string("the selector has the label `version`, which changes with each release");
    if (is_new)
      denials[denied++] = (wardset_policy_types_denial_t){
          .code = WARDSET_POLICY_TYPES_DENIAL_CODE_FORBIDDEN,
          .pointer = pointer,
          .message = message,
          .fix = string("remove `version` from the selector"),
      };
    else
      warnings[warned++] = (wardset_policy_types_warning_t){pointer, message};
  }

{{#mutating}}
#define ADD(PATH, VALUE, REASON)                                                                                     \
  changes[changed++] = (wardset_policy_types_change_t){                                                              \
      .edit = {.tag = WARDSET_POLICY_TYPES_EDIT_ADD, .val.add = {.path = string(PATH), .value = (VALUE)}},           \
      .reason = string(REASON),                                                                                      \
  }

  if (!has(LABELS))
    ADD(LABELS, join("{\"team\":", team, "}"), "the label `team` is missing");
  else if (!exists(LABELS "/team"))
    ADD(LABELS "/team", join("", team, ""), "the label `team` is missing");

  // If the author does not touch the template, a change to it would restart every pod.
  if (request->template_ == WARDSET_POLICY_TYPES_TEMPLATE_GATE_OPEN) {
    const char *why = "the object does not choose its nodes";
    if (!has(AFFINITY))
      ADD(AFFINITY, string("{\"nodeAffinity\":{\"" REQUIRED "\":" WORKERS "}}"), why);
    else if (!has(AFFINITY "/nodeAffinity"))
      ADD(AFFINITY "/nodeAffinity", string("{\"" REQUIRED "\":" WORKERS "}"), why);
    else if (!has(AFFINITY "/nodeAffinity/" REQUIRED))
      ADD(AFFINITY "/nodeAffinity/" REQUIRED, string(WORKERS), why);
  }
{{/mutating}}
{{#validating}}
  if (!has(LABELS) || !exists(LABELS "/team")) {
    // The text between the quotes.
    json name = {team.text + 1, team.len - 2};
    policy_string_t pointer = string(LABELS), message = string("the label `team` is missing");
    if (is_new)
      denials[denied++] = (wardset_policy_types_denial_t){
          .code = WARDSET_POLICY_TYPES_DENIAL_CODE_FORBIDDEN,
          .pointer = pointer,
          .message = message,
          .fix = join("add the label `team`, such as `team: ", name, "`, to `metadata.labels`"),
      };
    else
      warnings[warned++] = (wardset_policy_types_warning_t){pointer, message};
  }
{{/validating}}

  memset(ret, 0, sizeof *ret);
  ret->denials.ptr = denials;
  ret->denials.len = denied;
{{#mutating}}
  ret->changes.ptr = changes;
  ret->changes.len = denied > 0 ? 0 : changed;
{{/mutating}}
  ret->warnings.ptr = warnings;
  ret->warnings.len = warned;
  return true;
}
