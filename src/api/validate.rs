//! Reading the parts of a request into typed values, and saying what is wrong with them (`spec/http.md` §5).
//!
//! [`Fields`] reads one part (path parameters, body, query, headers) or an object inside the body. Every reader
//! records what is wrong and returns a harmless default, so that one pass finds all issues in the order in which a
//! route lists its fields. A part is looked at only if the parts before it are fine.
//!
//! JSON is read from its text: the body has been validated and its depth bounded when it arrived, and building a
//! document from a hostile body would cost several times its size. Of a member given twice the last counts. A short object
//! is searched for each field; a long one is walked through once, whatever is asked of it.
//! Limits: [`ISSUES_MAX`] issues are reported, [`ENTRIES_MAX`] entries of a free-form map or a long object are read.

use std::borrow::Cow;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use protocol::http::head::RequestHead;
use protocol::json::{self, Kind};

use super::describe::{Field, Presence, Shape};
use super::request::{Body, Params, Query, Request};

/// Issues reported for one request; further ones are dropped.
pub const ISSUES_MAX: usize = 200;

/// Entries of a free-form map, and of any object from [`WALKED_FROM_BYTES`] on.
pub const ENTRIES_MAX: usize = 10_000;

/// An object whose text is as long as that is walked through once.
const WALKED_FROM_BYTES: usize = 16 * 1024;

/// More than zero.
pub const POSITIVE: (Bound<i64>, Bound<i64>) = (Bound::Excluded(0), Bound::Unbounded);

/// The parts of a request in the order of their validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Params,
    Body,
    Query,
    Headers,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Body => "body",
            Self::Query => "querystring",
            Self::Headers => "headers",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    part: Part,
    path: String,
    text: String,
}

impl std::fmt::Display for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.part.as_str(), self.path, self.text)
    }
}

/// What is wrong with a request so far.
#[derive(Debug, Default)]
pub struct Issues {
    list: Vec<Issue>,
    /// A value is missing or of the wrong type, so that rules between values cannot be checked.
    aborted: bool,
    /// What is read, when it is that which is asked for. Nothing is wrong then.
    description: Option<Vec<Field>>,
}

impl Issues {
    fn add(&mut self, part: Part, path: String, text: String) {
        if self.list.len() < ISSUES_MAX {
            self.list.push(Issue { part, path, text });
        }
    }

    fn concern_another(&self, part: Part) -> bool {
        self.list.first().is_some_and(|first| first.part != part)
    }

    pub fn into_result(self) -> Result<(), Vec<Issue>> {
        if self.list.is_empty() { Ok(()) } else { Err(self.list) }
    }
}

/// A value that a handler takes, made from a request. Called before authentication; must not have effects.
///
/// Reads the same fields whatever the request brings: it is also called to learn what they are.
pub trait FromRequest: Sized {
    fn from_request(parts: &mut Parts<'_>) -> Self;
}

/// For routes that take nothing from the request.
impl FromRequest for () {
    fn from_request(_: &mut Parts<'_>) -> Self {}
}

/// A request on its way into a [`FromRequest`] value.
pub struct Parts<'a> {
    request: &'a Request,
    issues: Issues,
}

impl<'a> Parts<'a> {
    pub fn new(request: &'a Request) -> Self {
        Self { request, issues: Issues::default() }
    }

    /// Parts that are asked what they are read for; see [`super::describe`].
    pub(super) fn describing(request: &'a Request) -> Self {
        Self { request, issues: Issues { description: Some(Vec::new()), ..Issues::default() } }
    }

    pub(super) fn into_description(self) -> Vec<Field> {
        self.issues.description.unwrap_or_default()
    }

    /// The request itself, for what no rule of validation concerns (peer address, raw bytes, optional headers).
    pub fn request(&self) -> &'a Request {
        self.request
    }

    pub fn params(&mut self) -> Fields<'_, 'a> {
        self.part(Part::Params, Source::Params(&self.request.params))
    }

    /// The body, which has to be a JSON object.
    pub fn body(&mut self) -> Fields<'_, 'a> {
        if self.issues.description.is_some() {
            let mut fields = self.part(Part::Body, Source::Nothing);
            fields.tell("", Presence::Required, || Shape::Object);
            return fields;
        }
        let received = match &self.request.body {
            Body::Json(text) if json::kind(text) == Kind::Object => return self.part(Part::Body, Source::Json(text)),
            Body::Json(text) => kind_name(text),
            Body::Text(_) => "string",
            Body::Empty => return self.part(Part::Body, Source::Json("{}")),
            Body::Absent => "null",
        };
        let mut fields = self.part(Part::Body, Source::Nothing);
        fields.abort("", format!("Expected object, received {received}"));
        fields.muted = true;
        fields
    }

    pub fn query(&mut self) -> Fields<'_, 'a> {
        self.part(Part::Query, Source::Query(&self.request.query))
    }

    pub fn headers(&mut self) -> Fields<'_, 'a> {
        self.part(Part::Headers, Source::Headers(&self.request.head))
    }

    pub fn into_issues(self) -> Issues {
        self.issues
    }

    fn part(&mut self, part: Part, source: Source<'a>) -> Fields<'_, 'a> {
        let muted = self.issues.concern_another(part);
        Fields::new(source, part, String::new(), &mut self.issues, muted)
    }
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Params(&'a Params),
    Query(&'a Query),
    Headers(&'a RequestHead),
    /// The text of a JSON object.
    Json(&'a str),
    Nothing,
}

/// A value as it was found.
enum Found<'a> {
    Missing,
    /// Path parameters, query parameters and headers are text.
    Text(&'a str),
    /// A query parameter that was given more than once.
    Repeated,
    /// The text of a JSON value.
    Json(&'a str),
}

impl Found<'_> {
    fn is_null(&self) -> bool {
        matches!(self, Found::Json(text) if json::kind(text) == Kind::Null)
    }

    fn kind_name(&self) -> &'static str {
        match self {
            Found::Missing => "undefined",
            Found::Text(_) => "string",
            Found::Repeated => "array",
            Found::Json(text) => kind_name(text),
        }
    }
}

/// Reads fields of one part, or of an object inside the body.
pub struct Fields<'p, 'a> {
    source: Source<'a>,
    part: Part,
    prefix: String,
    issues: &'p mut Issues,
    /// Nothing is recorded any more: a part before this one has issues, or the object itself is missing.
    muted: bool,
    /// The members of a long object.
    walked: Option<Vec<(&'a str, &'a str)>>,
}

impl<'p, 'a> Fields<'p, 'a> {
    fn new(source: Source<'a>, part: Part, prefix: String, issues: &'p mut Issues, muted: bool) -> Self {
        let mut fields = Self { source, part, prefix, issues, muted, walked: None };
        if let Source::Json(object) = source
            && object.len() >= WALKED_FROM_BYTES
        {
            let members: Vec<_> = json::members(object).take(ENTRIES_MAX + 1).collect();
            if members.len() > ENTRIES_MAX {
                fields.too_many_entries();
                fields.source = Source::Nothing;
                fields.muted = true;
            }
            fields.walked = Some(members);
        }
        fields
    }
}

impl<'a> Fields<'_, 'a> {
    /// A string.
    pub fn text(&mut self, name: &str) -> String {
        self.field(name, Presence::Required, || Shape::Text, Self::read_text).unwrap_or_default()
    }

    /// A string that may be absent.
    pub fn text_opt(&mut self, name: &str) -> Option<String> {
        self.field(name, Presence::Optional, || Shape::Text, Self::read_text)
    }

    /// A string that may be absent or `null`.
    pub fn text_nullish(&mut self, name: &str) -> Option<String> {
        self.field(name, Presence::Nullish, || Shape::Text, Self::read_text)
    }

    /// A string that must be present and may be `null`.
    pub fn text_nullable(&mut self, name: &str) -> Option<String> {
        self.field(name, Presence::Nullable, || Shape::Text, Self::read_text)
    }

    /// A UUID in its textual form, of any version.
    pub fn uuid(&mut self, name: &str) -> String {
        let read = |fields: &mut Self, name: &str, found| {
            let text = fields.read_text(name, found)?;
            if !is_uuid(&text) {
                fields.issue(name, "Invalid uuid".to_string());
            }
            Some(text)
        };
        self.field(name, Presence::Required, || Shape::Uuid, read).unwrap_or_default()
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &str) -> bool {
        self.field(name, Presence::Required, || Shape::Boolean, Self::read_boolean).unwrap_or_default()
    }

    /// A boolean that may be absent.
    pub fn boolean_opt(&mut self, name: &str) -> Option<bool> {
        self.field(name, Presence::Optional, || Shape::Boolean, Self::read_boolean)
    }

    /// A boolean that may be absent or `null`.
    pub fn boolean_nullish(&mut self, name: &str) -> Option<bool> {
        self.field(name, Presence::Nullish, || Shape::Boolean, Self::read_boolean)
    }

    /// A whole number. What does not fit `i64` becomes its nearest value: it equals no stored number.
    pub fn integer(&mut self, name: &str, range: impl RangeBounds<i64>) -> i64 {
        let shape = integer_shape(&range, None);
        self.field(name, Presence::Required, || shape, Self::integer_reader(range)).unwrap_or_default()
    }

    /// A whole number that may be absent.
    pub fn integer_opt(&mut self, name: &str, range: impl RangeBounds<i64>) -> Option<i64> {
        let shape = integer_shape(&range, None);
        self.field(name, Presence::Optional, || shape, Self::integer_reader(range))
    }

    /// A whole number that may be absent or `null`.
    pub fn integer_nullish(&mut self, name: &str, range: impl RangeBounds<i64>) -> Option<i64> {
        let shape = integer_shape(&range, None);
        self.field(name, Presence::Nullish, || shape, Self::integer_reader(range))
    }

    /// A whole number with a default.
    pub fn integer_or(&mut self, name: &str, range: impl RangeBounds<i64>, default: i64) -> i64 {
        let shape = integer_shape(&range, Some(default));
        self.field(name, Presence::Optional, || shape, Self::integer_reader(range)).unwrap_or(default)
    }

    /// Any number.
    pub fn number(&mut self, name: &str) -> f64 {
        self.field(name, Presence::Required, || Shape::Number, Self::read_number).unwrap_or_default()
    }

    /// Any number, or none.
    pub fn number_opt(&mut self, name: &str) -> Option<f64> {
        self.field(name, Presence::Optional, || Shape::Number, Self::read_number)
    }

    /// One of a few texts.
    pub fn one_of(&mut self, name: &str, options: &'static [&'static str]) -> &'static str {
        let first = options.first().copied().unwrap_or_default();
        self.field(name, Presence::Required, || Shape::OneOf(options), Self::option_reader(options)).unwrap_or(first)
    }

    /// One of a few texts, or absent.
    pub fn one_of_opt(&mut self, name: &str, options: &'static [&'static str]) -> Option<&'static str> {
        self.field(name, Presence::Optional, || Shape::OneOf(options), Self::option_reader(options))
    }

    /// One of a few texts, absent or `null`.
    pub fn one_of_nullish(&mut self, name: &str, options: &'static [&'static str]) -> Option<&'static str> {
        self.field(name, Presence::Nullish, || Shape::OneOf(options), Self::option_reader(options))
    }

    /// An object, read by `read`. When it is missing, `read` sees an empty one and its complaints are not recorded.
    pub fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_, 'a>) -> T) -> T {
        let found = self.field(name, Presence::Required, || Shape::Object, Self::read_object);
        self.inside(name, found, read)
    }

    /// An object that may be absent.
    pub fn object_opt<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_, 'a>) -> T) -> Option<T> {
        let found = self.field(name, Presence::Optional, || Shape::Object, Self::read_object);
        if found.is_none() && !self.is_describing() {
            return None;
        }
        Some(self.inside(name, found, read))
    }

    /// An array of objects.
    pub fn objects<T>(
        &mut self,
        name: &str,
        len: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Fields<'_, 'a>) -> T,
    ) -> Vec<T> {
        self.each(name, len, false, |fields, path, raw| {
            let object = fields.read_object(path, Found::Json(raw));
            fields.inside(path, object, &mut read)
        })
    }

    /// An array of strings.
    pub fn texts(&mut self, name: &str, len: RangeInclusive<usize>) -> Vec<String> {
        self.each(name, len, true, |fields, path, raw| fields.read_text(path, Found::Json(raw)).unwrap_or_default())
    }

    /// All members of this object as numbers; `required` must be among them. Of equal names the last counts.
    pub fn numbers(&mut self, required: &str) -> Vec<(String, f64)> {
        let mut entries: Vec<(String, f64)> = Vec::new();
        if self.is_describing() {
            self.tell("", Presence::Required, || Shape::Numbers { required: required.to_string() });
            return entries;
        }
        let total = self.number(required);
        entries.push((required.to_string(), total));
        let Source::Json(object) = self.source else { return entries };
        let mut positions = std::collections::HashMap::new();
        for (key, raw) in json::members(object) {
            let Ok(name) = json::unescape(key) else {
                self.abort("", UNPAIRED_SURROGATE.to_string());
                continue;
            };
            if name == required {
                continue;
            }
            let value = self.read_number(&name, Found::Json(raw)).unwrap_or_default();
            match positions.get(name.as_ref()) {
                Some(&at) => entries[at] = (name.into_owned(), value),
                None if entries.len() < ENTRIES_MAX => {
                    positions.insert(name.clone().into_owned(), entries.len());
                    entries.push((name.into_owned(), value));
                }
                None => {
                    self.too_many_entries();
                    break;
                }
            }
        }
        entries
    }

    /// The text of a JSON value of any kind.
    pub fn json(&mut self, name: &str) -> Option<&'a str> {
        self.tell(name, Presence::Optional, || Shape::Anything);
        match self.get(name) {
            Found::Json(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// A rule between fields, looked at only if every field is present and of the right type.
    pub fn refine(&mut self, holds: bool, text: &str) {
        self.tell("", Presence::Required, || Shape::Rule(text.to_string()));
        if !holds && !self.issues.aborted {
            self.issue("", text.to_string());
        }
    }

    fn field<T>(
        &mut self,
        name: &str,
        presence: Presence,
        shape: impl FnOnce() -> Shape,
        read: impl FnOnce(&mut Self, &str, Found<'a>) -> Option<T>,
    ) -> Option<T> {
        if self.tell(name, presence, shape) {
            return None;
        }
        let found = self.get(name);
        match (&found, presence) {
            (Found::Missing, Presence::Optional | Presence::Nullish) => None,
            (Found::Missing, Presence::Required | Presence::Nullable) => {
                self.abort(name, "Required".to_string());
                None
            }
            (found, Presence::Nullish | Presence::Nullable) if found.is_null() => None,
            _ => read(self, name, found),
        }
    }

    fn is_describing(&self) -> bool {
        self.issues.description.is_some()
    }

    /// Adds a field to the description, if that is what is asked for.
    fn tell(&mut self, name: &str, presence: Presence, shape: impl FnOnce() -> Shape) -> bool {
        let Some(description) = &mut self.issues.description else { return false };
        let (part, prefix, name) = (self.part, self.prefix.clone(), name.to_string());
        description.push(Field { part, prefix, name, presence, shape: shape() });
        true
    }

    fn get(&self, name: &str) -> Found<'a> {
        match self.source {
            Source::Nothing => Found::Missing,
            Source::Params(params) => params.get(name).map_or(Found::Missing, Found::Text),
            Source::Headers(head) => head.header(name).map_or(Found::Missing, Found::Text),
            Source::Query(query) => {
                let mut values = query.all(name);
                match (values.next(), values.next()) {
                    (None, _) => Found::Missing,
                    (Some(value), None) => Found::Text(value),
                    (Some(_), Some(_)) => Found::Repeated,
                }
            }
            Source::Json(object) => {
                let named = |(key, value)| key_is(key, name).then_some(value);
                let value = match &self.walked {
                    Some(members) => members.iter().rev().copied().find_map(named),
                    None => json::members(object).filter_map(named).last(),
                };
                value.map_or(Found::Missing, Found::Json)
            }
        }
    }

    fn read_text(&mut self, name: &str, found: Found<'a>) -> Option<String> {
        match found {
            Found::Text(text) => return Some(text.to_string()),
            Found::Json(raw) if json::kind(raw) == Kind::String => match json::unescape(raw) {
                Ok(text) => return Some(text.into_owned()),
                Err(_) => self.abort(name, UNPAIRED_SURROGATE.to_string()),
            },
            other => self.wrong_type(name, "string", other.kind_name()),
        }
        None
    }

    fn read_boolean(&mut self, name: &str, found: Found<'a>) -> Option<bool> {
        match found {
            Found::Json(raw) if json::kind(raw) == Kind::Bool => return Some(raw.trim() == "true"),
            other => self.wrong_type(name, "boolean", other.kind_name()),
        }
        None
    }

    fn read_number(&mut self, name: &str, found: Found<'a>) -> Option<f64> {
        let number = match found {
            Found::Json(raw) if json::kind(raw) == Kind::Number => raw.trim().parse().ok(),
            Found::Text(text) => javascript_number(text),
            Found::Repeated => None,
            other => {
                self.wrong_type(name, "number", other.kind_name());
                return None;
            }
        };
        if number.is_none() {
            self.wrong_type(name, "number", "nan");
        }
        number
    }

    fn integer_reader(range: impl RangeBounds<i64>) -> impl FnOnce(&mut Self, &str, Found<'a>) -> Option<i64> {
        move |fields, name, found| {
            let number = fields.read_number(name, found)?;
            if number.fract() != 0.0 || number.is_infinite() {
                fields.issue(name, "Expected integer, received float".to_string());
            }
            match range.start_bound() {
                Bound::Included(&min) if number < as_float(min) => {
                    fields.issue(name, format!("Number must be greater than or equal to {min}"));
                }
                Bound::Excluded(&min) if number <= as_float(min) => {
                    fields.issue(name, format!("Number must be greater than {min}"));
                }
                _ => {}
            }
            match range.end_bound() {
                Bound::Included(&max) if number > as_float(max) => {
                    fields.issue(name, format!("Number must be less than or equal to {max}"));
                }
                Bound::Excluded(&max) if number >= as_float(max) => {
                    fields.issue(name, format!("Number must be less than {max}"));
                }
                _ => {}
            }
            Some(saturated(number))
        }
    }

    fn option_reader(
        options: &'static [&'static str],
    ) -> impl FnOnce(&mut Self, &str, Found<'a>) -> Option<&'static str> {
        move |fields, name, found| {
            let expected = || options.iter().map(|option| format!("'{option}'")).collect::<Vec<_>>().join(" | ");
            let text = match &found {
                Found::Text(text) => Cow::Borrowed(*text),
                Found::Json(raw) if json::kind(raw) == Kind::String => json::unescape(raw).unwrap_or_default(),
                other => {
                    fields.abort(name, format!("Expected {}, received {}", expected(), other.kind_name()));
                    return None;
                }
            };
            let option = options.iter().find(|option| **option == text).copied();
            if option.is_none() {
                fields.abort(name, format!("Invalid enum value. Expected {}, received '{text}'", expected()));
            }
            option
        }
    }

    fn read_object(&mut self, name: &str, found: Found<'a>) -> Option<&'a str> {
        match found {
            Found::Json(raw) if json::kind(raw) == Kind::Object => return Some(raw),
            other => self.wrong_type(name, "object", other.kind_name()),
        }
        None
    }

    fn inside<T>(&mut self, name: &str, object: Option<&'a str>, read: impl FnOnce(&mut Fields<'_, 'a>) -> T) -> T {
        let source = object.map_or(Source::Nothing, Source::Json);
        let (prefix, muted) = (format!("{}{name}/", self.prefix), self.muted || object.is_none());
        read(&mut Fields::new(source, self.part, prefix, self.issues, muted))
    }

    fn each<T>(
        &mut self,
        name: &str,
        len: RangeInclusive<usize>,
        of_texts: bool,
        mut read: impl FnMut(&mut Self, &str, &'a str) -> T,
    ) -> Vec<T> {
        let shape = || Shape::Array { min: *len.start(), max: *len.end(), of_texts };
        let raw = self.field(name, Presence::Required, shape, |fields, name, found| match found {
            Found::Json(raw) if json::kind(raw) == Kind::Array => Some(raw),
            other => {
                fields.wrong_type(name, "array", other.kind_name());
                None
            }
        });
        let Some(raw) = raw else {
            if self.is_describing() {
                read(self, &format!("{name}/*"), "null");
            }
            return Vec::new();
        };
        // One more than allowed is enough to know that there are too many.
        let count = json::elements(raw).take(len.end() + 1).count();
        if count < *len.start() {
            self.issue(name, format!("Array must contain at least {} element(s)", len.start()));
        }
        if count > *len.end() {
            self.issue(name, format!("Array must contain at most {} element(s)", len.end()));
        }
        let elements = json::elements(raw).take(*len.end()).enumerate();
        elements.map(|(index, raw)| read(self, &format!("{name}/{index}"), raw)).collect()
    }

    fn wrong_type(&mut self, name: &str, expected: &str, received: &str) {
        self.abort(name, format!("Expected {expected}, received {received}"));
    }

    fn too_many_entries(&mut self) {
        self.abort("", format!("Object must contain at most {ENTRIES_MAX} entries"));
    }

    fn abort(&mut self, name: &str, text: String) {
        if !self.muted {
            self.issues.aborted = true;
        }
        self.issue(name, text);
    }

    fn issue(&mut self, name: &str, text: String) {
        if self.muted {
            return;
        }
        // An issue about the object itself has the path of the object.
        let path = format!("{}{name}", self.prefix);
        let path = if name.is_empty() { path.trim_end_matches('/').to_string() } else { path };
        self.issues.add(self.part, path, text);
    }
}

fn integer_shape(range: &impl RangeBounds<i64>, default: Option<i64>) -> Shape {
    let min = match range.start_bound() {
        Bound::Included(&min) => Some(min),
        Bound::Excluded(&min) => Some(min.saturating_add(1)),
        Bound::Unbounded => None,
    };
    let max = match range.end_bound() {
        Bound::Included(&max) => Some(max),
        Bound::Excluded(&max) => Some(max.saturating_sub(1)),
        Bound::Unbounded => None,
    };
    Shape::Integer { min, max, default }
}

/// JavaScript can hold such a text, but neither UTF-8 nor a database can.
const UNPAIRED_SURROGATE: &str = "Invalid text: unpaired surrogate";

fn kind_name(raw: &str) -> &'static str {
    match json::kind(raw) {
        Kind::Null => "null",
        Kind::Bool => "boolean",
        Kind::Number => "number",
        Kind::String => "string",
        Kind::Array => "array",
        Kind::Object => "object",
    }
}

/// Whether the raw key of a member (a JSON string literal) means `name`.
fn key_is(raw: &str, name: &str) -> bool {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    if inner.contains('\\') { json::unescape(raw).is_ok_and(|key| key == name) } else { inner == name }
}

fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `Number(text)` of JavaScript; `None` is NaN.
fn javascript_number(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() && c != '\u{85}' || c == '\u{feff}');
    if text.is_empty() {
        return Some(0.0);
    }
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if unsigned == "Infinity" {
        return Some(sign * f64::INFINITY);
    }
    // Prefixed forms take no sign.
    let radix = match text.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        _ => {
            let decimal = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
            return text.bytes().all(|byte| decimal(&byte)).then(|| text.parse().ok()).flatten();
        }
    };
    let digits = &text[2..];
    let value = |sum: f64, c: char| c.to_digit(radix).map(|digit| sum * f64::from(radix) + f64::from(digit));
    if digits.is_empty() { None } else { digits.chars().try_fold(0.0, value) }
}

#[allow(clippy::cast_precision_loss, reason = "bounds are small numbers written in the source")]
fn as_float(bound: i64) -> f64 {
    bound as f64
}

#[allow(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
fn saturated(number: f64) -> i64 {
    number as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;

    /// These tests are about what is said, not about what is read.
    fn ignore<T>(_: T) {}

    /// The texts of the issues that `read` finds in a JSON body.
    fn issues(body: &str, read: impl FnOnce(&mut Fields<'_, '_>)) -> Vec<String> {
        let body = if body.is_empty() { Body::Empty } else { Body::Json(body.to_string()) };
        collect(&testing::request("POST / HTTP/1.1\r\nHost: x\r\n\r\n", body), |parts| read(&mut parts.body()))
    }

    fn query_issues(query: &str, read: impl FnOnce(&mut Fields<'_, '_>)) -> Vec<String> {
        let head = format!("GET /?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
        collect(&testing::request(&head, Body::Absent), |parts| read(&mut parts.query()))
    }

    fn collect(request: &Request, read: impl FnOnce(&mut Parts<'_>)) -> Vec<String> {
        let mut parts = Parts::new(request);
        read(&mut parts);
        let issues = parts.into_issues().into_result().err().unwrap_or_default();
        issues.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bodies_that_are_no_objects() {
        for (body, received) in [
            (Body::Json("[1]".to_string()), "array"),
            (Body::Json("\"a\"".to_string()), "string"),
            (Body::Json(" 5 ".to_string()), "number"),
            (Body::Json("true".to_string()), "boolean"),
            (Body::Json("null".to_string()), "null"),
            (Body::Text("{}".to_string()), "string"),
            (Body::Absent, "null"),
        ] {
            let request = testing::request("POST / HTTP/1.1\r\nHost: x\r\n\r\n", body);
            let found = collect(&request, |parts| {
                let mut body = parts.body();
                body.text("tag");
                body.refine(false, "never said");
            });
            assert_eq!(found, [format!("body/ Expected object, received {received}")]);
        }
    }

    #[test]
    fn types_and_presence() {
        let read = |fields: &mut Fields<'_, '_>| {
            fields.text("a");
            fields.text_opt("b");
            fields.text_nullish("c");
            fields.text_nullable("d");
        };
        assert_eq!(issues("", read), ["body/a Required", "body/d Required"]);
        assert_eq!(
            issues(r#"{"a":null,"b":null,"c":null,"d":null}"#, read),
            ["body/a Expected string, received null", "body/b Expected string, received null"]
        );
        assert_eq!(
            issues(r#"{"a":1,"b":true,"c":[],"d":{}}"#, read),
            [
                "body/a Expected string, received number",
                "body/b Expected string, received boolean",
                "body/c Expected string, received array",
                "body/d Expected string, received object"
            ]
        );
        assert_eq!(issues(r#"{"a":"","b":"","c":"","d":"","__proto__":{"a":1}}"#, read), [""; 0]);
        let booleans = |fields: &mut Fields<'_, '_>| {
            fields.boolean_opt("a");
            fields.boolean_nullish("b");
            fields.boolean("c");
        };
        assert_eq!(
            issues(r#"{"a":null,"b":null,"c":"true"}"#, booleans),
            ["body/a Expected boolean, received null", "body/c Expected boolean, received string"]
        );
    }

    #[test]
    fn values_are_read_as_javascript_reads_them() {
        let body = r#"{"a":"x","a":"last","\u0062":"caf\u00e9\n","n":1e2,"big":1e300,"c":{"a":"inner"}}"#;
        let request = testing::request("POST / HTTP/1.1\r\nHost: x\r\n\r\n", Body::Json(body.to_string()));
        let mut parts = Parts::new(&request);
        let mut fields = parts.body();
        assert_eq!(fields.text("a"), "last");
        assert_eq!(fields.text("b"), "café\n");
        assert_eq!(fields.integer("n", ..), 100);
        assert_eq!(fields.integer("big", 0..), i64::MAX);
        assert_eq!(fields.json("c"), Some(r#"{"a":"inner"}"#));
        assert_eq!(fields.object("c", |fields| fields.text("a")), "inner");
        assert!(parts.into_issues().into_result().is_ok());
        assert_eq!(
            issues(r#"{"a":"\ud800"}"#, |fields| ignore(fields.text("a"))),
            ["body/a Invalid text: unpaired surrogate"]
        );
    }

    #[test]
    fn numbers() {
        for (value, expected) in [
            ("-1", vec!["body/n Number must be greater than or equal to 0"]),
            ("0.5", vec!["body/n Expected integer, received float"]),
            (
                "-0.5",
                vec!["body/n Expected integer, received float", "body/n Number must be greater than or equal to 0"],
            ),
            ("11", vec!["body/n Number must be less than or equal to 10"]),
            ("\"1\"", vec!["body/n Expected number, received string"]),
            ("null", vec!["body/n Expected number, received null"]),
            ("10", vec![]),
            ("1.0", vec![]),
        ] {
            let found = issues(&format!(r#"{{"n":{value}}}"#), |fields| ignore(fields.integer("n", 0..=10)));
            assert_eq!(found, expected, "{value}");
        }
        let positive =
            |value: &str| issues(&format!(r#"{{"n":{value}}}"#), |fields| ignore(fields.integer_opt("n", POSITIVE)));
        assert_eq!(positive("0"), ["body/n Number must be greater than 0"]);
        assert_eq!(
            positive("-1.5"),
            ["body/n Expected integer, received float", "body/n Number must be greater than 0"]
        );
    }

    #[test]
    fn numbers_in_queries_are_texts() {
        for (text, expected) in [
            ("", Some(0.0)),
            ("%20", Some(0.0)),
            ("%202%20", Some(2.0)),
            ("0x10", Some(16.0)),
            ("0b11", Some(3.0)),
            ("0o7", Some(7.0)),
            ("1e2", Some(100.0)),
            ("-1.5", Some(-1.5)),
            ("%2B3", Some(3.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("many", None),
            ("1,5", None),
            ("0x", None),
            ("-0x1", None),
            ("inf", None),
            ("nan", None),
            ("1_0", None),
            (".", None),
            ("1e", None),
            ("%C3%BC", None),
        ] {
            let mut number = None;
            let found = query_issues(&format!("n={text}"), |fields| number = fields.number_opt("n"));
            assert_eq!(number, expected, "{text}");
            let complaint: &[&str] =
                if expected.is_none() { &["querystring/n Expected number, received nan"] } else { &[] };
            assert_eq!(found, complaint, "{text}");
        }
        let limit = |fields: &mut Fields<'_, '_>| ignore(fields.integer_or("limit", 1..=200, 50));
        assert_eq!(query_issues("limit=1&limit=2", limit), ["querystring/limit Expected number, received nan"]);
        assert_eq!(query_issues("limit=Infinity", limit).len(), 2);
        assert_eq!(query_issues("other=1", limit), [""; 0]);
        let text = |fields: &mut Fields<'_, '_>| ignore(fields.text_opt("a"));
        assert_eq!(query_issues("a=b&a=c", text), ["querystring/a Expected string, received array"]);
    }

    #[test]
    fn enumerations() {
        const OPTIONS: &[&str] = &["hour", "day"];
        for (value, expected) in [
            ("\"\"", "body/g Invalid enum value. Expected 'hour' | 'day', received ''"),
            ("\"week\"", "body/g Invalid enum value. Expected 'hour' | 'day', received 'week'"),
            ("5", "body/g Expected 'hour' | 'day', received number"),
        ] {
            let found = issues(&format!(r#"{{"g":{value}}}"#), |fields| ignore(fields.one_of_nullish("g", OPTIONS)));
            assert_eq!(found, [expected]);
        }
        assert_eq!(issues("", |fields| ignore(fields.one_of("g", OPTIONS))), ["body/g Required"]);
        assert_eq!(issues(r#"{"g":null}"#, |fields| ignore(fields.one_of_nullish("g", OPTIONS))), [""; 0]);
    }

    #[test]
    fn arrays_and_objects() {
        let read = |fields: &mut Fields<'_, '_>| {
            fields.objects("m", 1..=3, |fields| {
                (fields.text("key"), fields.text_nullable("value"), fields.number("version"))
            });
        };
        assert_eq!(
            issues(r#"{"m":[7,null,{"key":"a","value":5,"version":null}]}"#, read),
            [
                "body/m/0 Expected object, received number",
                "body/m/1 Expected object, received null",
                "body/m/2/value Expected string, received number",
                "body/m/2/version Expected number, received null"
            ]
        );
        assert_eq!(issues(r#"{"m":"text"}"#, read), ["body/m Expected array, received string"]);
        assert_eq!(issues(r#"{"m":[]}"#, read), ["body/m Array must contain at least 1 element(s)"]);
        let keys = |fields: &mut Fields<'_, '_>| ignore(fields.texts("k", 1..=2));
        assert_eq!(
            issues(r#"{"k":["a",1,"c"]}"#, keys),
            ["body/k Array must contain at most 2 element(s)", "body/k/1 Expected string, received number"]
        );
        let edit = |fields: &mut Fields<'_, '_>| {
            fields.object_opt("e", |fields| (fields.text("a"), fields.integer("n", 0..)));
        };
        assert_eq!(issues(r#"{"e":{}}"#, edit), ["body/e/a Required", "body/e/n Required"]);
        assert_eq!(issues(r#"{"e":null}"#, edit), ["body/e Expected object, received null"]);
        assert_eq!(issues("{}", edit), [""; 0]);
        assert_eq!(issues("{}", |fields| fields.object("e", |fields| ignore(fields.text("a")))), ["body/e Required"]);
    }

    #[test]
    fn free_form_maps_of_numbers() {
        let mut numbers = Vec::new();
        let found = issues(r#"{"tokens":{"in":1,"total":3,"in":2,"out":0.5}}"#, |fields| {
            numbers = fields.object("tokens", |fields| fields.numbers("total"));
        });
        assert_eq!(found, [""; 0]);
        let expected = [("total", 3.0), ("in", 2.0), ("out", 0.5)].map(|(name, value)| (name.to_string(), value));
        assert_eq!(numbers, expected);
        let found = issues(r#"{"tokens":{"in":"1"}}"#, |fields| {
            fields.object("tokens", |fields| ignore(fields.numbers("total")));
        });
        assert_eq!(found, ["body/tokens/total Required", "body/tokens/in Expected number, received string"]);
    }

    #[test]
    fn rules_between_fields_need_fields_of_the_right_type() {
        let read = |fields: &mut Fields<'_, '_>| {
            fields.integer_or("limit", 1..=10, 5);
            fields.refine(false, "not together");
        };
        assert_eq!(query_issues("limit=x", read), ["querystring/limit Expected number, received nan"]);
        assert_eq!(
            query_issues("limit=0", read),
            ["querystring/limit Number must be greater than or equal to 1", "querystring/ not together"]
        );
    }

    #[test]
    fn a_part_is_looked_at_only_if_those_before_it_are_fine() {
        let request = testing::request("POST /?n=x HTTP/1.1\r\nHost: x\r\n\r\n", Body::Json("{}".to_string()));
        let found = collect(&request, |parts| {
            parts.body().text("a");
            parts.query().integer_or("n", .., 0);
            parts.headers().text("x-signature");
        });
        assert_eq!(found, ["body/a Required"]);
        let found = collect(&request, |parts| {
            parts.headers().text("x-signature");
            parts.headers().text("x-event");
        });
        assert_eq!(found, ["headers/x-signature Required", "headers/x-event Required"]);
    }

    #[test]
    fn uuids() {
        let uuid = |text: &str| issues(&format!(r#"{{"id":"{text}"}}"#), |fields| ignore(fields.uuid("id")));
        assert_eq!(uuid("4F6c0000-0000-0000-0000-00000000000a"), [""; 0]);
        for bad in ["", "4f6c", "4f6c00000000-0000-0000-00000000000a0", "4f6c0000-0000-0000-0000-00000000000g"] {
            assert_eq!(uuid(bad), ["body/id Invalid uuid"]);
        }
    }

    #[test]
    fn what_a_peer_can_make_us_report_is_bounded() {
        let many = format!(r#"{{"m":[{}]}}"#, vec!["1"; 5_000].join(","));
        let found = issues(&many, |fields| ignore(fields.texts("m", 0..=1_000)));
        assert_eq!(found.len(), ISSUES_MAX);
    }

    #[test]
    fn a_long_object_is_read_like_a_short_one() {
        let read = |fields: &mut Fields<'_, '_>| {
            let inner = fields.object("inner", |fields| (fields.text("a"), fields.text_opt("b")));
            let values = (fields.text("a"), fields.text("b"), fields.json("c").map(str::to_string), inner);
            assert_eq!(values.0, "last");
            assert_eq!((values.1.as_str(), values.2.as_deref()), ("caf\u{e9}", Some("[1]")));
            assert_eq!(values.3, ("deep".to_string(), None));
            fields.number("none");
        };
        for padding in [0, WALKED_FROM_BYTES] {
            let padding = "x".repeat(padding);
            let inner = format!(r#"{{"a":"first","a":"deep","x":"{padding}"}}"#);
            let body =
                format!(r#"{{"a":1,"inner":{inner},"\u0062":"caf\u00e9","c": [1] ,"a":"last","x":"{padding}"}}"#);
            assert_eq!(issues(&body, read), ["body/none Required"]);
        }
    }

    #[test]
    fn a_long_object_has_a_bounded_number_of_members() {
        let object = |members: usize| format!(r#"{{"a":"x"{}}}"#, r#","":0"#.repeat(members - 1));
        let read = |fields: &mut Fields<'_, '_>| {
            fields.text("a");
        };
        let nested = |fields: &mut Fields<'_, '_>| fields.object("o", read);
        assert_eq!(issues(&object(ENTRIES_MAX), read), [""; 0]);
        let refused = "Object must contain at most 10000 entries";
        assert_eq!(issues(&object(ENTRIES_MAX + 1), read), [format!("body/ {refused}")]);
        let outer = format!(r#"{{"o":{}}}"#, object(ENTRIES_MAX + 1));
        assert_eq!(issues(&outer, nested), [format!("body/o {refused}")]);
    }
}
