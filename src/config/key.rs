//! Keys of the config: the table of a struct's rows, each of which declares one key completely.
//!
//! A row of [`keys!`] gives a field's name, documentation, type and default, and by its [`Spec`]
//! its range, its example and the keys it excludes. The struct, reading and checking it, the
//! printed config, the reference page and the JSON Schema are all made from that row. Nothing here
//! knows a key by name.

use super::error::Errors;
use super::keywords::{key_in, quoted, quoted_list};
use super::read::{Entry, Reader};
use crate::dialect::{self, Dialect};
use crate::vocabulary::limits::{Allowed, Settings};

/// Everything that a row says of its key besides name, documentation, type and default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// Allowed numbers; every key with a number has a range.
    pub(super) allowed: Option<Allowed>,
    /// Allowed lengths of a list or map, both ends inclusive.
    pub(super) count: Option<(usize, usize)>,
    /// A value in TOML, for the printed config and for errors; empty if there is none.
    pub(super) example: &'static str,
    /// The rule for a text, or for each text of a list.
    pub(super) check: Option<Check>,
    /// The text that means `None`, such as `auto`.
    pub(super) none: Option<&'static str>,
    pub(super) is_required: bool,
    /// Whether no value of a list may occur twice.
    pub(super) is_distinct: bool,
    /// Whether only some dialects have the key: those that list it in their `RouteSpec`.
    pub(super) is_by_dialect: bool,
    /// The actions of a command that have the key; empty for all.
    pub(super) actions: &'static [&'static str],
    /// Keys of the same table that exclude this one.
    pub(super) excludes: &'static [&'static str],
}

impl Spec {
    pub(super) const NONE: Self = Self {
        allowed: None,
        count: None,
        example: "",
        check: None,
        none: None,
        is_required: false,
        is_distinct: false,
        is_by_dialect: false,
        actions: &[],
        excludes: &[],
    };

    pub(super) const fn range(mut self, allowed: Allowed) -> Self {
        self.allowed = Some(allowed);
        self
    }

    pub(super) const fn count(mut self, min: usize, max: usize) -> Self {
        self.count = Some((min, max));
        self
    }

    pub(super) const fn example(mut self, toml: &'static str) -> Self {
        self.example = toml;
        self
    }

    pub(super) const fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    pub(super) const fn none_is(mut self, text: &'static str) -> Self {
        self.none = Some(text);
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    pub(super) const fn distinct(mut self) -> Self {
        self.is_distinct = true;
        self
    }

    pub(super) const fn by_dialect(mut self) -> Self {
        self.is_by_dialect = true;
        self
    }

    pub(super) const fn actions(mut self, actions: &'static [&'static str]) -> Self {
        self.actions = actions;
        self
    }

    pub(super) const fn excludes(mut self, keys: &'static [&'static str]) -> Self {
        self.excludes = keys;
        self
    }
}

/// Returns the problem of a text.
pub(super) type Check = fn(&str) -> Result<(), String>;

/// A row as data: one key of a table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(super) name: &'static str,
    /// The lines of its documentation, each with the space that follows `///`.
    pub(super) doc: &'static [&'static str],
    pub(super) shape: Shape,
    /// The default in TOML; `None` if the key is absent by default.
    pub(super) default: Option<String>,
    pub(super) spec: Spec,
}

/// The form that the value of a key takes in a file.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Boolean,
    Number(Allowed),
    Text,
    /// A path of a file, relative to the working directory.
    File,
    Secret,
    /// One of these words.
    Words(Vec<&'static str>),
    /// A text in one of these forms, in which a capitalized name stands for any text.
    Forms(&'static [&'static str]),
    List(Box<Self>),
    Table(Vec<Key>),
    /// A table whose keys the operator chooses.
    Map(Box<Self>),
    OneOf(Vec<Self>),
    /// Any value that JSON can express.
    Json,
}

impl Key {
    /// Whether the key is one of tables with this word, a dialect or an action.
    pub(super) fn is_for(&self, word: &str) -> bool {
        if self.spec.is_by_dialect {
            let mut all = dialect::of_routes();
            return all.any(|it| it.name() == word && it.route_spec().has(self.name));
        }
        self.spec.actions.is_empty() || self.spec.actions.contains(&word)
    }

    /// The sentence that says which dialects or actions have the key, if not all do.
    pub(super) fn restriction(&self) -> Option<String> {
        if !self.spec.actions.is_empty() {
            return Some(format!("Only for {}.", quoted_list(self.spec.actions)));
        }
        let all = dialect::of_routes().map(Dialect::name);
        let (has, lacks): (Vec<&str>, Vec<&str>) = all.partition(|it| self.is_for(it));
        if lacks.is_empty() {
            None
        } else if lacks.len() < has.len() {
            Some(format!("Not for {}.", quoted_list(&lacks)))
        } else {
            Some(format!("Only for {}.", quoted_list(&has)))
        }
    }
}

impl Shape {
    /// The keys of the table, of each table of a list, or of each value of a map.
    pub(super) fn table(&self) -> Option<&[Key]> {
        if let Self::List(shape) = self {
            return shape.inline_table();
        }
        self.inline_table()
    }

    /// The keys of the table that is the value, or may be the value of each name.
    pub(super) fn inline_table(&self) -> Option<&[Key]> {
        if let Self::Table(keys) = self {
            return Some(keys);
        }
        let Self::Map(value) = self else { return None };
        let Self::OneOf(shapes) = &**value else {
            return None;
        };
        shapes.iter().find(|it| it.is_table())?.inline_table()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }
}

/// A type of a field: how it is read from a file, checked and described.
pub(crate) trait Value: Sized + PartialEq {
    fn shape(spec: &Spec) -> Shape;

    /// Reads the value, or records in `reader` why it cannot.
    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self>;

    /// Records what the row's rules do not allow, for values made in code as well.
    fn check(&self, _at: &str, _spec: &Spec, _errors: &mut Errors) {}

    /// The value in TOML; `None` if the printed config shows no default.
    fn toml(&self) -> Option<String> {
        None
    }
}

/// The rows of a struct; implemented by [`keys!`] and for the tables of limits.
pub(crate) trait Keys: Sized + PartialEq {
    /// Every key at its default.
    fn blank() -> Self;

    /// The rows, in the order in which they are documented.
    fn keys() -> Vec<Key>;

    /// Reads the value of `entry`, whose key is among the rows.
    fn read_key(&mut self, reader: &mut Reader, entry: &Entry<'_>);

    /// Checks each field by its own row; `at` is the key of the table.
    fn check_keys(&self, at: &str, errors: &mut Errors);

    /// Whether the field of this key differs from its default.
    fn is_set(&self, key: &str) -> bool;
}

/// A table of the file.
pub(crate) trait Table: Keys {
    /// The key whose word decides which others the table may have, and that word.
    fn decider(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Sets the defaults that depend on that word and on other tables.
    fn inherit(&mut self, _reader: &Reader) {}
}

impl<T: Table> Value for T {
    fn shape(_: &Spec) -> Shape {
        Shape::Table(T::keys())
    }

    fn read(reader: &mut Reader, entry: &Entry<'_>, spec: &Spec) -> Option<Self> {
        let wanted = match spec.example {
            "" => format!("must be a table, [{}]", entry.path),
            example => format!("must be a table such as {example}"),
        };
        let entries = reader.table(entry, &wanted)?;
        Some(reader.read_table(&entry.path, &entries))
    }

    fn check(&self, at: &str, _: &Spec, errors: &mut Errors) {
        check_table(self, at, errors);
    }
}

/// Checks the rows of a table: which keys it may have, which exclude each other, and each by
/// itself.
pub(super) fn check_table<T: Table>(table: &T, at: &str, errors: &mut Errors) {
    let keys = T::keys();
    if let Some((decider, word)) = table.decider()
        && !errors.is_wrong(&key_in(at, decider))
    {
        let foreign = |key: &&Key| !key.is_for(word) && table.is_set(key.name);
        for key in keys.iter().filter(foreign) {
            let problem = format!("{decider} {} has no such key", quoted(word));
            errors.error(&key_in(at, key.name), problem);
        }
    }
    check_excluded(table, at, &keys, errors);
    table.check_keys(at, errors);
}

/// Checks that no two keys are set that exclude each other.
pub(super) fn check_excluded<T: Table>(table: &T, at: &str, keys: &[Key], errors: &mut Errors) {
    for key in keys.iter().filter(|key| table.is_set(key.name)) {
        let other = key.spec.excludes.iter().find(|other| table.is_set(other));
        if let Some(other) = other {
            errors.error(
                &key_in(at, key.name),
                format!("cannot be combined with {other}"),
            );
        }
    }
}

impl<T: Settings> Keys for T {
    fn blank() -> Self {
        T::default()
    }

    fn keys() -> Vec<Key> {
        let defaults = T::default();
        let rows = T::SETTINGS.iter();
        rows.map(|setting| Key {
            name: setting.key,
            doc: setting.doc,
            shape: Shape::Number(setting.allowed),
            default: Some(number_in_toml(defaults.number(setting.key))),
            spec: Spec {
                is_by_dialect: setting.is_by_dialect,
                ..Spec::NONE.range(setting.allowed)
            },
        })
        .collect()
    }

    fn read_key(&mut self, reader: &mut Reader, entry: &Entry<'_>) {
        let mut rows = T::SETTINGS.iter();
        let setting = rows.find(|setting| setting.key == entry.key);
        let setting = setting.expect("the caller has looked for it");
        reader.number(entry, setting.allowed, |number| {
            self.set(setting.key, number);
        });
    }

    fn check_keys(&self, at: &str, errors: &mut Errors) {
        for setting in T::SETTINGS {
            let number = self.number(setting.key);
            let checked = number.map_or(Ok(()), |it| setting.allowed.check(it.into()));
            errors.check(&key_in(at, setting.key), checked);
        }
    }

    fn is_set(&self, key: &str) -> bool {
        self.number(key) != T::default().number(key)
    }
}

/// A number as TOML lets one write it, such as `16_777_216`; `None` is `"auto"`.
pub(super) fn number_in_toml(number: Option<u64>) -> String {
    let Some(number) = number else {
        return "\"auto\"".to_owned();
    };
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// Declares a struct whose fields are the keys of a table of the file.
///
/// Behind the rows, `..field: Type` takes all rows of another table into the same table of the
/// file, and `@ field: Type = default` is a field that only code can set.
macro_rules! keys {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $field:ident: $type:ty = $default:expr
                    $(, $rule:ident $(($($argument:expr),*))?)*;
            )+
            $(.. $(#[doc = $flat_doc:literal])+ pub $flat:ident: $flat_type:ty;)?
            $(
                @ $(#[doc = $code_doc:literal])+
                pub $code:ident: $code_type:ty = $code_default:expr;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
            $( $(#[doc = $flat_doc])+ pub $flat: $flat_type, )?
            $( $(#[doc = $code_doc])+ pub $code: $code_type, )*
        }

        impl $crate::config::key::Keys for $name {
            fn blank() -> Self {
                Self {
                    $( $field: $default, )+
                    $( $flat: <$flat_type as $crate::config::key::Keys>::blank(), )?
                    $( $code: $code_default, )*
                }
            }

            fn keys() -> Vec<$crate::config::key::Key> {
                let own = [ $( {
                    let spec = $crate::config::key::Spec::NONE $(.$rule($($($argument),*)?))*;
                    $crate::config::key::Key {
                        name: stringify!($field),
                        doc: &[$($doc),+],
                        shape: <$type as $crate::config::key::Value>::shape(&spec),
                        default: {
                            let default: $type = $default;
                            let none = spec.none.map($crate::config::keywords::quoted);
                            $crate::config::key::Value::toml(&default).or(none)
                        },
                        spec,
                    }
                }, )+ ];
                let keys = own.into_iter();
                $( let keys = keys.chain(<$flat_type as $crate::config::key::Keys>::keys()); )?
                keys.collect()
            }

            fn read_key(
                &mut self,
                reader: &mut $crate::config::read::Reader,
                entry: &$crate::config::read::Entry<'_>,
            ) {
                match entry.key {
                    $( stringify!($field) => {
                        let spec = $crate::config::key::Spec::NONE $(.$rule($($($argument),*)?))*;
                        let read = $crate::config::key::Value::read(reader, entry, &spec);
                        if let Some(value) = read {
                            self.$field = value;
                        }
                    } )+
                    _ => {
                        let is_row = false $( || {
                            $crate::config::key::Keys::read_key(&mut self.$flat, reader, entry);
                            true
                        } )?;
                        assert!(is_row, "the caller has looked for it");
                    }
                }
            }

            fn check_keys(&self, at: &str, errors: &mut $crate::config::error::Errors) {
                use $crate::config::key::Value;
                $( {
                    let spec = $crate::config::key::Spec::NONE $(.$rule($($($argument),*)?))*;
                    let path = $crate::config::keywords::key_in(at, stringify!($field));
                    self.$field.check(&path, &spec, errors);
                } )+
                $( $crate::config::key::Keys::check_keys(&self.$flat, at, errors); )?
            }

            fn is_set(&self, key: &str) -> bool {
                match key {
                    $( stringify!($field) => {
                        let default: $type = $default;
                        self.$field != default
                    } )+
                    _ => false $( || $crate::config::key::Keys::is_set(&self.$flat, key) )?,
                }
            }
        }
    };
}

pub(super) use keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_threes() {
        let numbers = [0, 999, 1_000, 65_536, 1_048_576];
        assert_eq!(
            numbers.map(|number| number_in_toml(Some(number))),
            ["0", "999", "1_000", "65_536", "1_048_576"]
        );
    }
}
