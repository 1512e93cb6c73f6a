//! A measurement in a file, to compare later ones with.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Measurement, VERSION};

/// The reason why a baseline is not usable.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The system refuses to read it.
    #[error("failed to read the baseline `{}`: {error}; hint: `wardset policy bench --save FILE` writes one", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is not a baseline of this version.
    #[error("failed to parse the baseline `{}`: {problem}; hint: `wardset policy bench --save FILE` writes one", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The expected and the found value.
        problem: String,
    },
    /// The system refuses to write it.
    #[error("failed to write the baseline `{}`: {error}; hint: name a file in a folder that exists", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
}

/// Reads a baseline.
///
/// # Errors
///
/// A file that cannot be read, or that is not a baseline of this version.
pub fn read(path: &Path) -> Result<Measurement, BaselineError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| BaselineError::Read { path: path.to_owned(), error })?;
    parse(&text).map_err(|problem| BaselineError::Malformed { path: path.to_owned(), problem })
}

fn parse(text: &str) -> Result<Measurement, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // Another version has other fields, whose errors would hide the cause.
    if value["version"] != VERSION {
        return Err(format!("expected `version: {VERSION}`, found `{}`", value["version"]));
    }
    let baseline: Measurement = serde_json::from_value(value).map_err(|error| error.to_string())?;
    for case in &baseline.cases {
        let median = case.figures.evaluation_us.median;
        if median <= 0.0 {
            return Err(format!("expected a positive median of the case `{}`, found {median}", case.name));
        }
    }
    Ok(baseline)
}

/// Writes a baseline. An existing file is replaced.
///
/// # Errors
///
/// A path that cannot be written.
pub fn write(path: &Path, measurement: &Measurement) -> Result<(), BaselineError> {
    std::fs::write(path, format!("{:#}\n", to_value(measurement)))
        .map_err(|error| BaselineError::Write { path: path.to_owned(), error })
}

/// Returns a measurement as JSON.
pub(super) fn to_value(measurement: &Measurement) -> Value {
    // Its fields are texts and finite numbers, which JSON can hold.
    serde_json::to_value(measurement).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn baseline() -> Value {
        let times = json!({"median": 1.5, "p99": 2.0});
        let figures = json!({
            "samples": 3, "evaluation_us": times, "instantiate_us": times, "call_us": times, "memory_bytes": 65536,
        });
        let mut case = json!({"file": "cases/a.yaml", "name": "a"});
        case.as_object_mut().unwrap().extend(figures.as_object().unwrap().clone());
        json!({"version": 1, "cases": [case], "all": figures, "modules": [], "unmeasured": []})
    }

    #[test]
    fn a_baseline_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("base.json");
        let before = parse(&baseline().to_string()).unwrap();
        write(&file, &before).unwrap();
        assert_eq!(read(&file).unwrap(), before);
        assert_eq!(to_value(&before), baseline());
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        let changed = |pointer: &str, value: Value| {
            let mut changed = baseline();
            *changed.pointer_mut(pointer).unwrap() = value;
            changed.to_string()
        };
        for (text, part) in [
            ("not JSON".to_owned(), "line 1 column 2"),
            ("[]".to_owned(), "expected `version: 1`, found `null`"),
            (changed("/version", json!(2)), "expected `version: 1`, found `2`"),
            (changed("/cases", json!(5)), "expected a sequence"),
            (changed("/cases/0/name", json!(null)), "expected a string"),
            (changed("/cases/0/evaluation_us/median", json!(0)), "positive median of the case `a`, found 0"),
        ] {
            let problem = parse(&text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
