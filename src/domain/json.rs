//! JSON objects with limits: layouts, preferences, metadata.
//!
//! PostgreSQL's `jsonb` refuses an escaped NUL (`\u0000`) and a lone surrogate, which JSON text in SQLite takes: both
//! are refused here, at the type.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::units::InvalidValue;

/// A JSON object of at most 256 KiB as text, without NUL in any name or text.
///
/// ```
/// use millpond::domain::json::JsonObject;
/// assert!(JsonObject::parse("preferences", r#"{"theme": "dark"}"#).is_ok());
/// for bad in ["[]", "7", "{", r#"{"a": "\u0000"}"#, r#"{"a": "\ud800"}"#] {
///     assert!(JsonObject::parse("preferences", bad).is_err());
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonObject(Map<String, Value>);

/// Bounds what one row can weigh on the wire: a batch is 1 MiB.
const MAX_BYTES: usize = 256 * 1024;

impl JsonObject {
    /// Reads an object from its text.
    ///
    /// # Errors
    /// When the text is no JSON, no object, too long, or holds a NUL or a lone surrogate.
    pub fn parse(what: &'static str, raw: &str) -> Result<Self, InvalidValue> {
        if raw.len() > MAX_BYTES {
            return Err(too_long(what));
        }
        let map: Map<String, Value> =
            serde_json::from_str(raw).map_err(|_| InvalidValue::new(what, "is no JSON object"))?;
        Self::of(what, map)
    }

    /// Takes an object that was built.
    ///
    /// # Errors
    /// When it is too long as text, or holds a NUL.
    pub fn of(what: &'static str, map: Map<String, Value>) -> Result<Self, InvalidValue> {
        if map
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value))
        {
            return Err(InvalidValue::new(what, "contains a NUL character"));
        }
        let object = Self(map);
        let text = serde_json::to_string(&object)
            .map_err(|_| InvalidValue::new(what, "is no JSON object"))?;
        if text.len() > MAX_BYTES {
            return Err(too_long(what));
        }
        Ok(object)
    }

    /// The object's members.
    #[must_use]
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of("object", Map::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn too_long(what: &'static str) -> InvalidValue {
    InvalidValue::new(what, format!("is longer than {MAX_BYTES} bytes"))
}

/// Whether a document holds a NUL, which `jsonb` refuses.
pub(crate) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jsonb_refuses_and_what_is_too_long_is_refused() {
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(10 << 20));
        let deep = r#"{"a": [{"b": "x\u0000"}]}"#;
        for bad in [
            "",
            "null",
            "[1]",
            "\"x\"",
            "{\"a\"",
            deep,
            r#"{"\u0000": 1}"#,
            &long,
        ] {
            assert!(JsonObject::parse("layout", bad).is_err());
        }
        let mut map = Map::new();
        map.insert("a".into(), Value::String("x".repeat(MAX_BYTES)));
        assert!(JsonObject::of("layout", map).is_err());
    }
}
