//! What a route takes, told by the code that reads it: its [`FromRequest`] value is made once from a request that only
//! listens. So the description cannot differ from what is accepted.
//!
//! Owns: the vocabulary of descriptions. Never: their form in a document, see [`super::openapi`].

use super::validate::{FromRequest, Part, Parts};

/// One field of a part of the request, or of an object inside the body.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub part: Part,
    /// Names of the objects and arrays around the field, each followed by a slash; an array is followed by `*/`.
    pub prefix: String,
    /// Empty if the whole is meant.
    pub name: String,
    pub presence: Presence,
    pub shape: Shape,
}

/// Whether a field may be missing or `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
    Nullish,
    Nullable,
}

impl Presence {
    pub fn may_be_absent(self) -> bool {
        matches!(self, Self::Optional | Self::Nullish)
    }

    pub fn may_be_null(self) -> bool {
        matches!(self, Self::Nullish | Self::Nullable)
    }
}

/// What values a field takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Text,
    Uuid,
    Boolean,
    /// Inclusive bounds.
    Integer {
        min: Option<i64>,
        max: Option<i64>,
        default: Option<i64>,
    },
    Number,
    OneOf(&'static [&'static str]),
    Object,
    /// Elements are described under the prefix of the array, or are texts.
    Array {
        min: usize,
        max: usize,
        of_texts: bool,
    },
    /// The object around is a map of numbers in which this one must be.
    Numbers {
        required: String,
    },
    Anything,
    /// A rule between the fields around.
    Rule(String),
}

/// The fields that a handler's input is made of, in the order in which they are validated.
pub fn describe<I: FromRequest>() -> Vec<Field> {
    let request = super::request::Request::blank();
    let mut parts = Parts::describing(&request);
    let _ = I::from_request(&mut parts);
    parts.into_description()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::validate::POSITIVE;

    /// Some of everything, as a route might read it.
    struct Input;

    impl FromRequest for Input {
        fn from_request(parts: &mut Parts<'_>) -> Self {
            parts.params().text("id");
            let mut body = parts.body();
            body.objects("edits", 1..=5, |edit| (edit.text_nullable("value"), edit.integer("version", 0..)));
            body.object_opt("costs", |costs| costs.numbers("total"));
            body.integer_nullish("since", POSITIVE);
            body.refine(false, "not together");
            parts.query().integer_or("limit", 1..=200, 50);
            parts.headers().one_of_opt("x-kind", &["a", "b"]);
            Self
        }
    }

    #[test]
    fn everything_that_is_read_is_told_even_behind_what_is_missing() {
        use Presence::{Nullable, Nullish, Optional, Required};
        let field = |part, prefix: &str, name: &str, presence, shape| Field {
            part,
            prefix: prefix.to_string(),
            name: name.to_string(),
            presence,
            shape,
        };
        let expected = [
            field(Part::Params, "", "id", Required, Shape::Text),
            field(Part::Body, "", "", Required, Shape::Object),
            field(Part::Body, "", "edits", Required, Shape::Array { min: 1, max: 5, of_texts: false }),
            field(Part::Body, "edits/*/", "value", Nullable, Shape::Text),
            field(
                Part::Body,
                "edits/*/",
                "version",
                Required,
                Shape::Integer { min: Some(0), max: None, default: None },
            ),
            field(Part::Body, "", "costs", Optional, Shape::Object),
            field(Part::Body, "costs/", "", Required, Shape::Numbers { required: "total".to_string() }),
            field(Part::Body, "", "since", Nullish, Shape::Integer { min: Some(1), max: None, default: None }),
            field(Part::Body, "", "", Required, Shape::Rule("not together".to_string())),
            field(
                Part::Query,
                "",
                "limit",
                Optional,
                Shape::Integer { min: Some(1), max: Some(200), default: Some(50) },
            ),
            field(Part::Headers, "", "x-kind", Optional, Shape::OneOf(&["a", "b"])),
        ];
        assert_eq!(describe::<Input>(), expected);
    }
}
