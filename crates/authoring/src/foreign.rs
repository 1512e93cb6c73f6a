//! Imports that are not part of the contract, and the remedy for each.

use std::{error, fmt};

use crate::contract;
use crate::wasi::WASI_MODULE;

/// Returns the problem of an import, or none if the contract has it.
///
/// `import` is the name of a component's import, such as `wasi:clocks/wall-clock@0.2.12`, or the module name of a
/// core module's import, such as `wasi_snapshot_preview1`.
#[must_use]
pub fn foreign_import(import: &str) -> Option<ForeignImport> {
    // The names that `wit-component` gives to a core module's imports of the contract and of its own exports.
    if import == "$root" || import.starts_with("[export]") {
        return None;
    }
    let remedy = match import.split_once(['/', '@']).map_or(import, |(package, _)| package) {
        contract::PACKAGE => {
            let version = import.split_once('@').map_or("", |(_, version)| version);
            if version == contract::version() {
                return None;
            }
            Remedy::Version
        }
        WASI_MODULE | "wasi_unstable" | "wasi" => Remedy::Preview1,
        package if package.starts_with("wasi:") => Remedy::Wasi,
        "wapc" => Remedy::Kubewarden,
        "env" => Remedy::Undefined,
        _ => Remedy::Other,
    };
    Some(ForeignImport { import: import.to_owned(), remedy })
}

/// An import that the contract does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignImport {
    /// The name of the import.
    pub import: String,
    remedy: Remedy,
}

/// The kind of remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Wasi,
    Preview1,
    Version,
    Kubewarden,
    Undefined,
    Other,
}

impl ForeignImport {
    /// Returns the fix, without `hint:` before it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.remedy {
            Remedy::Wasi => "close WASI when you build the module: `--stub-wasi` for componentize-qjs and \
                             componentize-py, `-d stdio -d random -d clocks -d http -d fetch-event` for \
                             componentize-js; `wardset policy build` does it for all languages"
                .to_owned(),
            Remedy::Preview1 => {
                "`wardset policy build` makes a component of such a module, with an adapter that \
                                 closes WASI preview 1"
                    .to_owned()
            }
            Remedy::Version => {
                format!("build the module against `{}@{}`", contract::PACKAGE, contract::version())
            }
            Remedy::Kubewarden => "the module is a Kubewarden policy; Wardset runs only modules of its own \
                                   contract"
                .to_owned(),
            Remedy::Undefined => "a function is declared, and neither the sources nor a library define it; \
                                  add its source file or library to the build"
                .to_owned(),
            Remedy::Other => {
                "remove the call; a policy reads the object and the cluster data through the contract only"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for ForeignImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected imports of `{}@{}` only, found `{}`\nhint: {}",
            contract::PACKAGE,
            contract::version(),
            self.import,
            self.hint()
        )
    }
}

impl error::Error for ForeignImport {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_not_foreign() {
        for import in ["wardset:policy/document@0.1.1", "wardset:policy/types@0.1.1", "$root"] {
            assert_eq!(foreign_import(import), None, "{import}");
        }
    }

    #[test]
    fn each_foreign_import_has_a_remedy_of_its_own() {
        for (import, remedy) in [
            ("wasi:clocks/wall-clock@0.2.12", "--stub-wasi"),
            ("wasi_snapshot_preview1", "wardset policy build"),
            ("wardset:policy/document@0.2.0", "`wardset:policy@0.1.1`"),
            ("wardset:policy/document", "`wardset:policy@0.1.1`"),
            ("wapc", "Kubewarden"),
            ("env", "declared"),
            ("example:random/numbers", "remove the call"),
        ] {
            let message = foreign_import(import).unwrap().to_string();
            assert!(message.contains(&format!("found `{import}`")), "{message}");
            assert!(message.split("hint: ").nth(1).unwrap().contains(remedy), "{message}");
        }
    }
}
