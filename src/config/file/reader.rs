//! The tables, keys and values of a TOML file, each with its line, and what is said of wrong ones.
//!
//! It knows the types that values have and the ranges of numbers, and no key by name.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::super::Secret;
use super::super::error::{ConfigError, Places};
use super::super::words::key_in;
use crate::vocabulary::limits::Setting;

/// Reads a file and remembers where its keys are.
pub(super) struct Reader {
    pub(super) places: Places,
}

/// One key of a table and what it is set to.
pub(super) struct Entry<'t> {
    pub(super) key: &'t str,
    /// The key with the names of the tables around it.
    pub(super) path: String,
    pub(super) value: &'t DeValue<'t>,
    pub(super) span: Range<usize>,
}

impl Reader {
    /// The entries of a table in the order of the file, each with its line noted.
    pub(super) fn entries<'t>(&mut self, path: &str, table: &'t DeTable<'_>) -> Vec<Entry<'t>> {
        let mut entries: Vec<Entry<'t>> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                path: key_in(path, key.get_ref()),
                value: value.get_ref(),
                span: key.span(),
            })
            .collect();
        entries.sort_by_key(|entry| entry.span.start);
        for entry in &entries {
            self.places.note(&entry.path, entry.span.start);
        }
        entries
    }

    pub(super) fn table<'t>(
        &mut self,
        entry: &Entry<'t>,
        wrong: &str,
    ) -> Result<Vec<Entry<'t>>, ConfigError> {
        let Some(table) = entry.value.as_table() else {
            return Err(self.wrong_type(entry, wrong));
        };
        Ok(self.entries(&entry.path, table))
    }

    /// The tables of an array of them, in order.
    pub(super) fn tables<'t>(
        &mut self,
        whole: &Entry<'t>,
        wrong: &str,
    ) -> Result<Vec<(Entry<'t>, &'t DeTable<'t>)>, ConfigError> {
        let mut tables = Vec::new();
        for entry in self.array(whole, wrong)? {
            let Some(table) = entry.value.as_table() else {
                return Err(self.wrong_type(&entry, wrong));
            };
            tables.push((entry, table));
        }
        Ok(tables)
    }

    pub(super) fn string<'t>(&self, entry: &Entry<'t>) -> Result<&'t str, ConfigError> {
        let text = entry.value.as_str();
        text.ok_or_else(|| self.wrong_type(entry, "must be a string"))
    }

    /// A string of which nothing is ever shown.
    pub(super) fn secret(&self, entry: &Entry<'_>) -> Result<Secret, ConfigError> {
        self.string(entry).map(Secret::new)
    }

    /// The strings of an array, each with its line noted.
    pub(super) fn strings<'t>(
        &mut self,
        whole: &Entry<'t>,
        wrong: &str,
    ) -> Result<Vec<&'t str>, ConfigError> {
        let elements = self.array(whole, wrong)?;
        elements.iter().map(|entry| self.string(entry)).collect()
    }

    pub(super) fn boolean(&self, entry: &Entry<'_>) -> Result<bool, ConfigError> {
        let value = entry.value.as_bool();
        value.ok_or_else(|| self.wrong_type(entry, "must be true or false"))
    }

    /// A string that `parse` turns into something else.
    pub(super) fn parsed<T>(
        &self,
        entry: &Entry<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(self.string(entry)?).map_err(|problem| self.places.complain(&entry.path, problem))
    }

    /// The elements of an array, each with its line noted.
    pub(super) fn array<'t>(
        &mut self,
        whole: &Entry<'t>,
        wrong: &str,
    ) -> Result<Vec<Entry<'t>>, ConfigError> {
        let Some(array) = whole.value.as_array() else {
            return Err(self.wrong_type(whole, wrong));
        };
        let elements = array.iter().enumerate().map(|(index, element)| Entry {
            key: whole.key,
            path: format!("{}[{index}]", whole.path),
            value: element.get_ref(),
            span: element.span(),
        });
        let elements: Vec<Entry<'t>> = elements.collect();
        for element in &elements {
            self.places.note(&element.path, element.span.start);
        }
        Ok(elements)
    }

    /// A number within the range of `setting`, or `None` for the word `"auto"` where it is allowed.
    /// A number whose range fits 32 bits and has no "auto".
    pub(super) fn plain_number(
        &self,
        entry: &Entry<'_>,
        setting: &Setting,
    ) -> Result<u32, ConfigError> {
        let number = self.number(entry, setting)?;
        let number = number.and_then(|number| u32::try_from(number).ok());
        Ok(number.expect("its range fits and has no \"auto\""))
    }

    pub(super) fn number(
        &self,
        entry: &Entry<'_>,
        setting: &Setting,
    ) -> Result<Option<u64>, ConfigError> {
        let allowed = setting.allowed;
        if allowed.takes_auto() && entry.value.as_str() == Some("auto") {
            return Ok(None);
        }
        let Some(number) = entry.value.as_integer() else {
            let wrong = format!("must be a number, allowed are {allowed}");
            return Err(self.wrong_type(entry, &wrong));
        };
        let checked = match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => allowed.check(number).map(|()| number),
            // More digits than any range has.
            Err(_) if number.as_str().starts_with('-') => {
                Err(format!("{number} is too small, allowed are {allowed}"))
            }
            Err(_) => Err(format!("{number} is too large, allowed are {allowed}")),
        };
        let number = checked.map_err(|problem| self.places.complain(&entry.path, problem))?;
        Ok(Some(
            u64::try_from(number).expect("every range is one of u64"),
        ))
    }

    /// Complains that a table lacks a key; `whole` is the table, `what` begins the sentence.
    pub(super) fn missing(
        &self,
        whole: &Entry<'_>,
        what: &str,
        key: &str,
        hint: &str,
    ) -> ConfigError {
        let problem = format!("{what} the key \"{key}\", {hint}");
        self.places.complain(&whole.path, problem)
    }

    pub(super) fn wrong_type(&self, entry: &Entry<'_>, wrong: &str) -> ConfigError {
        let found = match entry.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.places
            .complain(&entry.path, format!("{wrong}; found {found}"))
    }

    pub(super) fn unknown(&self, entry: &Entry<'_>, allowed: &[&str]) -> ConfigError {
        let problem = format!(
            "unknown key \"{}\"; allowed here: {}",
            entry.path,
            allowed.join(", ")
        );
        self.places.complain_at(Some(entry.span.start), problem)
    }
}
