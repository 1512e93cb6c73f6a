//! The languages and kinds of policies.

use std::fmt;

use serde::Deserialize;

/// A language for policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// TypeScript or JavaScript, in QuickJS.
    Ts,
    /// Go, with the official toolchain.
    Go,
    /// Python, in CPython.
    Python,
    /// C.
    C,
    /// Zig.
    Zig,
    /// Expressions in a policy file, without a compiler.
    Cel,
}

impl Language {
    /// All languages, in the order of the documentation.
    pub const ALL: [Self; 7] = [Self::Rust, Self::Ts, Self::Go, Self::Python, Self::C, Self::Zig, Self::Cel];

    /// Returns the word for the command line and for `wardset.yaml`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Ts => "ts",
            Self::Go => "go",
            Self::Python => "python",
            Self::C => "c",
            Self::Zig => "zig",
            Self::Cel => "cel",
        }
    }

    /// Returns the name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Ts => "TypeScript",
            Self::Go => "Go",
            Self::Python => "Python",
            Self::C => "C",
            Self::Zig => "Zig",
            Self::Cel => "CEL",
        }
    }

    /// Returns the path of the policy's source within a new project.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Ts => "src/policy.ts",
            Self::Go => "policy.go",
            Self::Python => "app.py",
            Self::C => "src/policy.c",
            Self::Zig => "src/policy.zig",
            Self::Cel => "policy.yaml",
        }
    }

    /// Returns the one command that installs the tools of the language into a project or for the user; none if there is
    /// nothing to install.
    #[must_use]
    pub const fn setup(self) -> Option<&'static str> {
        match self {
            Self::Rust => Some("rustup target add wasm32-unknown-unknown"),
            Self::Ts => Some("npm install"),
            Self::Python | Self::C | Self::Zig => {
                Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt")
            }
            Self::Go | Self::Cel => None,
        }
    }

    /// Returns the language of a word; `js`, `javascript` and the like count too.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "rs" => Some(Self::Rust),
            "js" | "javascript" | "typescript" => Some(Self::Ts),
            "golang" => Some(Self::Go),
            "py" => Some(Self::Python),
            word => Self::ALL.into_iter().find(|language| language.word() == word),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// The kind of a new policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// It changes objects, and may deny them.
    Mutating,
    /// It denies objects, and changes none.
    Validating,
}

impl PolicyKind {
    /// Returns the word for the command line and for templates.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Validating => "validating",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_names_its_language() {
        for language in Language::ALL {
            assert_eq!(Language::from_word(language.word()), Some(language));
        }
        assert_eq!(Language::from_word("JavaScript"), Some(Language::Ts));
        assert_eq!(Language::from_word("cobol"), None);
    }
}
