//! The one list of tasks.
fn main() {}
