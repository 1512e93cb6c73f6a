//! The tests of the whole: what a user or an attacker meets, from outside.

mod guests;
mod hostile;
