//! From source code to a policy module.
//!
//! ```text
//! create ─► a project ─► build ─► the language's tools ─► core module ─► encode ─► component
//!                                                              ▲
//!                                                    WASI_ADAPTER, the contract
//! ```
//!
//! The crate runs no policy, and it needs no network. It starts the compilers that the author has installed.

pub mod component;
mod contract;
mod foreign;
mod wasi;

pub use component::ComponentError;
pub use contract::CONTRACT;
pub use foreign::{ForeignImport, foreign_import};
pub use wasi::{WASI_ADAPTER, WASI_MODULE};
