//! How words of a config are spelled, and how they are shown in complaints.
//!
//! An enum of the config is declared once, with the word for each variant; reading it, printing it
//! and listing what is allowed are made from that. Nothing here knows what a word stands for.

/// Declares how the variants of an enum are spelled in the file and on the command line.
macro_rules! spelled {
    ($type:ident: $($variant:ident = $word:literal)+) => {
        impl $type {
            /// Every variant, in the order in which they are declared.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Every spelling, in the order of the variants.
            pub const SPELLINGS: &[&str] = &[$($word),+];

            /// How it is spelled.
            pub const fn as_str(self) -> &'static str {
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
                    _ => Err($crate::config::words::unknown(word, Self::SPELLINGS)),
                }
            }
        }
    };
}

pub(super) use spelled;

/// What is said of a word that is none of those that are allowed.
pub(super) fn unknown(word: &str, allowed: &[&str]) -> String {
    let allowed = quoted_list(allowed);
    format!("{} is unknown, allowed are {allowed}", quoted(word))
}

/// In quotes and with everything but printable ASCII escaped, so that a complaint stays one line.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// The key `name` of the table `table`, spelled as in a file. A name that must be quoted there is
/// quoted here, so that a complaint stays one line.
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

/// Each word in quotes, with commas between them.
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
