//! Conversion of text with ANSI escape sequences to HTML, as the Go package `ansihtml` does it: the
//! markup of `projectforge`'s terminals.
//!
//! ```text
//!   ESC [ 1;31 m error ESC [ m : <x>
//!
//!   <span style="font-weight:bold;color:sienna;">error</span>: &lt;x&gt;
//! ```
//!
//! Select Graphic Rendition (ECMA-48 8.3.117) becomes spans. All other escape sequences and control
//! strings are removed, including an incomplete one at the end. Text is escaped, so no input can
//! add markup of its own. The conversion accepts any text. Each span repeats all styles in effect,
//! so the result can be several hundred times as long as an input that consists of sequences only.

use std::fmt::Write as _;

/// Converts text with ANSI escape sequences to HTML for a `<pre>` element.
#[must_use]
pub fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut style = Style::default();
    let mut is_in_span = false;
    let mut rest = text;
    while let Some(at) = rest.find(is_introducer) {
        put_text(&rest[..at], &mut html);
        let sequence;
        (sequence, rest) = split_sequence(&rest[at..]);
        let Some(parameters) = sequence.and_then(parameters_of_sgr) else {
            continue;
        };
        let mut is_reset = false;
        for parameter in parameters.split(';') {
            is_reset = style.apply(saturated(parameter));
        }
        if std::mem::take(&mut is_in_span) {
            html.push_str("</span>");
        }
        if !is_reset {
            is_in_span = style.put_span(&mut html);
        }
    }
    put_text(rest, &mut html);
    if is_in_span {
        html.push_str("</span>");
    }
    html
}

/// Returns whether a character begins a sequence: ESC, or a C1 control character, which stands for
/// ESC and a letter.
fn is_introducer(character: char) -> bool {
    matches!(character, '\x1b' | '\u{80}'..='\u{9f}')
}

/// Splits the sequence that `text` begins with from the rest of the text. The sequence is returned
/// without its introducer if it is a complete control sequence (CSI), and otherwise as `None`.
fn split_sequence(text: &str) -> (Option<&str>, &str) {
    let mut characters = text.chars();
    let first = characters.next().expect("the introducer");
    let last = if first == '\x1b' {
        // Intermediate bytes, then the final byte. Any other character ends the sequence.
        let last = characters.find(|it| !matches!(it, ' '..='/'));
        last.unwrap_or_default()
    } else {
        let code = u8::try_from(first).expect("one of U+0080 to U+009F");
        char::from(code - 0x40)
    };
    let rest = characters.as_str();
    match last {
        '[' => split_control_sequence(rest),
        'P' | 'X' | '^' | '_' | ']' => (None, behind_string(rest, last == ']')),
        _ => (None, rest),
    }
}

/// Splits the parameters, intermediate bytes and final byte of a control sequence from the rest of
/// the text. An invalid character ends the sequence and is removed with it.
fn split_control_sequence(text: &str) -> (Option<&str>, &str) {
    let mut has_intermediates = false;
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        match character {
            ' '..='/' => has_intermediates = true,
            '0'..='?' if !has_intermediates => {}
            '@'..='~' => return (Some(&text[..end]), &text[end..]),
            _ => return (None, &text[end..]),
        }
    }
    (None, "")
}

/// Returns the text after a control string: after its terminator (ST, or BEL for an operating
/// system command), or after as many bytes of it as the original reads.
fn behind_string(text: &str, ends_with_bell: bool) -> &str {
    let mut before = '\0';
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let is_terminator = (before == '\x1b' && character == '\\')
            || character == '\u{9c}'
            || (character == '\x07' && ends_with_bell);
        if is_terminator || end >= PARAMETER_BYTES_MAX {
            return &text[end..];
        }
        before = character;
    }
    ""
}

/// Returns the parameters of a Select Graphic Rendition sequence; `None` for any other sequence and
/// if a parameter is not a number.
fn parameters_of_sgr(sequence: &str) -> Option<&str> {
    let parameters = sequence.strip_suffix('m')?;
    let is_number = |byte: u8| byte.is_ascii_digit() || byte == b';';
    let is_plain = sequence.len() <= PARAMETER_BYTES_MAX && parameters.bytes().all(is_number);
    is_plain.then_some(parameters)
}

/// Parses a parameter; the result is at most [`i32::MAX`], and 0 for an empty parameter.
fn saturated(parameter: &str) -> u32 {
    const MAX: u32 = i32::MAX.unsigned_abs();
    parameter.bytes().fold(0_u32, |number, digit| {
        let next = number
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'));
        next.min(MAX)
    })
}

/// The styles in effect.
#[derive(Debug, Default)]
struct Style {
    /// `font-weight`
    weight: Option<&'static str>,
    is_italic: bool,
    /// Whether each of [`LINES`] is drawn.
    lines: [bool; LINES.len()],
    /// Whether each of [`EFFECTS`] is on.
    effects: [bool; EFFECTS.len()],
    /// `vertical-align`
    script: Option<&'static str>,
    /// In the order of [`COLORED`].
    colors: [Color; COLORED.len()],
}

/// The state of one of the three colors.
#[derive(Clone, Copy, Debug, Default)]
struct Color {
    is_set: bool,
    /// Whether the color is `rgb` and not `index`.
    is_rgb: bool,
    index: u8,
    rgb: [u8; 3],
    awaits: Awaits,
}

/// The meaning of the next parameter for a color.
#[derive(Clone, Copy, Debug, Default)]
enum Awaits {
    #[default]
    Nothing,
    /// The form: 2 (red, green, blue) or 5 (index).
    Form,
    Index,
    /// The component with this index: red, green or blue.
    Part(usize),
}

impl Style {
    /// Applies one parameter. Returns `true` if it was a reset.
    fn apply(&mut self, parameter: u32) -> bool {
        if self.colors.iter_mut().any(|color| color.take(parameter)) {
            return false;
        }
        let digit = u8::try_from(parameter % 10).expect("a digit");
        match parameter {
            0 => {
                *self = Self {
                    colors: self.colors.map(|color| Color {
                        is_set: false,
                        ..color
                    }),
                    ..Self::default()
                };
                return true;
            }
            1 => self.weight = Some("bold"),
            2 => self.weight = Some("lighter"),
            22 => self.weight = None,
            3 => self.is_italic = true,
            20 | 23 => self.is_italic = false,
            4 => self.lines[0] = true,
            21 | 24 => self.lines[0] = false,
            9 => self.lines[1] = true,
            29 => self.lines[1] = false,
            53 => self.lines[2] = true,
            55 => self.lines[2] = false,
            7 => self.effects[0] = true,
            27 => self.effects[0] = false,
            8 => self.effects[1] = true,
            28 => self.effects[1] = false,
            26 => self.effects[2] = true,
            50 => self.effects[2] = false,
            73 => self.script = Some("super"),
            74 => self.script = Some("sub"),
            30..=37 => self.colors[0].set_index(digit),
            90..=97 => self.colors[0].set_index(8 + digit),
            40..=47 => self.colors[1].set_index(digit),
            100..=107 => self.colors[1].set_index(8 + digit),
            38 => self.colors[0].awaits = Awaits::Form,
            48 => self.colors[1].awaits = Awaits::Form,
            58 => self.colors[2].awaits = Awaits::Form,
            39 => self.colors[0].is_set = false,
            49 => self.colors[1].is_set = false,
            59 => self.colors[2].is_set = false,
            _ => {}
        }
        false
    }

    /// Opens a span with all styles. Returns `false`, and writes nothing, if there are none.
    fn put_span(&self, html: &mut String) -> bool {
        let mut styles = Vec::new();
        if let Some(weight) = self.weight {
            styles.push(format!("font-weight:{weight}"));
        }
        if self.is_italic {
            styles.push("font-style:italic".to_owned());
        }
        let lines = LINES.iter().zip(self.lines).filter(|(_, is_on)| *is_on);
        let lines: Vec<&str> = lines.map(|(line, _)| *line).collect();
        if !lines.is_empty() {
            styles.push(format!("text-decoration-line:{}", lines.join(" ")));
        }
        let effects = EFFECTS.iter().zip(self.effects);
        let effects = effects.filter(|(_, is_on)| *is_on);
        styles.extend(effects.map(|(effect, _)| (*effect).to_owned()));
        if let Some(script) = self.script {
            styles.push(format!("vertical-align:{script}"));
        }
        let colors = || COLORED.iter().zip(self.colors);
        styles.extend(colors().filter_map(|(what, color)| {
            let name = color.name()?;
            Some(format!("{what}:{name}"))
        }));
        styles.extend(colors().filter_map(|(what, color)| {
            let [red, green, blue] = color.unnamed()?;
            Some(format!("{what}:rgb({red},{green},{blue})"))
        }));
        if styles.is_empty() {
            return false;
        }
        write!(html, "<span style=\"{};\">", styles.join(";")).expect("a string takes all");
        true
    }
}

impl Color {
    /// Consumes a parameter if this color awaits one. Returns `false` if it does not.
    fn take(&mut self, parameter: u32) -> bool {
        // The original keeps the low bits.
        let byte = parameter.to_le_bytes()[0];
        self.awaits = match self.awaits {
            Awaits::Nothing => return false,
            Awaits::Form => match parameter {
                2 => Awaits::Part(0),
                5 => Awaits::Index,
                _ => Awaits::Nothing,
            },
            Awaits::Index => {
                self.set_index(byte);
                Awaits::Nothing
            }
            Awaits::Part(part) => {
                self.rgb[part] = byte;
                if part + 1 < self.rgb.len() {
                    Awaits::Part(part + 1)
                } else {
                    (self.is_set, self.is_rgb) = (true, true);
                    Awaits::Nothing
                }
            }
        };
        true
    }

    fn set_index(&mut self, index: u8) {
        (self.is_set, self.is_rgb, self.index) = (true, false, index);
    }

    /// Returns the name of an indexed color below 16; `None` for all other colors.
    fn name(self) -> Option<&'static str> {
        let name = NAMES.get(usize::from(self.index))?;
        (self.is_set && !self.is_rgb).then_some(name)
    }

    /// Returns red, green and blue of a color without a name; `None` for all other colors.
    fn unnamed(self) -> Option<[u8; 3]> {
        const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        const CUBE: u8 = 16;
        const GRAYS: u8 = 232;
        if !self.is_set || self.name().is_some() {
            return None;
        }
        if self.is_rgb {
            return Some(self.rgb);
        }
        if self.index >= GRAYS {
            return Some([8 + 10 * (self.index - GRAYS); 3]);
        }
        let at = self.index - CUBE;
        Some([at / 36, at / 6 % 6, at % 6].map(|level| LEVELS[usize::from(level)]))
    }
}

/// Appends text, escaped as Go's `html.EscapeString` does.
fn put_text(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&#34;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

/// The names of the original for the first 16 colors.
const NAMES: [&str; 16] = [
    "black",
    "sienna",
    "seagreen",
    "olive",
    "rebeccapurple",
    "darkmagenta",
    "darkturquoise",
    "lightsteelblue",
    "gray",
    "orangered",
    "lawngreen",
    "gold",
    "royalblue",
    "orchid",
    "turquoise",
    "white",
];
/// The CSS properties that take a color.
const COLORED: [&str; 3] = ["color", "background-color", "text-decoration-color"];
/// Values of `text-decoration-line`, which is one declaration.
const LINES: [&str; 3] = ["underline", "line-through", "overline"];
/// CSS declarations that are on or off.
const EFFECTS: [&str; 3] = ["filter:invert(100%)", "opacity:0", "font-family:sans-serif"];
/// Maximum bytes that the original reads of one sequence or control string.
const PARAMETER_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects markup in which every span has this style and the text `x`.
    #[track_caller]
    fn check_style(sequence: &str, style: &str) {
        let expected = format!("<span style=\"{style};\">x</span>");
        assert_eq!(html(&format!("{sequence}x")), expected, "{sequence:?}");
    }

    #[test]
    fn text_is_escaped_as_in_go() {
        let escaped = "a &lt;b&gt; &amp; &#34;c&#34; &#39;d&#39; / \u{e9}\u{a0}\n";
        assert_eq!(html("a <b> & \"c\" 'd' / \u{e9}\u{a0}\n"), escaped);
        assert_eq!(
            html("\x1b[1m<b>"),
            "<span style=\"font-weight:bold;\">&lt;b&gt;</span>"
        );
    }

    #[test]
    fn sixteen_colors_have_the_names_of_the_original() {
        let names = "black sienna seagreen olive rebeccapurple darkmagenta darkturquoise \
                     lightsteelblue gray orangered lawngreen gold royalblue orchid turquoise white";
        for (index, name) in names.split_whitespace().enumerate() {
            let (base, digit) = if index < 8 {
                (0, index)
            } else {
                (60, index - 8)
            };
            check_style(
                &format!("\x1b[{}m", base + 30 + digit),
                &format!("color:{name}"),
            );
            check_style(&format!("\x1b[38;5;{index}m"), &format!("color:{name}"));
            let background = format!("background-color:{name}");
            check_style(&format!("\x1b[{}m", base + 40 + digit), &background);
            check_style(&format!("\x1b[48;5;{index}m"), &background);
            let line = format!("text-decoration-color:{name}");
            check_style(&format!("\x1b[58;5;{index}m"), &line);
        }
    }

    #[test]
    fn other_colors_are_their_parts() {
        for (sequence, style) in [
            ("38;5;16", "color:rgb(0,0,0)"),
            ("38;5;28", "color:rgb(0,135,0)"),
            ("48;5;123", "background-color:rgb(135,255,255)"),
            ("58;5;231", "text-decoration-color:rgb(255,255,255)"),
            ("38;5;232", "color:rgb(8,8,8)"),
            ("38;5;255", "color:rgb(238,238,238)"),
            // Modulo 256, and far beyond.
            ("38;5;257", "color:sienna"),
            ("38;2;1;2;3", "color:rgb(1,2,3)"),
            ("48;2;233;277;256", "background-color:rgb(233,21,0)"),
            (
                "58;2;9999999997;;00001",
                "text-decoration-color:rgb(255,0,1)",
            ),
            // Named ones come first.
            (
                "38;2;1;2;3;48;5;1",
                "background-color:sienna;color:rgb(1,2,3)",
            ),
        ] {
            check_style(&format!("\x1b[{sequence}m"), style);
        }
        // An unknown form takes one parameter with it.
        assert_eq!(html("\x1b[38;1mx"), "x");
        check_style("\x1b[38;1;1m", "font-weight:bold");
        check_style("\x1b[31;38;5m", "color:sienna");
    }

    #[test]
    fn styles_have_one_order_and_are_joined() {
        check_style(
            "\x1b[74;26;8;7;53;9;4;3;1;41;31;58;5;2m",
            "font-weight:bold;font-style:italic;\
             text-decoration-line:underline line-through overline;filter:invert(100%);opacity:0;\
             font-family:sans-serif;vertical-align:sub;color:sienna;background-color:sienna;\
             text-decoration-color:seagreen",
        );
        check_style("\x1b[1;2m", "font-weight:lighter");
        check_style("\x1b[2;1m", "font-weight:bold");
        check_style("\x1b[74;73m", "vertical-align:super");
        // The original's own two lines of everything.
        assert_eq!(
            html(
                "\x1b[1;3;4;5;7;8;9;11;26;38;5;255;51;53;58;2;0;255;0mMany\
                 \x1b[2;20;21;6;12;38;2;233;277;255mA few"
            ),
            "<span style=\"font-weight:bold;font-style:italic;text-decoration-line:underline \
             line-through overline;filter:invert(100%);opacity:0;font-family:sans-serif;\
             color:rgb(238,238,238);text-decoration-color:rgb(0,255,0);\">Many</span>\
             <span style=\"font-weight:lighter;text-decoration-line:line-through overline;\
             filter:invert(100%);opacity:0;font-family:sans-serif;color:rgb(233,21,255);\
             text-decoration-color:rgb(0,255,0);\">A few</span>"
        );
    }

    #[test]
    fn each_sequence_closes_the_span_and_a_reset_opens_none() {
        let two = "<span style=\"color:sienna;\">a</span>\
                   <span style=\"font-weight:bold;color:sienna;\">b</span>c";
        for reset in ["\x1b[0m", "\x1b[m", "\x1b[1;m", "\x1b[4;0m"] {
            assert_eq!(html(&format!("\x1b[31ma\x1b[1mb{reset}c")), two);
        }
        check_style("\x1b[31;0;1m", "font-weight:bold");
        assert_eq!(html("\x1b[31m"), "<span style=\"color:sienna;\"></span>");
        assert_eq!(html("\x1b[5;6;10;15;20;21;51;52mx"), "x");
    }

    #[test]
    fn everything_can_be_switched_off() {
        let off = [
            ("1", "22"),
            ("2", "22"),
            ("3", "23"),
            ("3", "20"),
            ("4", "24"),
            ("4", "21"),
            ("9", "29"),
            ("53", "55"),
            ("7", "27"),
            ("8", "28"),
            ("26", "50"),
            ("31", "39"),
            ("91", "39"),
            ("41", "49"),
            ("58;5;200", "59"),
            ("73", "0"),
        ];
        for (on, off) in off {
            let text = html(&format!("\x1b[{on}ma\x1b[{off}mb"));
            assert!(text.ends_with(">a</span>b"), "{on} {off}: {text}");
        }
    }

    #[test]
    fn whatever_is_no_style_is_left_out() {
        for (text, expected) in [
            ("a\x1b[2Kb\x1b[3", "ab"),
            ("\x1bc\x1b[2J\x1b[?1m\x1b[38;1mtest", "test"),
            (
                "\x1b(Ba\x1b]0;title\x07b\x1b]0;title\x1b\\c\x1b_x\u{9c}d",
                "abcd",
            ),
            ("\u{9b}31", ""),
            ("a\x1b", "a"),
            ("a\x1b\x1bb", "ab"),
            ("a\x1b[1\u{e9}mb", "amb"),
            ("a\x1b[1 2mb", "amb"),
            ("a\x1b[1 mb", "ab"),
            ("\x1b[31;?1mx", "x"),
            ("\u{85}x", "x"),
        ] {
            assert_eq!(html(text), expected, "{text:?}");
        }
        check_style("\u{9b}31m", "color:sienna");
        let zeros = |count| format!("\x1b[{};1m", "0".repeat(count));
        check_style(&zeros(252), "font-weight:bold");
        assert_eq!(html(&format!("{}x", zeros(253))), "x");
        // A control string ends for the original where it stops reading.
        let long = format!("\x1b]{}x", "y".repeat(PARAMETER_BYTES_MAX));
        assert_eq!(html(&long), "x");
    }
}
