//! The languages and kinds of policies.

use std::str::FromStr;
use std::{error, fmt};

/// A language for policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    /// Returns the language of a word; `js`, `golang` and the like count too.
    fn from_str(word: &str) -> Result<Self, UnknownLanguage> {
        let known = match word.to_ascii_lowercase().as_str() {
            "rs" => Some(Self::Rust),
            "js" | "javascript" | "typescript" => Some(Self::Ts),
            "golang" => Some(Self::Go),
            "py" => Some(Self::Python),
            word => Self::ALL.into_iter().find(|language| language.word() == word),
        };
        known.ok_or_else(|| UnknownLanguage { word: word.to_owned() })
    }
}

/// A word that names no language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLanguage {
    /// The word.
    pub word: String,
}

impl fmt::Display for UnknownLanguage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Language::ALL.map(Language::word).join(", ");
        write!(
            f,
            "expected one of {words}, found `{}`\nhint: a module of any other language works too, if it is a \
             component of wit/policy.wit",
            self.word
        )
    }
}

impl error::Error for UnknownLanguage {}

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
            assert_eq!(language.word().parse(), Ok(language));
        }
        assert_eq!("JavaScript".parse(), Ok(Language::Ts));
    }

    #[test]
    fn an_unknown_word_is_an_error_with_all_that_are_known() {
        let error = "cobol".parse::<Language>().unwrap_err().to_string();
        assert!(
            error.starts_with("expected one of rust, ts, go, python, c, zig, cel, found `cobol`"),
            "{error}"
        );
        assert!(error.contains("hint: "), "{error}");
    }
}
