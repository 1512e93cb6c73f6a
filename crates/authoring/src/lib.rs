//! From source code to a policy module.
//!
//! ```text
//! create ─► a project ─► build ─► the language's tools ─► core module ─► component::encode ─► module
//!                                                              ▲                ▲
//!                                                     snapshot (Go)   WASI_ADAPTER, the contract
//! ```
//!
//! The crate runs no policy. It needs no network, but the tools of a language may.

mod build;
pub mod component;
mod contract;
mod create;
mod declarations;
mod embedded;
mod foreign;
pub mod guest;
mod language;
mod project;
pub mod snapshot;
mod sources;
mod template;
mod tool;
mod wasi;

pub use build::{BuildEvent, BuiltPolicy, PolicyBuildError, build};
pub use component::ComponentError;
pub use contract::CONTRACT;
pub use create::{CreateError, create, files};
pub use foreign::{ForeignImport, foreign_import};
pub use language::{Language, PolicyKind, UnknownLanguage};
pub use project::{PROJECT_FILE, Project, ProjectError, ProjectProblem};
pub use snapshot::SnapshotError;
pub use sources::{ChangedSource, SourceChange, changed_sources};
pub use tool::{MissingTool, ToolError};
pub use wasi::{WASI_ADAPTER, WASI_MODULE};
