//! The list of the wire formats that providers speak: one line each.

use std::fmt;
use std::sync::LazyLock;

use serde::de::{self, DeserializeSeed, EnumAccess, VariantAccess as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::anthropic::format::Anthropic;
use crate::bedrock::format::Bedrock;
use crate::cohere::format::Cohere;
pub use crate::exchange::{Cloud, Format, FormatFacts, WireFormat};
use crate::gemini::format::Gemini;
use crate::openai::format::OpenAi;
use crate::vertex::format::Vertex;

macro_rules! wire_formats {
    ($($(#[$doc:meta])* $name:ident = $format:expr;)*) => {
        impl Format {
            $($(#[$doc])* pub const $name: Self = Self::new(&$format);)*

            /// All formats, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

wire_formats! {
    /// OpenAI's Chat Completions, or a close relative.
    OPENAI = OpenAi;
    /// Anthropic's Messages.
    ANTHROPIC = Anthropic;
    /// Google's `generateContent`.
    GEMINI = Gemini;
    /// Google's Vertex AI, which uses each publisher's format.
    VERTEX = Vertex;
    /// Amazon Bedrock's Converse.
    BEDROCK = Bedrock;
    /// Cohere's chat API, version 2.
    COHERE = Cohere;
}

/// The `Format` of `config.proto`, by which filters of version 0.1.0 know a format. The list is
/// closed: newer formats have only their name.
const NUMBERS: [(i32, Format); 6] = [
    (1, Format::OPENAI),
    (2, Format::ANTHROPIC),
    (3, Format::GEMINI),
    (4, Format::VERTEX),
    (5, Format::BEDROCK),
    (6, Format::COHERE),
];

static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| Format::ALL.iter().map(|format| format.name()).collect());

impl Format {
    /// Returns the names of all formats.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Returns the format with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|format| format.name() == name)
    }

    /// Returns the number for filters that don't read names; 0 if they don't know the format.
    pub fn number(self) -> i32 {
        let found = NUMBERS.iter().find(|(_, format)| *format == self);
        found.map_or(0, |(number, _)| *number)
    }

    /// Returns the format that a control plane sent. One of version 0.1.0 sends no name.
    pub fn of_wire(name: &str, number: i32) -> Option<Self> {
        Self::named(name).or_else(|| {
            let found = NUMBERS.iter().find(|(own, _)| *own == number);
            found.map(|(_, format)| *format)
        })
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Reads a format as an enum, so that a parser knows the names and the place of a wrong one.
impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Format", Self::names(), FormatVisitor)
    }
}

struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a wire format")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Format, A::Error> {
        let (format, variant) = data.variant_seed(self)?;
        variant.unit_variant()?;
        Ok(format)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Format, E> {
        Format::named(name).ok_or_else(|| E::unknown_variant(name, Format::names()))
    }
}

impl<'de> DeserializeSeed<'de> for FormatVisitor {
    type Value = Format;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Format, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(*format));
            assert_eq!(Format::of_wire(format.name(), 0), Some(*format));
        }
    }

    #[test]
    fn a_name_is_read_and_a_wrong_one_is_named() {
        for format in Format::ALL {
            let text = serde_json::to_string(format).unwrap();
            assert_eq!(serde_json::from_str::<Format>(&text).unwrap(), *format);
        }
        let error = serde_json::from_str::<Format>("\"opnai\"").unwrap_err();
        assert!(error.to_string().contains("opnai"), "{error}");
        assert!(error.to_string().contains("cohere"), "{error}");
    }

    #[test]
    fn numbers_stay_as_they_are() {
        for (number, format) in NUMBERS {
            assert_eq!(format.number(), number);
            assert_eq!(Format::of_wire("", number), Some(format));
        }
        assert_eq!(Format::of_wire("", 0), None);
    }
}
