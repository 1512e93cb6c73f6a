//! The operator's log if a guest logs too much.

use std::fmt::Debug;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use super::*;

#[tokio::test]
async fn logs_at_most_sixteen_lines_per_evaluation() {
    let lines = logged_by("log-storm").await;
    assert_eq!(lines, ["a line of the storm"; 16]);
}

#[tokio::test]
async fn truncates_long_log_messages_and_removes_line_breaks() {
    let lines = logged_by("log-of-a-megabyte").await;
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[0], "harmless ERROR wardset: forged  [31m");
    for line in &lines {
        assert!(line.len() <= 512 && !line.contains(char::is_control), "{line:?}");
    }
}

/// Returns the messages of the guest's log lines, as a subscriber receives them.
async fn logged_by(guest: &str) -> Vec<String> {
    let policies = [(policy("hostile", 0, Mode::Enforce, OnError::Fail, "10s"), load(guest).await)];
    let snapshot = Snapshot::new(Arc::clone(&ENGINE), policies).await.unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let guard = tracing::subscriber::set_default(Lines(Arc::clone(&lines)));
    // Effective for this thread only; the test's runtime has no other.
    let decision = decide(&snapshot, &review(Of::Create, true)).await;
    drop(guard);
    assert_eq!(decision.outcome, Outcome::Allowed);
    let lines = lines.lock().unwrap();
    lines.clone()
}

/// A subscriber that keeps the messages of guests.
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "guest"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Message<'l>(&'l mut Vec<String>);

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.push(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        assert_ne!(field.name(), "message", "a guest's message is text: {value:?}");
    }
}
