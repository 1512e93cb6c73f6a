//! YAML out, in the layout that kubectl prints. Every string that a reader of YAML 1.1 would take for another type is
//! quoted.

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use wardset_core::text::is_direction;

use super::scalar;

/// Returns `value` as JSON text, with the numbers as Go's `encoding/json` writes them.
pub(super) fn json(value: &Value) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, GoNumbers))?;
    Ok(out)
}

struct GoNumbers;

impl Formatter for GoNumbers {
    fn write_f64<W: std::io::Write + ?Sized>(&mut self, out: &mut W, value: f64) -> std::io::Result<()> {
        out.write_all(scalar::float_text(value).as_bytes())
    }
}

/// Writes `value` as one document.
pub(super) fn document(value: &Value) -> Result<Vec<u8>, libyaml_safer::Error> {
    let mut out = Vec::new();
    {
        let mut emitter = Emitter::new();
        emitter.set_output_string(&mut out);
        emitter.set_unicode(true);
        // Long lines stay whole, since a diff compares lines.
        emitter.set_width(-1);
        emitter.emit(Event::stream_start(Encoding::Utf8))?;
        emitter.emit(Event::document_start(None, &[], true))?;
        emit(&mut emitter, value)?;
        emitter.emit(Event::document_end(true))?;
        emitter.emit(Event::stream_end())?;
        emitter.flush()?;
    }
    Ok(with_escapes(out))
}

/// Writes characters that change the direction of text as escapes. The emitter cannot, but the strings that contain them
/// are in double quotes.
fn with_escapes(out: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(out) {
        Ok(text) if text.contains(is_direction) => {
            let escaped =
                |c: char| if is_direction(c) { format!("\\u{:04X}", u32::from(c)) } else { c.into() };
            text.chars().map(escaped).collect::<String>().into_bytes()
        }
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

fn emit(emitter: &mut Emitter<'_>, value: &Value) -> Result<(), libyaml_safer::Error> {
    let plain = |text: &str| Event::scalar(None, None, text, true, true, ScalarStyle::Plain);
    match value {
        Value::Null => emitter.emit(plain("null")),
        Value::Bool(value) => emitter.emit(plain(if *value { "true" } else { "false" })),
        Value::Number(value) => emitter.emit(plain(&scalar::number_text(value))),
        Value::String(text) => emitter.emit(string(text)),
        Value::Array(items) => {
            let style = if items.is_empty() { SequenceStyle::Flow } else { SequenceStyle::Block };
            emitter.emit(Event::sequence_start(None, None, true, style))?;
            for item in items {
                emit(emitter, item)?;
            }
            emitter.emit(Event::sequence_end())
        }
        Value::Object(members) => {
            let style = if members.is_empty() { MappingStyle::Flow } else { MappingStyle::Block };
            emitter.emit(Event::mapping_start(None, None, true, style))?;
            for (key, value) in members {
                emitter.emit(string(key))?;
                emit(emitter, value)?;
            }
            emitter.emit(Event::mapping_end())
        }
    }
}

fn string(text: &str) -> Event {
    // Control characters, line breaks that a terminal may act on, and directions are written as escapes.
    let is_special = |c: char| {
        let is_break = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
        c != '\n' && (c.is_control() || is_break || is_direction(c))
    };
    let style = if text.contains(is_special) {
        ScalarStyle::DoubleQuoted
    } else if text.contains('\n') {
        ScalarStyle::Literal
    } else if scalar::needs_quotes(text) {
        ScalarStyle::DoubleQuoted
    } else {
        // The emitter adds quotes if the text is not a plain scalar.
        ScalarStyle::Plain
    };
    Event::scalar(None, None, text, style == ScalarStyle::Plain, true, style)
}
