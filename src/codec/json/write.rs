//! The JSON writer of the dialects: appends strings and relayed values to a message.
//!
//! The originals encode with Go's `encoding/json`, one of them with its second version. The two
//! differ in escapes and in the layout of relayed values:
//!
//! ```text
//!                      first version, compact      second version, indented
//!   text  <a> BS ESC   "\u003ca\u003e\u0008\u001b"  "<a>\b\u001b"
//!   value { "\/":[ ]}  {"\/":[]}                   {
//!                                                    "/": []
//!                                                  }
//! ```
//!
//! The writer does not panic on any bytes, but only a checked value stays a valid value. It
//! allocates nothing beyond the message, does not recurse, and keeps numbers as spelled.

use super::scan::{Scanner, closing, is_white_space, plain_count};
use super::{Piece, Text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends `text` as a string, as the first version of Go's package does.
///
/// Control characters, quotes and backslashes are escaped, and so are characters that could end a
/// script in an HTML page: `<`, `>`, `&`, U+2028 and U+2029. Only `\n`, `\r`, `\t`, `\"` and `\\`
/// have a short form.
pub fn put_string_go(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    put_escaped(text, &GO, out);
    out.push(b'"');
}

/// Appends `text` as a string, as the second version of Go's package does: in the shortest form.
///
/// Only control characters, quotes and backslashes are escaped; `\b` and `\f` are short too.
pub fn put_string_plain(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    put_escaped(text, &PLAIN, out);
    out.push(b'"');
}

/// Appends the checked value `raw`, as the first version of Go's package embeds raw JSON.
///
/// White space between tokens is omitted. Within strings `<`, `>`, `&`, U+2028 and U+2029 are
/// escaped, and each byte that is not part of valid UTF-8 becomes one U+FFFD. Everything else stays
/// as spelled.
pub fn put_compact_go(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while !rest.is_empty() {
        let quote = rest.iter().position(|&byte| byte == b'"');
        let (between, quoted) = rest.split_at(quote.unwrap_or(rest.len()));
        out.extend(
            between
                .iter()
                .copied()
                .filter(|&byte| !is_white_space(byte)),
        );

        let (string, after) = quoted.split_at(string_bytes(quoted));
        put_lossy(string, &HTML, out);
        rest = after;
    }
}

/// Appends the checked value `raw` with two spaces of indentation per level, as the second version
/// of Go's package does.
///
/// `depth` is the number of open objects and arrays around the value. The first line is not
/// indented, since it continues one. Empty objects and arrays stay on one line. Strings and keys
/// are encoded in the shortest form; invalid UTF-8 in them becomes U+FFFD.
///
/// As in Go, a value of `n` bytes can grow to `n` times its depth. The caller must limit one or the
/// other for untrusted values.
pub fn put_indented(raw: &[u8], depth: usize, out: &mut Vec<u8>) {
    let mut scanner = Scanner::new(raw);
    let mut depth = depth;
    loop {
        let start = scanner.position();
        let Ok(byte) = scanner.take() else {
            return;
        };
        match byte {
            b'"' => {
                let Ok(escaped) = scanner.string() else {
                    out.extend_from_slice(&raw[start..]);
                    return;
                };
                let text = Text::unquoted(scanner.since(start), escaped);
                put_shortest(text.expect("it has its quotes"), out);
            }
            b'{' | b'[' => {
                out.push(byte);
                if scanner.peek() == Some(closing(byte)) {
                    scanner.take().expect("it was seen");
                    out.push(closing(byte));
                } else {
                    depth += 1;
                    put_line_end(depth, out);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                put_line_end(depth, out);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                put_line_end(depth, out);
            }
            b':' => out.extend_from_slice(b": "),
            // A byte of a number or literal.
            _ => out.push(byte),
        }
    }
}

/// Appends a string with the padded base64 of `bytes`, for bytes that are no text.
pub fn put_base64_string(bytes: &[u8], out: &mut Vec<u8>) {
    let encoded_bytes = base64::encoded_len(bytes.len(), true).expect("what fits in memory twice");
    out.push(b'"');
    let start = out.len();
    out.resize(start + encoded_bytes, 0);
    STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("the length is the one asked for");
    out.push(b'"');
}

/// The form of each byte of UTF-8 in a string: one of the three below, or a backslash and this
/// letter.
type Escapes = [u8; 256];

/// Unchanged.
const ITSELF: u8 = 0;
/// `\u00` and two hexadecimal digits.
const HEX: u8 = b'u';
/// Unchanged, except as the first byte of U+2028 or U+2029, which are escaped.
const SEPARATOR: u8 = 1;

/// Escapes of the first version for strings that are JSON already.
static HTML: Escapes = html();

/// Escapes of the first version.
static GO: Escapes = literal(html(), b"\n\r\t", b"nrt");

/// Escapes of the second version.
static PLAIN: Escapes = literal([ITSELF; 256], b"\x08\x0c\n\r\t", b"bfnrt");

const fn html() -> Escapes {
    let mut escapes = [ITSELF; 256];
    escapes[b'<' as usize] = HEX;
    escapes[b'>' as usize] = HEX;
    escapes[b'&' as usize] = HEX;
    escapes[0xe2] = SEPARATOR;
    escapes
}

/// Adds the characters that any string escapes; `letters` are the short forms of the control
/// characters `short`.
const fn literal<const N: usize>(others: Escapes, short: &[u8; N], letters: &[u8; N]) -> Escapes {
    let mut escapes = others;
    let mut index = 0;
    while index < 0x20 {
        escapes[index] = HEX;
        index += 1;
    }
    index = 0;
    while index < N {
        escapes[short[index] as usize] = letters[index];
        index += 1;
    }
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
}

/// Appends `text` with its escapes.
fn put_escaped(text: &str, escapes: &Escapes, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match escapes[usize::from(byte)] {
            ITSELF => {}
            SEPARATOR => {
                // This is the first byte of three.
                if let [_, 0x80, last @ (0xa8 | 0xa9)] = bytes[at..at + 3] {
                    out.extend_from_slice(&bytes[written..at]);
                    out.extend_from_slice(&[b'\\', b'u', b'2', b'0', b'2', last - 0xa8 + b'8']);
                    written = at + 3;
                }
            }
            HEX => {
                out.extend_from_slice(&bytes[written..at]);
                let [high, low] = [byte >> 4, byte & 0xf].map(|half| DIGITS[usize::from(half)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                written = at + 1;
            }
            letter => {
                out.extend_from_slice(&bytes[written..at]);
                out.extend_from_slice(&[b'\\', letter]);
                written = at + 1;
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
}

/// Appends `bytes` with their escapes, and U+FFFD for each byte that is not part of UTF-8.
fn put_lossy(bytes: &[u8], escapes: &Escapes, out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        put_escaped(chunk.valid(), escapes, out);
        for _ in chunk.invalid() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends a decoded string in the shortest form.
fn put_shortest(text: Text<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    for piece in text.pieces() {
        match piece {
            Piece::Run(run) => put_lossy(run, &PLAIN, out),
            Piece::Escaped(character) => {
                put_escaped(character.encode_utf8(&mut [0; 4]), &PLAIN, out);
            }
        }
    }
    out.push(b'"');
}

fn put_line_end(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// Returns the length of the string at the start of `text`, with its quotes; all of `text` if there
/// is no complete string.
fn string_bytes(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(rest) = text.get(at..) {
        at += plain_count(rest);
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            // A control character or the end of the text: no complete string.
            _ => break,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::super::tests::model;
    use super::*;
    use campanile_tests::prng::Prng;

    /// Returns the bytes that `put` appends. Checks that earlier bytes stay.
    #[track_caller]
    fn appended(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = b"before ".to_vec();
        put(&mut out);
        out.strip_prefix(b"before ")
            .expect("it only appends")
            .to_vec()
    }

    #[track_caller]
    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        String::from_utf8(appended(put)).expect("it is UTF-8")
    }

    fn go(value: &str) -> String {
        text(|out| put_string_go(value, out))
    }

    fn plain(value: &str) -> String {
        text(|out| put_string_plain(value, out))
    }

    fn compact(raw: impl AsRef<[u8]>) -> String {
        text(|out| put_compact_go(raw.as_ref(), out))
    }

    fn indented(raw: impl AsRef<[u8]>, depth: usize) -> String {
        text(|out| put_indented(raw.as_ref(), depth, out))
    }

    #[test]
    fn the_first_version_escapes_html_and_few_controls_shortly() {
        assert_eq!(go(""), r#""""#);
        assert_eq!(go("\n\r\t\"\\"), r#""\n\r\t\"\\""#);
        assert_eq!(
            go("\0\u{8}\u{c}\u{1b}\u{1f}"),
            r#""\u0000\u0008\u000c\u001b\u001f""#
        );
        assert_eq!(go("<a href>&"), r#""\u003ca href\u003e\u0026""#);
        assert_eq!(go("x\u{2028}y\u{2029}z"), r#""x\u2028y\u2029z""#);
        for itself in [
            "/",
            "\u{7f}",
            "'",
            "\u{e9}",
            "\u{1f600}",
            "\u{2027}",
            "\u{202a}",
            "\u{2068}",
            "\u{2828}",
            "\u{20a8}",
            "\u{2000}",
            "\u{fffd}",
        ] {
            assert_eq!(go(itself), format!("\"{itself}\""));
            assert_eq!(
                go(&format!("<{itself}<")),
                format!("\"\\u003c{itself}\\u003c\"")
            );
        }
    }

    #[test]
    fn the_second_version_escapes_what_it_must_and_shortly() {
        assert_eq!(plain(""), r#""""#);
        assert_eq!(plain("\u{8}\u{c}\n\r\t\"\\"), r#""\b\f\n\r\t\"\\""#);
        assert_eq!(
            plain("\0\u{1}\u{b}\u{1b}\u{1f}"),
            r#""\u0000\u0001\u000b\u001b\u001f""#
        );
        for itself in [
            "<a&b>",
            "/",
            "\u{7f}",
            "\u{2028}\u{2029}",
            "\u{e9}\u{1f600}",
        ] {
            assert_eq!(plain(itself), format!("\"{itself}\""));
        }
    }

    #[test]
    fn every_character_is_written_as_the_model_writes_it() {
        for character in (0..0x3000)
            .chain(0xff00..0x1_0100)
            .filter_map(char::from_u32)
        {
            for text in [format!("{character}"), format!("a{character}{character}b")] {
                assert_eq!(go(&text), model::go_string(&text));
                assert_eq!(plain(&text), model::plain_string(&text));
                let parsed = [go(&text), plain(&text)].map(|json| model::parse(json.as_bytes()));
                for parsed in parsed {
                    let tree = parsed.map(|parsed| parsed.tree);
                    assert_eq!(tree, Some(model::Tree::String(text.clone())));
                }
            }
        }
    }

    #[test]
    fn an_embedded_value_loses_only_its_blanks() {
        for spelled in [
            "{}",
            "[]",
            "null",
            "-0",
            "1e2",
            "1.50E+007",
            r#""a b""#,
            r#""\u00e9\/\b\u003C\"""#,
            r#"{"a":[1,{"b c":" \t "}]}"#,
            r#""\\""#,
            r#"["\\\"","x"]"#,
            "\"\u{7f}\u{e9}\"",
        ] {
            assert_eq!(compact(spelled), spelled);
            assert_eq!(compact(format!(" \t{spelled}\r\n")), spelled);
        }
        let spaced = "{ \"a b\" :\t[ 1 ,\n2 , { } , [ ] ] ,\r\"c\" : null }";
        assert_eq!(compact(spaced), r#"{"a b":[1,2,{},[]],"c":null}"#);
    }

    #[test]
    fn an_embedded_value_has_html_escaped_and_bad_bytes_replaced() {
        assert_eq!(
            compact("{\"<k>\": \"a&b\u{2028}\u{2029}\u{2027}<\"}"),
            "{\"\\u003ck\\u003e\":\"a\\u0026b\\u2028\\u2029\u{2027}\\u003c\"}"
        );
        assert_eq!(compact(b"[\"\xff\",\"\xe2\x80\",\"\xed\xa0\x80\"]"), {
            let [one, two, three] = [1, 2, 3].map(|count| "\u{fffd}".repeat(count));
            format!("[\"{one}\",\"{two}\",\"{three}\"]")
        });
        // An incomplete character does not swallow the quote.
        assert_eq!(compact(b"\"\xe2\" "), "\"\u{fffd}\"");
    }

    #[test]
    fn a_relayed_value_is_indented_from_the_level_it_is_at() {
        assert_eq!(indented(r#"{"b":1}"#, 1), "{\n    \"b\": 1\n  }");
        assert_eq!(
            indented("[ 1,[ 2 , 3],\t{\"a\" :\r\n\"x y\" ,\"c\":[]} ]", 0),
            "[\n  1,\n  [\n    2,\n    3\n  ],\n  {\n    \"a\": \"x y\",\n    \"c\": []\n  }\n]"
        );
        for depth in [0, 1, 7] {
            for spelled in [
                "{}",
                "[]",
                "null",
                "true",
                "false",
                "1e2",
                "-0",
                "1.50E+007",
            ] {
                assert_eq!(indented(format!("\n{spelled} "), depth), spelled);
            }
            assert_eq!(indented("{ \n }", depth), "{}");
            assert_eq!(indented("[\t]", depth), "[]");
        }
    }

    #[test]
    fn strings_of_a_relayed_value_are_spelled_anew() {
        assert_eq!(indented(r#""\u00e9\/""#, 3), "\"\u{e9}/\"");
        assert_eq!(
            indented(r#""\ud83d\uDE00\u2028<""#, 3),
            "\"\u{1f600}\u{2028}<\""
        );
        assert_eq!(
            indented(r#""\u0008\u000C\u001B\u0022\u005c\u007f""#, 0),
            "\"\\b\\f\\u001b\\\"\\\\\u{7f}\""
        );
        assert_eq!(
            indented(r#"{"\u0061\/": "\n"}"#, 0),
            "{\n  \"a/\": \"\\n\"\n}"
        );
        assert_eq!(indented(b"\"\xff\\ud800\xe2\x80\\n\"", 0), {
            format!("\"{}\\n\"", "\u{fffd}".repeat(4))
        });
        assert_eq!(
            indented("[\"  a {\", \",]\"]", 0),
            "[\n  \"  a {\",\n  \",]\"\n]"
        );
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |bracket: &str| bracket.repeat(100_000);
        let raw = [deep("["), deep("]")].concat();
        assert_eq!(compact(&raw), raw);
        // Further in, every line is longer than the last.
        let raw = ["[".repeat(1_000), "]".repeat(1_000)].concat();
        let out = indented(&raw, 0);
        assert_eq!(out.lines().count(), 1_999);
        assert_eq!(out.replace([' ', '\n'], ""), raw);
    }

    #[test]
    fn bytes_become_padded_base64() {
        for (bytes, expected) in [
            (&b""[..], r#""""#),
            (b"f", r#""Zg==""#),
            (b"fo", r#""Zm8=""#),
            (b"foo", r#""Zm9v""#),
            (b"\xfb\xff\xfe\x00", r#""+//+AA==""#),
        ] {
            assert_eq!(text(|out| put_base64_string(bytes, out)), expected);
        }
    }

    #[test]
    fn values_are_laid_out_as_the_model_lays_them_out() {
        let (mut broken, mut bytes) = (0, 0);
        for seed in 0..10_000 {
            let mut prng = Prng::from_seed(seed);
            let raw = model::document(&mut prng);
            let shown = raw.escape_ascii().to_string();
            let parsed = model::parse(&raw).expect("the generator writes JSON");
            broken += u32::from(!parsed.is_clean);
            bytes += raw.len();

            let depth = prng.range(0, 3) as usize;
            let out = indented(&raw, depth);
            assert_eq!(out, parsed.tree.indented(depth), "seed {seed}: {shown}");
            let again = model::parse(out.as_bytes()).expect("it is JSON");
            assert!(
                again.tree == parsed.tree && again.is_clean,
                "seed {seed}: {shown}"
            );
            assert_eq!(indented(&out, depth), out, "seed {seed}: {shown}");

            let out = compact(&raw);
            assert_eq!(out, model::go_compact(&raw), "seed {seed}: {shown}");
            let again = model::parse(out.as_bytes()).expect("it is JSON");
            assert_eq!(again.tree, parsed.tree, "seed {seed}: {shown}");
            assert_eq!(compact(&out), out, "seed {seed}: {shown}");
        }
        assert!(broken > 300 && bytes > 500_000, "{broken} {bytes}");
    }

    #[test]
    fn nothing_panics_on_any_bytes() {
        for seed in 0..30_000 {
            let mut prng = Prng::from_seed(seed);
            let raw = if prng.chance(1, 2) {
                model::noise(&mut prng)
            } else {
                let mut raw = model::document(&mut prng);
                model::damage(&mut prng, &mut raw);
                raw
            };
            let shown = raw.escape_ascii().to_string();
            let out = appended(|out| put_compact_go(&raw, out));
            let again = appended(|again| put_compact_go(&out, again));
            assert_eq!(again, out, "seed {seed}: {shown}");

            let out = appended(|out| put_indented(&raw, 1, out));
            if let Some(parsed) = model::parse(&raw) {
                assert_eq!(
                    out,
                    parsed.tree.indented(1).as_bytes(),
                    "seed {seed}: {shown}"
                );
            }
        }
    }
}
