//! Reads single values out of JSON whose shape is another program's, without keeping what is not asked for.
//!
//! Purpose: one field of an unexpected type must not cost the line. Depends on serde only. Invariants: a value of
//! another type than the wanted one reads as absent; texts are borrowed from the input where JSON lets them be; what
//! is passed over is not stored.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// A text, or absent where the value is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Str<'a>(pub(crate) Option<Cow<'a, str>>);

impl Str<'_> {
    pub(crate) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// A text that outlives the input, or absent where the value is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnedStr(pub(crate) Option<String>);

impl OwnedStr {
    pub(crate) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de> Deserialize<'de> for OwnedStr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Str(text) = Str::deserialize(deserializer)?;
        Ok(Self(text.map(Cow::into_owned)))
    }
}

/// A truth value, or absent where the value is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) Option<bool>);

impl Flag {
    pub(crate) fn is_true(self) -> bool {
        self.0 == Some(true)
    }
}

/// A number that is not negative, or absent where the value is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Number(pub(crate) Option<f64>);

/// An object of a known shape, or absent where the value is none.
#[derive(Debug, Clone)]
pub(crate) struct Object<T>(pub(crate) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// Expands to a visitor's methods for scalars that all give the same value.
macro_rules! scalars {
    ($value:expr; $($method:ident: $type:ty),*) => {
        $(fn $method<E: serde::de::Error>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })*
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> { Ok($value) }
    };
}

/// Expands to a visitor's methods that pass over an array or an object.
macro_rules! pass_over {
    (seq $value:expr) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut seq: A,
        ) -> Result<Self::Value, A::Error> {
            while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
    (map $value:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}
pub(crate) use {pass_over, scalars};

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrVisitor;
        impl<'de> Visitor<'de> for StrVisitor {
            type Value = Option<Cow<'de, str>>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any value")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Some(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Some(Cow::Owned(text.to_owned())))
            }
            scalars!(None; visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            pass_over!(seq None);
            pass_over!(map None);
        }
        deserializer.deserialize_any(StrVisitor).map(Str)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl<'de> Visitor<'de> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any value")
            }
            fn visit_bool<E: Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(Some(flag)))
            }
            scalars!(Flag(None); visit_str: &str, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            pass_over!(seq Flag(None));
            pass_over!(map Flag(None));
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any value")
            }
            #[expect(
                clippy::as_conversions,
                clippy::cast_precision_loss,
                reason = "exact to 2^53; longer durations are refused by whoever asks"
            )]
            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(Some(number as f64)))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number(
                    (number.is_finite() && number >= 0.0).then_some(number),
                ))
            }
            scalars!(Number(None); visit_str: &str, visit_i64: i64, visit_bool: bool);
            pass_over!(seq Number(None));
            pass_over!(map Number(None));
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Option<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any value")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
            }
            scalars!(None; visit_str: &str, visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            pass_over!(seq None);
        }
        deserializer
            .deserialize_any(ObjectVisitor(PhantomData))
            .map(Object)
    }
}

/// How many bytes of text a value holds: its own length, or the lengths of the texts in it under any key.
///
/// Keys do not count, nor do texts that only name a kind (under `type`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TextSize(pub(crate) u64);

/// Hands the first text of a value to whoever needs to recognise it, and measures all.
pub(crate) struct Measure<'f, F>(pub(crate) &'f mut F);

impl<'de, F: FnMut(&str)> DeserializeSeed<'de> for Measure<'_, F> {
    type Value = TextSize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TextSize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&str)> Visitor<'de> for Measure<'_, F> {
    type Value = TextSize;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<TextSize, E> {
        (self.0)(text);
        Ok(TextSize(u64::try_from(text.len()).unwrap_or(u64::MAX)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextSize, A::Error> {
        let mut size = TextSize(0);
        while let Some(TextSize(more)) = seq.next_element_seed(Measure(&mut *self.0))? {
            size.0 = size.0.saturating_add(more);
        }
        Ok(size)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextSize, A::Error> {
        let mut size = TextSize(0);
        while let Some(key) = map.next_key::<Str<'_>>()? {
            if matches!(key.as_deref(), Some("type" | "media_type")) {
                map.next_value::<IgnoredAny>()?;
            } else {
                let TextSize(more) = map.next_value_seed(Measure(&mut *self.0))?;
                size.0 = size.0.saturating_add(more);
            }
        }
        Ok(size)
    }
    scalars!(TextSize(0); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
}
