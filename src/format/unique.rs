//! Whether a JSON text names every key of every object once.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Whether `json` is JSON in which no object has a key twice.
pub(super) fn has_unique_keys(json: &[u8]) -> bool {
    UniqueKeys.deserialize(&mut serde_json::Deserializer::from_slice(json)).is_ok()
}

/// Accepts every value, but an object only with different keys.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON with different keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("a key occurs twice"));
            }
            map.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::has_unique_keys;

    #[test]
    fn every_level_is_looked_at() {
        assert!(has_unique_keys(br#"{"a": {"a": [1, -1, 0.5, null, true, "x"]}, "b": {"a": {}}}  "#));
        for twice in [r#"{"a":1,"a":1}"#, r#"{"b":{"a":1,"a":1}}"#, r#"[{"a":1,"\u0061":1}]"#, "{", ""] {
            assert!(!has_unique_keys(twice.as_bytes()), "{twice}");
        }
    }
}
