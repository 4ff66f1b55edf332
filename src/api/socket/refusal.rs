//! How events of machines and artifacts say no: `{"result":"error","message":…}` (`spec/realtime.md` §8.2–§8.7).

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::data::Unstorable;

/// Why nothing was done, as the client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub &'static str);

impl Refusal {
    pub const INVALID: Self = Self("Invalid parameters");
    pub const INTERNAL: Self = Self("Internal error");
}

impl From<Unstorable> for Refusal {
    fn from(_: Unstorable) -> Self {
        Self::INTERNAL
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Refusal", 2)?;
        fields.serialize_field("result", "error")?;
        fields.serialize_field("message", self.0)?;
        fields.end()
    }
}
