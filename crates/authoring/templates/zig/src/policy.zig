{{#mutating}}
//! Adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector.
{{/mutating}}
{{#validating}}
//! Requires the label `team`, and denies the label `version` in a new selector.
{{/validating}}
//!
//! The generated code frees an answer after the host has copied it. So each text and list of an answer is allocated
//! with malloc. All other memory stays allocated: a sandbox lives for one evaluation.

const std = @import("std");
const c = @import("c");

const allocator = std.heap.c_allocator;

const selector = "/spec/selector/matchLabels";
const labels = "/metadata/labels";
{{#mutating}}
const affinity = "/spec/template/spec/affinity";
const required = "requiredDuringSchedulingIgnoredDuringExecution";
/// The nodes outside the control plane.
const workers =
    \\{"nodeSelectorTerms":[{"matchExpressions":[{"key":"node-role.kubernetes.io/control-plane","operator":"DoesNotExist"}]}]}
;
{{/mutating}}

/// The settings of the policy.
const Settings = struct {
    /// The team of objects whose authors name none.
    team: []const u8,
};

/// The members of an object, whose values do not matter.
const Members = std.json.ArrayHashMap(std.json.Value);

export fn exports_policy_manifest(ret: *c.policy_manifest_t) void {
{{#mutating}}
    manifest(ret, &.{ selector, labels, affinity }, &.{ labels, affinity }) catch unreachable;
{{/mutating}}
{{#validating}}
    manifest(ret, &.{ selector, labels }, &.{}) catch unreachable;
{{/validating}}
}

fn manifest(ret: *c.policy_manifest_t, reads: []const []const u8, writes: []const []const u8) !void {
    ret.* = std.mem.zeroes(c.policy_manifest_t);
    ret.name = try text("{{name}}");
    ret.version = try text("0.1.0");
{{#mutating}}
    ret.description = try text("Adds a team, keeps pods off the control plane, and denies `version` in selectors");
{{/mutating}}
{{#validating}}
    ret.description = try text("Requires a team, and denies `version` in selectors");
{{/validating}}
    ret.reads = try texts(reads);
    ret.writes = try texts(writes);
    ret.settings_schema = try text(@embedFile("settings_schema"));
}

/// Returns true if the settings are right, else writes the error.
export fn exports_policy_validate_settings(settings: *c.policy_string_t, err: *c.policy_string_t) bool {
    const found = problem(slice(settings.*)) catch |failure| @errorName(failure);
    const message = found orelse return true;
    err.* = text(message) catch unreachable;
    return false;
}

fn problem(settings: []const u8) !?[]const u8 {
    const members = try std.json.parseFromSliceLeaky(Members, allocator, settings, .{});
    for (members.map.keys()) |key| {
        if (!std.mem.eql(u8, key, "team"))
            return try print("`{s}`: expected only `team`, found another setting; to fix it: remove `{s}`", .{ key, key });
    }
    const team = members.map.get("team") orelse
        return "`team`: expected the name of a team, found nothing; to fix it: write `team: NAME`";
    if (team == .string and team.string.len > 0) return null;
    return "`team`: expected the name of a team, found another value; to fix it: write `team: NAME`";
}

/// Returns true with a verdict, or false with an error: the policy failed to decide.
export fn exports_policy_evaluate(
    request: *c.policy_request_t,
    settings: *c.policy_string_t,
    ret: *c.policy_verdict_t,
    err: *c.policy_string_t,
) bool {
    ret.* = std.mem.zeroes(c.policy_verdict_t);
    evaluate(request, slice(settings.*), ret) catch |failure| {
        err.* = text(@errorName(failure)) catch unreachable;
        return false;
    };
    return true;
}

fn evaluate(request: *const c.policy_request_t, settings_text: []const u8, verdict: *c.policy_verdict_t) !void {
    const settings = try std.json.parseFromSliceLeaky(Settings, allocator, settings_text, .{});
    // An update cannot repair a stored object at once: a denial would stop every update of it.
    const is_new = request.operation == c.WARDSET_POLICY_TYPES_OPERATION_CREATE;

    if (try read(Members, selector)) |selected| {
        if (selected.map.contains("version")) {
            const message = "the selector has the label `version`, which changes with each release";
            try refuse(verdict, is_new, selector ++ "/version", message, "remove `version` from the selector");
        }
    }

    const labelled = try read(Members, labels);
{{#mutating}}
    if (labelled) |found| {
        if (!found.map.contains("team"))
            try add(verdict, labels ++ "/team", try json(settings.team), "the label `team` is missing");
    } else {
        const value = try print("{{\"team\":{s}}}", .{try json(settings.team)});
        try add(verdict, labels, value, "the label `team` is missing");
    }

    // If the author does not touch the template, a change to it would restart every pod.
    if (request.template_ == c.WARDSET_POLICY_TYPES_TEMPLATE_GATE_OPEN) {
        const why = "the object does not choose its nodes";
        const node = "{\"" ++ required ++ "\":" ++ workers ++ "}";
        if (!has(affinity)) {
            try add(verdict, affinity, "{\"nodeAffinity\":" ++ node ++ "}", why);
        } else if (!has(affinity ++ "/nodeAffinity")) {
            try add(verdict, affinity ++ "/nodeAffinity", node, why);
        } else if (!has(affinity ++ "/nodeAffinity/" ++ required)) {
            try add(verdict, affinity ++ "/nodeAffinity/" ++ required, workers, why);
        }
    }
    if (verdict.denials.len > 0) verdict.changes.len = 0;
{{/mutating}}
{{#validating}}
    if (labelled == null or !labelled.?.map.contains("team")) {
        const fix = try print("add the label `team`, such as `team: {s}`, to `metadata.labels`", .{settings.team});
        try refuse(verdict, is_new, labels, "the label `team` is missing", fix);
    }
{{/validating}}
}

/// Denies a new object, and warns about a stored one.
fn refuse(
    verdict: *c.policy_verdict_t,
    is_new: bool,
    pointer: []const u8,
    message: []const u8,
    fix: []const u8,
) !void {
    if (is_new) {
        try push(&verdict.denials, .{
            .code = c.WARDSET_POLICY_TYPES_DENIAL_CODE_FORBIDDEN,
            .pointer = try text(pointer),
            .message = try text(message),
            .fix = try text(fix),
        });
    } else {
        try push(&verdict.warnings, .{ .pointer = try text(pointer), .message = try text(message) });
    }
}

{{#mutating}}
fn add(verdict: *c.policy_verdict_t, path: []const u8, value: []const u8, reason: []const u8) !void {
    try push(&verdict.changes, .{
        .edit = .{
            .tag = c.WARDSET_POLICY_TYPES_EDIT_ADD,
            .val = .{ .add = .{ .path = try text(path), .value = try text(value) } },
        },
        .reason = try text(reason),
    });
}

/// Writes a string as JSON.
fn json(value: []const u8) ![]const u8 {
    return std.json.Stringify.valueAlloc(allocator, value, .{});
}

{{/mutating}}
/// Returns the value of the object at a pointer; null if it is missing or null.
fn read(comptime T: type, comptime pointer: []const u8) !?T {
    const found = ask(pointer) orelse return null;
    return try std.json.parseFromSliceLeaky(T, allocator, found, .{});
}

{{#mutating}}
/// Whether there is a value other than null at a pointer.
fn has(comptime pointer: []const u8) bool {
    return ask(pointer) != null;
}

{{/mutating}}
fn ask(comptime pointer: []const u8) ?[]const u8 {
    var at = c.policy_string_t{ .ptr = @constCast(pointer.ptr), .len = pointer.len };
    var value: c.policy_string_t = undefined;
    if (!c.wardset_policy_document_object(&at, &value)) return null;
    return if (std.mem.eql(u8, slice(value), "null")) null else slice(value);
}

fn print(comptime format: []const u8, values: anytype) ![]const u8 {
    return std.fmt.allocPrint(allocator, format, values);
}

fn slice(string: c.policy_string_t) []const u8 {
    return string.ptr[0..string.len];
}

/// Copies a text into an answer.
fn text(value: []const u8) !c.policy_string_t {
    const copy = try allocator.dupe(u8, value);
    return .{ .ptr = copy.ptr, .len = copy.len };
}

fn texts(values: []const []const u8) !c.policy_list_string_t {
    var list = std.mem.zeroes(c.policy_list_string_t);
    for (values) |value| try push(&list, try text(value));
    return list;
}

/// Appends to a list of an answer.
fn push(list: anytype, value: @typeInfo(@TypeOf(list.ptr)).pointer.child) !void {
    const Item = @TypeOf(value);
    const items = try allocator.alloc(Item, list.len + 1);
    if (list.len > 0) @memcpy(items[0..list.len], list.ptr[0..list.len]);
    items[list.len] = value;
    list.ptr = items.ptr;
    list.len = items.len;
}
