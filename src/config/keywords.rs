//! Keywords of the config: how enums are spelled, and how texts are quoted in errors.
//!
//! An enum is declared once, with the keyword of each variant; reading, printing and listing the
//! allowed keywords are made from that. Nothing here knows the meaning of a keyword.

/// Declares how the variants of an enum are spelled in the file and on the command line.
macro_rules! spelled {
    ($vis:vis $type:ident: $($variant:ident = $word:literal)+) => {
        impl $type {
            /// The keyword of each variant, in the order of their declaration.
            $vis const SPELLINGS: &[&str] = &[$($word),+];

            /// Returns the keyword of the variant.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err($crate::config::keywords::unknown(word, Self::SPELLINGS)),
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::config::keywords::text_values! {
            $type: $crate::config::key::Shape::Words(<$type>::SPELLINGS.to_vec());
        }
    };
}

/// Makes types that are read from a text the types of keys, with the shape of the text.
macro_rules! text_values {
    ($($type:ty: $shape:expr;)+) => { $(
        impl $crate::config::key::Value for $type {
            fn shape(_: &$crate::config::key::Spec) -> $crate::config::key::Shape {
                $shape
            }

            fn read(
                reader: &mut $crate::config::read::Reader,
                entry: &$crate::config::read::Entry<'_>,
                _: &$crate::config::key::Spec,
            ) -> Option<Self> {
                reader.parsed(entry, str::parse)
            }

            fn toml(&self) -> Option<String> {
                Some($crate::config::keywords::quoted(&self.to_string()))
            }
        }
    )+ };
}

pub(super) use {spelled, text_values};

/// Returns the problem of a word that is none of the allowed ones.
pub(super) fn unknown(word: &str, allowed: &[&str]) -> String {
    let allowed = quoted_list(allowed);
    format!("{} is unknown, allowed are {allowed}", quoted(word))
}

/// Returns the text in quotes, with everything but printable ASCII escaped, so that an error stays
/// one line.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// Returns the key `name` of the table `table` as it is spelled in a file: quoted if it must be.
pub(super) fn key_in(table: &str, name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let name = if !name.is_empty() && name.bytes().all(is_plain) {
        name.to_owned()
    } else {
        quoted(name)
    };
    if table.is_empty() {
        name
    } else {
        format!("{table}.{name}")
    }
}

/// Returns the words in quotes, with commas between them.
pub(super) fn quoted_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_spelled_as_in_a_file() {
        assert_eq!(key_in("", "listen"), "listen");
        assert_eq!(key_in("routes[0]", "push_path"), "routes[0].push_path");
        assert_eq!(key_in("a", ""), "a.\"\"");
        assert_eq!(key_in("a", "b.c\n"), "a.\"b.c\\n\"");
    }
}
