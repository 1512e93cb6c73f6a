//! Log lines: on standard error, as text or JSON, filtered by `WARDSET_LOG` (such as `wardset=debug,guest=info`).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Warnings only: a command's words are its output.
pub fn for_commands() {
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal()).without_time();
    // A second call is a test that runs commands in one process: the first subscriber stays.
    let _ = subscriber.try_init();
}

/// One line a decision and what the operator should know.
pub fn for_server(json: bool) {
    let filter = EnvFilter::try_from_env("WARDSET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
    // As above.
    let _ = if json { subscriber.json().flatten_event(true).try_init() } else { subscriber.try_init() };
}
