//! A place in a spec that is being checked: the path of a message and what the schema says about
//! it.
//!
//! Each method notes what is wrong and still returns a value to continue with, or `None` where
//! there is none.

use std::{fmt, num::NonZeroU16, time::Duration};

use crate::{
    error::Violations,
    quantity::{format_bytes, format_duration, rounded_bytes},
    schema::{self, Schema},
};

#[derive(Clone, Debug)]
pub(super) struct Place {
    path: String,
    schema: &'static Schema,
}

impl Place {
    pub(super) fn spec() -> Self {
        Self {
            path: "spec".to_owned(),
            schema: schema::spec(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Returns the path of a field.
    pub(super) fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Returns the place of a message.
    pub(super) fn group(&self, name: &str) -> Self {
        Self {
            path: self.field(name),
            schema: self.schema.group(name),
        }
    }

    /// Returns the place of an item of a list of messages.
    pub(super) fn item(&self, name: &str, index: usize) -> Self {
        Self {
            path: format!("{}.{name}[{index}]", self.path),
            schema: self.schema.group(name),
        }
    }

    pub(super) fn number(&self, v: &mut Violations, name: &str, given: Option<u32>) -> u32 {
        match given {
            Some(number) => self.within(v, name, number.into(), number, || number.to_string()),
            None => self.schema.field(name).default_number(),
        }
    }

    pub(super) fn size(&self, v: &mut Violations, name: &str, given: Option<u64>) -> u64 {
        let bytes = self.optional_size(v, name, given);
        bytes.unwrap_or_else(|| self.schema.field(name).default_amount())
    }

    pub(super) fn optional_size(
        &self,
        v: &mut Violations,
        name: &str,
        given: Option<u64>,
    ) -> Option<u64> {
        given.map(|bytes| self.within(v, name, bytes, bytes, || format_bytes(bytes)))
    }

    pub(super) fn duration(
        &self,
        v: &mut Violations,
        name: &str,
        given: Option<prost_types::Duration>,
    ) -> Duration {
        self.duration_or(v, name, given, || {
            self.schema.field(name).default_duration()
        })
    }

    /// Reads a duration whose default depends on other fields. A duration that is wrong counts as
    /// absent.
    pub(super) fn duration_or(
        &self,
        v: &mut Violations,
        name: &str,
        given: Option<prost_types::Duration>,
        default: impl FnOnce() -> Duration,
    ) -> Duration {
        let Some(given) = given else {
            return default();
        };
        match Duration::try_from(given) {
            Ok(duration) => {
                let shown = || format_duration(duration);
                self.within(v, name, schema::nanos(duration), duration, shown)
            }
            Err(_) => {
                let message = format_args!("a negative duration ({given}) is not possible");
                v.push(self.field(name), message);
                default()
            }
        }
    }

    /// Reads a boolean that is true or false by default.
    pub(super) fn boolean(&self, name: &str, given: Option<bool>) -> bool {
        given.unwrap_or_else(|| self.schema.field(name).option.default == "true")
    }

    /// Reads a word of an enum; one that is not known counts as unspecified.
    pub(super) fn word<E>(&self, v: &mut Violations, name: &str, number: i32) -> E
    where
        E: TryFrom<i32, Error: fmt::Display> + Default,
    {
        let word = v.ok(self.field(name), E::try_from(number));
        word.unwrap_or_default()
    }

    /// Reads a port of the service, which is in the field `port`.
    pub(super) fn port(&self, v: &mut Violations, port: u32) -> Option<NonZeroU16> {
        let valid = u16::try_from(port).ok().and_then(NonZeroU16::new);
        if valid.is_none() {
            let problem = match port {
                0 => "it is required".to_owned(),
                port => format!("{port} is not a port"),
            };
            v.push(
                self.field("port"),
                format_args!("{problem}: use 1 to 65535"),
            );
        }
        valid
    }

    /// Checks the number of entries of a list or a mapping.
    pub(super) fn count(&self, v: &mut Violations, name: &str, count: usize) {
        let most = self.schema.field(name).most();
        if u64::try_from(count).is_ok_and(|count| count > most) {
            v.push(
                self.field(name),
                format_args!("{count} are more than {most}"),
            );
        }
    }

    /// Checks the number of bytes that names with values have in total.
    pub(super) fn total(&self, v: &mut Violations, name: &str, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let most = self.schema.field(name).most_bytes();
        if bytes > most {
            let (bytes, most) = (rounded_bytes(bytes), format_bytes(most));
            v.push(
                self.field(name),
                format_args!("its names and values have {bytes} in total: use at most {most}"),
            );
        }
    }

    fn within<T>(
        &self,
        v: &mut Violations,
        name: &str,
        amount: u64,
        value: T,
        shown: impl FnOnce() -> String,
    ) -> T {
        if let Some(problem) = self.schema.field(name).out_of_bounds(amount, shown) {
            v.push(self.field(name), problem);
        }
        value
    }
}
