//! Hostile guests, and the mechanism that contains each of them.
//!
//! [`GUESTS`] lists each guest, its review and the mechanism that stops it. Each guest has a test that checks the next
//! review and the neighbouring policies. It tries every `mode` and `onError`, unless the guest times out. `bombs` holds the modules that
//! attack the compiler. `cargo xtask hostile` prints everything as a table, with times.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod bombs;
mod bytes;
mod cache;
mod doors;
mod isolation;
mod logs;
mod pool;
mod table;

pub(crate) use bombs::forever as bomb;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wardset_core::chain::MAX_MESSAGES;
use wardset_core::decision::{Decision, Outcome, PolicyReport, PolicyResult};
use wardset_core::manifest::ManifestError;
use wardset_core::plan::Phase;
use wardset_core::policy::{Mode, OnError, Policy, Resource};
use wardset_core::review::{Context, Question, Review};
use wardset_core::verdict::FailureClass::{
    self, Access, Deadline, Declined, Late, Memory, Output, Patch, Trap, Writes,
};
use wardset_core::verdict::MAX_TEXT;
use wardset_runtime::{Engine, EngineOptions, LoadError, Module, SettingsError, Snapshot, Unusable};

use crate::guests;

/// The mechanism that contains a guest.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// The host refuses its bytes or its structure before any of its code runs.
    Load(Refusal),
    /// It fails in its start function or in `manifest`, so the host does not load it.
    Start(FailureClass),
    /// It fails in `validate-settings`, so no policy of it becomes active.
    Settings(FailureClass),
    /// It rejects its settings.
    RefusesSettings,
    /// It requests cluster data that the operator does not allow.
    ClusterData,
    /// The review fails with this class. The next review of the same policy succeeds.
    Review(FailureClass),
    /// Each review of the policy fails with this class.
    EachReview(FailureClass),
    /// The template gate drops this number of its changes. The rest of its verdict counts.
    Gate(usize),
    /// It has no effect: the review continues as if the verdict were empty.
    Nothing,
    /// Its denial counts if the policy enforces. The host truncates the message to a readable length.
    Denial,
    /// Its verdict counts. The host truncates the warnings to the limit of the API server.
    Warnings,
    /// Its verdict counts. The host limits number and length of the notes, and no client sees them.
    Notes,
}

/// The reason why the host does not load a module.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refusal {
    Compile,
    Import,
    Version,
    World,
    ForbiddenWrite,
    Pointer,
    TooMany,
    Schema,
    Text,
    /// It exceeds a limit on the number or size of its parts.
    Shape,
    /// The deadline of the compiler stopped the compilation.
    Time,
    /// The module crashed the process of the compiler, and nothing else.
    Compiler,
}

/// The kind of review that a guest gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    /// A create, so policies may change the template.
    Create,
    /// An update that does not touch the template.
    Update,
}

struct Case {
    guest: &'static str,
    review: Of,
    by: By,
}

macro_rules! guests {
    ($($test:ident: $guest:literal of $review:ident => $by:expr;)*) => {
        const GUESTS: &[Case] = &[$(Case { guest: $guest, review: Of::$review, by: { use By::*; $by } },)*];
        $(
            #[tokio::test]
            async fn $test() {
                let case = GUESTS.iter().find(|case| case.guest == $guest).unwrap();
                case.check().await;
            }
        )*
    };
}

guests! {
    stops_a_loop: "loop" of Create => Review(Deadline);
    stops_a_loop_in_start: "loop-in-start" of Create => Start(Deadline);
    stops_a_loop_in_manifest: "loop-in-manifest" of Create => Start(Deadline);
    stops_a_loop_in_validate_settings: "loop-in-validate-settings" of Create => Settings(Deadline);
    stops_a_loop_in_realloc: "loop-in-realloc" of Create => EachReview(Deadline);
    stops_a_loop_in_the_first_realloc: "loop-in-first-realloc" of Create => Settings(Deadline);
    stops_a_loop_in_post_return: "loop-in-post-return" of Create => Review(Deadline);
    stops_bulk_fills: "fill-storm" of Create => Review(Deadline);
    stops_table_fills: "table-fill-storm" of Create => Review(Deadline);
    stops_copies: "copy-storm" of Create => Review(Deadline);
    stops_a_storm_of_host_calls: "object-storm" of Create => Review(Deadline);
    stops_a_storm_of_reads_of_the_old_object: "old-object-storm" of Update => Review(Deadline);
    stops_a_storm_of_log_calls: "log-storm-without-end" of Create => Review(Deadline);
    stops_recursion: "recursion" of Create => Review(Trap);
    stops_recursion_in_start: "recursion-in-start" of Create => Start(Trap);
    survives_a_panic: "unreachable" of Create => Review(Trap);
    survives_a_division_by_zero: "divide-by-zero" of Create => Review(Trap);
    survives_a_read_beyond_memory: "read-beyond-memory" of Create => Review(Trap);
    survives_a_call_through_null: "call-through-null" of Create => Review(Trap);

    bounds_memory_grown_by_page: "memory-by-page" of Create => Review(Memory);
    bounds_memory_grown_at_once: "memory-by-gigabyte" of Create => Review(Memory);
    bounds_memory_grown_in_start: "memory-in-start" of Create => Start(Memory);
    bounds_declared_memory: "memory-at-start" of Create => Start(Memory);
    bounds_declared_memory_beyond_the_pool: "memory-beyond-pool" of Create => Load(Refusal::Compile);
    bounds_the_sum_of_all_memories: "memory-twice" of Create => Review(Memory);
    bounds_table_growth: "table-growth" of Create => Review(Memory);
    bounds_declared_tables: "table-at-start" of Create => Load(Refusal::Compile);
    bounds_core_instances: "many-core-instances" of Create => Load(Refusal::Compile);
    bounds_handles: "handle-storm" of Create => Start(Output);

    bounds_an_answer_of_megabytes: "answer-of-megabytes" of Create => Review(Output);
    bounds_a_list_of_2_to_31_elements: "list-of-2-to-31" of Create => Review(Output);
    bounds_a_list_that_shares_one_text: "list-of-one-text" of Create => Review(Output);
    bounds_a_manifest_that_shares_one_text: "manifest-of-one-text" of Create => Start(Output);
    refuses_text_beyond_memory: "text-beyond-memory" of Create => Review(Output);
    refuses_text_without_utf8: "text-without-utf8" of Create => Review(Output);
    refuses_an_enum_out_of_range: "enum-out-of-range" of Create => Review(Output);
    refuses_a_variant_out_of_range: "variant-out-of-range" of Create => Review(Output);
    refuses_a_result_out_of_range: "result-out-of-range" of Create => Review(Output);
    refuses_an_unaligned_answer: "answer-unaligned" of Create => Review(Output);
    refuses_an_answer_beyond_memory: "answer-beyond-memory" of Create => Review(Output);
    refuses_many_changes: "many-changes" of Create => Review(Output);
    shortens_many_denials: "many-denials" of Create => Denial;
    shortens_many_warnings: "many-warnings" of Create => Warnings;
    shortens_long_warnings: "warnings-that-break-lines" of Create => Warnings;
    shortens_many_notes: "many-notes" of Create => Notes;
    shortens_long_notes: "notes-that-break-lines" of Create => Notes;
    shortens_long_denials: "denies-at-length" of Create => Denial;
    refuses_a_realloc_result_beyond_memory: "realloc-beyond-memory" of Create => Settings(Output);
    shortens_a_long_error: "declines" of Create => Review(Declined);
    shortens_a_long_rejection_of_settings: "settings-refused-at-length" of Create => RefusesSettings;

    produces_only_canonical_nans: "nan-bits" of Create => Nothing;

    drops_a_storm_of_log_lines: "log-storm" of Create => Nothing;
    truncates_log_lines_of_a_megabyte: "log-of-a-megabyte" of Create => Nothing;
    refuses_log_lines_of_megabytes: "log-of-megabytes" of Create => Review(Output);
    refuses_log_lines_beyond_memory: "log-beyond-memory" of Create => Review(Output);
    refuses_log_levels_out_of_range: "log-level-out-of-range" of Create => Review(Output);

    refuses_undeclared_reads: "read-undeclared" of Create => Review(Access);
    refuses_reads_of_the_parent_of_a_declared_read: "read-parent-of-declared" of Create => Review(Access);
    refuses_reads_of_a_sibling_of_a_declared_read: "read-beside-declared" of Create => Review(Access);
    refuses_reads_if_none_is_declared: "read-without-reads" of Create => Review(Access);
    refuses_undeclared_reads_of_the_old_object: "read-old-undeclared" of Update => Review(Access);
    refuses_reads_of_a_parent_in_the_old_object: "old-read-parent-of-declared" of Update => Review(Access);
    refuses_reads_at_malformed_pointers: "read-no-pointer" of Create => Review(Access);
    refuses_pointers_beyond_memory: "read-with-pointer-beyond-memory" of Create => Review(Output);
    refuses_undeclared_cluster_data: "cluster-undeclared" of Create => Review(Access);
    refuses_undeclared_nodes: "nodes-undeclared" of Create => Review(Access);
    refuses_cluster_data_that_the_operator_does_not_allow: "cluster-declared" of Create => ClusterData;
    refuses_imports_in_start: "import-in-start" of Create => Start(Access);
    refuses_imports_in_manifest: "import-in-manifest" of Create => Start(Access);
    refuses_log_lines_in_manifest: "log-in-manifest" of Create => Start(Access);
    refuses_imports_in_validate_settings: "import-in-validate-settings" of Create => Settings(Access);
    refuses_imports_in_post_return: "import-in-post-return" of Create => Review(Trap);
    blames_the_guest_for_bad_arguments_in_start: "log-beyond-memory-in-start" of Create => Start(Output);

    refuses_undeclared_writes: "write-undeclared" of Create => Review(Writes);
    refuses_writes_of_a_sibling_of_a_declared_write: "write-beside-declared" of Create => Review(Writes);
    refuses_writes_of_the_parent_of_a_declared_write: "write-parent-of-declared" of Create => Review(Writes);
    refuses_writes_if_none_is_declared: "write-without-writes" of Create => Review(Writes);
    refuses_undeclared_writes_of_the_root: "write-root-undeclared" of Create => Review(Writes);
    refuses_to_write_the_selector_with_metadata_declared: "selector-directly" of Create => Review(Writes);
    refuses_to_write_the_status_with_the_whole_declared: "status-directly" of Create => Review(Writes);
    refuses_to_change_the_uid_by_replacing_metadata: "parent-with-other-uid" of Create => Review(Writes);
    refuses_to_remove_the_uid_by_replacing_metadata: "parent-without-uid" of Create => Review(Writes);
    refuses_to_change_the_name_by_replacing_metadata: "parent-with-other-name" of Create => Review(Writes);
    refuses_to_drop_finalizers_by_replacing_metadata: "parent-without-finalizers" of Create => Review(Writes);
    refuses_to_change_the_uid_by_an_escaped_key: "parent-with-escaped-key" of Create => Review(Writes);
    refuses_a_duplicate_key: "parent-with-repeated-key" of Create => Review(Patch);
    refuses_to_remove_metadata: "parent-removed" of Create => Review(Writes);
    refuses_to_remove_the_annotation_of_kubectl: "annotations-replaced" of Create => Review(Writes);
    refuses_to_remove_a_finalizer: "element-of-finalizers" of Create => Review(Writes);
    refuses_to_add_an_owner: "owner-appended" of Create => Review(Writes);
    refuses_to_change_selector_by_replacing_spec: "parent-with-other-selector" of Create => Review(Writes);
    refuses_to_add_to_the_selector: "selector-below-parent" of Create => Review(Writes);
    refuses_to_change_the_status: "status-from-the-root" of Create => Review(Writes);
    refuses_to_replace_the_whole_document: "root-replaced" of Create => Review(Writes);
    refuses_to_replace_the_document_with_a_number: "root-replaced-by-number" of Create => Review(Writes);
    refuses_to_remove_the_whole_document: "root-removed" of Create => Review(Patch);
    undoes_a_valid_change_before_a_forbidden_one: "first-change-good" of Create => Review(Writes);
    drops_template_changes_if_the_gate_is_closed: "template-directly" of Update => Gate(1);
    drops_another_template_if_the_gate_is_closed: "template-whole" of Update => Gate(1);
    refuses_to_change_the_template_by_replacing_spec: "template-by-parent" of Update => Review(Writes);
    refuses_to_remove_the_template_by_replacing_spec: "template-removed-by-parent" of Update => Review(Writes);
    refuses_a_document_without_a_template: "template-by-root" of Update => Review(Writes);
    refuses_labels_that_the_selector_does_not_match: "labels-off-the-selector" of Create => Review(Writes);
    refuses_to_remove_the_template_labels: "labels-removed" of Create => Review(Writes);
    refuses_to_make_a_selected_label_a_number: "labels-of-another-type" of Create => Review(Writes);

    refuses_labels_that_are_a_string: "labels-made-text" of Create => Review(Patch);
    refuses_a_label_that_is_a_number: "label-made-number" of Create => Review(Patch);
    refuses_an_annotation_that_is_a_list: "annotation-made-list" of Create => Review(Patch);
    refuses_tolerations_that_are_a_map: "tolerations-made-map" of Create => Review(Patch);
    refuses_containers_that_are_a_string: "containers-made-text" of Create => Review(Patch);
    refuses_affinity_that_is_a_number: "affinity-made-number" of Create => Review(Patch);
    refuses_a_template_that_is_a_list: "template-made-list" of Create => Review(Writes);

    undoes_a_thousand_changes_before_an_invalid_one: "storm-of-changes" of Create => Review(Patch);
    refuses_changes_at_malformed_pointers: "change-at-no-pointer" of Create => Review(Output);
    refuses_values_that_are_not_json: "value-no-json" of Create => Review(Patch);
    refuses_values_that_would_close_their_object: "value-two-documents" of Create => Review(Patch);
    refuses_empty_values: "value-empty" of Create => Review(Patch);
    refuses_deeply_nested_values: "value-very-deep" of Create => Review(Patch);
    refuses_nesting_by_many_shallow_changes: "nested-step-by-step" of Create => Review(Patch);
    refuses_to_add_below_a_missing_parent: "parent-missing" of Create => Review(Patch);
    refuses_to_add_below_a_string: "parent-is-text" of Create => Review(Patch);
    refuses_to_add_below_an_append: "append-then-descend" of Create => Review(Patch);
    refuses_to_replace_at_an_append: "append-replaced" of Create => Review(Patch);
    refuses_to_remove_at_an_append: "append-removed" of Create => Review(Patch);
    refuses_indexes_beyond_an_array: "position-beyond-array" of Create => Review(Patch);
    refuses_indexes_with_leading_zeros: "position-with-leading-zero" of Create => Review(Patch);
    refuses_to_replace_a_missing_member: "replaced-missing" of Create => Review(Patch);
    refuses_to_remove_a_missing_member: "removed-missing" of Create => Review(Patch);

    refuses_declared_writes_of_the_selector: "declares-selector" of Create => Load(Refusal::ForbiddenWrite);
    refuses_writes_below_the_selector: "declares-selector-member" of Create => Load(Refusal::ForbiddenWrite);
    refuses_declared_writes_of_the_name: "declares-name" of Create => Load(Refusal::ForbiddenWrite);
    refuses_declared_writes_of_the_uid: "declares-uid" of Create => Load(Refusal::ForbiddenWrite);
    refuses_declared_writes_of_finalizers: "declares-finalizers" of Create => Load(Refusal::ForbiddenWrite);
    refuses_declared_writes_of_the_status: "declares-status" of Create => Load(Refusal::ForbiddenWrite);
    refuses_declared_writes_of_the_kind: "declares-kind" of Create => Load(Refusal::ForbiddenWrite);
    refuses_declared_writes_at_bad_pointers: "declares-no-pointer" of Create => Load(Refusal::Pointer);
    refuses_declared_reads_at_bad_pointers: "declares-no-pointer-to-read" of Create => Load(Refusal::Pointer);
    refuses_a_schema_that_is_not_json: "declares-no-schema" of Create => Load(Refusal::Schema);
    refuses_a_deep_schema: "deep-schema" of Create => Load(Refusal::Schema);
    refuses_a_huge_schema: "huge-schema" of Create => Load(Refusal::TooMany);
    refuses_a_declared_read_of_half_a_megabyte: "long-read" of Create => Load(Refusal::TooMany);
    refuses_thousands_of_declared_reads: "many-reads" of Create => Load(Refusal::TooMany);
    refuses_a_name_with_an_escape_sequence: "name-with-escape-sequence" of Create => Load(Refusal::Text);
    refuses_a_name_with_capitals_and_blanks: "name-of-another-kind" of Create => Load(Refusal::Text);
    refuses_a_description_with_a_line_break: "description-with-line-break" of Create => Load(Refusal::Text);
    refuses_a_hundred_declared_writes: "many-writes" of Create => Load(Refusal::TooMany);

    offers_no_clock: "imports-clock" of Create => Load(Refusal::Import);
    offers_no_function_without_a_package: "imports-plain" of Create => Load(Refusal::Import);
    offers_only_the_interfaces_of_the_contract: "imports-random-of-ours" of Create => Load(Refusal::World);
    refuses_a_later_version_of_the_contract: "imports-other-version" of Create => Load(Refusal::Version);
    refuses_the_contract_without_a_version: "imports-without-version" of Create => Load(Refusal::Version);
    refuses_imports_of_another_type: "imports-other-type" of Create => Load(Refusal::World);
    refuses_missing_exports: "exports-nothing" of Create => Load(Refusal::World);
    refuses_exports_of_another_type: "exports-other-type" of Create => Load(Refusal::World);
    refuses_core_modules: "core-module" of Create => Load(Refusal::Compile);
    refuses_threads: "uses-threads" of Create => Load(Refusal::Compile);
}

/// Bound on the time of one test, for slow machines too: without it, a guest that nobody stops would loop forever.
const SOON: Duration = Duration::from_secs(5);
const EVERY_MODE: [Mode; 3] = [Mode::Enforce, Mode::Warn, Mode::Observe];
const EVERY_ON_ERROR: [OnError; 3] = [OnError::Fail, OnError::Deny, OnError::Allow];

/// One engine for all tests, so that other tests notice if a guest damages it.
static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| Engine::new(EngineOptions { sandboxes: 8 }).unwrap());

impl Case {
    async fn check(&self) {
        let module = match Module::load(&ENGINE, &guests::component(self.guest), None).await {
            Ok(module) => Arc::new(module),
            Err(error) => {
                assert_eq!(self.by, refused(&error), "{error:?}");
                assert_engine_works().await;
                return;
            }
        };
        assert!(!matches!(self.by, By::Load(_) | By::Start(_)), "the module was loaded");
        // A guest that times out costs its timeout in each combination. `core/chain` tests all nine for a deadline.
        let all = if self.by_time() { 1 } else { 3 };
        for &mode in &EVERY_MODE[..all] {
            for &on_error in &EVERY_ON_ERROR[..all] {
                let hostile = (self.policy(mode, on_error), Arc::clone(&module));
                match Snapshot::new(Arc::clone(&ENGINE), between_neighbours(hostile).await).await {
                    Ok(snapshot) => self.check_reviews(&snapshot, mode, on_error).await,
                    Err(error) => {
                        assert_eq!(self.by, unusable(&error), "{error:?}");
                        assert_engine_works().await;
                    }
                }
            }
        }
    }

    /// Returns the policy of the guest. Its timeout is short only if the deadline is expected to stop the guest;
    /// otherwise a slow machine could reach it.
    fn policy(&self, mode: Mode, on_error: OnError) -> Policy {
        policy("hostile", 0, mode, on_error, if self.by_time() { "200ms" } else { "10s" })
    }

    fn by_time(&self) -> bool {
        matches!(self.by, By::Review(Deadline) | By::EachReview(Deadline) | By::Settings(Deadline))
    }

    async fn check_reviews(&self, snapshot: &Snapshot, mode: Mode, on_error: OnError) {
        let hostile = decide(snapshot, &review(self.review, true)).await;
        assert_bounds(&hostile);
        assert_neighbours_unharmed(&hostile);
        match self.by {
            By::Review(class) | By::EachReview(class) => assert_failed(&hostile, class, mode, on_error),
            By::Gate(held_back) => assert_held_back(&hostile, held_back),
            By::Nothing => assert_silent(&hostile),
            By::Denial => {
                let enforced = mode == Mode::Enforce;
                assert_eq!(matches!(hostile.outcome, Outcome::Denied { code: 403, .. }), enforced);
                assert_eq!(hostile.outcome == Outcome::Allowed, !enforced);
                assert_eq!(hostile.warnings.is_empty(), mode != Mode::Warn);
            }
            By::Warnings => {
                assert_eq!(hostile.outcome, Outcome::Allowed);
                assert_eq!(hostile.warnings.is_empty(), mode == Mode::Observe);
            }
            By::Notes => {
                assert_eq!(hostile.outcome, Outcome::Allowed);
                assert_eq!(hostile.warnings, [""; 0]);
                assert!(report(&hostile, "hostile").notes().len() >= MAX_MESSAGES);
            }
            By::Load(_) | By::Start(_) | By::Settings(_) | By::RefusesSettings | By::ClusterData => {
                panic!("expected {:?}, found an active policy", self.by)
            }
        }
        let next = decide(snapshot, &review(self.review, false)).await;
        assert_bounds(&next);
        assert_neighbours_unharmed(&next);
        match self.by {
            By::EachReview(class) => assert_failed(&next, class, mode, on_error),
            _ => assert_silent(&next),
        }
    }
}

fn refused(error: &LoadError) -> By {
    By::Load(match error {
        LoadError::Start(failure) => return By::Start(failure.class),
        LoadError::NotWasm | LoadError::CoreModule | LoadError::Compile(_) => Refusal::Compile,
        LoadError::Import { .. } => Refusal::Import,
        LoadError::Version { .. } => Refusal::Version,
        LoadError::World(_) => Refusal::World,
        LoadError::Manifest(ManifestError::Forbidden { .. }) => Refusal::ForbiddenWrite,
        LoadError::Manifest(ManifestError::Pointer { .. }) => Refusal::Pointer,
        LoadError::Manifest(ManifestError::TooMany { .. } | ManifestError::TooLong { .. }) => {
            Refusal::TooMany
        }
        LoadError::Manifest(ManifestError::Schema) => Refusal::Schema,
        LoadError::Manifest(ManifestError::Unprintable { .. } | ManifestError::Name { .. }) => Refusal::Text,
        LoadError::Manifest(ManifestError::Length { .. }) | LoadError::TooLarge { .. } => {
            panic!("expected a guest of the table, found one that is too long: {error}")
        }
        LoadError::Shape { .. } => Refusal::Shape,
        LoadError::TooSlow(_) => Refusal::Time,
        LoadError::TooMuchCode | LoadError::Crashed(_) => Refusal::Compiler,
        LoadError::MachineBusy(_) => panic!("the compiler did not get its processor time: {error}"),
        LoadError::NoCompiler(_) => panic!("the compiler did not start: {error:?}"),
        LoadError::Differs => panic!("a guest of the table is nondeterministic: {error}"),
    })
}

fn unusable(error: &Unusable) -> By {
    match error {
        Unusable::Settings { problem: SettingsError::Failed(failure), .. } => By::Settings(failure.class),
        Unusable::Settings { problem: SettingsError::Refused(words), .. } => {
            assert!(words.len() <= 1024, "a rejection of {} bytes in the log", words.len());
            By::RefusesSettings
        }
        Unusable::ClusterData { .. } => By::ClusterData,
        Unusable::Settings { problem: SettingsError::Differs, .. } | Unusable::Differs { .. } => {
            panic!("a guest of the table is nondeterministic: {error}")
        }
        Unusable::SameName(name) => panic!("the test named two policies `{name}`"),
    }
}

/// Asserts that the hostile policy failed with `class`, and that the decision follows from `mode` and `onError`.
fn assert_failed(decision: &Decision, class: FailureClass, mode: Mode, on_error: OnError) {
    let PolicyResult::Failed(failure) = &report(decision, "hostile").result else {
        panic!("expected a failure of class {class}, found {:?}", report(decision, "hostile").result)
    };
    assert_eq!(failure.class, class, "{failure}");
    match (mode, on_error) {
        (Mode::Enforce, OnError::Fail) => assert!(matches!(decision.outcome, Outcome::Failed { .. })),
        (Mode::Enforce, OnError::Deny) => {
            assert!(matches!(decision.outcome, Outcome::Denied { code: 403, .. }), "{:?}", decision.outcome);
        }
        (Mode::Enforce, OnError::Allow) | (Mode::Warn | Mode::Observe, _) => {
            assert_eq!(decision.outcome, Outcome::Allowed);
        }
    }
    // A failed decision has no response, and a denied object has no patch.
    assert_eq!(decision.to_admission_review().is_none(), matches!(decision.outcome, Outcome::Failed { .. }));
    assert_eq!(decision.patch.is_empty(), decision.outcome != Outcome::Allowed);
    if mode == Mode::Observe {
        assert_eq!(decision.warnings, [""; 0], "an observing policy must not warn the author");
    }
}

fn assert_held_back(decision: &Decision, expected: usize) {
    let PolicyResult::Allowed { applied, held_back, .. } = &report(decision, "hostile").result else {
        panic!("expected a dropped change, found {:?}", report(decision, "hostile").result)
    };
    assert_eq!((applied.len(), *held_back), (0, expected));
    assert_eq!(decision.outcome, Outcome::Allowed);
}

/// Asserts that the hostile policy had no effect.
fn assert_silent(decision: &Decision) {
    let PolicyResult::Allowed { applied, held_back: 0, warnings, notes } =
        &report(decision, "hostile").result
    else {
        panic!("expected an empty verdict, found {:?}", report(decision, "hostile").result)
    };
    assert!(applied.is_empty() && warnings.is_empty() && notes.is_empty());
    assert_eq!(decision.outcome, Outcome::Allowed);
    assert_eq!(decision.warnings, [""; 0]);
}

/// Asserts that the policies before and after the hostile one succeeded, and that the object has only their change.
fn assert_neighbours_unharmed(decision: &Decision) {
    for name in ["before", "after"] {
        assert!(matches!(report(decision, name).result, PolicyResult::Allowed { .. }), "{name}");
    }
    assert_eq!(report(decision, "before").applied().len(), 1);
    let mut expected = object();
    expected["metadata"]["labels"]["neighbour"] = json!("unharmed");
    assert_eq!(decision.object.to_value(), expected);
    if decision.outcome == Outcome::Allowed {
        assert_eq!(decision.patch.len(), 1);
        assert_eq!(decision.patch[0].path().as_str(), "/metadata/labels/neighbour");
    }
}

/// Asserts that texts for the API server and the log are short and have no extra line breaks.
fn assert_bounds(decision: &Decision) {
    for warning in &decision.warnings {
        assert!(warning.len() <= 256 && !warning.contains(char::is_control), "{warning:?}");
    }
    assert!(decision.warnings.iter().map(String::len).sum::<usize>() <= 4096);
    if let Outcome::Denied { message, .. } | Outcome::Failed { message, .. } = &decision.outcome {
        // Several reasons form a list, and each line of it begins with `- `.
        let lines = message.len() <= 8192 && message.lines().all(|line| !line.contains(char::is_control));
        assert!(lines && message.lines().skip(1).all(|line| line.starts_with("- ")), "{message:?}");
    }
    for report in &decision.reports {
        assert!(report.notes().len() <= MAX_MESSAGES + 1, "{} notes", report.notes().len());
        for note in report.notes() {
            assert!(note.message.len() <= MAX_TEXT && !note.message.contains(char::is_control), "{note:?}");
        }
        if let PolicyResult::Failed(failure) = &report.result {
            assert!(failure.detail.len() <= 1024, "a detail of {} bytes in the log", failure.detail.len());
        }
    }
}

/// Asserts that the engine still loads and runs other modules after it refused one.
async fn assert_engine_works() {
    let harmless = (policy("hostile", 0, Mode::Enforce, OnError::Fail, "10s"), load("well-behaved").await);
    let snapshot = Snapshot::new(Arc::clone(&ENGINE), between_neighbours(harmless).await).await.unwrap();
    let decision = decide(&snapshot, &review(Of::Create, true)).await;
    assert_neighbours_unharmed(&decision);
    assert_eq!(decision.outcome, Outcome::Allowed);
}

async fn between_neighbours(hostile: (Policy, Arc<Module>)) -> [(Policy, Arc<Module>); 3] {
    let module = load("well-behaved").await;
    [
        (policy("before", -1, Mode::Enforce, OnError::Fail, "10s"), Arc::clone(&module)),
        hostile,
        (policy("after", 1, Mode::Enforce, OnError::Fail, "10s"), module),
    ]
}

async fn load(guest: &str) -> Arc<Module> {
    Arc::new(Module::load(&ENGINE, &guests::component(guest), None).await.unwrap())
}

async fn decide(snapshot: &Snapshot, review: &Review) -> Decision {
    let started = Instant::now();
    let decision = snapshot.decide(review, &Context::default(), Phase::Mutate, started + 2 * SOON).await;
    assert!(started.elapsed() < SOON, "took {:?}", started.elapsed());
    decision
}

fn report<'d>(decision: &'d Decision, policy: &str) -> &'d PolicyReport {
    decision.reports.iter().find(|report| &*report.plan.policy.name == policy).unwrap()
}

fn policy(name: &str, order: i32, mode: Mode, on_error: OnError, timeout: &str) -> Policy {
    let resource = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name},
        "spec": {
            "module": "file:guest.wasm", "order": order, "mode": mode, "onError": on_error,
            "limits": {"timeout": timeout},
        },
    });
    Policy::try_from(serde_json::from_value::<Resource>(resource).unwrap()).unwrap()
}

/// Returns a review. A dry run triggers the hostile part of a guest.
fn review(of: Of, dry_run: bool) -> Review {
    let mut request = json!({
        "uid": "705ab4f5", "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"},
        "name": "node-agent", "namespace": "agents", "operation": "CREATE", "dryRun": dry_run,
        "userInfo": {"username": "ci"}, "object": object(),
    });
    if of == Of::Update {
        request["operation"] = json!("UPDATE");
        request["oldObject"] = object();
        request["oldObject"]["metadata"]["labels"] = json!({});
    }
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    match Question::parse(body.to_string().as_bytes()).unwrap() {
        Question::Decide(review) => *review,
        Question::PassOver { reason, .. } => panic!("skipped: {reason}"),
    }
}

fn object() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {
            "name": "node-agent", "namespace": "agents", "uid": "3f1d", "labels": {"team": "edge"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "finalizers": ["wardset.dev/test"],
        },
        "spec": {
            "selector": {"matchLabels": {"app": "node-agent"}},
            "template": {
                "metadata": {"labels": {"app": "node-agent"}},
                "spec": {
                    "containers": [{"name": "agent", "image": "agent:1"}],
                    "tolerations": [{"operator": "Exists"}],
                },
            },
        },
        "status": {"currentNumberScheduled": 3},
    })
}
