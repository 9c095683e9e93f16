//! Reading a file: the tables, keys and values of a TOML document, each with its line.
//!
//! Every error is recorded and reading goes on, so that all errors of a file are found at once.
//! Knows the types of values and the ranges of numbers, and no key by name.

use std::num::IntErrorKind;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::error::Errors;
use super::key::{Key, Shape, Spec, Table, Value, check_excluded, number_in_toml};
use super::keywords::{key_in, quoted, quoted_list};
use crate::vocabulary::limits::{Allowed, Heartbeat, Limits};

/// A file that is being read.
#[derive(Default)]
pub(crate) struct Reader {
    pub(super) errors: Errors,
    /// The tables whose limits routes inherit; they are read before the routes.
    pub(super) inherited: (Limits, Heartbeat),
}

/// One key of a table and its value.
pub(crate) struct Entry<'t> {
    pub(super) key: &'t str,
    /// The key with the names of the tables around it.
    pub(super) path: String,
    pub(super) value: &'t DeValue<'t>,
    pub(super) span: Range<usize>,
}

impl Reader {
    /// Reads a table: each of its entries, and that no required key is missing.
    pub(super) fn read_table<T: Table>(&mut self, at: &str, entries: &[Entry<'_>]) -> T {
        let keys = T::keys();
        let mut table = T::blank();
        // The key that decides which others there are comes first, wherever it stands.
        let decider = table.decider().map(|(key, _)| key);
        let deciding = entries.iter().find(|entry| Some(entry.key) == decider);
        if let Some(entry) = deciding {
            table.read_key(self, entry);
        }
        table.inherit(self);
        let is_known = deciding.is_some_and(|entry| !self.errors.is_wrong(&entry.path));
        let word = table.decider().filter(|_| is_known);
        let allows = |key: &&Key| word.is_none_or(|(_, word)| key.is_for(word));
        let allowed: Vec<&Key> = keys.iter().filter(allows).collect();
        for entry in entries.iter().filter(|entry| Some(entry.key) != decider) {
            if allowed.iter().any(|key| key.name == entry.key) {
                table.read_key(self, entry);
            } else {
                let is_of_others = keys.iter().any(|key| key.name == entry.key);
                let word = word.filter(|_| is_of_others);
                self.not_allowed(entry, word, &allowed);
            }
        }
        for key in allowed.iter().filter(|key| key.spec.is_required) {
            if !entries.iter().any(|entry| entry.key == key.name) {
                let hint = if let Shape::Words(words) = &key.shape {
                    format!("allowed are {}", quoted_list(words))
                } else {
                    format!("such as {}", key.spec.example)
                };
                let problem = format!("is required, {hint}");
                self.errors.error(&key_in(at, key.name), problem);
            }
        }
        check_excluded(&table, at, &keys, &mut self.errors);
        table
    }

    /// Returns the entries of a table in the order of the file, and notes the line of each.
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
            self.errors.lines.insert(&entry.path, entry.span.start);
        }
        entries
    }

    /// Returns the entries of a value that must be a table.
    pub(super) fn table<'t>(&mut self, entry: &Entry<'t>, wanted: &str) -> Option<Vec<Entry<'t>>> {
        let Some(table) = entry.value.as_table() else {
            self.wrong_type(entry, wanted);
            return None;
        };
        Some(self.entries(&entry.path, table))
    }

    /// Returns the elements of a value that must be a list.
    pub(super) fn list<'t>(&mut self, whole: &Entry<'t>, wanted: &str) -> Option<Vec<Entry<'t>>> {
        let Some(list) = whole.value.as_array() else {
            self.wrong_type(whole, wanted);
            return None;
        };
        let elements = list.iter().enumerate().map(|(index, element)| Entry {
            key: whole.key,
            path: format!("{}[{index}]", whole.path),
            value: element.get_ref(),
            span: element.span(),
        });
        let elements: Vec<Entry<'t>> = elements.collect();
        for element in &elements {
            self.errors.lines.insert(&element.path, element.span.start);
        }
        Some(elements)
    }

    pub(super) fn text<'t>(&mut self, entry: &Entry<'t>) -> Option<&'t str> {
        let text = entry.value.as_str();
        if text.is_none() {
            self.wrong_type(entry, "must be a string");
        }
        text
    }

    /// Reads a text by `parse`.
    pub(super) fn parsed<T>(
        &mut self,
        entry: &Entry<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(entry)?;
        self.ok(entry, parse(text))
    }

    /// Reads a number within `allowed` and gives it to `set`; `None` is the word `"auto"`, where it
    /// is allowed.
    pub(super) fn number(
        &mut self,
        entry: &Entry<'_>,
        allowed: Allowed,
        set: impl FnOnce(Option<u64>),
    ) {
        if allowed.takes_auto() && entry.value.as_str() == Some("auto") {
            return set(None);
        }
        let Some(number) = entry.value.as_integer() else {
            return self.wrong_type(entry, &format!("must be a number, allowed are {allowed}"));
        };
        let checked = match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => allowed.check(number).map(|()| number),
            Err(error) => {
                let problem = if *error.kind() == IntErrorKind::PosOverflow {
                    "too large"
                } else if *error.kind() == IntErrorKind::NegOverflow {
                    "too small"
                } else {
                    "not a number"
                };
                Err(format!("{number} is {problem}, allowed are {allowed}"))
            }
        };
        if let Some(number) = self.ok(entry, checked) {
            set(Some(
                u64::try_from(number).expect("every range is one of u64"),
            ));
        }
    }

    /// Returns the value, or records the error of `entry`.
    pub(super) fn ok<T>(&mut self, entry: &Entry<'_>, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.error(entry, problem);
                None
            }
        }
    }

    pub(super) fn error(&mut self, entry: &Entry<'_>, problem: impl Into<String>) {
        let start = Some(entry.span.start);
        self.errors.push(Some(&entry.path), start, problem.into());
    }

    pub(super) fn wrong_type(&mut self, entry: &Entry<'_>, wanted: &str) {
        let found = match entry.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.error(entry, format!("{wanted}; found {found}"));
    }

    /// Records that a table has no such key; `decider` is given if others of its kind have it.
    fn not_allowed(&mut self, entry: &Entry<'_>, decider: Option<(&str, &str)>, allowed: &[&Key]) {
        let names: Vec<&str> = allowed.iter().map(|key| key.name).collect();
        let problem = match (decider, nearest(entry.key, &names)) {
            (Some((key, word)), _) => format!("{key} {} has no such key;", quoted(word)),
            (None, Some(name)) => format!("unknown key; did you mean {}?", quoted(name)),
            (None, None) => "unknown key;".to_owned(),
        };
        self.error(
            entry,
            format!("{problem} allowed here: {}", names.join(", ")),
        );
    }
}

/// Returns the one of `names` that a mistyped name most probably stands for.
fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let likeness = names
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), *other));
    let best = likeness.max_by(|a, b| a.0.total_cmp(&b.0));
    best.and_then(|(likeness, other)| (likeness > LIKENESS_MIN).then_some(other))
}

/// As clap has it for flags.
const LIKENESS_MIN: f64 = 0.7;

impl Value for bool {
    fn shape(_: &Spec) -> Shape {
        Shape::Boolean
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        let value = entry.value.as_bool();
        if value.is_none() {
            reader.wrong_type(entry, "must be true or false");
        }
        value
    }

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for u32 {
    fn shape(spec: &Spec) -> Shape {
        Shape::Number(range(spec))
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self> {
        let mut read = None;
        reader.number(entry, range(spec), |number| {
            read = number.and_then(|number| Self::try_from(number).ok());
        });
        read
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        errors.check(at, range(spec).check((*self).into()));
    }

    fn toml(&self) -> Option<String> {
        Some(number_in_toml(Some((*self).into())))
    }
}

pub(super) fn range(spec: &Spec) -> Allowed {
    spec.allowed.expect("every key with a number has a range")
}

impl Value for String {
    fn shape(_: &Spec) -> Shape {
        Shape::Text
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        reader.text(entry).map(ToOwned::to_owned)
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        if let Some(check) = spec.check {
            errors.check(at, check(self));
        }
    }

    fn toml(&self) -> Option<String> {
        (!self.is_empty()).then(|| quoted(self))
    }
}

impl Value for PathBuf {
    fn shape(_: &Spec) -> Shape {
        Shape::File
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, _: &Spec) -> Option<Self> {
        reader.text(entry).map(Into::into)
    }

    fn check(&self, at: &str, _: &Spec, errors: &mut Errors) {
        if self.as_os_str().is_empty() {
            errors.error(at, "is empty, and must be a file");
        }
    }
}

impl<T: Value> Value for Option<T> {
    fn shape(spec: &Spec) -> Shape {
        T::shape(spec)
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self> {
        if spec.none.is_some() && spec.none == entry.value.as_str() {
            return Some(None);
        }
        T::read(reader, entry, spec).map(Some)
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        if let Some(value) = self {
            value.check(at, spec, errors);
        }
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(T::toml)
    }
}

impl<T: Value> Value for Vec<T> {
    fn shape(spec: &Spec) -> Shape {
        Shape::List(Box::new(T::shape(spec)))
    }

    /// A list with a wrong element is not read, so that no index is shifted.
    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self> {
        let is_of_tables = T::shape(spec).is_table();
        let wanted = if is_of_tables {
            format!("must be [[{}]] tables", without_indices(&entry.path))
        } else {
            format!("must be a list such as {}", spec.example)
        };
        let elements = reader.list(entry, &wanted)?;
        if let Err(problem) = check_count(elements.len(), spec) {
            reader.error(entry, problem);
            return None;
        }
        let mut values = Self::new();
        let count = elements.len();
        for element in elements {
            if is_of_tables && !element.value.is_table() {
                reader.wrong_type(&element, &wanted);
            } else {
                values.extend(T::read(reader, &element, spec));
            }
        }
        (values.len() == count).then_some(values)
    }

    fn check(&self, at: &str, spec: &Spec, errors: &mut Errors) {
        if let Err(problem) = check_count(self.len(), spec) {
            return errors.error(at, problem);
        }
        for (index, value) in self.iter().enumerate() {
            let path = format!("{at}[{index}]");
            value.check(&path, spec, errors);
            let before = &self[..index];
            if spec.is_distinct
                && let Some(other) = before.iter().position(|it| it == value)
            {
                errors.error(&path, format!("is the same as {at}[{other}]"));
            }
        }
    }
}

/// Checks the number of elements of a list or map.
pub(super) fn check_count(count: usize, spec: &Spec) -> Result<(), String> {
    match spec.count {
        Some((min, max)) if !(min..=max).contains(&count) => {
            Err(format!("has {count} elements, allowed are {min} to {max}"))
        }
        _ => Ok(()),
    }
}

/// `routes[0].channels` as it is spelled in the head of a table: `routes.channels`.
fn without_indices(path: &str) -> String {
    path.split(['[', ']']).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named_if_one_is_near() {
        let names = ["listen", "limits", "push_path", "push_secret"];
        assert_eq!(nearest("limts", &names), Some("limits"));
        assert_eq!(nearest("pushpath", &names), Some("push_path"));
        assert_eq!(nearest("zzz", &names), None);
    }

    #[test]
    fn the_head_of_a_table_has_no_indices() {
        assert_eq!(without_indices("routes"), "routes");
        assert_eq!(without_indices("routes[0].channels"), "routes.channels");
        assert_eq!(without_indices("a[0].b[12].c"), "a.b.c");
    }
}
